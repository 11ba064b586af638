//! Byte-level BPE tokenizer, streaming decoder and chat template.
#![forbid(unsafe_code)]

mod bytes;
mod error;
mod id;
mod segment;
mod split;
mod stream;
mod template;
mod tokenizer;
mod validate;

pub use error::TokenizerError;
pub use id::TokenId;
pub use segment::{Message, Segment};
pub use stream::StreamDecoder;
pub use template::{ChatTemplate, TemplateError};
pub use tokenizer::Tokenizer;

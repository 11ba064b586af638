//! Byte-level BPE tokenizer, streaming decoder and chat template.

mod id;
mod segment;

pub use id::TokenId;
pub use segment::{Message, Segment};

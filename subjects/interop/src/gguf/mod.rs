//! GGUF v2 and v3: an own, strict parser over bytes, and what a model importer needs from it.
//!
//! [`parse`] never allocates more than the bytes it was given can justify: a count or a length is compared with what
//! is left of the file before it is used.

mod config;
mod error;
mod header;
mod names;
mod open;
mod reader;
mod tensor_info;
mod tokenizer;
mod value;

pub use error::GgufError;
pub use header::{Gguf, parse};
pub use tensor_info::TensorInfo;
pub use value::{Array, Value, ValueType};

pub(crate) use header::parse_prefix;
pub(crate) use open::open;
pub(crate) use reader::Stop;

//! Import of models from GGUF, safetensors and the hub into `.apr`.
#![forbid(unsafe_code)]

mod architecture;
mod convert;
mod dequantize;
mod encoding;
mod error;
pub mod gguf;
pub mod hub;
mod import;
mod input_file;
mod model;
mod progress;
pub mod safetensors;
mod source;
mod tie;

pub use architecture::Architecture;
pub use dequantize::dequantize;
pub use encoding::Encoding;
pub use error::ImportError;
pub use import::{ImportOptions, ImportSummary, import};
pub use model::ModelFault;
pub use progress::{Progress, Silent};
pub use source::Source;

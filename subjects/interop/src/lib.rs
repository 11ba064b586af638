//! Import of models from GGUF, safetensors and the hub into `.apr`.
#![forbid(unsafe_code)]

mod progress;

pub use progress::{Progress, Silent};

//! An independent scalar float64 Qwen2: what judges prompts that no golden trace holds.
//!
//! Nothing of the arithmetic is shared with the subjects: of theirs it only asks `apr-format` for names, shapes and raw
//! bytes. It is written after the published definition as transformers computes it, evaluates whole sequences without
//! a cache, and is itself held to the PyTorch goldens (`golden::verify_reference`).

mod config;
mod model;
mod rotary;
mod weights;

pub use config::Config;
pub use model::{Reference, Rows, Tensor, Tensors};
pub use weights::{Element, ReferenceError, Stored, WeightSource};

//! Qwen2 inference (Bai et al. 2023): a decoder with grouped-query attention, rotary positions, RMSNorm and SwiGLU.
//!
//! Read in this order: `config`, `weights`, `rotary`, `kv_cache`, `attention`, `mlp`, `layer`, `packed`, `sequence`, `model`,
//! `layered`. `Config` is what the file says, `Weights` what was trained, `Sequence` the state of one sequence.
#![forbid(unsafe_code)]

mod attention;
mod config;
mod error;
mod forward;
mod inputs;
mod kv_cache;
mod layer;
mod layered;
mod mlp;
mod model;
mod packed;
mod rotary;
mod sequence;
mod weights;

pub use config::Config;
pub use error::LoadError;
pub use inputs::{LayerInputs, Matrix};
pub use model::{DEFAULT_CONTEXT, LoadOptions, Qwen2};

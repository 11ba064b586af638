//! The `CausalLm` trait, samplers, stopping and streaming generation.

mod model;
mod probe;

pub use model::{CausalLm, LogitRows, Logits, ModelError};
pub use probe::{Probe, Recorder, Site, TensorKey, Trace, UnknownTensorKey};

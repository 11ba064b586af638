//! The `CausalLm` trait, samplers, stopping and streaming generation.
#![forbid(unsafe_code)]

mod distribution;
mod drafts;
mod generate;
mod layered;
mod model;
mod probe;
mod sampler;
mod stop;

pub use distribution::{Candidate, argmax, log_probability, log_sum_exp, top_candidates};
pub use drafts::MAX_DRAFTS;
pub use generate::{
    FinishReason, Generation, GenerationError, GenerationParams, Observer, Step, generate, generate_after,
};
pub use layered::Layered;
pub use model::{CausalLm, LogitRows, Logits, ModelError};
pub use probe::{Probe, Recorder, Site, TensorKey, Trace, UnknownTensorKey};
pub use sampler::{NotANumber, Sampler, SamplingParamError, SamplingParams};

//! The model as its users meet it: loading, inference, packed weights, what quantization sees of it, what PyTorch computed.
#![expect(clippy::unwrap_used, reason = "a test may")]

mod support;

mod golden;
mod inference;
mod inputs;
mod loading;
mod packed;

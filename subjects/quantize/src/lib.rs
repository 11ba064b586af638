//! Quantization: float matrices to the packed layouts of `apr-tensor`, and whole models to quantized ones.
//!
//! `scale` finds the scale of a group of weights, `matrix` rounds a matrix by itself, `gptq` by what its inputs are like,
//! which `hessian` gathers; `plan` says which tensor becomes what, and `convert` goes through a model.
#![forbid(unsafe_code)]

mod cholesky;
mod convert;
mod gptq;
mod hessian;
mod matrix;
mod plan;
mod scale;

/// What a model is calibrated on when nothing else is given: prose and code from the Rust books, MIT OR Apache-2.0
/// (`scripts/quantize_texts.py`).
pub const CALIBRATION_TEXT: &str = include_str!("../texts/calibration.txt");
/// What models are evaluated on when nothing else is given: other pages of the same books.
pub const EVALUATION_TEXT: &str = include_str!("../texts/evaluation.txt");

pub use convert::{ConvertError, ConvertOptions, Converted, Method, SEQUENCE, Watch, convert, sequences};
pub use matrix::{Quantized, round_to_nearest};
pub use plan::Head;

//! Tolerances and numeric differences between tensors, and what statistics say about them: pure, no I/O.

mod difference;
mod distribution;
mod histogram;
mod spectrum;
mod statistics;
mod tolerance;

pub use difference::{CompareError, Difference, NonFinite, View, Worst, compare, compare_with};
pub use distribution::{DistributionError, kl_divergence, negative_log_likelihood, top_k, top_k_agreement};
pub use histogram::Histogram;
pub use spectrum::{Matrix, SpectrumError, largest_singular_value, marchenko_pastur_edge, singular_values};
pub use statistics::{MomentShift, QUANTILES, Statistics, moment_shift};
pub use tolerance::{InvalidTolerance, Tolerance, ToleranceSyntax};

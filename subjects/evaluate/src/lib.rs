//! How well a model predicts a text, and how far it is from another model on it.
//!
//! `windows` cuts a text into what is evaluated at once, the way llama.cpp or Hugging Face count; `score` takes the
//! log-probabilities of its tokens; `statistics` makes means and intervals of them.
#![forbid(unsafe_code)]

mod score;
mod statistics;
mod windows;

pub use score::{Comparison, Evaluation, EvaluationError, Watch, evaluate};
pub use statistics::{Estimate, Ratio};
pub use windows::{Counting, Window, WindowError, windows};

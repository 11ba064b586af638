//! How well a model predicts a text, and how far it is from another model on it.
//!
//! `windows` cuts a text into what is evaluated at once, the way llama.cpp or Hugging Face count; `score` takes the
//! log-probabilities of its tokens; `statistics` makes means and intervals of them. `canary` keeps what a model said and
//! holds later runs to it.
#![forbid(unsafe_code)]

mod canary;
mod score;
mod statistics;
mod windows;

pub use canary::{
    CANARY_PROMPTS, CANARY_VERSION, Canary, CanaryError, Case, ModelChange, Speed, TOLERANCE,
    TokenizerChange, Told, Verdict, check, record,
};
pub use score::{Comparison, Evaluation, EvaluationError, Watch, evaluate};
pub use statistics::{Estimate, Ratio};
pub use windows::{Counting, Window, WindowError, windows};

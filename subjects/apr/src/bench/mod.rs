//! What `apr bench` measures: speeds of a model, beside what the machine can do at best in the same moment.
//!
//! Every repeat measures the machine's peaks, then each prompt length: whatever slows the machine down for a while slows
//! both down, and their ratio says more than either.

mod measure;
mod spread;

pub(crate) use measure::{Limits, Machine, Measurement, Plan, Point, measure, read_rate};
pub(crate) use spread::Spread;

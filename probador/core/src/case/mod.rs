//! A case is one runnable unit: a claim, a golden tensor or the canary; it ends with a verdict and its evidence.

mod evidence;
mod id;
mod judgement;
mod verdict;

pub use evidence::{Evidence, Figure, Machine, Measurement, Relation};
pub use id::{Case, CaseId, Subject};
pub use judgement::Judgement;
pub use verdict::{Outcome, Reason, Undecided, Verdict};

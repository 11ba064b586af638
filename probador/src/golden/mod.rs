//! Golden traces: what PyTorch computed inside a model, and holding the model to it.
//!
//! Listing reads manifests only. Verifying reads the manifest, the tensors it names and nothing else; what should have
//! been recorded is `freshness`'s business.

mod acceptance;
mod bisect;
mod config;
mod culprit;
mod evaluate;
mod freshness;
mod manifest;
pub mod npy;
mod pending;
mod set;
mod truth;
mod verify;

pub use acceptance::{Acceptance, LOG, accept, accepted, check_reason, keep};
pub use bisect::{Bisection, Finding, Origin, Symptom, first_out, trace_back};
pub use config::{Checkpoint, Verification};
pub use culprit::{Cause, Part, Stage};
pub use freshness::{Freshness, config, freshness};
pub use manifest::{Manifest, ModelIdentity, NoiseFloor, Producer, Prompt, SourceFile, Tensor, TopIds};
pub use pending::{Author, Pending, Proposal, leave_pending, pending, propose};
pub use set::{GoldenError, GoldenSet, MANIFEST};
pub use truth::{Expected, Truth, Untrusted};
pub use verify::{Metrics, TensorOutcome, VerifiedPrompt, VerifiedTensor, verify_prompt, verify_reference};

#[cfg(test)]
mod tests;

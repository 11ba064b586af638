//! Attestation: a statement that binds a report to the model, the executables, the checklist and the goldens it is of; who
//! signed it; and whether it holds for what is here.

mod envelope;
mod statement;
mod verify;

pub use envelope::{Envelope, PAYLOAD_TYPE, Signed, SignedBy};
pub use statement::{Resource, Statement, TestResult};
pub use verify::{Attested, Demands, Refusal, verify};

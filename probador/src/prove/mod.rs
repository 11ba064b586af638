//! Proof of the checks themselves: a claim or a playbook counts as proven when it is green clean, green under a fault
//! that does nothing, and red under each of its planted faults, in the words the fault asks for.

mod key;
mod matrix;
mod proofs;
mod scratch;
mod standing;
mod target;
mod target_trial;
mod trial;

pub use key::Keys;
pub use matrix::Matrix;
pub use proofs::{PROOFS, Proof, Proofs};
pub use scratch::{Built, Scratch};
pub use standing::{ProofBook, ProofStanding};
pub use target::{Target, TargetName};
pub use target_trial::{FaultTrial, Standing, TargetTrial};
pub use trial::{Doubt, Reaction, Trials, obstacle, pairs, targets};

//! Proof of the checks themselves: a claim counts as proven when it is green clean, green under a fault that does
//! nothing, and red under each of its planted faults, in the words the fault asks for.

mod claim;
mod key;
mod matrix;
mod proofs;
mod scratch;
mod standing;
mod trial;

pub use claim::{ClaimTrial, FaultTrial, Standing};
pub use key::Keys;
pub use matrix::Matrix;
pub use proofs::{PROOFS, Proof, Proofs};
pub use scratch::{Built, Scratch};
pub use standing::{ProofBook, ProofStanding};
pub use trial::{Doubt, Reaction, Trials, obstacle, pairs};

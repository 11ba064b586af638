//! Small changes to the code that a test must notice, made and tried by cargo-mutants, a crate at a time.
//!
//! A crate is tried with its own tests. What became of a file's mutants is stored with the file's state (`state.rs`) and
//! is stale once its code changes, or a test of it. A mutant that no test can notice since it means the same is listed
//! with its reason in `checklist/equivalent-mutants.yaml`; one listed there that is gone, or that a test does notice, is
//! an error.
//!
//! Trying every mutant takes hours. After nothing but tests were added, only those that had survived are tried again.

mod equivalent;
mod mutated;
mod outcome;
mod standing;
mod state;
mod stored;
mod tool;

pub use equivalent::{EQUIVALENT, Equivalent, load_equivalent};
pub use mutated::{find, mutated};
pub use outcome::read_outcomes;
pub use standing::{Score, is_known, score};
pub use state::State;
pub use stored::{CrateResult, FileResult, MUTANTS, Mutant, StoredMutants, Tried};
pub use tool::{Chosen, Tool};

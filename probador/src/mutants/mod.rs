//! Small changes to the code that a test must notice, made and tried by cargo-mutants, a room of the workspace at a time.
//!
//! A room is tried with the tests that belong to it and no others, so its result depends on those files alone: the key it
//! is stored with changes with them, and not with the rest of a crate. A mutant that no test can notice since it means the
//! same is listed with its reason in `checklist/equivalent-mutants.yaml`; one listed there that is gone, or that a test
//! does notice, is an error.

mod equivalent;
mod outcome;
mod room;
mod slim;
mod standing;
mod stored;
mod tool;

pub use equivalent::{EQUIVALENT, Equivalent, load_equivalent};
pub use outcome::read_outcomes;
pub use room::{ROOMS, Room, SCOPES, find};
pub use standing::{Score, is_stale, score};
pub use stored::{MUTANTS, Mutant, RoomResult, StoredMutants, Tried};
pub use tool::{Share, Tool};

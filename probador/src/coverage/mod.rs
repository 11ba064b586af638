//! Which lines, functions and branches the tests of the workspace execute, measured crate by crate with cargo-llvm-cov.
//!
//! What a crate's own tests execute of it is stored with what they miss; of the crates below it a run stores only what
//! their own tests had missed. A crate is covered by what all runs together execute: a subject is tested by the engine's
//! checks too, and by `apr`'s. Each run is stored with the key of its crate's contents (`members.rs`), and what it says of
//! a crate below with the key of that one's code; a result with another key is stale: of its own crate it decides nothing,
//! of one below it covers nothing.

mod export;
mod page;
mod place;
mod scope;
mod sources;
mod standing;
mod stored;
mod tools;

pub use export::{FileMeasure, Measured};
pub use page::page;
pub use place::{Line, Place, Places, Point, Side, ranges};
pub use scope::{ENGINE, INFERENCE, Scope, VERDICT_CORE};
pub(crate) use sources::test_files;
pub use sources::{Exclusion, Feature, PublicFunction, Sources};
pub use standing::{Coverage, FileCoverage, Share, behind, coverage, shares, stale, together};
pub use stored::{Below, COVERAGE, Counts, Executed, FileCounts, Run, StoredCoverage};
pub use tools::Tools;

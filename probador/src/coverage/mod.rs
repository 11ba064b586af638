//! Which lines, functions and branches the tests of the workspace execute, measured crate by crate with cargo-llvm-cov.
//!
//! What a crate's own tests execute of it is stored with what they miss; of the crates below it a run stores only what
//! their own tests had missed. A crate is covered by what all runs together execute: a subject is tested by the engine's
//! checks too, and by `apr`'s. Each run is stored with the key of its crate (`members.rs`), which changes with anything
//! that its tests are built from; a result with another key is stale, and decides nothing.

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
pub use scope::{INFERENCE, Scope, VERDICT_CORE};
pub use sources::{Exclusion, PublicFunction, Sources};
pub use standing::{Coverage, FileCoverage, Share, coverage, shares, stale, together};
pub use stored::{COVERAGE, Counts, Executed, FileCounts, Run, StoredCoverage};
pub use tools::Tools;

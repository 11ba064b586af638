//! The verification engine: checklist, playbooks and golden traces to cases, verdicts and one report.

pub mod accounting;
pub mod attest;
pub mod availability;
pub mod checks;
pub mod cli;
mod code;
pub mod commands;
pub mod coverage;
pub mod engine;
pub mod exit;
pub mod faults;
pub mod gate;
pub mod golden;
pub mod harness;
pub mod impostors;
pub mod members;
pub mod models;
pub mod mutants;
pub mod pictures;
pub mod playbook;
pub mod printer;
pub mod process;
pub mod prove;
pub mod reference;
pub mod report;
pub mod runner;
pub mod scaffold;
pub mod selection;
pub mod stored;
pub mod tensors;
pub mod workspace;

/// Rules over syntax trees.
pub use probador_lint as lint;

/// The verdict core.
pub use probador_core::{case, checklist, compare, generate, yaml};

//! The verification engine: checklist, playbooks and golden traces to cases, verdicts and one report.

pub mod accounting;
pub mod availability;
pub mod case;
pub mod checklist;
pub mod checks;
pub mod cli;
pub mod commands;
pub mod compare;
pub mod engine;
pub mod exit;
pub mod faults;
pub mod generate;
pub mod golden;
pub mod harness;
pub mod lint;
pub mod models;
pub mod printer;
pub mod process;
pub mod reference;
pub mod report;
pub mod runner;
pub mod selection;
pub mod stored;
pub mod tensors;
pub mod workspace;
pub mod yaml;

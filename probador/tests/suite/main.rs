//! The engine as its users meet it: its commands in small checkouts and with stand-ins for other tools, and its library.
//!
//! One executable: each that links the engine takes longer to build than most of these tests take to run. What a test
//! works in has a module of its own: a checkout, a desk for playbooks, a small workspace, damaged models.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod checkout;
mod damaged;
mod desk;
mod small;
mod support;

mod bisect;
mod bisect_command;
mod bisect_doubts;
mod cli;
mod commands;
mod coverage;
mod golden_generate;
mod golden_review;
mod golden_verify;
mod impostors;
mod lint;
mod mutants;
mod playbook_commands;
mod playbook_loading;
mod playbook_mistakes;
mod playbook_running;
mod playbook_services;
mod prove_sources;
mod release;
mod stand_in;
mod tensors;

//! Playbooks: scenarios told in YAML, one a file, that run the real `apr` and can fail.
//!
//! `scenario.rs` and `step.rs` are what may be said, `rules.rs` what must not be, `load.rs` reads files or reports every
//! problem in them. `run.rs` goes through the steps on a `Stage`; `judge.rs` holds what it sees to what is expected.

mod attempt;
mod expect;
mod http;
mod judge;
mod load;
mod observed;
mod quantity;
mod report;
mod rules;
mod run;
mod running;
mod scenario;
mod schema;
mod service;
mod stage;
mod step;
mod template;
mod wasm;
mod words;

pub use load::{judge_faults, read, read_all};
pub use report::{PlaybookReport, RunReport, StepReport};
pub use run::run;
pub use scenario::{CaughtFault, Playbook, Runner};
pub use schema::schema;
pub use stage::{Stage, StandIn};
pub use step::{Action, Step};
pub use template::template;

pub use probador_core::playbook_id::{Category, PlaybookId, Playbooks, REQUIRED_PLAYBOOKS, is_name};

//! The report of a run: one set of facts, written as JSON, HTML, JUnit and terminal text.

mod files;
mod github;
mod html;
mod junit;
mod model;
mod terminal;

pub use files::{Folder, OutcomeLog, write_file};
pub use github::annotations;
pub use html::to_html;
pub use junit::to_junit;
pub use model::{ClaimRow, ModelFacts, Report, RunVerdict, Waiting};
pub use terminal::{case_line, summary, terse_line};

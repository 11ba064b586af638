//! The report of a run: one set of facts, written as JSON, HTML, JUnit, annotations, Markdown and terminal text.

mod files;
mod github;
mod goldens;
mod html;
mod impostors;
mod inputs;
mod junit;
mod matrix;
mod model;
mod plot;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod step_summary;
mod terminal;

pub use files::{Folder, OutcomeLog, log_of, write_file};
pub use github::annotations;
pub use html::to_html;
pub use impostors::{ImpostorRow, ImpostorTable, Performances, TableStanding};
pub use inputs::{InputFile, InputPaths, Role, input_files, sha256_of};
pub use junit::to_junit;
pub use matrix::{StoredMatrix, matrix_standing, to_matrix_html};
pub use model::{ClaimRow, ModelFacts, Report, RunVerdict, Waiting, WaiverRow};
pub use plot::{Mark, Plot, svg};
pub use schema::schema;
pub use step_summary::step_summary;
pub use terminal::{case_line, summary, terse_line};

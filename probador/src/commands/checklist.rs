//! `checklist validate`: every problem of the checklist's files, with file, line and column.

use super::workspace;
use crate::checklist::CHECKLIST_POINTS;
use crate::cli::Global;
use crate::exit::ExitStatus;
use crate::models::load_models;
use crate::printer::Printer;
use crate::workspace::LoadError;

/// Reads everything that is checked in and says what it adds up to.
pub(super) fn run(global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let checklist = workspace.checklist();
    let models = workspace
        .source("golden/models.yaml")
        .map_err(LoadError::from)
        .and_then(|source| load_models(&source));
    let (checklist, models) = match (checklist, models) {
        (Ok(checklist), Ok(models)) => (checklist, models),
        (Err(LoadError::Invalid(mut problems)), Err(LoadError::Invalid(more))) => {
            problems.extend(more);
            return Err(LoadError::Invalid(problems).into());
        }
        (Err(error), _) | (_, Err(error)) => return Err(error.into()),
    };
    let waivers = workspace.waivers(&checklist)?;
    let claims = checklist.claims();
    let n_checked = claims.iter().filter(|claim| claim.has_check()).count();
    printer.data(&format!(
        "{} claims, {CHECKLIST_POINTS} points; {n_checked} have a check, {} wait for one; {} faults, {} models, {} waivers",
        claims.len(),
        claims.len() - n_checked,
        checklist.faults().len(),
        models.len(),
        waivers.len()
    ));
    Ok(ExitStatus::Pass)
}

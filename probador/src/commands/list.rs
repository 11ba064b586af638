//! `list`: the cases a run would plan; opens neither models nor tensors.

use serde::Serialize;

use super::full::selection;
use super::workspace;
use crate::case::{Case, CaseId, Subject, Undecided};
use crate::cli::{Global, ListArgs};
use crate::engine::{Engine, Options};
use crate::exit::ExitStatus;
use crate::printer::{Format, Printer, Tone};
use crate::selection::tags;

#[derive(Serialize)]
struct Row<'c> {
    case: &'c CaseId,
    subject: &'c Subject,
    title: &'c str,
    tags: [&'static str; 3],
    source: &'c Option<(String, u64)>,
    undecided: &'c Option<Undecided>,
}

impl<'c> From<&'c Case> for Row<'c> {
    fn from(case: &'c Case) -> Self {
        Self {
            case: &case.id,
            subject: &case.subject,
            title: &case.title,
            tags: tags(case),
            source: &case.source,
            undecided: &case.undecided,
        }
    }
}

/// Prints the selected cases.
pub(super) fn run(args: &ListArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let selection = selection(&args.selection, args.reports.as_deref(), &workspace)?;
    let options = Options { model: args.subject.model.clone(), seed: args.subject.seed };
    let engine = Engine::open(workspace, &options)?;
    let cases = selection.apply(engine.cases());
    match args.format {
        Format::Json => {
            let rows: Vec<Row<'_>> = cases.iter().map(Row::from).collect();
            printer.data(&serde_json::to_string_pretty(&rows)?);
        }
        Format::Terse => cases.iter().for_each(|case| printer.data(case.id.as_str())),
        Format::Human => {
            for case in &cases {
                let why =
                    case.undecided.as_ref().map(|undecided| format!("  {undecided}")).unwrap_or_default();
                printer.data(&format!("{}{}", case.id, printer.paint(Tone::Faint, &why)));
            }
            let n_decidable = cases.iter().filter(|case| case.undecided.is_none()).count();
            printer.talk(&format!("{} cases, {n_decidable} can be decided here", cases.len()));
        }
    }
    Ok(if cases.is_empty() { ExitStatus::NothingRan } else { ExitStatus::Pass })
}

//! `ci`: a run for machines; with `--strict`, no claim that passed at the committed baseline may be lost.

use std::collections::BTreeSet;

use super::full::{execute, status};
use super::workspace;
use crate::case::Verdict;
use crate::checklist::{Baseline, ClaimId};
use crate::cli::{CiArgs, Global};
use crate::exit::ExitStatus;
use crate::printer::{ColorChoice, Printer, Tone};
use crate::report::{Report, write_file};

const BASELINE: &str = "checklist/baseline.json";

/// Runs everything without colour.
pub(super) fn run(args: &CiArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    if global.color == ColorChoice::Auto {
        *printer = Printer::new(ColorChoice::Never, global.quiet);
    }
    let workspace = workspace(global)?;
    // Read before the run: a baseline that cannot be read must not cost ten minutes to find out.
    let mut baseline = if workspace.path(BASELINE).exists() || args.strict {
        let source = workspace.source(BASELINE).map_err(|error| {
            anyhow::anyhow!("{error:#}\nhint: `cargo probador ci --accept` writes what passes now")
        })?;
        Baseline::from_json(&source.file, &source.text)?
    } else {
        Baseline::default()
    };
    let Some(report) = execute(&args.full, global, printer)? else { return Ok(ExitStatus::NothingRan) };
    let passed = passed(&report);
    if args.accept {
        baseline.passing.insert(report.model.name.clone(), passed);
        write_file(&workspace.path(BASELINE), baseline.to_json().as_bytes())?;
        return Ok(status(&report));
    }
    if args.strict {
        let lost = baseline.regressions(&report.model.name, &passed);
        if !lost.is_empty() {
            let ids: Vec<_> = lost.iter().map(|regression| regression.0.to_string()).collect();
            let word = printer.paint_talk(Tone::Bad, "regression:");
            printer.error(&format!("{word} passed at {BASELINE} and no longer: {}", ids.join(" ")));
            return Ok(ExitStatus::Failed);
        }
    }
    Ok(status(&report))
}

fn passed(report: &Report) -> BTreeSet<ClaimId> {
    let rows = report
        .claims
        .iter()
        .filter(|row| row.outcome.as_ref().is_some_and(|outcome| outcome.verdict == Verdict::Pass));
    rows.map(|row| row.id).collect()
}

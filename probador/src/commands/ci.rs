//! `ci`: a run for machines; with `--strict`, no claim that passed at the committed baseline may be lost.

use std::collections::BTreeSet;

use anyhow::Context as _;

use super::full::{execute, status};
use super::workspace;
use crate::checklist::{Baseline, Checklist, Claim, ClaimId, Need, Standing};
use crate::cli::{CiArgs, Global};
use crate::exit::ExitStatus;
use crate::models::choose;
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
    if args.strict {
        let model = choose(args.full.subject.model.as_deref(), &workspace)?.name;
        // Nothing can be lost where nothing was held: such a run would always pass.
        baseline.passing.get(&model).filter(|passing| !passing.is_empty()).with_context(|| {
            format!("{BASELINE} holds nothing to `{model}`\nhint: `cargo probador ci --accept --model {model}` writes what passes now")
        })?;
    }
    let Some(report) = execute(&args.full, global, printer)? else { return Ok(ExitStatus::NothingRan) };
    if args.accept {
        let held = to_hold(passed(&report), &workspace.checklist()?);
        baseline.passing.insert(report.model.name.clone(), held);
        write_file(&workspace.path(BASELINE), baseline.to_json().as_bytes())?;
        return Ok(status(&report));
    }
    if args.strict {
        let lost = lost(&report, &baseline);
        if !lost.is_empty() {
            let word = printer.paint_talk(Tone::Bad, "regression:");
            printer.error(&format!("{word} passed at {BASELINE} and no longer: {}", lost.join(", ")));
            return Ok(ExitStatus::Failed);
        }
    }
    Ok(status(&report))
}

fn passed(report: &Report) -> BTreeSet<ClaimId> {
    let rows = report.claims.iter().filter(|row| row.standing() == Standing::Passed);
    rows.map(|row| row.id).collect()
}

/// Those of `passed` that later runs are held to: all but what takes hours to measure anew after a change. The gate asks
/// for that; a commit cannot.
fn to_hold(mut passed: BTreeSet<ClaimId>, checklist: &Checklist) -> BTreeSet<ClaimId> {
    let takes_hours = |claim: &Claim| claim.needs.iter().copied().any(Need::takes_hours);
    passed.retain(|id| checklist.claim(*id).is_some_and(|claim| !takes_hours(claim)));
    passed
}

/// The claims that passed at the baseline and do not now, each with what became of it.
fn lost(report: &Report, baseline: &Baseline) -> Vec<String> {
    let lost = baseline.regressions(&report.model.name, &passed(report));
    lost.iter()
        .map(|regression| {
            let row = report.claims.iter().find(|row| row.id == regression.0);
            let became = match row.map(|row| (row.standing(), row.outcome.is_some())) {
                Some((Standing::Failed, _)) => "failed",
                Some((Standing::Undecided, true)) => "undecided",
                Some((Standing::Undecided, false)) => "not run",
                Some((Standing::Passed, _)) | None => "gone",
            };
            format!("{} ({became})", regression.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;
    use crate::workspace::Workspace;

    fn baseline(model: &str, ids: &[&str]) -> Baseline {
        let ids = ids.iter().map(|id| id.parse().unwrap()).collect();
        Baseline { passing: [(model.to_owned(), ids)].into() }
    }

    #[test]
    fn every_way_to_lose_a_claim_is_a_regression_and_says_which() {
        let report = sample::eventful();
        let held = baseline("tiny", &["A1", "C4", "J16", "J17"]);
        assert_eq!(lost(&report, &held), ["C4 (failed)", "J16 (undecided)", "J17 (not run)"]);
        let mut report = report;
        report.claims.retain(|row| row.id.to_string() != "A1");
        assert_eq!(lost(&report, &baseline("tiny", &["A1"])), ["A1 (gone)"]);
    }

    #[test]
    fn what_passes_still_or_passed_on_another_model_is_none() {
        let report = sample::eventful();
        assert_eq!(lost(&report, &baseline("tiny", &["A1", "B1"])), Vec::<String>::new());
        assert_eq!(lost(&report, &baseline("release", &["C4"])), Vec::<String>::new());
    }

    #[test]
    fn what_takes_hours_to_measure_is_asked_for_by_the_gate_and_not_by_each_commit() {
        let checklist = Workspace::find(None).unwrap().checklist().unwrap();
        let ids = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(to_hold(ids(&["A1", "G1", "I1", "I3", "I4", "I5"]), &checklist), ids(&["A1", "I1", "I5"]));
    }
}

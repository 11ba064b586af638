//! `gate`: opens only when everything is decided, passing and proven, or waived by name.

use std::time::{SystemTime, UNIX_EPOCH};

use super::full::{execute, status};
use super::workspace;
use crate::case::Verdict;
use crate::checklist::Date;
use crate::cli::{FullArgs, Global};
use crate::exit::ExitStatus;
use crate::printer::{Printer, Tone};
use crate::report::Report;

/// Runs everything and judges the report as a release gate does.
pub(super) fn run(args: &FullArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let waivers = workspace.waivers(&workspace.checklist()?)?;
    let Some(report) = execute(args, global, printer)? else { return Ok(ExitStatus::NothingRan) };
    if status(&report) != ExitStatus::Pass {
        return Ok(status(&report));
    }
    let today =
        Date::of_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
    let (held, needless): (Vec<_>, Vec<_>) = waivers
        .iter()
        .filter(|waiver| waiver.until >= today)
        .partition(|waiver| !has_passed(&report, waiver.claim));
    for waiver in &needless {
        printer.error(&format!(
            "checklist/waivers.yaml:{}: {} passes without its waiver",
            waiver.line, waiver.claim
        ));
    }
    let open: Vec<_> = report
        .claims
        .iter()
        .filter(|row| row.scored && row.undecided().is_some())
        .filter(|row| held.iter().all(|waiver| waiver.claim != row.id))
        .map(|row| row.id.to_string())
        .collect();
    if !open.is_empty() {
        let word = printer.paint_talk(Tone::Bad, "the gate stays shut:");
        printer.error(&format!("{word} {} claims are undecided: {}", open.len(), open.join(" ")));
    }
    let unproven: Vec<_> = report.unproven().filter(|row| row.scored).collect();
    if !unproven.is_empty() {
        let word = printer.paint_talk(Tone::Bad, "the gate stays shut:");
        let names: Vec<_> = unproven.iter().map(|row| row.id.to_string()).collect();
        printer.error(&format!(
            "{word} {} claims passed without a proof that their check can fail: {}\nhint: cargo probador prove --model {}",
            names.len(),
            names.join(" "),
            report.model.name
        ));
    }
    Ok(if open.is_empty() && needless.is_empty() && unproven.is_empty() {
        ExitStatus::Pass
    } else {
        ExitStatus::Undecided
    })
}

fn has_passed(report: &Report, claim: crate::checklist::ClaimId) -> bool {
    let row = report.claims.iter().find(|row| row.id == claim);
    row.and_then(|row| row.outcome.as_ref()).is_some_and(|outcome| outcome.verdict == Verdict::Pass)
}

//! `gate`: opens only when everything is decided, passing and proven, or waived by name.

use std::time::{SystemTime, UNIX_EPOCH};

use super::full::{execute, status};
use crate::checklist::Date;
use crate::cli::{FullArgs, Global};
use crate::exit::ExitStatus;
use crate::gate::{Bar, decide};
use crate::printer::{Printer, Tone};

/// Runs everything and judges the report as a release gate does.
pub(super) fn run(args: &FullArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let Some(report) = execute(args, global, printer)? else { return Ok(ExitStatus::NothingRan) };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let gate = decide(&report, Date::of_unix_seconds(seconds));
    let word = printer.paint_talk(Tone::Bad, "the gate stays shut:");
    for obstacle in &gate.shut_by {
        let remedy = match obstacle.reason {
            Bar::Unproven | Bar::Stale => format!("cargo probador prove --model {}", report.model.name),
            other => other.remedy().to_owned(),
        };
        printer.error(&format!("{word} {obstacle}\nhint: {remedy}"));
    }
    Ok(match status(&report) {
        ExitStatus::Pass if gate.is_open() => ExitStatus::Pass,
        ExitStatus::Pass => ExitStatus::Undecided,
        other => other,
    })
}

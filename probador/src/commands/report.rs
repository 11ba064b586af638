//! `report`: the newest report again, its pages written anew from `report.json`.

use super::full::{folder, show, status};
use super::workspace;
use crate::cli::{Global, ReportArgs};
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Shows the newest report; exits as the run it describes did.
pub(super) fn run(args: &ReportArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let folder = folder(args.reports.as_deref(), &workspace);
    let report = folder.read_latest()?;
    folder.write_pages(&report)?;
    show(&report, args.format, &folder, printer)?;
    Ok(status(&report))
}

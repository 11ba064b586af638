//! `coverage`: measures what the tests execute, a crate at a time, and keeps it for claims G1, I1, I2 and I3.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;

use super::workspace;
use crate::cli::{CoverageArgs, Global};
use crate::coverage::{
    self, COVERAGE, Coverage, Line, Share, StoredCoverage, Tools, VERDICT_CORE, ranges, shares,
};
use crate::exit::ExitStatus;
use crate::members::{Member, find, members};
use crate::printer::{Format, Printer, Tone};
use crate::workspace::Workspace;

/// What is to be measured.
struct Plan<'m> {
    /// The crates whose result is missing or stale, or that are to be measured again, each after those below it.
    open: Vec<&'m Member>,
}

/// A crate, or a part of the workspace, as it is printed.
#[derive(Serialize)]
struct Row {
    name: String,
    is_fresh: bool,
    lines: Share,
    functions: Share,
    branches: Share,
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Document<'d> {
    rows: &'d [Row],
    missed: Vec<MissedLines<'d>>,
}

#[derive(Serialize)]
struct MissedLines<'d> {
    file: &'d str,
    lines: String,
}

/// Measures what is open, stores it, and prints what is covered.
pub(super) fn run(args: &CoverageArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let members = members(workspace.root())?;
    let path = workspace.path(COVERAGE);
    let mut stored = StoredCoverage::read(&path)?;
    let plan = plan(args, &members, &stored)?;
    measure(&workspace, &members, &plan, &mut stored, printer)?;
    let now = coverage::together(&stored, &members);
    let rows = rows(&now, &members, &stored);
    print(args.format, &rows, &now, printer)?;
    if args.html {
        let page = workspace.path("reports/coverage.html");
        crate::report::write_file(&page, coverage::page(workspace.root(), &now)?.as_bytes())?;
        printer.talk(&format!("written {}", page.display()));
    }
    let Some(limit) = args.fail_under else { return Ok(ExitStatus::Pass) };
    let judged: Vec<&Row> = rows.iter().filter(|row| is_judged(row, args)).collect();
    let all = judged.iter().fold(Share::default(), |all, row| all.and(row.lines));
    if all.percent() < limit {
        printer.error(&format!("{:.2} % of lines are covered, {limit} % are asked for", all.percent()));
        return Ok(ExitStatus::Failed);
    }
    Ok(ExitStatus::Pass)
}

/// The crates to measure: of those asked for, and of those below them, the ones without a fresh result; and of those asked
/// for the ones whose result is of another state of what is below.
fn plan<'m>(args: &CoverageArgs, members: &'m [Member], stored: &StoredCoverage) -> anyhow::Result<Plan<'m>> {
    let mut asked = Vec::new();
    for name in &args.crates {
        asked.push(find(members, name)?);
    }
    let (stale, behind) = (coverage::stale(stored, members), coverage::behind(stored, members));
    let open = members.iter().filter(|member| {
        let is_asked = asked.is_empty() || asked.iter().any(|other| other.name == member.name);
        let is_below = asked.iter().any(|other| other.below.contains(&member.name));
        let is_stale = stale.contains(&member.name.as_str());
        let is_behind = behind.contains(&member.name.as_str());
        (is_asked && (is_stale || is_behind || args.fresh)) || (is_below && is_stale)
    });
    Ok(Plan { open: open.collect() })
}

fn measure(
    workspace: &Workspace,
    members: &[Member],
    plan: &Plan<'_>,
    stored: &mut StoredCoverage,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    if plan.open.is_empty() {
        printer.talk("no crate has changed since its coverage was stored");
        return Ok(());
    }
    let mut tools = Tools::find(workspace.root(), members)?;
    printer.talk(&format!(
        "{}: what takes longest is to build {} crates anew",
        tools.version(),
        plan.open.len()
    ));
    if !tools.counts_branches() {
        printer.talk("branches are not counted, which needs a nightly compiler\nhint: rustup toolchain install nightly");
    }
    tools.prepare()?;
    for member in &plan.open {
        printer.talk(&format!("{}: running its tests", member.name));
        let log = workspace.path(format!("target/probador/coverage-{}.log", member.name));
        let measured = tools.measure(member, &log)?;
        if find(&crate::members::members(workspace.root())?, &member.name)?.key != member.key {
            bail!("the sources of {} changed while its tests ran\nhint: run it again", member.name);
        }
        // Only what fresh runs leave open is worth keeping of the crates below.
        let below: Vec<Member> =
            members.iter().filter(|other| member.below.contains(&other.name)).cloned().collect();
        let known = coverage::together(stored, &below);
        stored.crates.insert(member.name.clone(), tools.run_of(member, members, &measured, &known));
        stored.crates.retain(|name, _| members.iter().any(|member| member.name == *name));
        stored.write(&workspace.path(COVERAGE))?;
    }
    Ok(())
}

fn rows(now: &Coverage, members: &[Member], stored: &StoredCoverage) -> Vec<Row> {
    let stale = coverage::stale(stored, members);
    let row = |name: &str, is_fresh: bool, [lines, functions, branches]: [Share; 3]| Row {
        name: name.to_owned(),
        is_fresh,
        lines,
        functions,
        branches,
    };
    let mut rows: Vec<Row> = members
        .iter()
        .map(|member| {
            let is_fresh = !stale.contains(&member.name.as_str());
            row(&member.name, is_fresh, shares(now.under(&Path::new(&member.folder).join("src"))))
        })
        .collect();
    rows.push(row("workspace", stale.is_empty(), shares(now.files.values())));
    rows.push(row(
        VERDICT_CORE.name,
        members.iter().all(|member| !VERDICT_CORE.takes(member) || !stale.contains(&member.name.as_str())),
        shares(now.within(&VERDICT_CORE).map(|(_, file)| file)),
    ));
    rows
}

/// Whether `--fail-under` is about `row`: the crates that were asked for, else the workspace.
fn is_judged(row: &Row, args: &CoverageArgs) -> bool {
    if args.crates.is_empty() { row.name == "workspace" } else { args.crates.contains(&row.name) }
}

fn print(format: Format, rows: &[Row], now: &Coverage, printer: &mut Printer) -> anyhow::Result<()> {
    let missed = now.files.iter().filter(|(_, file)| !file.lines.missed.0.is_empty()).map(|(path, file)| {
        MissedLines { file: path, lines: ranges(file.lines.missed.0.iter().map(|Line(line)| *line)) }
    });
    match format {
        Format::Human => {
            printer.data(&format!("{:<18} {:>16} {:>18} {:>18}", "", "lines", "functions", "branches"));
            for row in rows {
                let mut line = format!("{:<18}", row.name);
                for (share, width) in [(row.lines, 16), (row.functions, 18), (row.branches, 18)] {
                    let text = format!("{:.2} % of {}", share.percent(), share.total);
                    let text = if share.total == 0 { "none".to_owned() } else { text };
                    write!(line, " {text:>width$}")?;
                }
                let note = if row.is_fresh { "" } else { "  stale" };
                printer.data(&format!("{line}{}", printer.paint(Tone::Unsure, note)));
            }
        }
        Format::Terse => {
            missed.for_each(|missed| printer.data(&format!("{}: {}", missed.file, missed.lines)));
        }
        Format::Json => {
            let document = Document { rows, missed: missed.collect() };
            printer.data(&serde_json::to_string_pretty(&document)?);
        }
    }
    Ok(())
}

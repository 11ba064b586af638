//! `full`: plan, run, account, report.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::workspace;
use crate::accounting::account;
use crate::case::{Case, Outcome, Subject};
use crate::checklist::{Check, ClaimId, Date};
use crate::cli::{FullArgs, Global, SelectionArgs};
use crate::engine::{Engine, Options};
use crate::exit::ExitStatus;
use crate::gate::{Gate, decide};
use crate::lint::{self, RULES};
use crate::printer::{Format, Printer, Tone};
use crate::process::{Program, not_interrupted};
use crate::prove::{ProofBook, ProofStanding};
use crate::report::{
    Folder, ImpostorTable, InputPaths, Performances, Report, RunVerdict, TableStanding, annotations,
    case_line, input_files, matrix_standing, step_summary, summary, terse_line, write_file,
};
use crate::runner;
use crate::selection::Selection;
use crate::workspace::Workspace;

/// What decides how an impostor is taken, besides the judges.
pub(super) const IMPOSTORS: &str = "probador/src/impostors.rs";

/// Runs what was selected and exits with what came of it.
pub(super) fn run(args: &FullArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    match execute(args, global, printer)? {
        None => Ok(ExitStatus::NothingRan),
        Some(report) => Ok(status(&report)),
    }
}

/// The exit status of a report that no gate is asked for.
pub(super) fn status(report: &Report) -> ExitStatus {
    match report.verdict {
        RunVerdict::Pass | RunVerdict::Incomplete => ExitStatus::Pass,
        RunVerdict::Fail => ExitStatus::Failed,
        RunVerdict::Unbelievable => ExitStatus::Internal,
    }
}

/// What was typed, with what failed last time where that was asked for.
pub(super) fn selection(
    args: &SelectionArgs,
    reports: Option<&Path>,
    workspace: &Workspace,
) -> anyhow::Result<Selection> {
    let failed_before = if args.rerun_failed {
        let report = folder(reports, workspace).read_latest()?;
        Some(report.failures().map(|outcome| outcome.case.to_string()).collect::<BTreeSet<_>>())
    } else {
        None
    };
    Ok(args.resolve(failed_before))
}

/// Where reports are kept.
pub(super) fn folder(reports: Option<&Path>, workspace: &Workspace) -> Folder {
    Folder::new(reports.map_or_else(|| workspace.path("reports"), Path::to_owned))
}

/// Plans, runs, writes and prints the report; `None` when nothing was selected.
pub(super) fn execute(
    args: &FullArgs,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<Option<Report>> {
    let workspace = workspace(global)?;
    let selection = selection(&args.selection, args.reports.as_deref(), &workspace)?;
    if !args.no_build {
        build_apr(&workspace, printer)?;
    }
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let clock = Instant::now();
    let folder = folder(args.reports.as_deref(), &workspace);
    let options = Options { model: args.subject.model.clone(), seed: args.subject.seed };
    let engine = Engine::open(workspace, &options)?;
    let mut plan = selection.apply(engine.cases());
    if plan.is_empty() {
        printer.error(
            "nothing was selected, so nothing was shown\nhint: `cargo probador list` names every case",
        );
        return Ok(None);
    }
    plan.extend(engine.cases().iter().filter(|case| case.subject == Subject::Canary).cloned());

    let mut log = folder.begin()?;
    let mut log_error = None;
    if args.format == Format::Human {
        printer.start_progress(plan.len());
    }
    let outcomes = runner::run(&engine, &plan, args.fail_fast, |case, outcome| {
        if let Err(error) = log.append(outcome) {
            log_error.get_or_insert(error);
        }
        match args.format {
            Format::Human => {
                if let Some(line) = case_line(case, outcome, printer) {
                    printer.talk(&line);
                }
            }
            Format::Terse if outcome.subject != Subject::Canary => printer.data(&terse_line(outcome)),
            Format::Terse | Format::Json => {}
        }
        printer.advance();
    });
    printer.end_progress();
    not_interrupted()?;
    if let Some(error) = log_error {
        return Err(error);
    }

    let report = assemble(&engine, &plan, outcomes, &selection, started, clock, &folder)?;
    folder.write(&report)?;
    write_findings(&engine, &plan, &folder)?;
    show(&report, args.format, &folder, printer)?;
    Ok(Some(report))
}

/// Writes what the lints found as SARIF, when any of them was run.
fn write_findings(engine: &Engine, plan: &[Case], folder: &Folder) -> anyhow::Result<()> {
    let is_lint = |case: &Case| {
        let claim = case.claim().and_then(|id| engine.checklist().claim(id));
        case.undecided.is_none() && claim.is_some_and(|claim| matches!(claim.check, Check::Lint(_)))
    };
    if plan.iter().any(is_lint) {
        let linted = lint::run(engine.context().source_root(), &RULES)?;
        let sarif = serde_json::to_string_pretty(&lint::sarif(&linted))? + "\n";
        write_file(&folder.latest().join("lints.sarif"), sarif.as_bytes())?;
    }
    Ok(())
}

fn assemble(
    engine: &Engine,
    plan: &[Case],
    outcomes: Vec<Outcome>,
    selection: &Selection,
    started: u64,
    clock: Instant,
    folder: &Folder,
) -> anyhow::Result<Report> {
    let book = ProofBook::open(engine.context().workspace(), engine.context().model())?;
    let (impostors, matrix) = tables(engine, folder, &book)?;
    let waivers = engine.context().workspace().waivers(engine.checklist())?;
    let (claims, score) = Report::tally(engine.checklist(), &outcomes, &waivers, &standings(&book, engine)?);
    let problems = account(plan, &outcomes, &score);
    let (playbooks, others): (Vec<Outcome>, Vec<Outcome>) =
        outcomes.into_iter().partition(|outcome| matches!(outcome.subject, Subject::Playbook(_)));
    let goldens = others.into_iter().filter(|outcome| matches!(outcome.subject, Subject::Golden { .. }));
    let model = engine.context().model();
    let paths = InputPaths {
        model: model.path.clone(),
        apr: engine.context().workspace().apr(),
        model_name: model.name.clone(),
    };
    let mut report = Report {
        version: Report::VERSION,
        tool: format!("probador {}", env!("CARGO_PKG_VERSION")),
        started,
        seconds: clock.elapsed().as_secs_f64(),
        verdict: RunVerdict::Unbelievable,
        gate: Gate::default(),
        score,
        model: engine.context().model_facts(),
        machine: engine.machine(),
        selection: (!selection.is_everything())
            .then(|| format!("{} of {} cases", plan.len() - 1, engine.cases().len() - 1)),
        claims,
        playbooks,
        goldens: goldens.collect(),
        impostors,
        matrix,
        inputs: input_files(engine.context().workspace(), &paths)?,
        problems,
    };
    report.gate = decide(&report, Date::of_unix_seconds(started));
    report.verdict = report.judge();
    Ok(report)
}

/// What other commands left for a report to show, and whether it is of what is here.
fn tables(
    engine: &Engine,
    folder: &Folder,
    book: &ProofBook,
) -> anyhow::Result<(ImpostorTable, TableStanding)> {
    let (workspace, model) = (engine.context().workspace(), engine.context().model());
    // A model that cannot be opened has no key, so that nothing is of it.
    let key = |code: &[&Path]| match book.keys() {
        Some(keys) => keys.of_all(engine.checklist(), code),
        None => Ok(String::new()),
    };
    let impostors = Performances::read(&folder.impostors())?;
    let impostors = impostors.table(&model.name, &key(&[&workspace.path(IMPOSTORS)])?);
    Ok((impostors, matrix_standing(&folder.matrix().1, &model.name, &key(&[])?)))
}

/// Where the proof of each claim stands that has a check.
fn standings(book: &ProofBook, engine: &Engine) -> anyhow::Result<BTreeMap<ClaimId, ProofStanding>> {
    let mut standings = BTreeMap::new();
    for claim in engine.checklist().claims() {
        if let Some(standing) = book.standing(claim, engine.checklist())? {
            standings.insert(claim.id, standing);
        }
    }
    Ok(standings)
}

/// Prints a report as `format` asks.
pub(super) fn show(
    report: &Report,
    format: Format,
    folder: &Folder,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    match format {
        Format::Human => {
            printer.data(&summary(report, printer));
            let page = folder.latest().join("report.html");
            printer.talk(&printer.paint_talk(Tone::Faint, &format!("report: {}", page.display())));
        }
        Format::Terse => {}
        Format::Json => printer.data(&serde_json::to_string_pretty(report)?),
    }
    if std::env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        for line in annotations(report) {
            printer.error(&line);
        }
    }
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        append(Path::new(&path), &step_summary(report))?;
    }
    Ok(())
}

/// Adds `text` to a file that other steps add to as well.
fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| anyhow::anyhow!("failed to append to `{}`: {error}", path.display()))
}

/// Builds `apr`, so that a run never judges an executable older than the sources; where there is no cargo or no
/// checkout, what is there is judged.
pub(super) fn build_apr(workspace: &Workspace, printer: &mut Printer) -> anyhow::Result<()> {
    build(&["apr-cli"], workspace, printer)
}

/// Builds `packages`; see [`build_apr`].
pub(super) fn build(packages: &[&str], workspace: &Workspace, printer: &mut Printer) -> anyhow::Result<()> {
    let manifest = workspace.path("Cargo.toml");
    if !manifest.is_file() || !workspace.path("subjects/apr/Cargo.toml").is_file() {
        return Ok(());
    }
    let build = Program::cargo()
        .args(["build", "--quiet", "--release", "--manifest-path"])
        .arg(&manifest)
        .args(packages.iter().flat_map(|package| ["--package", package]));
    let finished = match build.run() {
        Ok(finished) => finished,
        Err(error) => {
            printer.talk(&format!("`apr` was not built: {error:#}"));
            return Ok(());
        }
    };
    if finished.succeeded() {
        Ok(())
    } else {
        Err(anyhow::anyhow!(
            "failed to build {}: {}\nhint: --no-build judges what is there",
            packages.join(" and "),
            finished.describe()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_run_that_contradicts_itself_is_a_defect_of_the_engine_and_no_failure() {
        let mut report = sample::all_passing();
        for (verdict, expected) in [
            (RunVerdict::Pass, ExitStatus::Pass),
            (RunVerdict::Incomplete, ExitStatus::Pass),
            (RunVerdict::Fail, ExitStatus::Failed),
            (RunVerdict::Unbelievable, ExitStatus::Internal),
        ] {
            report.verdict = verdict;
            assert_eq!(status(&report), expected);
        }
    }

    #[test]
    fn what_cannot_be_appended_to_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.md");
        append(&path, "a\n").unwrap();
        append(&path, "b\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a\nb\n");
        let error = append(folder.path(), "c").unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("failed to append to `{}`: ", folder.path().display())),
            "{error}"
        );
    }
}

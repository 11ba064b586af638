//! `golden generate`: has PyTorch record a model's goldens, whole or beside those that are there.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Serialize;

use super::golden::is_ci;
use crate::cli::Global;
use crate::exit::ExitStatus;
use crate::golden::{GoldenSet, propose};
use crate::models::choose;
use crate::printer::Printer;
use crate::process::{Ended, Program};
use crate::workspace::Workspace;

/// What records.
const SCRIPT: &str = "scripts/generate_golden_traces.py";
/// How long recording may take: half a billion parameters in float64 take minutes.
const TIME: Duration = Duration::from_hours(2);

/// `golden generate`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador golden generate --new\n  cargo probador golden generate tiny --force\n  \
                        cargo probador golden generate release --source MODEL.gguf --tie --force\n\n\
                        PyTorch computes in float64 in the environment that scripts/setup_python.sh makes; nothing changes until \
                        all is computed. With --new, tensors that differ are left beside their goldens, as KEY.npy.new, for `golden \
                        review`, and the exit code is 5. Writes nothing when CI is set."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct GenerateArgs {
    /// A model of golden/models.yaml [default: tiny]
    model: Option<String>,
    /// What PyTorch reads, if not the model's own file: a safetensors folder, a .gguf or an .apr of the same weights
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Use the head's matrix of the source for the embedding as well
    #[arg(long, requires = "source")]
    tie: bool,
    /// Replace the goldens that are there
    #[arg(long, conflicts_with = "new")]
    force: bool,
    /// Replace nothing; leave what differs beside the goldens
    #[arg(long)]
    new: bool,
    /// Threads that PyTorch uses; the last bits may depend on them
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report {
    goldens: String,
    n_tensors: usize,
    /// Files left beside goldens.
    left: Vec<String>,
}

/// What was resolved.
struct Plan {
    name: String,
    python: PathBuf,
    program: Program,
    golden: PathBuf,
}

/// Runs what was typed.
pub(super) fn run(args: &GenerateArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    if is_ci() {
        bail!(
            "goldens are not recorded in CI\nhint: record them where a person looks at them, and commit them"
        );
    }
    let workspace = super::workspace(global)?;
    let plan = plan(args, &workspace)?;
    let there = GoldenSet::open(&plan.golden, &plan.name);
    let report = if args.new {
        let set = there?;
        let set = set.with_context(|| format!("there are no goldens of `{}` to compare with", plan.name))?;
        let scratch = tempfile::tempdir()?;
        record(&plan, scratch.path(), false, printer)?;
        let left = propose(&set, &scratch.path().join(&plan.name))?;
        Report { left: left.iter().map(|path| path.display().to_string()).collect(), ..report_of(&set) }
    } else {
        // Goldens that cannot be read are a reason to record them again, but not without being asked.
        if !args.force && !matches!(there, Ok(None)) {
            bail!(
                "there are goldens of `{}` already\nhint: pass --new to compare with them, or --force to replace them",
                plan.name
            );
        }
        record(&plan, &plan.golden, args.force, printer)?;
        let set = GoldenSet::open_folder(&plan.golden.join(&plan.name))?;
        set.check_producer()?;
        report_of(&set)
    };
    conclude(args, &report, printer)
}

fn report_of(set: &GoldenSet) -> Report {
    let n_tensors = set.manifest().prompts.iter().map(|prompt| prompt.tensors.len()).sum();
    Report { goldens: set.folder().display().to_string(), n_tensors, left: Vec::new() }
}

fn conclude(args: &GenerateArgs, report: &Report, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    if args.json {
        printer.data(&serde_json::to_string_pretty(report)?);
    }
    for path in report.left.iter().filter(|_| !args.json) {
        printer.data(path);
    }
    printer.talk(&match (args.new, report.left.len()) {
        (false, _) => format!("{} tensors in `{}`", report.n_tensors, report.goldens),
        (true, 0) => format!("all {} tensors are byte for byte what was recorded", report.n_tensors),
        // The manifest is one of the files.
        (true, n) => format!(
            "{} of {} tensors differ\nhint: `cargo probador golden review` shows them and asks",
            n - 1,
            report.n_tensors
        ),
    });
    Ok(if report.left.is_empty() { ExitStatus::Pass } else { ExitStatus::Undecided })
}

/// Finds the model, the script and its Python.
fn plan(args: &GenerateArgs, workspace: &Workspace) -> anyhow::Result<Plan> {
    let choice = choose(args.model.as_deref(), workspace)?;
    let Some(known) = &choice.known else {
        bail!("`{}` is not described in golden/models.yaml, which says what goldens are of", choice.name);
    };
    if !choice.path.is_file() {
        bail!("there is no `{}`\nhint: get it with `{}`", choice.path.display(), known.get);
    }
    let python = python(workspace)?;
    let source = args.source.as_deref().unwrap_or(&choice.path);
    let mut program = Program::new(&python)
        .arg(workspace.path(SCRIPT))
        .args(["--name", &choice.name, "--threads", &args.threads.to_string(), "--model"])
        .arg(std::path::absolute(source)?)
        .folder(workspace.root())
        .timeout(TIME);
    if args.tie {
        program = program.arg("--tie");
    }
    if args.source.is_some() {
        program = program.arg("--apr").arg(&choice.path);
    }
    Ok(Plan { name: choice.name, python, program, golden: workspace.path("golden") })
}

/// The Python of the reference environment, which must be up to date.
fn python(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let set_up = workspace.path("scripts/setup_python.sh");
    let checked = Program::new("sh").arg(&set_up).arg("--check").run()?;
    if !checked.succeeded() {
        bail!(
            "the environment that PyTorch runs in is missing or out of date\nhint: make it with `sh {}`",
            set_up.display()
        );
    }
    Ok(Workspace::cache().join("venv/bin/python"))
}

/// Runs the script, which puts what it computed below `output` once it has everything.
fn record(plan: &Plan, output: &Path, force: bool, printer: &mut Printer) -> anyhow::Result<()> {
    let mut program = plan.program.clone().arg("--output").arg(output);
    if force {
        program = program.arg("--force");
    }
    printer.talk(&format!("recording `{}` with {}", plan.name, plan.python.display()));
    let finished = program.run_telling(|line| printer.talk(line))?;
    if finished.ended != Ended::Exited(0) {
        bail!("PyTorch recorded nothing: {}", finished.describe());
    }
    Ok(())
}

//! `run`: runs playbooks and exits with what came of them.

use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::full::build_apr;
use super::playbook::{sources, tagged};
use super::workspace;
use crate::availability::available;
use crate::case::Undecided;
use crate::checklist::Group;
use crate::cli::Global;
use crate::exit::ExitStatus;
use crate::models::{ModelChoice, choose};
use crate::playbook::{self, Playbook, PlaybookId, PlaybookReport, REQUIRED_PLAYBOOKS, Stage, read_all};
use crate::printer::{Format, Printer, Tone};
use crate::process::{is_interrupted, not_interrupted};
use crate::runner::in_lanes;
use crate::workspace::{LoadError, Workspace};

/// `run`, `playbook run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador run\n  cargo probador run edge-cases\n  cargo probador run my-playbook.yaml --model model.apr --repeat 5"
)]
pub struct PlaybookRunArgs {
    /// Files, folders, categories or names [default: every playbook]
    #[arg(value_name = "FILE|CATEGORY|NAME")]
    pub playbooks: Vec<String>,
    /// Only playbooks with one of these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    pub tag: Vec<String>,
    /// A model of golden/models.yaml, or a file
    #[arg(long, value_name = "NAME|PATH", env = "PROBADOR_MODEL")]
    pub model: Option<String>,
    /// Run each playbook so often; every time must pass
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub repeat: u32,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", default_value = "human")]
    pub format: Format,
    /// Pass only when every playbook is decided and there are fifty
    #[arg(long)]
    pub gate: bool,
    /// Judge the `apr` that is there instead of building it first
    #[arg(long)]
    pub no_build: bool,
}

/// How a playbook came out here.
#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
enum Came {
    Pass(PlaybookReport),
    Fail(PlaybookReport),
    Undecided { playbook: PlaybookId, undecided: Undecided },
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Document<'d> {
    model: &'d str,
    seconds: f64,
    playbooks: &'d [Came],
}

/// Runs what was asked for.
pub(super) fn run(
    args: &PlaybookRunArgs,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    let workspace = workspace(global)?;
    let playbooks = read_all(&sources(&args.playbooks, &workspace)?).map_err(LoadError::Invalid)?;
    let playbooks = tagged(playbooks, &args.tag);
    if playbooks.is_empty() {
        printer.error("no playbook was selected\nhint: `cargo probador playbook list` names every playbook");
        return Ok(ExitStatus::NothingRan);
    }
    if !args.no_build {
        build_apr(&workspace, printer)?;
    }
    let model = choose(args.model.as_deref(), &workspace)?;
    let started = Instant::now();
    let mut came = run_all(args, &workspace, &model, &playbooks, printer)?;
    printer.end_progress();
    not_interrupted()?;
    came.sort_by(|a, b| a.id().cmp(b.id()));
    let seconds = started.elapsed().as_secs_f64();
    match args.format {
        Format::Json => {
            let document = Document { model: &model.name, seconds, playbooks: &came };
            printer.data(&serde_json::to_string_pretty(&document)?);
        }
        Format::Terse => came.iter().for_each(|came| printer.data(&format!("{} {}", came.word(), came.id()))),
        Format::Human => {
            for line in failures(&came, printer) {
                printer.data(&line);
            }
            printer.data(&summary(&came, &model.name, seconds, printer));
        }
    }
    Ok(status(&came, args.gate, playbooks.len(), printer))
}

/// Runs the playbooks, those that compute in turn, those that only look at files beside them, those that measure last
/// and alone.
fn run_all(
    args: &PlaybookRunArgs,
    workspace: &Workspace,
    model: &ModelChoice,
    playbooks: &[Playbook],
    printer: &mut Printer,
) -> anyhow::Result<Vec<Came>> {
    let jobs: Vec<&Playbook> =
        playbooks.iter().flat_map(|playbook| std::iter::repeat_n(playbook, args.repeat as usize)).collect();
    let of =
        |group: Group| jobs.iter().copied().filter(|playbook| playbook.group() == group).collect::<Vec<_>>();
    // Where it is not built, playbooks that need it are undecided, and the others never look.
    let apr = workspace.apr().unwrap_or_else(|| workspace.path("target/release/apr"));
    let stage = Stage::new(&apr, &model.path, &model.typed(), workspace.root(), None)
        .context("failed to set the stage")?;
    let work = |playbook: &&Playbook| -> anyhow::Result<Came> {
        let outline = playbook.outline();
        if let Some(undecided) = outline.undecided(&|need| available(need, workspace, model)) {
            return Ok(Came::Undecided { playbook: playbook.id.clone(), undecided });
        }
        let report = playbook::run(playbook, &stage)?;
        Ok(if report.passed { Came::Pass(report) } else { Came::Fail(report) })
    };
    if args.format == Format::Human {
        printer.start_progress(jobs.len());
    }
    let mut all = Vec::new();
    let mut broken = None;
    for lanes in [[of(Group::Process), of(Group::File)], [of(Group::Perf), Vec::new()]] {
        in_lanes(&lanes, work, |_, came| match came {
            Ok(came) => {
                if args.format == Format::Human {
                    let line = came.line(printer);
                    printer.talk(&line);
                }
                printer.advance();
                all.push(came);
            }
            Err(error) => drop(broken.get_or_insert(error)),
        });
    }
    match broken {
        Some(error) if !is_interrupted() => Err(error),
        _ => Ok(all),
    }
}

impl Came {
    fn id(&self) -> &PlaybookId {
        match self {
            Self::Pass(report) | Self::Fail(report) => &report.playbook,
            Self::Undecided { playbook, .. } => playbook,
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Undecided { .. } => "undecided",
        }
    }

    fn line(&self, printer: &Printer) -> String {
        let (tone, word) = match self {
            Self::Pass(_) => (Tone::Good, "pass"),
            Self::Fail(_) => (Tone::Bad, "FAIL"),
            Self::Undecided { .. } => (Tone::Unsure, "undecided"),
        };
        let word = printer.paint_talk(tone, &format!("{word:>9}"));
        match self {
            Self::Pass(report) | Self::Fail(report) => {
                format!("{word}  {:6.2} s  {}  {}", report.seconds, report.playbook, report.name)
            }
            Self::Undecided { playbook, undecided } => format!("{word}            {playbook}  {undecided}"),
        }
    }
}

/// What a person reads of failures: last, with how to run them again.
fn failures(all: &[Came], printer: &Printer) -> Vec<String> {
    let mut lines = Vec::new();
    for came in all {
        let Came::Fail(report) = came else { continue };
        lines.push(printer.paint(Tone::Bad, &format!("failed: {} ({})", report.playbook, report.file)));
        lines.extend(report.failures.iter().map(|what| format!("  {what}")));
        let details = report.failed_step().map(playbook::StepReport::details).unwrap_or_default();
        lines.extend(details.iter().map(|line| format!("    {line}")));
        lines.push(format!("  again: {}", report.rerun));
        lines.push(String::new());
    }
    lines
}

fn summary(all: &[Came], model: &str, seconds: f64, printer: &Printer) -> String {
    let count = |word: &str| all.iter().filter(|came| came.word() == word).count();
    let (tone, word) = if count("fail") > 0 {
        (Tone::Bad, "FAIL")
    } else if count("pass") == all.len() {
        (Tone::Good, "PASS")
    } else {
        (Tone::Unsure, "NOTHING FAILED")
    };
    format!(
        "{}: {} passed, {} failed, {} undecided; model {model}, {seconds:.1} s",
        printer.paint(tone, word),
        count("pass"),
        count("fail"),
        count("undecided")
    )
}

fn status(all: &[Came], gate: bool, n_playbooks: usize, printer: &mut Printer) -> ExitStatus {
    let count = |word: &str| all.iter().filter(|came| came.word() == word).count();
    if count("fail") > 0 {
        return ExitStatus::Failed;
    }
    if count("pass") == 0 {
        return if gate { ExitStatus::Undecided } else { ExitStatus::NothingRan };
    }
    if gate && (count("undecided") > 0 || n_playbooks < REQUIRED_PLAYBOOKS) {
        printer.error(&format!(
            "the gate stays closed: {n_playbooks} of {REQUIRED_PLAYBOOKS} playbooks are there, {} undecided",
            count("undecided")
        ));
        return ExitStatus::Undecided;
    }
    ExitStatus::Pass
}

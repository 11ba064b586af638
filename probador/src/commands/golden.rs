//! `golden verify`: holds a model to its golden traces, tensor by tensor. The other verbs of `golden` are next door.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use apr_format::AprFile;
use apr_qwen2::{LoadOptions, Qwen2};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::golden_generate::{self, GenerateArgs};
use super::golden_review::{self, ReviewArgs, UpdateArgs};
use crate::cli::Global;
use crate::compare::Difference;
use crate::exit::ExitStatus;
use crate::golden::{
    GoldenError, GoldenSet, MANIFEST, Metrics, TensorOutcome, VerifiedPrompt, VerifiedTensor, leave_pending,
    verify_prompt,
};
use crate::models::choose;
use crate::printer::{Printer, Tone};
use crate::tensors::NamePattern;
use crate::workspace::{LoadError, Workspace};

/// `golden`.
#[derive(Debug, Subcommand)]
pub enum GoldenCommand {
    /// Hold a model to what PyTorch recorded, tensor by tensor
    Verify(VerifyArgs),
    /// Have PyTorch record what a model ought to compute
    Generate(GenerateArgs),
    /// Look at what lies beside the goldens, and decide
    Review(ReviewArgs),
    /// Put what PyTorch recorded anew in the place of a golden
    Update(UpdateArgs),
}

/// `golden verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  cargo probador golden verify\n  cargo probador golden verify release --key logits\n  \
                        cargo probador golden verify --prompt what_is_2_plus_2 --key 'layers.0.'\n  \
                        cargo probador golden verify --model model.apr golden/tiny --json\n\n\
                        Exits with 100 when a tensor is missing or out of tolerance. A mismatch leaves what the model computed \
                        beside its golden as KEY.npy.new, unless CI is set in the environment."
)]
pub struct VerifyArgs {
    /// A model (a name of golden/models.yaml, or a file), or a folder of goldens
    #[arg(value_name = "MODEL|GOLDENS")]
    target: Option<PathBuf>,
    /// The model, where the argument is a folder of goldens
    #[arg(long, value_name = "NAME|PATH", env = "PROBADOR_MODEL")]
    model: Option<String>,
    /// Only this prompt, by its slug; may be given several times
    #[arg(long, value_name = "SLUG")]
    prompt: Vec<String>,
    /// Only tensors whose key contains this, or matches it when it has a `*`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    key: Vec<NamePattern>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was resolved: the model's file and the goldens it is held to.
struct Plan {
    file: AprFile,
    set: GoldenSet,
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Report<'r> {
    model: String,
    weights: String,
    goldens: String,
    passed: bool,
    n_compared: usize,
    n_failed: usize,
    /// Why the goldens may not be this model's.
    remarks: &'r [String],
    prompts: Vec<PromptRow<'r>>,
}

#[derive(Serialize)]
struct PromptRow<'r> {
    slug: &'r str,
    passed: bool,
    tensors: Vec<TensorRow<'r>>,
    metrics: Option<&'r Metrics>,
}

#[derive(Serialize)]
struct TensorRow<'r> {
    key: String,
    passed: bool,
    /// `null` when the model's trace has no such tensor, or one of another shape.
    difference: Option<&'r Difference>,
    worst_place: Option<String>,
    noise_floor: f64,
    problem: Option<String>,
}

/// Runs what was typed.
pub(super) fn run(
    command: &GoldenCommand,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    match command {
        GoldenCommand::Verify(args) => verify(args, global, printer),
        GoldenCommand::Generate(args) => golden_generate::run(args, global, printer),
        GoldenCommand::Review(args) => golden_review::review(args, global, printer),
        GoldenCommand::Update(args) => golden_review::update(args, global, printer),
    }
}

/// Whether this runs where nobody looks, so that nothing may be left or changed.
pub(super) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

fn verify(args: &VerifyArgs, global: &Global, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let Plan { file, set } = plan(args, global)?;
    if let Err(refused) = set.check_producer() {
        printer.error(&format!("{} {refused}", printer.paint_talk(Tone::Bad, "error:")));
        return Ok(ExitStatus::Invalid);
    }
    let prompts = set.select(&args.prompt)?;
    let remarks = remarks(&file, &set);
    for remark in &remarks {
        printer.talk(&format!("{} {remark}", printer.paint_talk(Tone::Unsure, "note:")));
    }
    let longest = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(1);
    let options = LoadOptions { context_length: Some(longest), n_threads: None };
    let mut model = Qwen2::load(&file, options)?;
    let mut verified = Vec::new();
    for prompt in prompts {
        let wanted = |key: apr_generation::TensorKey| NamePattern::any(&args.key, &key.to_string());
        let result = verify_prompt(&set, prompt, &mut model, wanted)?;
        if !args.json {
            print_prompt(&result, printer);
        }
        if !is_ci() {
            for path in leave_pending(&set, prompt, &result)? {
                printer.talk(&format!("left `{}`", path.display()));
            }
        }
        verified.push(result);
    }
    Ok(conclude(args, &file, &set, &remarks, &verified, printer)?)
}

fn conclude(
    args: &VerifyArgs,
    file: &AprFile,
    set: &GoldenSet,
    remarks: &[String],
    verified: &[VerifiedPrompt],
    printer: &mut Printer,
) -> serde_json::Result<ExitStatus> {
    let tensors = || verified.iter().flat_map(|prompt| &prompt.tensors);
    let n_tensors = tensors().count();
    let n_metrics_failed = verified
        .iter()
        .filter_map(|prompt| prompt.metrics.as_ref())
        .filter(|metrics| !metrics.passes())
        .count();
    let n_failed = tensors().filter(|tensor| !tensor.passes()).count() + n_metrics_failed;
    let passed = n_tensors > 0 && n_failed == 0;
    let n_compared = tensors().map(VerifiedTensor::n_compared).sum();
    if args.json {
        let report = Report {
            model: file.path().display().to_string(),
            weights: file.weights_fingerprint(),
            goldens: set.folder().display().to_string(),
            passed,
            n_compared,
            n_failed,
            remarks,
            prompts: verified.iter().map(PromptRow::from).collect(),
        };
        printer.data(&serde_json::to_string_pretty(&report)?);
    }
    if n_tensors == 0 {
        printer.error(
            "no golden tensor was selected\nhint: `--key logits` selects the logits, no `--key` selects all",
        );
        return Ok(ExitStatus::NothingRan);
    }
    let verdict =
        if passed { printer.paint_talk(Tone::Good, "pass") } else { printer.paint_talk(Tone::Bad, "FAIL") };
    printer.talk(&format!(
        "{verdict}: {n_compared} values in {n_tensors} tensors of {} prompts, {n_failed} failed",
        verified.len()
    ));
    Ok(if passed { ExitStatus::Pass } else { ExitStatus::Failed })
}

impl<'r> From<&'r VerifiedPrompt> for PromptRow<'r> {
    fn from(prompt: &'r VerifiedPrompt) -> Self {
        let row = |tensor: &'r VerifiedTensor| TensorRow {
            key: tensor.key.to_string(),
            passed: tensor.passes(),
            difference: tensor.difference(),
            worst_place: tensor.worst_place(),
            noise_floor: tensor.noise_floor,
            problem: (!matches!(tensor.outcome, TensorOutcome::Compared(_))).then(|| tensor.to_string()),
        };
        Self {
            slug: &prompt.slug,
            passed: prompt.passes(),
            tensors: prompt.tensors.iter().map(row).collect(),
            metrics: prompt.metrics.as_ref(),
        }
    }
}

fn print_prompt(prompt: &VerifiedPrompt, printer: &mut Printer) {
    for tensor in &prompt.tensors {
        let (word, tone) = if tensor.passes() { ("pass", Tone::Good) } else { ("FAIL", Tone::Bad) };
        let line = format!("{}  {}  {tensor}", printer.paint(tone, word), prompt.slug);
        printer.data(&line);
    }
    let Some(metrics) = &prompt.metrics else { return };
    let rows = [
        (
            metrics.top_k_passes(),
            format!(
                "top-k: {:.3} of {} likeliest ids found, at least {}",
                metrics.top_k, metrics.n_top, metrics.top_k_threshold
            ),
        ),
        (
            metrics.perplexity_passes(),
            format!(
                "perplexity: {:.5}, the reference gives {:.5}, at most {} apart",
                metrics.perplexity, metrics.expected_perplexity, metrics.perplexity_deviation
            ),
        ),
    ];
    for (passes, text) in rows {
        let (word, tone) = if passes { ("pass", Tone::Good) } else { ("FAIL", Tone::Bad) };
        let line = format!("{}  {}  {text}", printer.paint(tone, word), prompt.slug);
        printer.data(&line);
    }
}

/// Why the goldens may not be this model's.
fn remarks(file: &AprFile, set: &GoldenSet) -> Vec<String> {
    let recorded = &set.manifest().model;
    let mut remarks = Vec::new();
    if recorded.weights != file.weights_fingerprint() {
        remarks
            .push(format!("the goldens of `{}` were recorded from other weights than these", recorded.name));
    }
    if recorded.tokenizer.as_deref().is_some_and(|tokenizer| file.tokenizer_fingerprint() != Some(tokenizer))
    {
        remarks.push(format!("the goldens of `{}` were recorded with another tokenizer", recorded.name));
    }
    remarks
}

/// Finds the model's file and its goldens.
fn plan(args: &VerifyArgs, global: &Global) -> anyhow::Result<Plan> {
    let goldens = args.target.as_deref().filter(|target| target.is_dir());
    let model = match (&args.target, goldens, &args.model) {
        (Some(target), None, _) => Some(target.to_str().context("the model's name is not text")?),
        (_, _, model) => model.as_deref(),
    };
    if let (Some(goldens), Some(path)) = (goldens, model.map(Path::new).filter(|path| path.is_file())) {
        // Nothing of a checkout is needed.
        let file = AprFile::open_verified(path)?;
        return Ok(Plan { set: goldens_in(goldens, &file)?, file });
    }
    let workspace = super::workspace(global)?;
    let choice = choose(model, &workspace)?;
    let file = AprFile::open_verified(&choice.path).with_context(|| match &choice.known {
        Some(known) => format!("cannot open the model `{}`; get it with `{}`", known.name, known.get),
        None => "cannot open the model".to_owned(),
    })?;
    let set = match goldens {
        Some(goldens) => goldens_in(goldens, &file)?,
        None => goldens_of(&workspace, &choice.name, &file)?,
    };
    Ok(Plan { file, set })
}

/// The goldens in `folder`, or those in a folder of it that were recorded from `file`'s weights.
pub(super) fn goldens_in(folder: &Path, file: &AprFile) -> anyhow::Result<GoldenSet> {
    if folder.join(MANIFEST).is_file() {
        return open(folder);
    }
    match of_weights(folder, file)? {
        Some(set) => Ok(set),
        None => bail!("`{}` holds no goldens recorded from `{}`", folder.display(), file.path().display()),
    }
}

/// The goldens of the model called `name`, or else of whatever model has `file`'s weights.
pub(super) fn goldens_of(workspace: &Workspace, name: &str, file: &AprFile) -> anyhow::Result<GoldenSet> {
    let golden = workspace.path("golden");
    if golden.join(name).join(MANIFEST).is_file() {
        return open(&golden.join(name));
    }
    of_weights(&golden, file)?.ok_or_else(|| {
        anyhow!(
            "no goldens were recorded from `{}`\nhint: record them with scripts/generate_golden_traces.py, or name a folder: \
             `golden verify --model MODEL GOLDENS`",
            file.path().display()
        )
    })
}

fn of_weights(golden: &Path, file: &AprFile) -> anyhow::Result<Option<GoldenSet>> {
    let entries =
        std::fs::read_dir(golden).with_context(|| format!("failed to read `{}`", golden.display()))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    folders.retain(|folder| folder.join(MANIFEST).is_file());
    folders.sort();
    for folder in folders {
        let set = open(&folder)?;
        if set.manifest().model.weights == file.weights_fingerprint() {
            return Ok(Some(set));
        }
    }
    Ok(None)
}

fn open(folder: &Path) -> anyhow::Result<GoldenSet> {
    GoldenSet::open_folder(folder).map_err(|error| match error {
        // An invalid manifest has an exit code of its own.
        GoldenError::Invalid(problems) => LoadError::Invalid(problems).into(),
        other => other.into(),
    })
}

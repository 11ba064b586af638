//! `apr eval`: perplexity of a text, and how far the model is from another on it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use apr_evaluate::{Comparison, Counting, Estimate, Evaluation, EvaluationError, Watch, evaluate, windows};
use apr_generation::CausalLm;
use apr_qwen2::{LoadOptions, Qwen2};
use clap::ValueEnum;
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::interrupt::{Interrupt, Interrupted};
use crate::printer::Printer;
use crate::progress::Steps;
use crate::{model, text, threads};

/// Measure how well a model predicts a text.
///
/// Perplexity is e to the mean of -ln p over the scored tokens, with a 95 % interval over the windows. With --against it is
/// compared with another model token by token: the ratio of the perplexities, the Kullback-Leibler divergence from
/// the other's distribution, and how often both hold the same token for the likeliest.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr eval model.apr --dataset notes.txt\n  \
                        apr eval model.apr --dataset wikitext-2 --windows 40\n  \
                        apr eval small.apr --against model.apr --dataset wikitext-2 --json")]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// The text: a file, `-` for standard input, or `wikitext-2`, its raw test split.
    #[arg(long, value_name = "NAME|FILE")]
    dataset: PathBuf,

    /// Where named datasets lie [default: the user's data in the cache].
    #[arg(long, value_name = "DIR", env = "APR_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Whose way of counting.
    #[arg(long, value_enum, value_name = "WHOSE", default_value_t = Whose::LlamaCpp)]
    count: Whose,

    /// Tokens that the model sees at once.
    #[arg(long, value_name = "N", default_value_t = 512)]
    window: usize,

    /// Tokens from one window to the next, with `--count hugging-face` [default: half a window].
    #[arg(long, value_name = "N")]
    stride: Option<usize>,

    /// Evaluate the first N windows only [default: all].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    windows: Option<u32>,

    /// Another model to compare with, of the same vocabulary.
    #[arg(long, value_name = "MODEL")]
    against: Option<PathBuf>,

    /// Threads [default: every processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Whose way of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Whose {
    /// Windows side by side, the second half of each scored.
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// Overlapping windows, each scoring what the one before has not.
    HuggingFace,
}

/// Datasets that go by a name, and their files.
const NAMED: [(&str, &str); 1] = [("wikitext-2", "wikitext-2-raw.test.txt")];

/// What was measured.
#[derive(Debug, Serialize)]
struct Report<'r> {
    model: &'r str,
    against_model: Option<String>,
    dataset: String,
    count: Counting,
    window: usize,
    stride: Option<usize>,
    n_tokens: usize,
    kernels: &'r str,
    threads: usize,
    seconds: f64,
    #[serde(flatten)]
    evaluation: &'r Evaluation,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let interrupt = Interrupt::on_any_request()?;
    let start = std::time::Instant::now();
    let n_threads = threads::limit(args.threads)?;
    let dataset = find(&args.dataset, args.data_dir.as_deref())?;
    let file = model::open_verified(&args.model)?;
    let tokenizer = model::tokenizer(&file)?;
    let text = super::tokenize::read(&dataset)?;
    let ids = tokenizer.encode(&text);
    let (counting, stride) = match args.count {
        Whose::LlamaCpp if args.stride.is_some() => {
            bail!(
                "--stride says nothing with --count llama.cpp\nhint: add --count hugging-face, or leave it out"
            )
        }
        Whose::LlamaCpp => (Counting::LlamaCpp, None),
        Whose::HuggingFace => (Counting::HuggingFace, Some(args.stride.unwrap_or(args.window / 2))),
    };
    let limit = args.windows.map(|n| n as usize);
    let windows = windows(counting, ids.len(), args.window, stride.unwrap_or_default(), limit)
        .with_context(|| format!("failed to evaluate on `{}`", dataset.display()))?;
    let options = LoadOptions { context_length: Some(args.window), n_threads: Some(n_threads) };
    let mut model = Qwen2::load(&file, options)?;
    let mut other = match &args.against {
        Some(path) => {
            let other = model::open_verified(path)?;
            ensure!(
                model::tokenizer(&other)?.encode(&text) == ids,
                "`{}` cuts the text into other tokens than `{}` does, so their perplexities cannot be compared\n\
                 hint: compare models with one tokenizer",
                path.display(),
                args.model.display()
            );
            Some(Qwen2::load(&other, options)?)
        }
        None => None,
    };
    let mut watch = Shown { steps: Steps::new(printer.talker(), "evaluating", windows.len()), interrupt };
    let against = other.as_mut().map(|other| other as &mut dyn CausalLm);
    let evaluation = match evaluate(&mut model, against, &ids, &windows, &mut watch) {
        Err(EvaluationError::Cancelled) => return Err(Interrupted.into()),
        evaluation => evaluation?,
    };
    drop(watch);
    let shown = args.model.to_string_lossy();
    let report = Report {
        model: &shown,
        against_model: args.against.as_ref().map(|path| path.to_string_lossy().into_owned()),
        dataset: args.dataset.to_string_lossy().into_owned(),
        count: counting,
        window: args.window,
        stride,
        n_tokens: ids.len(),
        kernels: model.kernels(),
        threads: n_threads,
        seconds: start.elapsed().as_secs_f64(),
        evaluation: &evaluation,
    };
    if args.json {
        printer.json(&report)?;
    } else {
        print(&report, printer)?;
    }
    Ok(ExitStatus::Success)
}

/// Where the dataset lies.
pub(crate) fn find(dataset: &Path, data_dir: Option<&Path>) -> Result<PathBuf> {
    let Some(file) = NAMED.iter().find(|(name, _)| dataset == Path::new(name)).map(|(_, file)| file) else {
        return Ok(dataset.to_owned());
    };
    let cached = apr_format::cache_directory().map(|cache| cache.join("data"));
    let places: Vec<PathBuf> = data_dir.map(Path::to_owned).into_iter().chain(cached).collect();
    let candidates = places.iter().map(|place| place.join(file));
    match candidates.into_iter().find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => bail!(
            "dataset `{}` is not in {}\nhint: put `{file}` there, or give --data-dir the folder it is in, or --dataset a text file",
            dataset.display(),
            places.iter().map(|place| format!("`{}`", place.display())).collect::<Vec<_>>().join(" or "),
        ),
    }
}

/// Shows the windows as they are done, and passes on the wish to stop.
pub(crate) struct Shown {
    pub(crate) steps: Steps,
    pub(crate) interrupt: Interrupt,
}

impl Watch for Shown {
    fn window(&mut self, done: usize, _: usize, perplexity: f64) -> bool {
        self.steps.done(done, &format!("perplexity {perplexity:.4}"));
        !self.interrupt.is_requested()
    }
}

fn print(report: &Report<'_>, printer: &mut Printer) -> Result<()> {
    let Evaluation { n_scored, n_windows, .. } = report.evaluation;
    let counted = match report.count {
        Counting::LlamaCpp => "as llama.cpp counts".to_owned(),
        Counting::HuggingFace => {
            format!("as Hugging Face counts, stride {}", report.stride.unwrap_or_default())
        }
    };
    printer.line(format_args!(
        "Text: {}, {} tokens",
        text::printable(&report.dataset),
        text::thousands(report.n_tokens as u64)
    ))?;
    printer.line(format_args!(
        "Windows: {n_windows} of {}, {} tokens scored, {counted}",
        report.window,
        text::thousands(*n_scored as u64)
    ))?;
    print_evaluation(report.evaluation, report.against_model.as_deref().unwrap_or_default(), printer)?;
    Ok(printer.line(format_args!(
        "Time: {:.1} s, {} threads, {} kernels",
        report.seconds, report.threads, report.kernels
    ))?)
}

/// The figures, and those of the model compared with, which is called `other`.
pub(crate) fn print_evaluation(evaluation: &Evaluation, other: &str, printer: &mut Printer) -> Result<()> {
    let Evaluation { perplexity, against, .. } = evaluation;
    printer.line(format_args!("Perplexity: {}", shown(*perplexity, 4, 1.0, "")))?;
    if let Some(comparison) = against {
        let Comparison { perplexity, perplexity_ratio, kl_divergence, top_1_agreement } = *comparison;
        printer.line(format_args!(
            "Perplexity of {}: {}",
            text::printable(other),
            shown(perplexity, 4, 1.0, "")
        ))?;
        let change = Estimate {
            value: perplexity_ratio.value - 1.0,
            low: perplexity_ratio.low.map(|low| low - 1.0),
            high: perplexity_ratio.high.map(|high| high - 1.0),
        };
        printer.line(format_args!("Change of perplexity: {}", shown(change, 3, 100.0, " %")))?;
        printer.line(format_args!("KL divergence: {} nats", shown(kl_divergence, 5, 1.0, "")))?;
        printer.line(format_args!("Same likeliest token: {}", shown(top_1_agreement, 2, 100.0, " %")))?;
    }
    Ok(())
}

/// An estimate times `scale` with its interval.
fn shown(estimate: Estimate, decimals: usize, scale: f64, unit: &str) -> String {
    let value = estimate.value * scale;
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!(
            "{value:.decimals$}{unit} (95 % interval {:.decimals$} to {:.decimals$}{unit})",
            low * scale,
            high * scale
        ),
        _ => format!("{value:.decimals$}{unit} (one window: no interval)"),
    }
}

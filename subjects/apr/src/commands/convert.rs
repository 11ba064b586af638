//! `apr convert`: a model with packed weights from one with float weights.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use apr_evaluate::{Counting, EvaluationError, evaluate, windows};
use apr_format::{AprFile, Overwrite};
use apr_generation::CausalLm;
use apr_quantize::{
    CALIBRATION_TEXT, ConvertError, ConvertOptions, Converted, EVALUATION_TEXT, Head, Method, SEQUENCE,
    Watch, convert, sequences,
};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::Packing;
use clap::ValueEnum;
use serde::Serialize;

use super::eval::{self, Shown};
use crate::exit::ExitStatus;
use crate::interrupt::{Interrupt, Interrupted};
use crate::printer::Printer;
use crate::progress::Steps;
use crate::{model, text, threads};

/// Sequences that a model is calibrated on.
const SEQUENCES: u16 = 64;
/// Tokens of a window of the evaluation.
const WINDOW: usize = 512;

/// Make a model smaller and faster: weights of 8 or 4 bits.
///
/// Keys and values keep 8 bits in a 4-bit model, and so does the head unless --head says otherwise. When the file is
/// written, both models are evaluated on a text, and the summary says what the conversion changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr convert model.apr --quantize int8 -o model-int8.apr\n  \
                        apr convert model.apr --quantize int4 --calibration notes.txt -o model-int4.apr\n  \
                        apr convert model.apr --quantize int4 --method rtn --no-eval -o quick.apr")]
pub(crate) struct Args {
    /// The model, with float weights.
    model: PathBuf,

    /// Bits of a weight.
    #[arg(long, value_enum, value_name = "TYPE")]
    quantize: To,

    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// How values are chosen [default: gptq for int4, rtn for int8].
    #[arg(long, value_enum, value_name = "HOW")]
    method: Option<How>,

    /// Text that GPTQ sees the model at work on; `-` is standard input [default: a text that comes with apr].
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,

    /// Sequences of 512 tokens, or as many as the model takes, from that text [default: 64].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    sequences: Option<u16>,

    /// Bits of the head.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = HeadTo::Auto)]
    head: HeadTo,

    /// Text to evaluate both models on; a file or `wikitext-2` [default: a text that comes with apr].
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "no_eval")]
    eval: Option<PathBuf>,

    /// Where named datasets lie [default: the user's data in the cache].
    #[arg(long, value_name = "DIR", env = "APR_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// Do not evaluate.
    #[arg(long)]
    no_eval: bool,

    /// Threads [default: every processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// Replace an output that is already there.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Bits of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// 8 bits and a half with the scales.
    Int8,
    /// 4 bits and a half with the scales.
    Int4,
}

/// How values are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// Each weight by itself, to nearest.
    Rtn,
    /// So that what a layer computes on the calibration text changes least (Frantar et al. 2023).
    Gptq,
}

/// Bits of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HeadTo {
    /// 8 bits.
    Int8,
    /// 4 bits: smaller and faster, and worse.
    Int4,
    /// What is best on balance: 8 bits.
    Auto,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    converted: Converted,
    ratio: f64,
    threads: usize,
    seconds: f64,
    evaluated_on: Option<String>,
    evaluation: Option<apr_evaluate::Evaluation>,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let start = std::time::Instant::now();
    let n_threads = threads::limit(args.threads)?;
    let interrupt = Interrupt::on_any_request()?;
    let file = model::open_verified(&args.model)?;
    let packing = match args.quantize {
        To::Int8 => Packing::Int8,
        To::Int4 => Packing::Int4,
    };
    let options = ConvertOptions {
        packing,
        head: match args.head {
            HeadTo::Int8 => Head::Int8,
            HeadTo::Int4 => Head::Int4,
            HeadTo::Auto => Head::Auto,
        },
        method: method(args, packing, &file)?,
        overwrite: if args.force { Overwrite::Allow } else { Overwrite::Refuse },
        n_threads: Some(n_threads),
    };
    let mut watch = Progress { steps: None, interrupt: interrupt.clone(), printer };
    let converted = match convert(&file, &args.output, &options, &mut watch) {
        Err(ConvertError::Cancelled) => return Err(Interrupted.into()),
        converted => converted?,
    };
    drop(watch);
    if let Some(before) = &converted.was_quantized {
        printer.talk(format_args!(
            "note: `{}` was quantized before ({before}): its errors are added to",
            args.model.display()
        ));
    }
    let mut report = Report {
        ratio: converted.file_size as f64 / converted.source_bytes as f64,
        converted,
        threads: n_threads,
        seconds: 0.0,
        evaluated_on: None,
        evaluation: None,
    };
    if !args.no_eval {
        let (name, evaluation) = compare(args, &file, n_threads, interrupt, printer)?;
        (report.evaluated_on, report.evaluation) = (Some(name), Some(evaluation));
    }
    report.seconds = start.elapsed().as_secs_f64();
    if args.json {
        printer.json(&report)?;
    } else {
        print(&report, printer)?;
    }
    Ok(ExitStatus::Success)
}

/// How values are to be chosen, with the text for it.
fn method(args: &Args, packing: Packing, file: &AprFile) -> Result<Method> {
    let how = args.method.unwrap_or(if packing == Packing::Int4 { How::Gptq } else { How::Rtn });
    if how == How::Rtn {
        let ignored =
            [("--calibration", args.calibration.is_some()), ("--sequences", args.sequences.is_some())];
        if let Some((flag, _)) = ignored.into_iter().find(|(_, is_given)| *is_given) {
            bail!("{flag} says nothing with --method rtn\nhint: add --method gptq, or leave it out");
        }
        return Ok(Method::RoundToNearest);
    }
    let tokenizer = model::tokenizer(file)?;
    let text = match &args.calibration {
        Some(path) => super::tokenize::read(path)?,
        None => CALIBRATION_TEXT.to_owned(),
    };
    let n = usize::from(args.sequences.unwrap_or(SEQUENCES));
    let length = SEQUENCE.min(file.metadata().config.max_position_embeddings);
    Ok(Method::Gptq(sequences(&tokenizer.encode(&text), n, length)?))
}

/// Evaluates the new model beside the one it was made from.
fn compare(
    args: &Args,
    source: &AprFile,
    n_threads: usize,
    interrupt: Interrupt,
    printer: &mut Printer,
) -> Result<(String, apr_evaluate::Evaluation)> {
    let (name, text) = match &args.eval {
        Some(dataset) => {
            let path = eval::find(dataset, args.data_dir.as_deref())?;
            (dataset.to_string_lossy().into_owned(), super::tokenize::read(&path)?)
        }
        None => ("a text that comes with apr".to_owned(), EVALUATION_TEXT.to_owned()),
    };
    let ids = model::tokenizer(source)?.encode(&text);
    let window = WINDOW.min(source.metadata().config.max_position_embeddings);
    let windows = windows(Counting::LlamaCpp, ids.len(), window, window, None)
        .with_context(|| format!("failed to evaluate on {name}"))?;
    let options = LoadOptions { context_length: Some(window), n_threads: Some(n_threads) };
    let mut new = Qwen2::load(&AprFile::open_verified(&args.output)?, options)?;
    let mut old = Qwen2::load(source, options)?;
    let mut watch = Shown { steps: Steps::new(printer.talker(), "evaluating", windows.len()), interrupt };
    let old: &mut dyn CausalLm = &mut old;
    match evaluate(&mut new, Some(old), &ids, &windows, &mut watch) {
        // The file is complete: what was asked for is there.
        Err(EvaluationError::Cancelled) => bail!(
            "interrupted while evaluating; `{}` is complete\nhint: `apr eval` evaluates it",
            args.output.display()
        ),
        evaluation => Ok((name, evaluation?)),
    }
}

/// Shows the steps, and passes on the wish to stop.
struct Progress<'a> {
    steps: Option<Steps>,
    interrupt: Interrupt,
    printer: &'a mut Printer,
}

impl Watch for Progress<'_> {
    fn step(&mut self, done: usize, all: usize, what: &str) -> bool {
        let steps = self.steps.get_or_insert_with(|| Steps::new(self.printer.talker(), "quantizing", all));
        steps.done(done, what);
        !self.interrupt.is_requested()
    }
}

#[cfg_attr(
    any(),
    probador::allow(G7, reason = "it labels the figures of a conversion; nobody is replied to")
)]
fn print(report: &Report, printer: &mut Printer) -> Result<()> {
    let Converted { output, source_bytes, file_size, n_int8, n_int4, root_hash, .. } = &report.converted;
    printer.line(format_args!("Written: {}", text::printable(&output.to_string_lossy())))?;
    printer.line(format_args!(
        "Size: {} from {} ({:.1} %)",
        text::bytes(*file_size),
        text::bytes(*source_bytes),
        100.0 * report.ratio
    ))?;
    printer.line(format_args!("Matrices: {n_int4} with 4 bits, {n_int8} with 8 bits"))?;
    if let (Some(name), Some(evaluation)) = (&report.evaluated_on, &report.evaluation) {
        printer.line(format_args!(
            "Evaluated on {}, {} tokens scored:",
            text::printable(name),
            text::thousands(evaluation.n_scored as u64)
        ))?;
        eval::print_evaluation(evaluation, "the source", printer)?;
    }
    printer.line(format_args!("Root hash: {root_hash}"))?;
    Ok(printer.line(format_args!("Time: {:.1} s", report.seconds))?)
}

//! `apr bench`: how fast a model is, and how far from what the machine can do.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, ensure};
use apr_qwen2::{LoadOptions, Qwen2};
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use super::chat::Load;
use crate::bench::{Limits, Machine, Measurement, Plan, Point, Spread, measure};
use crate::exit::ExitStatus;
use crate::interrupt::Interrupt;
use crate::printer::Printer;
use crate::progress::Steps;
use crate::{memory, model, text};

/// Measure how fast a model is.
///
/// Prefill and decode in tokens a second at several lengths, the time to the first token, loading, memory; and as shares of
/// what this machine can do at best, which is measured in between: decode of the bandwidth it reads the weights
/// with, prefill of the operations its arithmetic units do. Figures are medians, with the least and the most in JSON.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr bench model.apr\n  \
                        apr bench model.apr --prompt 128,2048 --decode 128 --repeats 5\n  \
                        apr bench model.apr --threads 1 --json")]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// Lengths of prompts, in tokens.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "128,512,2048",
          value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    prompt: Vec<usize>,

    /// Tokens decoded after each prompt.
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    decode: usize,

    /// Measurements of each length.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    repeats: usize,

    /// Where the weights are while they are used.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = Load::Auto)]
    load: Load,

    /// Threads [default: every processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report<'r> {
    model: &'r str,
    file_bytes: u64,
    kernels: &'r str,
    threads: usize,
    decoded_tokens: usize,
    repeats: usize,
    load_seconds: f64,
    /// The most memory that was resident; it counts pages of a mapped file.
    peak_memory_bytes: Option<u64>,
    #[serde(flatten)]
    measurement: &'r Measurement,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let interrupt = Interrupt::on_any_request()?;
    let start = Instant::now();
    let file = args.load.place(model::open_verified(&args.model)?, true)?;
    let longest = args.prompt.iter().max().copied().unwrap_or_default();
    let options = LoadOptions {
        context_length: Some(longest.saturating_add(args.decode)),
        n_threads: args.threads.map(usize::from),
    };
    let mut model = Qwen2::load(&file, options)?;
    let load_seconds = start.elapsed().as_secs_f64();
    ensure!(!args.prompt.is_empty(), "--prompt names no length\nhint: --prompt 512");
    let plan = Plan { prompts: args.prompt.clone(), n_decode: args.decode, n_repeats: args.repeats };
    let mut steps = Steps::new(printer.talker(), "measuring", plan.prompts.len() * plan.n_repeats);
    let measurement =
        measure(&file, &mut model, &plan, &interrupt, &mut |done, note| steps.done(done, note))?;
    drop(steps);
    let shown = args.model.to_string_lossy();
    let report = Report {
        model: &shown,
        file_bytes: file.file_size(),
        kernels: model.kernels(),
        threads: model.n_threads(),
        decoded_tokens: args.decode,
        repeats: args.repeats,
        load_seconds,
        peak_memory_bytes: memory::peak_resident_bytes(),
        measurement: &measurement,
    };
    if args.json {
        printer.json(&report)?;
    } else {
        print(&report, printer)?;
    }
    Ok(ExitStatus::Success)
}

fn print(report: &Report<'_>, printer: &mut Printer) -> Result<()> {
    let Measurement { limits, machine, points } = report.measurement;
    let Limits { weight_bytes, cache_bytes_per_position, operations_per_token, is_integer } = *limits;
    let Machine { bytes_per_second, operations_per_second } = *machine;
    let billions = |spread: Spread| spread.median / 1e9;
    printer.line(format_args!(
        "Model: {}, {}",
        text::printable(report.model),
        text::bytes(report.file_bytes)
    ))?;
    printer.line(format_args!(
        "Machine: {} threads, {} kernels; reads the weights at {:.1} GB/s, does {:.0} {} a second",
        report.threads,
        report.kernels,
        billions(bytes_per_second),
        billions(operations_per_second),
        if is_integer { "billion operations on int8" } else { "billion operations on float32" },
    ))?;
    printer.line(format_args!(
        "A decoded token reads {} and {} of cache for each position; a token of a prompt takes {:.1} million operations",
        text::bytes(weight_bytes),
        text::bytes(cache_bytes_per_position),
        operations_per_token as f64 / 1e6
    ))?;
    printer.line(format_args!("Load: {:.3} s", report.load_seconds))?;
    if let Some(peak) = report.peak_memory_bytes {
        printer.line(format_args!("Peak memory: {}", text::bytes(peak)))?;
    }
    printer.line("")?;
    printer.line(format_args!(
        "{:>7} {:>16} {:>8} {:>15} {:>15} {:>8}",
        "prompt", "prefill (tok/s)", "of peak", "first token (s)", "decode (tok/s)", "of peak"
    ))?;
    for point in points {
        let Point {
            prompt_tokens, prefill_tokens_per_second: prefill, decode_tokens_per_second: decode, ..
        } = point;
        printer.line(format_args!(
            "{prompt_tokens:>7} {:>16.1} {:>7.0}% {:>15.3} {:>15.1} {:>7.0}%",
            prefill.median,
            100.0 * point.arithmetic_share.median,
            point.first_token_seconds.median,
            decode.median,
            100.0 * point.bandwidth_share.median
        ))?;
    }
    Ok(printer.line(format_args!(
        "Medians of {}; {} tokens decoded after each prompt",
        report.repeats, report.decoded_tokens
    ))?)
}

//! `apr canary`: keeps what a model said, and holds later runs to it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use apr_evaluate::{
    CANARY_PROMPTS, CANARY_VERSION, Canary, CanaryError, ModelChange, Speed, TOLERANCE, TokenizerChange,
    Verdict, check, record,
};
use apr_format::{AprFile, Overwrite, atomic};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::Compute;
use clap::Subcommand;
use clap::builder::RangedU64ValueParser;
use serde::Serialize;

use crate::bench::read_rate;
use crate::exit::ExitStatus;
use crate::interrupt::{Interrupt, Interrupted};
use crate::printer::{Printer, Role};
use crate::progress::Steps;
use crate::{model, text};

/// Larger than any canary anybody would wait for.
const MAX_BYTES: u64 = 64 << 20;

/// Keep what a model says, and find out later whether it still does.
///
/// A canary is a small file: prompts, the likeliest reply to each with its log-probabilities, and how fast it came. A check
/// tells apart a changed tokenizer, a changed model and a slower machine.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
#[command(after_help = "Examples:\n  apr canary create model.apr -o canary.json\n  \
                        apr canary check model.apr canary.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Create(CreateArgs),
    Check(CheckArgs),
}

/// Let a model reply to prompts and keep what it says.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr canary create model.apr -o canary.json\n  \
                        apr canary create model.apr --prompts prompts.txt --tokens 64 -o canary.json")]
struct CreateArgs {
    /// The model.
    model: PathBuf,

    /// Prompts, one a line; `-` is standard input [default: five that come with apr].
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,

    /// Tokens of each reply.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = RangedU64ValueParser::<usize>::new().range(2..))]
    tokens: usize,

    /// Nats that a log-probability may be off by when it is checked.
    #[arg(long, value_name = "NATS", default_value_t = TOLERANCE)]
    tolerance: f64,

    /// The file to write.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    /// Threads [default: every processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Hold a model to a canary; exit code 1 when something has changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr canary check model.apr canary.json\n  \
                        apr canary check model.apr canary.json --slower 1.2 --json")]
struct CheckArgs {
    /// The model.
    model: PathBuf,

    /// What `apr canary create` wrote.
    canary: PathBuf,

    /// Fail when decoding takes this many times as long as then; 0 never fails for it.
    #[arg(long, value_name = "TIMES", default_value_t = 2.0)]
    slower: f64,

    /// Threads [default: every processor].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    match &args.what {
        What::Create(args) => create(args, printer),
        What::Check(args) => check_canary(args, printer),
    }
}

/// What came of `create`.
#[derive(Serialize)]
struct Created<'c> {
    output: &'c Path,
    prompts: usize,
    tokens: usize,
    speed: Speed,
}

fn create(args: &CreateArgs, printer: &mut Printer) -> Result<ExitStatus> {
    let interrupt = Interrupt::on_any_request()?;
    ensure!(
        args.tolerance.is_finite() && args.tolerance >= 0.0,
        "--tolerance is {}, it must be a number of nats from 0\nhint: leave it out for {TOLERANCE}",
        args.tolerance
    );
    // Before minutes of work, not after.
    ensure!(
        args.force || args.output.symlink_metadata().is_err(),
        "`{}` exists\nhint: choose another name, or replace it with --force",
        args.output.display()
    );
    let prompts = match &args.prompts {
        None => CANARY_PROMPTS.to_owned(),
        Some(path) => super::tokenize::read(path)?,
    };
    let prompts: Vec<String> =
        prompts.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    let file = model::open_verified(&args.model)?;
    let tokenizer = model::tokenizer(&file)?;
    let longest = prompts.iter().map(|prompt| tokenizer.encode(prompt).len()).max().unwrap_or_default();
    let mut model = opened(&file, longest.saturating_add(args.tokens), args.threads)?;
    let mut steps = Steps::new(printer.talker(), "replying", prompts.len());
    let mut told = |done: usize, _: usize| {
        steps.done(done, "");
        !interrupt.is_requested()
    };
    let recorded = record(&mut model, &tokenizer, &prompts, args.tokens, &mut told);
    drop(steps);
    let (cases, decode_tokens_per_second) = cancelled_or(recorded, &args.model)?;
    let speed = Speed { decode_tokens_per_second, bytes_per_second: read_rate(&compute(&model), &file) };
    let canary = Canary {
        version: CANARY_VERSION,
        root_hash: file.root_hash().to_owned(),
        tolerance: args.tolerance,
        cases,
        speed,
    };
    let mut json = serde_json::to_vec_pretty(&canary)?;
    json.push(b'\n');
    let overwrite = if args.force { Overwrite::Allow } else { Overwrite::Refuse };
    atomic::write(&args.output, &json, overwrite)?;
    let created = Created { output: &args.output, prompts: canary.cases.len(), tokens: args.tokens, speed };
    if args.json {
        printer.json(&created)?;
    } else {
        printer.line(format_args!(
            "Written: {}, {} replies of {} tokens, {decode_tokens_per_second:.1} tok/s",
            text::printable(&args.output.to_string_lossy()),
            created.prompts,
            created.tokens
        ))?;
    }
    Ok(ExitStatus::Success)
}

/// What came of `check`.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an answer of its own to whoever reads the JSON")]
struct Checked<'c> {
    passed: bool,
    is_same_file: bool,
    tokenizer_changed: bool,
    model_changed: bool,
    is_slower: bool,
    /// How many times as long decoding takes.
    times_slower: f64,
    /// How many times as long reading the weights takes.
    machine_times_slower: f64,
    tolerance: f64,
    threads: usize,
    #[serde(flatten)]
    verdict: &'c Verdict,
}

fn check_canary(args: &CheckArgs, printer: &mut Printer) -> Result<ExitStatus> {
    let interrupt = Interrupt::on_any_request()?;
    ensure!(
        args.slower.is_finite() && args.slower >= 0.0,
        "--slower is {}, it must be a number from 0\nhint: 2 fails when decoding takes twice as long",
        args.slower
    );
    let canary = read(&args.canary)?;
    let file = model::open_verified(&args.model)?;
    let tokenizer = model::tokenizer(&file)?;
    let lengths = canary.cases.iter().map(|case| case.ids.len().saturating_add(case.reply.len()));
    let mut model = opened(&file, lengths.max().unwrap_or(1).max(1), args.threads)?;
    let mut steps = Steps::new(printer.talker(), "checking", canary.cases.len());
    let mut told = |done: usize, _: usize| {
        steps.done(done, "");
        !interrupt.is_requested()
    };
    let checked = check(&mut model, &tokenizer, &canary, &mut told);
    drop(steps);
    let verdict = cancelled_or(checked, &args.canary)?;
    let times_slower = canary.speed.decode_tokens_per_second / verdict.decode_tokens_per_second;
    let machine_times_slower = canary.speed.bytes_per_second / read_rate(&compute(&model), &file);
    let is_slower = args.slower > 0.0 && times_slower > args.slower;
    let checked = Checked {
        passed: verdict.tokenizer.is_empty() && verdict.model.is_empty() && !is_slower,
        is_same_file: canary.root_hash == file.root_hash(),
        tokenizer_changed: !verdict.tokenizer.is_empty(),
        model_changed: !verdict.model.is_empty(),
        is_slower,
        times_slower,
        machine_times_slower,
        tolerance: canary.tolerance,
        threads: model.n_threads(),
        verdict: &verdict,
    };
    if args.json {
        printer.json(&checked)?;
    } else {
        print(&checked, printer)?;
    }
    Ok(if checked.passed { ExitStatus::Success } else { ExitStatus::Failure })
}

fn print(checked: &Checked<'_>, printer: &mut Printer) -> Result<()> {
    let paint = printer.paint();
    let word = |changed: bool, bad: &str| {
        if changed { paint.paint(Role::Error, bad) } else { paint.paint(Role::Good, "same") }
    };
    let verdict = checked.verdict;
    let file = if checked.is_same_file { "the file it was made with" } else { "another file" };
    printer.line(format_args!("File: {file}"))?;
    printer.line(format_args!("Tokenizer: {}", word(checked.tokenizer_changed, "changed")))?;
    for TokenizerChange { prompt, token, expected, found } in &verdict.tokenizer {
        let shown = |id: &Option<u32>| id.map_or("no more".to_owned(), |id| id.to_string());
        printer.line(format_args!(
            "  prompt {prompt}: token {token} is {}, it was {}",
            shown(found),
            shown(expected)
        ))?;
    }
    printer.line(format_args!(
        "Model: {}, log-probabilities of {} tokens are off by at most {:.2e} nats ({} allowed)",
        word(checked.model_changed, "changed"),
        verdict.n_compared,
        verdict.greatest_difference,
        checked.tolerance
    ))?;
    for ModelChange { prompt, token, expected, found, likelier } in &verdict.model {
        let likelier = likelier.map(|id| format!(", and token {id} is likelier")).unwrap_or_default();
        printer.line(format_args!(
            "  prompt {prompt}: token {token} of the reply has log-probability {found:.4}, it had {expected:.4}{likelier}"
        ))?;
    }
    let speed =
        if checked.is_slower { paint.paint(Role::Error, "slower") } else { paint.paint(Role::Good, "kept") };
    let cause = match (checked.is_slower, checked.times_slower > 1.5 * checked.machine_times_slower) {
        (false, _) => "",
        (true, true) => "; the machine reads as fast as then, so it is the program or its settings",
        (true, false) => "; the machine reads slower too, so it is the machine",
    };
    Ok(printer.line(format_args!(
        "Speed: {speed}, {:.1} tok/s, {:.2} times as long as then{cause}",
        verdict.decode_tokens_per_second, checked.times_slower
    ))?)
}

fn read(path: &Path) -> Result<Canary> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("failed to open canary `{shown}`"))?;
    let mut json = Vec::new();
    file.take(MAX_BYTES + 1)
        .read_to_end(&mut json)
        .with_context(|| format!("failed to read canary `{shown}`"))?;
    ensure!(
        json.len() as u64 <= MAX_BYTES,
        "`{shown}` is larger than {MAX_BYTES} bytes, which no canary is\nhint: make it anew with `apr canary create`"
    );
    Canary::from_json(&json).with_context(|| format!("failed to read canary `{shown}`"))
}

fn opened(file: &AprFile, context_length: usize, threads: Option<u8>) -> Result<Qwen2> {
    let n_threads = threads.map(usize::from);
    Ok(Qwen2::load(file, LoadOptions { context_length: Some(context_length), n_threads })?)
}

fn compute(model: &Qwen2) -> Compute {
    Compute::new(Some(model.n_threads()))
}

fn cancelled_or<T>(result: Result<T, CanaryError>, path: &Path) -> Result<T> {
    match result {
        Err(CanaryError::Cancelled) => Err(Interrupted.into()),
        result => result.with_context(|| format!("failed on `{}`", path.display())),
    }
}

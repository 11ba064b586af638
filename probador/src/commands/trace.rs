//! `trace diff`: compares two folders of traced tensors; what `apr diff` runs. `trace bisect` is next door.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use apr_format::atomic::{self, Overwrite};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::bisect::{self, BisectArgs};
use super::new_folder::NewFolder;
use crate::cli::Global;
use crate::compare::{NonFinite, Tolerance};
use crate::exit::ExitStatus;
use crate::golden::npy;
use crate::printer::{Printer, Tone};
use crate::tensors::{Collection, CollectionDiff, NamePattern, Numbers, Outcome, TensorDiff, diff};

/// `trace`.
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Compare two folders of .npy files, tensor by tensor
    Diff(DiffArgs),
    /// Name the layer and the part in which an error begins
    Bisect(BisectArgs),
}

/// `trace diff`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  cargo probador trace diff now/ before/ --tolerance 1e-4\n  \
                        cargo probador trace diff now/ before/ --tolerance 1e-4,1e-6 --key layers.0. -o diff/\n\n\
                        A value a meets e when |a - e| <= ATOL + RTOL * |e|; token ids must be equal. A tensor that one folder \
                        lacks is a failure. Exits with 100 when anything failed.")]
pub struct DiffArgs {
    /// The folder under test
    a: PathBuf,
    /// The folder it is compared with
    b: PathBuf,
    /// How far values may be apart: an absolute tolerance, or an absolute and a relative one
    #[arg(long, value_name = "ATOL[,RTOL]", default_value = "1e-4")]
    tolerance: Tolerance,
    /// Only tensors whose name contains this, or matches it when it has a `*`; may be given several times
    #[arg(long, value_name = "PATTERN")]
    key: Vec<NamePattern>,
    /// Make this folder: the differences as .npy files, and report.json
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is printed as JSON, and written.
#[derive(Serialize)]
pub(super) struct Report<'r> {
    pub(super) a: String,
    pub(super) b: String,
    pub(super) tolerance: Tolerance,
    pub(super) passed: bool,
    pub(super) n_failed: usize,
    #[serde(flatten)]
    pub(super) diff: &'r CollectionDiff,
}

/// Runs what was typed.
pub(super) fn run(
    command: &TraceCommand,
    global: &Global,
    printer: &mut Printer,
) -> anyhow::Result<ExitStatus> {
    match command {
        TraceCommand::Diff(args) => run_diff(args, printer),
        TraceCommand::Bisect(args) => bisect::run(args, global, printer),
    }
}

fn run_diff(args: &DiffArgs, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    for folder in [&args.a, &args.b] {
        if !folder.is_dir() {
            bail!(
                "`{}` is not a folder\nhint: `apr trace MODEL --prompt TEXT --export DIR` makes one",
                folder.display()
            );
        }
    }
    let (a, b) = (Collection::open(&args.a)?, Collection::open(&args.b)?);
    let output = args.output.as_deref().map(NewFolder::create).transpose()?;
    let tolerance_of = |name: &str| if name == "input_ids" { Tolerance::EXACT } else { args.tolerance };
    let mut failure = None;
    let found = diff(&a, &b, &args.key, tolerance_of, NonFinite::Mismatch, |row, values| {
        if !args.json {
            print_row(row, printer);
        }
        if let (Some(output), Some((actual, expected))) = (&output, values)
            && failure.is_none()
        {
            failure = write_difference(output.path(), row, actual, expected).err();
        }
        Ok(())
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let report = Report {
        a: args.a.display().to_string(),
        b: args.b.display().to_string(),
        tolerance: args.tolerance,
        passed: found.passes(),
        n_failed: found.n_failed(),
        diff: &found,
    };
    if let Some(output) = output {
        let json = serde_json::to_string_pretty(&report)? + "\n";
        atomic::write(&output.path().join("report.json"), json.as_bytes(), Overwrite::Refuse)?;
        output.commit()?;
    }
    if args.json {
        printer.data(&serde_json::to_string_pretty(&report)?);
    }
    Ok(conclude(&found, printer))
}

pub(super) fn print_row(row: &TensorDiff, printer: &mut Printer) {
    let text = row.to_string();
    let (word, rest) = text.split_at(4);
    let tone = if row.passed { Tone::Good } else { Tone::Bad };
    let line = format!("{}{rest}", printer.paint(tone, word));
    printer.data(&line);
}

/// Says how it went, and how the process ends.
pub(super) fn conclude(found: &CollectionDiff, printer: &mut Printer) -> ExitStatus {
    if found.tensors.is_empty() {
        printer
            .error("no tensor was selected, so nothing was compared\nhint: leave out `--key` to compare all");
        return ExitStatus::NothingRan;
    }
    let (n, n_failed) = (found.tensors.len(), found.n_failed());
    let text = if found.passes() {
        printer.paint_talk(Tone::Good, &format!("pass: {n} tensors within tolerance"))
    } else {
        printer.paint_talk(Tone::Bad, &format!("FAIL: {n_failed} of {n} tensors"))
    };
    printer.talk(&text);
    if found.passes() { ExitStatus::Pass } else { ExitStatus::Failed }
}

/// Writes `actual - expected` of a tensor that was compared.
fn write_difference(
    folder: &Path,
    row: &TensorDiff,
    actual: &Numbers,
    expected: &Numbers,
) -> anyhow::Result<()> {
    let Outcome::Compared(difference) = &row.outcome else { return Ok(()) };
    let numbers = |numbers: &Numbers| -> Vec<f64> {
        match numbers {
            Numbers::F32(values) => values.iter().map(|&value| f64::from(value)).collect(),
            Numbers::F64(values) => values.clone(),
        }
    };
    let differences: Vec<f32> = numbers(actual)
        .iter()
        .zip(numbers(expected))
        .map(|(actual, expected)| (actual - expected) as f32)
        .collect();
    let path = folder.join(format!("{}.npy", row.name));
    npy::write_f32(&path, &difference.shape, &differences, Overwrite::Refuse)
        .with_context(|| format!("failed to write the difference of `{}`", row.name))
}

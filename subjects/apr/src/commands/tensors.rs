//! `apr tensors`: the tensors of a model, with statistics of their values when asked.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use apr_format::{AprFile, IndexEntry, TensorStats};
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::text;

/// List the tensors of a model.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  apr tensors model.apr\n  apr tensors model.apr --stats --filter layers.0.\n  \
                        apr tensors model.apr --json | head"
)]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// Show range, mean and deviation of the values, and count those that are not finite.
    #[arg(long)]
    stats: bool,

    /// List only tensors whose names contain this.
    #[arg(long, value_name = "SUBSTRING")]
    filter: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One tensor.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
    bytes: u64,
    blake3: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stats: Option<TensorStats>,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let file = AprFile::open(&args.model)?;
    let entries = plan(file.entries(), args.filter.as_deref());
    if let Some(filter) = &args.filter {
        ensure!(
            !entries.is_empty(),
            "`{}` has no tensor whose name contains `{filter}`\nhint: without --filter, all are listed",
            file.path().display()
        );
    }
    let stats = |entry: &IndexEntry| {
        args.stats.then(|| file.tensor(&entry.name)).flatten().map(|tensor| TensorStats::of(&tensor))
    };
    if args.json {
        let row = |entry: &&'_ IndexEntry| Row {
            name: entry.name.clone(),
            dtype: entry.dtype.name(),
            shape: entry.shape.clone(),
            bytes: entry.size,
            blake3: file.tensor_hash(&entry.name).map(str::to_owned),
            stats: stats(entry),
        };
        printer.json(&entries.iter().map(row).collect::<Vec<_>>())?;
        return Ok(ExitStatus::Success);
    }
    let name_width =
        entries.iter().map(|entry| text::printable(&entry.name).chars().count()).max().unwrap_or(0);
    let shape_width = entries.iter().map(|entry| shape(entry).len()).max().unwrap_or(0);
    for entry in &entries {
        let name = text::printable(&entry.name);
        let (dtype, statistics) =
            (entry.dtype, stats(entry).map(|stats| statistics(&stats)).unwrap_or_default());
        printer.line(
            format!("{name:name_width$}  {:shape_width$}  {dtype:4}{statistics}", shape(entry)).trim_end(),
        )?;
        // Statistics of a large model take a while; what is known can be read meanwhile.
        if args.stats && printer.stdout_is_terminal() {
            printer.flush()?;
        }
    }
    printer.talk(format_args!(
        "{} of {} tensors, {}",
        text::thousands(entries.len() as u64),
        text::thousands(file.entries().len() as u64),
        text::bytes(entries.iter().map(|entry| entry.size).sum())
    ));
    Ok(ExitStatus::Success)
}

/// The entries to list.
fn plan<'a>(entries: &'a [IndexEntry], filter: Option<&str>) -> Vec<&'a IndexEntry> {
    entries.iter().filter(|entry| filter.is_none_or(|filter| entry.name.contains(filter))).collect()
}

fn shape(entry: &IndexEntry) -> String {
    format!("{:?}", entry.shape)
}

fn statistics(stats: &TensorStats) -> String {
    let mut text = format!(
        "  mean={}  std={}  min={}  max={}",
        figure(stats.mean),
        figure(stats.std),
        figure(stats.min.into()),
        figure(stats.max.into())
    );
    if stats.n_nan + stats.n_infinite > 0 {
        // Writing to a string cannot fail.
        let _ = write!(text, "  NaN={}  infinite={}", stats.n_nan, stats.n_infinite);
    }
    text
}

/// Three decimals where they say something, scientific where they would hide the value.
fn figure(value: f64) -> String {
    if value == 0.0 || (0.001..10_000.0).contains(&value.abs()) {
        format!("{value:.3}")
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_never_round_to_zero() {
        let cases = [
            (0.0, "0.000"),
            (0.041, "0.041"),
            (-0.0012, "-0.001"),
            (4.1e-5, "4.10e-5"),
            (2180.3, "2180.300"),
            (1e9, "1.00e9"),
        ];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected);
        }
    }
}

//! `apr import`: a model from GGUF, safetensors or the hub, as an `.apr` file.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use apr_format::Overwrite;
use apr_interop::{ImportError, ImportOptions, ImportSummary, Source, import};
use apr_tensor::Float;
use clap::ValueEnum;

use crate::exit::ExitStatus;
use crate::interrupt::{Interrupt, Interrupted};
use crate::printer::{Printer, Role};
use crate::progress::Bar;
use crate::text;

/// Import a model into the .apr format.
///
/// SRC is a GGUF file, a safetensors file, a folder with config.json and safetensors files, or hf://org/repo on the hub,
/// with /file for one file of it and @revision for a version. Tokenizer, chat template and generation settings come along.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr import model.gguf -o model.apr\n  \
                        apr import ./checkpoint/ -o model.apr --dtype f16\n  \
                        apr import hf://Qwen/Qwen2-0.5B-Instruct -o qwen2.apr")]
pub(crate) struct Args {
    /// What to import.
    #[arg(value_name = "SRC")]
    source: OsString,

    /// Where the model goes.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Make one matrix of embedding and head, where the source has two.
    #[arg(long)]
    tie_embeddings: bool,

    /// Store every tensor so [default: as it is; quantized sources as f16].
    #[arg(long, value_enum, value_name = "DTYPE")]
    dtype: Option<StoredAs>,

    /// The architecture, for sources that do not name it, such as qwen2.
    #[arg(long, value_name = "A")]
    arch: Option<String>,

    /// Replace OUT when it exists.
    #[arg(long)]
    force: bool,

    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// How tensors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StoredAs {
    /// IEEE half precision.
    F16,
    /// The upper half of single precision.
    Bf16,
    /// Single precision.
    F32,
}

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Plan {
    source: OsString,
    output: PathBuf,
    options: ImportOptions,
    json: bool,
}

pub(crate) fn plan(args: Args) -> Plan {
    let options = ImportOptions {
        tie_embeddings: args.tie_embeddings,
        dtype: args.dtype.map(|dtype| match dtype {
            StoredAs::F16 => Float::F16,
            StoredAs::Bf16 => Float::Bf16,
            StoredAs::F32 => Float::F32,
        }),
        arch: args.arch,
        overwrite: if args.force { Overwrite::Allow } else { Overwrite::Refuse },
    };
    Plan { source: args.source, output: args.output, options, json: args.json }
}

pub(crate) fn run(plan: &Plan, printer: &mut Printer) -> Result<ExitStatus> {
    let interrupt = Interrupt::on_any_request()?;
    let source = match plan.source.to_str() {
        Some(text) => Source::parse(text)?,
        // No address on the hub has such a name.
        None => Source::from_path(plan.source.as_ref())?,
    };
    let bar = Bar::new(interrupt, printer.talker());
    let imported = import(&source, &plan.output, &plan.options, &bar);
    bar.clear();
    let mut summary = match imported {
        Err(ImportError::Cancelled) => return Err(Interrupted.into()),
        imported => imported?,
    };
    // JSON is Unicode, paths need not be.
    summary.output = summary.output.to_string_lossy().into_owned().into();
    if plan.json {
        printer.json(&summary)?;
    } else {
        print(&summary, printer)?;
    }
    Ok(ExitStatus::Success)
}

fn print(summary: &ImportSummary, printer: &mut Printer) -> Result<()> {
    let done = printer.paint().paint(Role::Good, "✓");
    let (source, output) = (text::printable(&summary.source), summary.output.to_string_lossy());
    printer.line(format_args!(
        "{done} Read {}: {source} ({})",
        text::printable(&summary.original_format),
        text::bytes(summary.source_bytes)
    ))?;
    for transformation in &summary.transformations {
        printer.line(format_args!("{done} {}", text::printable(&capitalised(transformation))))?;
    }
    printer.line(format_args!(
        "{done} Model saved: {} ({})",
        text::printable(&output),
        text::bytes(summary.file_size)
    ))?;
    printer.line(format_args!("Architecture: {}", text::printable(&summary.architecture)))?;
    printer.line(format_args!("Tensors: {}", text::thousands(summary.n_tensors as u64)))?;
    printer.line(format_args!(
        "Parameters: {} ({})",
        text::parameters(summary.n_parameters),
        text::thousands(summary.n_parameters)
    ))?;
    printer.line(format_args!("Time: {:.1} s", summary.seconds))?;
    printer.line(format_args!("Root hash: {}", summary.root_hash))?;
    printer.line(format_args!("Weights: {}", summary.weights_fingerprint))?;
    Ok(())
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

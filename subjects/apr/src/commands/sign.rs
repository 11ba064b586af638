//! `apr sign`: a copy of a model with a signature over its root hash.

use std::path::PathBuf;

use anyhow::Result;
use apr_format::{Overwrite, SecretKey, sign};
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::text;

/// Sign a model with an Ed25519 key.
///
/// Writes a copy whose signature vouches for everything in it: every byte of the input is checked first. `apr keygen`
/// makes keys; `apr validate --public-key` checks signatures.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr keygen -o release.key\n  \
                        apr sign model.apr --key release.key -o model-signed.apr")]
pub(crate) struct Args {
    /// The model to sign.
    model: PathBuf,

    /// The secret key, as `apr keygen` wrote it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// Where the signed copy goes.
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,

    /// Replace OUT when it exists.
    #[arg(long)]
    force: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was signed.
#[derive(Debug, Serialize)]
struct Report {
    output: String,
    file_size: u64,
    root_hash: String,
    public_key: String,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let key = SecretKey::read(&args.key)?;
    let overwrite = if args.force { Overwrite::Allow } else { Overwrite::Refuse };
    let written = sign::sign(&args.model, &args.output, &key, overwrite)?;
    let report = Report {
        output: args.output.to_string_lossy().into_owned(),
        file_size: written.file_size,
        root_hash: written.root_hash,
        public_key: key.public_key().to_hex(),
    };
    if args.json {
        printer.json(&report)?;
    } else {
        printer.line(format_args!(
            "Signed: {} ({})",
            text::printable(&report.output),
            text::bytes(report.file_size)
        ))?;
        printer.line(format_args!("Root hash: {}", report.root_hash))?;
        printer.line(format_args!("Public key: {}", report.public_key))?;
    }
    Ok(ExitStatus::Success)
}

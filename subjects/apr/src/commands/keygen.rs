//! `apr keygen`: a new key pair for signing models.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use apr_format::{FormatError, Overwrite, sign};
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::printer::Printer;
use crate::text;

/// Make a key pair for signing models.
///
/// The secret key goes to PATH, readable by you alone, the public key to PATH.pub. Neither is ever overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr keygen -o release.key")]
pub(crate) struct Args {
    /// Where the secret key goes.
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was made; never the secret itself.
#[derive(Debug, Serialize)]
struct Report {
    secret_key_file: String,
    public_key_file: String,
    public_key: String,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let secret_path = &args.output;
    let public_path = with_pub(secret_path);
    // Looked at before anything is written, so that there is a pair or nothing.
    if public_path.symlink_metadata().is_ok() {
        return Err(kept(FormatError::AlreadyExists(public_path)));
    }
    let secret = sign::generate_key().context("failed to get random bytes from the system")?;
    secret.write(secret_path, Overwrite::Refuse).map_err(kept)?;
    if let Err(error) = secret.public_key().write(&public_path, Overwrite::Refuse) {
        // The secret is ours: it was not there before.
        let _ = std::fs::remove_file(secret_path);
        return Err(kept(error));
    }
    let report = Report {
        secret_key_file: secret_path.to_string_lossy().into_owned(),
        public_key_file: public_path.to_string_lossy().into_owned(),
        public_key: secret.public_key().to_hex(),
    };
    if args.json {
        printer.json(&report)?;
    } else {
        printer.line(format_args!(
            "Secret key: {} (keep it to yourself)",
            text::printable(&report.secret_key_file)
        ))?;
        printer.line(format_args!("Public key: {}", text::printable(&report.public_key_file)))?;
        printer.line(format_args!("Key: {}", report.public_key))?;
    }
    Ok(ExitStatus::Success)
}

/// The error of a file that is there already, without a hint at a `--force` that this command does not have.
fn kept(error: FormatError) -> anyhow::Error {
    match error {
        FormatError::AlreadyExists(path) => anyhow!(
            "`{}` already exists\nhint: a key is never overwritten; give another path with -o",
            path.display()
        ),
        error => error.into(),
    }
}

/// `path` with `.pub` after its name.
fn with_pub(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".pub");
    name.into()
}

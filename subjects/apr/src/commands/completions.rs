//! `apr completions`: completion scripts for shells.

use anyhow::Result;
use clap_complete::Shell;

use crate::cli::{self, ColorWhen};
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr completions bash > ~/.local/share/bash-completion/completions/apr")]
pub(crate) struct Args {
    /// The shell to complete in.
    shell: Shell,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli::definition(ColorWhen::Never), "apr", &mut script);
    printer.data(&script)?;
    Ok(ExitStatus::Success)
}

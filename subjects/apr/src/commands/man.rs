//! `apr man`: manual pages, made from the same definition as the help.

use anyhow::{Context, Result};

use crate::cli::{self, ColorWhen};
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Print a manual page.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr man > apr.1\n  apr man chat > apr-chat.1")]
pub(crate) struct Args {
    /// The command to describe; all of `apr` when absent.
    command: Option<String>,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let mut definition = cli::definition(ColorWhen::Never);
    definition.build();
    let page = match &args.command {
        None => definition,
        Some(name) => definition
            .find_subcommand(name)
            .with_context(|| format!("there is no command `{name}`\nhint: `apr --help` lists them"))?
            .clone(),
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    printer.data(&text)?;
    Ok(ExitStatus::Success)
}

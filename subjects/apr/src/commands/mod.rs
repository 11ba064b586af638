//! One file per verb: its arguments, a pure `plan` of what was asked, and a thin `run`.

pub(crate) mod completions;
pub(crate) mod diff;
pub(crate) mod man;
pub(crate) mod probador;
pub(crate) mod test_model;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli, printer: &mut Printer) -> Result<ExitStatus> {
    let color = cli.color;
    match cli.command {
        Command::Diff(args) => probador::run(&diff::plan(args), color, printer),
        Command::TestModel(args) => probador::run(&test_model::plan(args), color, printer),
        Command::Probador(args) => probador::run(&probador::plan(args), color, printer),
        Command::Completions(args) => completions::run(&args, printer),
        Command::Man(args) => man::run(&args, printer),
    }
}

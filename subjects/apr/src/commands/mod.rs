//! One file per verb: its arguments, a pure `plan` of what was asked, and a thin `run`.

pub(crate) mod bench;
pub(crate) mod canary;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod diff;
pub(crate) mod eval;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod keygen;
pub(crate) mod man;
pub(crate) mod probador;
pub(crate) mod sign;
pub(crate) mod tensors;
pub(crate) mod test_model;
pub(crate) mod tokenize;
pub(crate) mod trace;
pub(crate) mod validate;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::exit::ExitStatus;
use crate::printer::Printer;

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli, printer: &mut Printer) -> Result<ExitStatus> {
    let color = cli.color;
    match cli.command {
        Command::Import(args) => import::run(&import::plan(args), printer),
        Command::Validate(args) => validate::run(&args, printer),
        Command::Inspect(args) => inspect::run(&args, printer),
        Command::Tensors(args) => tensors::run(&args, printer),
        Command::Tokenize(args) => tokenize::run(&tokenize::plan(args), printer),
        Command::Chat(args) => chat::run(chat::plan(args), printer),
        Command::Trace(args) => trace::run(trace::plan(args), printer),
        Command::Convert(args) => convert::run(&args, printer),
        Command::Eval(args) => eval::run(&args, printer),
        Command::Bench(args) => bench::run(&args, printer),
        Command::Canary(args) => canary::run(&args, printer),
        Command::Keygen(args) => keygen::run(&args, printer),
        Command::Sign(args) => sign::run(&args, printer),
        Command::Diff(args) => probador::run(&diff::plan(args), color, printer),
        Command::TestModel(args) => probador::run(&test_model::plan(args), color, printer),
        Command::Probador(args) => probador::run(&probador::plan(args), color, printer),
        Command::Completions(args) => completions::run(&args, printer),
        Command::Man(args) => man::run(&args, printer),
    }
}

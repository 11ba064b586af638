//! One file per verb.

mod attest;
mod bisect;
mod checklist;
mod ci;
mod claim;
mod coverage;
mod full;
mod gate;
mod golden;
mod golden_generate;
mod golden_review;
mod impostors;
mod lint;
mod list;
mod misbehave;
mod mutants;
mod new_folder;
mod playbook;
mod prove;
mod report;
mod run;
mod schema;
mod tensor;
mod trace;

pub use attest::AttestCommand;
pub use claim::ClaimCommand;
pub use golden::GoldenCommand;
pub use misbehave::MisbehaveArgs;
pub use playbook::PlaybookCommand;
pub use run::PlaybookRunArgs;
pub use tensor::TensorCommand;
pub use trace::TraceCommand;

use crate::cli::{ChecklistCommand, Cli, Command, Global};
use crate::exit::ExitStatus;
use crate::printer::{Printer, Tone};
use crate::process::{end_children_on_interrupt, is_interrupted};
use crate::workspace::{LoadError, Workspace};

/// Runs what was typed.
pub fn run(cli: Cli, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    // A stand-in is ended by whoever started it.
    if !matches!(cli.command, Command::Misbehave(_)) {
        end_children_on_interrupt()?;
    }
    let came = dispatch(cli, printer);
    if is_interrupted() {
        printer.end_progress();
        printer.error("interrupted; everything that was started has been ended");
        return Ok(ExitStatus::Interrupted);
    }
    came
}

fn dispatch(cli: Cli, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let global = cli.global;
    match cli.command {
        Command::Full(args) => full::run(&args, &global, printer),
        Command::List(args) => list::run(&args, &global, printer),
        Command::Checklist(ChecklistCommand::Validate) => checklist::run(&global, printer),
        Command::Checklist(ChecklistCommand::Schema(args)) | Command::Schema(args) => {
            schema::run(&args, &global, printer)
        }
        Command::Attest(command) => attest::run(&command, &global, printer),
        Command::Claim(command) => claim::run(&command, &global, printer),
        Command::Golden(command) => golden::run(&command, &global, printer),
        Command::Playbook(command) => playbook::run(&command, &global, printer),
        Command::Run(args) => run::run(&args, &global, printer),
        Command::Trace(command) => trace::run(&command, &global, printer),
        Command::Tensor(command) => tensor::run(&command, printer),
        Command::Lint(args) => lint::run(&args, &global, printer),
        Command::Report(args) => report::run(&args, &global, printer),
        Command::Gate(args) => gate::run(&args, &global, printer),
        Command::Ci(args) => ci::run(&args, &global, printer),
        Command::Coverage(args) => coverage::run(&args, &global, printer),
        Command::Mutants(args) => mutants::run(&args, &global, printer),
        Command::Impostors(args) => impostors::run(&args, &global, printer),
        Command::Prove(args) => prove::run(&args, &global, printer),
        Command::Misbehave(args) => misbehave::run(&args, printer),
    }
}

/// Prints an error as one chain and says how the process ends.
pub fn explain(error: &anyhow::Error, printer: &mut Printer) -> ExitStatus {
    match error.downcast_ref::<LoadError>() {
        Some(LoadError::Invalid(problems)) => {
            for problem in problems {
                printer.error(&problem.to_string());
            }
            let n = problems.len();
            let found = format!("{n} {} found", if n == 1 { "problem" } else { "problems" });
            printer.error(&printer.paint_talk(Tone::Bad, &found));
            ExitStatus::Invalid
        }
        Some(LoadError::Environment(_)) | None => {
            printer.error(&format!("{} {error:#}", printer.paint_talk(Tone::Bad, "error:")));
            ExitStatus::Environment
        }
    }
}

/// The checkout that was asked for.
fn workspace(global: &Global) -> anyhow::Result<Workspace> {
    Workspace::find(global.root.as_deref())
}

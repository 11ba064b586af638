//! `apr`: parse the command line, run one command, turn its outcome into an exit code.
#![forbid(unsafe_code)]

mod bench;
mod chat;
mod cli;
mod commands;
mod exit;
mod interrupt;
mod memory;
mod model;
mod printer;
mod progress;
mod text;
mod threads;
mod trace;

use std::process::ExitCode;

use printer::Printer;

fn main() -> ExitCode {
    interrupt::survive_size_limit();
    let args: Vec<_> = std::env::args_os().collect();
    let color = cli::color_of(&args);
    let mut printer = Printer::new(color);
    let status = match cli::parse(args, color) {
        Ok(cli) => commands::run(cli, &mut printer).and_then(|status| {
            printer.flush()?;
            Ok(status)
        }),
        Err(error) => printer.usage(&error).map_err(Into::into),
    };
    status.unwrap_or_else(|error| printer.failure(&error)).into()
}

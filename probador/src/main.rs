//! `cargo probador`: the engine's command line.

use std::process::ExitCode;

use probador::cli;

fn main() -> ExitCode {
    cli::main(cli::without_cargo(std::env::args_os())).into()
}

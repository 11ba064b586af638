//! `misbehave`, hidden: the stand-in for `apr` that planted faults put in front of it.

use std::ffi::OsString;

use anyhow::bail;
use clap::Args;

use crate::exit::ExitStatus;
use crate::faults::{Call, misbehave};
use crate::printer::Printer;

/// `misbehave FAULT MEMORY APR [ARGUMENTS]`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  cargo probador misbehave apr-slow /tmp/memory target/release/apr chat model.apr"
)]
pub struct MisbehaveArgs {
    /// The fault, a folder to remember things in, the real `apr`, and its arguments
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    pub words: Vec<OsString>,
}

/// Stands in for `apr`, and ends as it would, but for the fault.
pub(super) fn run(args: &MisbehaveArgs, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let [fault, memory, apr, arguments @ ..] = args.words.as_slice() else {
        bail!("a stand-in is told its fault, a folder and the real program");
    };
    let call = Call { memory: memory.into(), apr: apr.into(), arguments: arguments.to_vec() };
    let printed = misbehave(&fault.to_string_lossy(), &call)?;
    printer.copy(&printed.stdout, &printed.stderr);
    // The code of another program, not one of ours.
    std::process::exit(printed.code)
}

//! `apr test-model`: verifies a model against golden traces, which the engine does.

use std::path::PathBuf;

use super::probador;

/// Verify a model against golden traces recorded with PyTorch.
///
/// The verification is `cargo-probador golden verify`. Exit code 100 when a tensor is missing or out of tolerance.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr test-model model.apr --golden-trace golden/")]
pub(crate) struct Args {
    /// The model under test.
    model: PathBuf,

    /// The folder of golden traces.
    #[arg(long, value_name = "DIR")]
    golden_trace: PathBuf,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn plan(args: Args) -> probador::Plan {
    let mut line = vec!["golden".into(), "verify".into(), "--model".into(), args.model.into()];
    if args.json {
        line.push("--json".into());
    }
    line.extend(["--".into(), args.golden_trace.into()]);
    probador::Plan { args: line }
}

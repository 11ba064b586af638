//! `apr test-model`: verifies a model against golden traces, which the engine does.

use std::path::PathBuf;

use super::probador;

/// Verify a model against golden traces recorded with PyTorch.
///
/// The verification is `cargo-probador golden verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr test-model model.apr --golden-trace golden/")]
pub(crate) struct Args {
    /// The model under test.
    model: PathBuf,

    /// The folder of golden traces.
    #[arg(long, value_name = "DIR")]
    golden_trace: PathBuf,
}

pub(crate) fn plan(args: Args) -> probador::Plan {
    let line = ["golden".into(), "verify".into(), "--model".into(), args.model.into(), "--".into()];
    probador::Plan { args: line.into_iter().chain([args.golden_trace.into()]).collect() }
}

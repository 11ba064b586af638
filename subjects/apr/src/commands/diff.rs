//! `apr diff`: compares two folders of traced tensors, which the engine does.

use std::path::PathBuf;

use super::probador;

/// Compare two folders of traced tensors, tensor by tensor.
///
/// The comparison is `cargo-probador trace diff`: every tensor of A must be in B with the same shape, and within
/// the tolerance at every element.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr trace model.apr --prompt Hello --export now/\n  \
                        apr diff now/ before/ --tolerance 1e-4")]
pub(crate) struct Args {
    /// The folder under test.
    a: PathBuf,

    /// The folder it is compared with.
    b: PathBuf,

    /// Largest absolute difference that still counts as equal.
    #[arg(long, value_name = "T", value_parser = tolerance)]
    tolerance: Option<f64>,
}

pub(crate) fn plan(args: Args) -> probador::Plan {
    let mut line = vec!["trace".into(), "diff".into()];
    if let Some(tolerance) = args.tolerance {
        line.extend(["--tolerance".into(), format!("{tolerance:e}").into()]);
    }
    line.extend(["--".into(), args.a.into(), args.b.into()]);
    probador::Plan { args: line }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        Ok(_) => Err("a tolerance is zero or a positive number".to_owned()),
        Err(_) => Err("not a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_named_like_flags_stay_folders() {
        let args = Args { a: "-a".into(), b: "b".into(), tolerance: Some(1e-4) };
        assert_eq!(plan(args).args, ["trace", "diff", "--tolerance", "1e-4", "--", "-a", "b"]);
        let args = Args { a: "a".into(), b: "b".into(), tolerance: None };
        assert_eq!(plan(args).args, ["trace", "diff", "--", "a", "b"]);
    }

    #[test]
    fn tolerance_that_is_no_distance_is_refused() {
        for text in ["-1", "NaN", "inf", "1e", ""] {
            assert!(tolerance(text).is_err(), "{text}");
        }
        assert_eq!(tolerance("0"), Ok(0.0));
    }
}

//! `apr diff`: compares two folders of traced tensors, which the engine does.

use std::path::PathBuf;

use super::probador;

/// Compare two folders of traced tensors, tensor by tensor.
///
/// The comparison is `cargo-probador trace diff`: every tensor must be in both with the same shape, and a value a of A
/// meets e of B when |a - e| <= ATOL + RTOL * |e|. Exit code 100 when one does not.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr trace model.apr --prompt Hello --export now/\n  \
                        apr diff now/ before/ --tolerance 1e-4")]
pub(crate) struct Args {
    /// The folder under test.
    a: PathBuf,

    /// The folder it is compared with.
    b: PathBuf,

    /// How far values may be apart: an absolute tolerance, or an absolute and a relative one.
    #[arg(long, value_name = "ATOL[,RTOL]", value_parser = tolerance)]
    tolerance: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn plan(args: Args) -> probador::Plan {
    let mut line = vec!["trace".into(), "diff".into()];
    if let Some(tolerance) = args.tolerance {
        line.extend(["--tolerance".into(), tolerance.into()]);
    }
    if args.json {
        line.push("--json".into());
    }
    line.extend(["--".into(), args.a.into(), args.b.into()]);
    probador::Plan { args: line }
}

/// Refuses here what the engine would refuse later: tolerances that are no distances.
fn tolerance(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.split(',').collect();
    if parts.len() > 2 {
        return Err("a tolerance is one number, or two with a comma between them".to_owned());
    }
    for part in parts {
        match part.parse::<f64>() {
            Ok(value) if value.is_finite() && value >= 0.0 => {}
            Ok(_) => return Err("a tolerance is zero or a positive number".to_owned()),
            Err(_) => return Err(format!("`{part}` is not a number")),
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_named_like_flags_stay_folders() {
        let args =
            Args { a: "-a".into(), b: "b".into(), tolerance: Some("1e-4,1e-6".to_owned()), json: true };
        assert_eq!(plan(args).args, ["trace", "diff", "--tolerance", "1e-4,1e-6", "--json", "--", "-a", "b"]);
        let args = Args { a: "a".into(), b: "b".into(), tolerance: None, json: false };
        assert_eq!(plan(args).args, ["trace", "diff", "--", "a", "b"]);
    }

    #[test]
    fn tolerance_that_is_no_distance_is_refused() {
        for text in ["-1", "NaN", "inf", "1e", "", "1,", "1,2,3", "1e-4,-1"] {
            assert!(tolerance(text).is_err(), "{text}");
        }
        assert_eq!(tolerance("0"), Ok("0".to_owned()));
    }
}

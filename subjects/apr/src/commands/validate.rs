//! `apr validate`: whether a model file is what its writer wrote, and whether it makes sense.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use apr_format::validate::{Check, Finding, Outcome, Severity};
use apr_format::{PublicKey, Quality, SignatureVerdict, TrustedKeys, ValidateOptions, Validation, validate};
use serde::Serialize;

use crate::exit::ExitStatus;
use crate::printer::{Paint, Printer, Role};
use crate::text;

/// Check a model file: checksums, hashes, ranges, shapes, values, signature.
///
/// Every byte is read and everything that is wrong is reported. Exit code 1 when the file is not valid.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  apr validate model.apr\n  apr validate model.apr --quality\n  \
                        apr validate model.apr --public-key release.key.pub")]
pub(crate) struct Args {
    /// The model.
    model: PathBuf,

    /// Also score the model: a sum of named tests, 100 points in all.
    #[arg(long)]
    quality: bool,

    /// Require a signature by this key, as `apr keygen` wrote it, and by no other.
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,

    /// Require a signature by a trusted key: --public-key, or else one of your file of trusted keys (APR_TRUSTED_KEYS,
    /// or ~/.config/probador/trusted_keys).
    #[arg(long)]
    require_signature: bool,

    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The outcome as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    path: String,
    valid: bool,
    file_size: u64,
    n_parameters: u64,
    n_tensors: usize,
    root_hash: Option<&'a str>,
    tensors_present: Option<(usize, usize)>,
    checks: Vec<CheckReport<'a>>,
    findings: &'a [Finding],
    signature: &'a SignatureVerdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Quality>,
}

/// One check as JSON.
#[derive(Debug, Serialize)]
struct CheckReport<'a> {
    check: Check,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

pub(crate) fn run(args: &Args, printer: &mut Printer) -> Result<ExitStatus> {
    let options = options(args)?;
    let validation = validate(&args.model, &options)?;
    let quality = args.quality.then(|| Quality::of(&validation));
    let status = if validation.is_valid() { ExitStatus::Success } else { ExitStatus::Failure };
    if args.json {
        printer.json(&report(&validation, quality))?;
        return Ok(status);
    }
    let paint = printer.paint();
    let mut lines = check_lines(&validation, paint);
    if let Some(quality) = &quality {
        lines.extend(quality_lines(quality, paint));
    }
    lines.push(verdict(&validation, paint));
    for line in lines {
        printer.line(line)?;
    }
    Ok(status)
}

fn options(args: &Args) -> Result<ValidateOptions> {
    let trusted = match &args.public_key {
        Some(path) => {
            let mut trusted = TrustedKeys::default();
            trusted.trust(PublicKey::read(path)?, &path.to_string_lossy());
            trusted
        }
        None => TrustedKeys::of_user()?,
    };
    // Whoever names a key wants to hear that it did not sign.
    Ok(ValidateOptions { trusted, require_signature: args.require_signature || args.public_key.is_some() })
}

fn report(validation: &Validation, quality: Option<Quality>) -> Report<'_> {
    let checks = validation.checks.iter().map(|(check, outcome)| {
        let (outcome, reason) = match outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed => ("failed", None),
            Outcome::NotDone { reason } => ("not-done", Some(reason.as_str())),
        };
        CheckReport { check: *check, outcome, reason }
    });
    Report {
        path: validation.path.to_string_lossy().into_owned(),
        valid: validation.is_valid(),
        file_size: validation.file_size,
        n_parameters: validation.n_parameters,
        n_tensors: validation.tensors.len(),
        root_hash: validation.root_hash.as_deref(),
        tensors_present: validation.tensors_present,
        checks: checks.collect(),
        findings: &validation.findings,
        signature: &validation.signature,
        quality,
    }
}

/// A line for each check, and under it what it found. A file that is not valid has no line that says VALID for what is
/// wrong with it.
fn check_lines(validation: &Validation, paint: Paint) -> Vec<String> {
    let mut lines = Vec::new();
    for (check, outcome) in &validation.checks {
        let findings: Vec<&Finding> =
            validation.findings.iter().filter(|finding| finding.check == *check).collect();
        let worst = findings.iter().map(|finding| finding.severity).max();
        let line = match outcome {
            Outcome::Passed if worst.is_some_and(|severity| severity > Severity::Note) => {
                format!("{} {}: see below", paint.paint(Role::Warning, "!"), label(*check))
            }
            Outcome::Passed => {
                format!("{} {}: {}", paint.paint(Role::Good, "✓"), label(*check), passed(*check, validation))
            }
            Outcome::Failed => format!("{} {}: FAILED", paint.paint(Role::Error, "✗"), label(*check)),
            Outcome::NotDone { reason } => {
                format!(
                    "{} {}: not checked, {}",
                    paint.paint(Role::Dim, "-"),
                    label(*check),
                    text::printable(reason)
                )
            }
        };
        lines.push(line);
        let is_said = matches!(outcome, Outcome::NotDone { .. });
        for finding in findings.iter().filter(|_| !is_said) {
            let severity = match finding.severity {
                Severity::Error => paint.paint(Role::Error, "error:"),
                Severity::Warning => paint.paint(Role::Warning, "warning:"),
                Severity::Note => "note:".to_owned(),
            };
            lines.push(format!("    {severity} {}", said(&finding.what)));
        }
    }
    lines
}

/// What a check that passed says.
fn passed(check: Check, validation: &Validation) -> String {
    match check {
        Check::RootHash => {
            format!("VALID (BLAKE3 {})", validation.root_hash.as_deref().unwrap_or_default())
        }
        Check::TensorHashes => format!("VALID ({} tensors)", validation.tensors.len()),
        Check::Checksum => {
            let root = validation.root_hash.as_deref().unwrap_or_default();
            format!("VALID (CRC32; root {}...)", root.get(..12).unwrap_or(root))
        }
        Check::Signature => match &validation.signature {
            SignatureVerdict::SignedTrusted { key, name } => {
                format!("VALID (by {}, {key})", text::printable(name))
            }
            _ => "VALID".to_owned(),
        },
        Check::Shapes => match validation.tensors_present {
            Some((n_present, n_expected)) => {
                format!("All match config ({n_present}/{n_expected} tensors present)")
            }
            None => "All match config".to_owned(),
        },
        Check::Values => "No NaN/Inf detected".to_owned(),
        Check::Header | Check::Metadata | Check::Index | Check::Padding | Check::Tokenizer => {
            "VALID".to_owned()
        }
    }
}

const fn label(check: Check) -> &'static str {
    match check {
        Check::Header => "Header",
        Check::Metadata => "Metadata",
        Check::Index => "Index",
        Check::Padding => "Padding",
        Check::RootHash => "Root hash",
        Check::TensorHashes => "Tensor hashes",
        Check::Checksum => "Checksum",
        Check::Signature => "Signature",
        Check::Tokenizer => "Tokenizer",
        Check::Shapes => "Shapes",
        Check::Values => "Values",
    }
}

fn quality_lines(quality: &Quality, paint: Paint) -> Vec<String> {
    let mut lines: Vec<String> = quality
        .tests
        .iter()
        .map(|test| {
            let points = if test.earned { test.points } else { 0 };
            let role = if test.earned { Role::Good } else { Role::Warning };
            let mark = paint.paint(role, if test.earned { "✓" } else { "!" });
            format!(
                "  {mark} {:14} {points:2}/{:<2}  {}",
                test.name,
                test.points,
                text::printable(&test.detail)
            )
        })
        .collect();
    let full: u32 = quality.tests.iter().map(|test| test.points).sum();
    let role = if quality.score == full { Role::Good } else { Role::Warning };
    let mark = if quality.score == full { "✓" } else { "!" };
    lines.insert(0, format!("{} Quality Score: {}/{full}", paint.paint(role, mark), quality.score));
    lines
}

/// The last line.
fn verdict(validation: &Validation, paint: Paint) -> String {
    let path = validation.path.to_string_lossy();
    let path = text::printable(&path);
    let count = |severity| validation.findings.iter().filter(|finding| finding.severity == severity).count();
    let (n_errors, n_warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut line = if validation.is_valid() {
        format!("{} {path}: VALID", paint.paint(Role::Good, "✓"))
    } else {
        format!("{} {path}: not valid, {}", paint.paint(Role::Error, "✗"), counted(n_errors, "error"))
    };
    if n_warnings > 0 {
        // Writing to a string cannot fail.
        let _ = write!(line, ", {}", counted(n_warnings, "warning"));
    }
    line
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A finding without line breaks; a hint it carries follows in brackets.
fn said(what: &str) -> String {
    text::printable(&what.replace("\nhint: ", " (hint: ")).into_owned()
        + if what.contains("\nhint: ") { ")" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hint_of_a_finding_stays_on_its_line() {
        assert_eq!(said("too short\nhint: fetch it again"), "too short (hint: fetch it again)");
        assert_eq!(said("too\nshort"), "too\\nshort");
    }

    #[test]
    fn every_check_has_its_own_label() {
        let labels: std::collections::BTreeSet<_> = Check::ALL.map(label).into_iter().collect();
        assert_eq!(labels.len(), Check::ALL.len());
    }
}

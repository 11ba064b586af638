//! What a step was seen to do.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;

use crate::process::{Ended, Finished};

/// What a command printed, or a server answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Observed {
    /// Standard output, or the body.
    pub(super) output: Vec<u8>,
    /// What text expectations judge: the output as text, or the text that events bring piece by piece.
    pub(super) text: String,
    /// Standard error.
    pub(super) stderr: String,
    /// How a command ended.
    pub(super) ended: Option<Ended>,
    /// The status of an answer.
    pub(super) status: Option<u16>,
    /// The headers of an answer, names in lower case.
    pub(super) headers: BTreeMap<String, String>,
    /// Data of each event of an answer.
    pub(super) events: Vec<String>,
    /// Seconds it took.
    pub(super) seconds: f64,
    /// Highest memory seen, in bytes.
    pub(super) peak_memory: Option<u64>,
    /// What it had started and not ended.
    pub(super) left_behind: Vec<String>,
}

impl Observed {
    /// What a command did.
    pub(super) fn of_command(finished: Finished) -> Self {
        Self {
            text: finished.stdout_text(),
            output: finished.stdout,
            stderr: String::from_utf8_lossy(&finished.stderr).into_owned(),
            ended: Some(finished.ended),
            seconds: finished.seconds,
            peak_memory: finished.peak_memory,
            left_behind: finished.left_behind,
            ..Self::default()
        }
    }

    /// What is judged, in words.
    pub(super) fn what(&self) -> &'static str {
        if self.ended.is_some() { "standard output" } else { "the body" }
    }

    /// How it ended, for a report.
    pub(super) fn ending(&self) -> String {
        match (self.ended, self.status) {
            (Some(Ended::Exited(code)), _) => format!("exit {code}"),
            (Some(Ended::Signalled), _) => "killed by a signal".to_owned(),
            (Some(Ended::TimedOut), _) => "killed: out of time".to_owned(),
            (Some(Ended::OverMemory), _) => "killed: out of memory".to_owned(),
            (None, Some(status)) => format!("status {status}"),
            (None, None) => "no answer".to_owned(),
        }
    }

    /// Seconds to the first token, as `--inspect` prints them.
    pub(super) fn first_token(&self) -> Option<f64> {
        let after = self.text.split("first token after ").nth(1)?;
        after.split(" s").next()?.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite())
    }
}

/// The hash of a file, or of the fact that there is none.
pub(super) fn fingerprint(path: &Path) -> anyhow::Result<Option<blake3::Hash>> {
    match std::fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
        Ok(file) => {
            let mut hasher = blake3::Hasher::new();
            hasher.update_reader(file).with_context(|| format!("failed to read `{}`", path.display()))?;
            Ok(Some(hasher.finalize()))
        }
    }
}

/// A text cut to what a report needs: its beginning and its end.
pub(super) fn excerpt(text: &str) -> String {
    const SHOWN: usize = 400;
    let text = text.trim_end();
    let n_chars = text.chars().count();
    if n_chars <= 2 * SHOWN {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN).collect();
    let end: String = text.chars().skip(n_chars - SHOWN).collect();
    format!("{start}\n[... {} characters left out ...]\n{end}", n_chars - 2 * SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_has_no_fingerprint_and_one_that_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(fingerprint(&path).unwrap(), None);
        std::fs::write(&path, "words").unwrap();
        assert_eq!(fingerprint(&path).unwrap(), Some(blake3::hash(b"words")));
        for path in [path.join("below a file"), folder.path().to_owned()] {
            let error = fingerprint(&path).unwrap_err().to_string();
            assert_eq!(error, format!("failed to read `{}`", path.display()));
        }
    }

    #[test]
    fn every_ending_has_its_words() {
        let ending = |ended: Option<Ended>, status: Option<u16>| {
            Observed { ended, status, ..Observed::default() }.ending()
        };
        assert_eq!(ending(Some(Ended::Exited(3)), None), "exit 3");
        assert_eq!(ending(Some(Ended::Signalled), None), "killed by a signal");
        assert_eq!(ending(Some(Ended::TimedOut), None), "killed: out of time");
        assert_eq!(ending(Some(Ended::OverMemory), None), "killed: out of memory");
        assert_eq!(ending(None, Some(404)), "status 404");
        assert_eq!(ending(None, None), "no answer");
    }
}

//! How a case ends.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CaseId, Evidence, Subject};

/// Only `Pass` scores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// Tried to falsify, and could not.
    Pass,
    /// Falsified.
    Fail {
        /// What was observed.
        diagnosis: String,
    },
    /// Neither.
    Undecided(Undecided),
}

impl Verdict {
    /// `pass`, `fail` or `undecided`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail { .. } => "fail",
            Self::Undecided(_) => "undecided",
        }
    }
}

/// Why there is no verdict, and what would give one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Undecided {
    /// The kind of reason.
    pub reason: Reason,
    /// What is missing or went wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Undecided {
    /// Something it needs is missing.
    pub fn unverified(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: Reason::Unverified, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Undecided {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.word(), self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// The kinds of reason for which a case is undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Something it needs is missing.
    Unverified,
    /// Too few samples for the stated confidence.
    Underpowered,
    /// It crashed or ran out of time.
    Inconclusive,
}

impl Reason {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Underpowered => "underpowered",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A case that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Outcome {
    /// Which case.
    pub case: CaseId,
    /// What it judged.
    pub subject: Subject,
    /// How it ended.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Whether it was known before the run that it could not be decided here.
    pub known_before: bool,
    /// What that rests on.
    pub evidence: Evidence,
}

impl Outcome {
    /// Whether it must turn the run red: falsified, or undecided although everything it needs was there.
    pub fn is_red(&self) -> bool {
        match self.verdict {
            Verdict::Pass => false,
            Verdict::Fail { .. } => self.subject != Subject::Canary,
            Verdict::Undecided(_) => !self.known_before,
        }
    }
}

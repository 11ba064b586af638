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

#[cfg(test)]
mod tests {
    use super::*;

    fn undecided(reason: Reason, remedy: &str) -> Undecided {
        Undecided { reason, what: "there is no model".to_owned(), remedy: remedy.to_owned() }
    }

    #[test]
    fn every_verdict_and_every_reason_has_its_word() {
        let fail = Verdict::Fail { diagnosis: "x".to_owned() };
        let open = Verdict::Undecided(undecided(Reason::Unverified, ""));
        assert_eq!([&Verdict::Pass, &fail, &open].map(Verdict::word), ["pass", "fail", "undecided"]);
        let reasons = [Reason::Unverified, Reason::Underpowered, Reason::Inconclusive];
        assert_eq!(reasons.map(Reason::word), ["unverified", "underpowered", "inconclusive"]);
    }

    #[test]
    fn what_is_undecided_says_why_and_what_to_do() {
        assert_eq!(
            undecided(Reason::Underpowered, "make model").to_string(),
            "underpowered: there is no model; make model"
        );
        let unverified = Undecided::unverified("there is no model", "");
        assert_eq!(unverified.to_string(), "unverified: there is no model");
    }

    #[test]
    fn red_is_what_failed_and_what_turned_out_undecidable_but_not_the_canary() {
        let is_red = |subject: Subject, verdict: Verdict, known_before: bool| {
            let evidence = Evidence::default();
            Outcome { case: CaseId::canary(), subject, verdict, known_before, evidence }.is_red()
        };
        let claim = || Subject::Claim("C4".parse().unwrap());
        let fail = || Verdict::Fail { diagnosis: "x".to_owned() };
        let open = || Verdict::Undecided(undecided(Reason::Inconclusive, ""));
        assert!(!is_red(claim(), Verdict::Pass, false));
        assert!(is_red(claim(), fail(), false));
        assert!(!is_red(Subject::Canary, fail(), false));
        assert!(is_red(claim(), open(), false));
        assert!(!is_red(claim(), open(), true));
    }
}

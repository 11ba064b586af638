//! Collecting what a check measures and turning it into a verdict: nothing measured is never a pass.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use super::{Measurement, Reason, Relation, Undecided, Verdict};

/// What a check has seen so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Figures with their limits.
    pub measurements: Vec<Measurement>,
    /// Observations that falsify.
    pub failures: Vec<String>,
    /// Remarks.
    pub notes: Vec<String>,
    /// Hashes of what went in, by name.
    pub inputs: BTreeMap<String, String>,
}

impl Judgement {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A figure that must not exceed `limit`.
    pub fn at_most(&mut self, what: &str, value: f64, limit: f64, unit: &str, n: usize) -> bool {
        self.measure(what, value, Relation::AtMost, limit, unit, n)
    }

    /// A figure that must reach `limit`.
    pub fn at_least(&mut self, what: &str, value: f64, limit: f64, unit: &str, n: usize) -> bool {
        self.measure(what, value, Relation::AtLeast, limit, unit, n)
    }

    /// A count that must be `limit`.
    pub fn exactly(&mut self, what: &str, value: usize, limit: usize, unit: &str, n: usize) -> bool {
        self.measure(what, value as f64, Relation::Equal, limit as f64, unit, n)
    }

    fn measure(
        &mut self,
        what: &str,
        value: f64,
        relation: Relation,
        limit: f64,
        unit: &str,
        n: usize,
    ) -> bool {
        let measurement = Measurement {
            what: what.to_owned(),
            value,
            relation,
            limit,
            unit: unit.to_owned(),
            n: n as u64,
            interval: None,
        };
        let holds = measurement.holds();
        if !holds {
            self.failures.push(measurement.to_string());
        }
        self.measurements.push(measurement);
        holds
    }

    /// Gives the last figure its 95 % interval.
    pub fn with_interval(&mut self, interval: (f64, f64)) {
        if let Some(last) = self.measurements.last_mut() {
            last.interval = Some(interval);
        }
    }

    /// Notes an observation that falsifies, unless `held`.
    pub fn require<T: Display>(&mut self, held: bool, otherwise: impl FnOnce() -> T) -> bool {
        if !held {
            self.failures.push(otherwise().to_string());
        }
        held
    }

    /// Notes an observation that falsifies.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// Adds a remark.
    pub fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Names an input by its hash.
    pub fn input(&mut self, name: &str, hash: impl Into<String>) {
        self.inputs.insert(name.to_owned(), hash.into());
    }

    /// The verdict so far.
    pub fn verdict(&self) -> Verdict {
        const SHOWN: usize = 5;
        if !self.failures.is_empty() {
            let mut diagnosis = self.failures[..self.failures.len().min(SHOWN)].join("\n");
            if self.failures.len() > SHOWN {
                // Writing to a string cannot fail.
                let _ = write!(diagnosis, "\nand {} more", self.failures.len() - SHOWN);
            }
            return Verdict::Fail { diagnosis };
        }
        if self.measurements.iter().all(|measurement| measurement.n == 0) {
            return Verdict::Undecided(Undecided {
                reason: Reason::Underpowered,
                what: "nothing was measured".to_owned(),
                remedy: "raise the sample in the claim's row".to_owned(),
            });
        }
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_not_a_pass() {
        assert!(matches!(Judgement::new().verdict(), Verdict::Undecided(_)));
        let mut judgement = Judgement::new();
        judgement.at_most("differences", 0.0, 0.0, "", 0);
        assert!(matches!(judgement.verdict(), Verdict::Undecided(_)), "a sample of none");
    }

    #[test]
    fn one_figure_over_its_limit_fails_whatever_else_holds() {
        let mut judgement = Judgement::new();
        assert!(judgement.at_most("a", 1.0, 2.0, "", 10));
        assert!(!judgement.at_most("largest difference", 3.0, 2.0, "", 10));
        let Verdict::Fail { diagnosis } = judgement.verdict() else { panic!("accepted") };
        assert_eq!(diagnosis, "largest difference 3, at most 2");
    }

    #[test]
    fn an_observation_that_falsifies_fails() {
        let mut judgement = Judgement::new();
        assert!(judgement.exactly("positions", 3, 3, "", 3));
        judgement.require(false, || "position 2 changed");
        assert_eq!(judgement.verdict(), Verdict::Fail { diagnosis: "position 2 changed".into() });
    }

    #[test]
    fn a_count_must_be_exact() {
        let mut judgement = Judgement::new();
        assert!(!judgement.exactly("positions", 2, 3, "", 3));
        assert!(!judgement.exactly("positions", 4, 3, "", 3));
        assert_eq!(judgement.failures.len(), 2);
    }

    #[test]
    fn an_interval_belongs_to_the_last_figure() {
        let mut judgement = Judgement::new();
        judgement.with_interval((0.0, 1.0));
        assert_eq!(judgement, Judgement::new(), "without a figure there is nothing to give it to");
        judgement.at_least("a", 1.0, 0.5, "%", 10);
        judgement.at_most("b", 1.0, 2.0, "%", 10);
        judgement.with_interval((0.5, 1.5));
        let intervals: Vec<_> = judgement.measurements.iter().map(|measured| measured.interval).collect();
        assert_eq!(intervals, [None, Some((0.5, 1.5))]);
        assert_eq!(judgement.measurements[0].n, 10);
        assert_eq!(judgement.verdict(), Verdict::Pass);
    }

    #[test]
    fn what_holds_is_no_failure_and_remarks_judge_nothing() {
        let mut judgement = Judgement::new();
        assert!(judgement.require(true, || "never"));
        assert!(!judgement.require(false, || "position 2 changed"));
        judgement.note("a remark");
        judgement.input("tree", "abc");
        assert_eq!(judgement.failures, ["position 2 changed"]);
        assert_eq!(judgement.notes, ["a remark"]);
        assert_eq!(judgement.inputs["tree"], "abc");
    }

    #[test]
    fn five_failures_are_all_shown() {
        let mut judgement = Judgement::new();
        (0..5).for_each(|index| judgement.fail(format!("failure {index}")));
        let Verdict::Fail { diagnosis } = judgement.verdict() else { panic!("accepted") };
        assert!(diagnosis.ends_with("failure 4"), "{diagnosis}");
        assert_eq!(diagnosis.lines().count(), 5);
    }

    #[test]
    fn many_failures_are_cut_with_their_count() {
        let mut judgement = Judgement::new();
        (0..9).for_each(|index| judgement.fail(format!("failure {index}")));
        let Verdict::Fail { diagnosis } = judgement.verdict() else { panic!("accepted") };
        assert!(diagnosis.ends_with("and 4 more"), "{diagnosis}");
    }
}

//! Whether a release may go out: everything decided, passing and proven, or waived by name. Pure.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::checklist::{Date, Standing};
use crate::prove::ProofStanding;
use crate::report::{ClaimRow, Report};

/// What a report says to whoever wants to release.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// What keeps it shut; nothing when it is open.
    pub shut_by: Vec<Obstacle>,
}

/// Claims or cases that keep the gate shut for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Obstacle {
    /// The reason.
    pub reason: Bar,
    /// Claim ids, names of golden cases, or what is wrong with the run.
    pub what: Vec<String>,
}

/// Why a gate stays shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Bar {
    /// The run contradicts itself.
    Unbelievable,
    /// Something was shown false, or could not be judged though all it needs was there.
    Failed,
    /// A claim is undecided and not waived.
    Undecided,
    /// A claim is undecided, and the days of its waiver are over or have not come.
    WaiverNotInForce,
    /// A claim passes though a waiver says that it cannot be decided.
    WaiverNeedless,
    /// A claim passed that none, or not all, of its faults have turned red.
    Unproven,
    /// A claim passed whose proof was made before something it depends on changed.
    Stale,
}

impl Bar {
    /// Every reason, gravest first.
    pub const ALL: [Self; 7] = [
        Self::Unbelievable,
        Self::Failed,
        Self::Undecided,
        Self::WaiverNotInForce,
        Self::WaiverNeedless,
        Self::Unproven,
        Self::Stale,
    ];

    /// What it says of `n` claims or cases.
    fn sentence(self, n: usize) -> String {
        let claims = if n == 1 { "1 claim".to_owned() } else { format!("{n} claims") };
        let are = if n == 1 { "is" } else { "are" };
        match self {
            Self::Unbelievable => "the run contradicts itself".to_owned(),
            Self::Failed if n == 1 => "1 case failed".to_owned(),
            Self::Failed => format!("{n} cases failed"),
            Self::Undecided => format!("{claims} {are} undecided"),
            Self::WaiverNotInForce => format!("{claims} {are} undecided under a waiver that is not in force"),
            Self::WaiverNeedless => format!("{claims} passed without the waiver that is still there"),
            Self::Unproven => format!("{claims} passed without a proof that the check can fail"),
            Self::Stale => format!("{claims} passed with a proof of an earlier state"),
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unbelievable => "this is a defect of the engine or of what it ran on; run it again alone",
            Self::Failed => "the report says what was observed and how to run each case again",
            Self::Undecided => "the report says what each claim waits for",
            Self::WaiverNotInForce => "decide the claim, or grant the waiver anew in checklist/waivers.yaml",
            Self::WaiverNeedless => "remove the waiver from checklist/waivers.yaml",
            Self::Unproven | Self::Stale => "cargo probador prove",
        }
    }
}

impl Obstacle {
    /// The reason in words, without the names.
    pub fn sentence(&self) -> String {
        self.reason.sentence(self.what.len())
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.sentence(), self.what.join(" "))
    }
}

impl Gate {
    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.shut_by.is_empty()
    }
}

/// Judges `report` as a release gate does, on the day `today`.
pub fn decide(report: &Report, today: Date) -> Gate {
    let named = |bar: Bar| {
        let rows = report.claims.iter().filter(move |row| bars(row, today).any(|found| found == bar));
        rows.map(|row| row.id.to_string())
    };
    let obstacles = Bar::ALL.into_iter().map(|reason| {
        let what = match reason {
            Bar::Unbelievable => report.problems.clone(),
            Bar::Failed => {
                let others = report.playbooks.iter().chain(&report.goldens);
                let red = others.filter(|outcome| outcome.is_red());
                named(reason).chain(red.map(|outcome| outcome.case.to_string())).collect()
            }
            _ => named(reason).collect(),
        };
        Obstacle { reason, what }
    });
    Gate { shut_by: obstacles.filter(|obstacle| !obstacle.what.is_empty()).collect() }
}

/// What one claim has against a release. A claim that is not scored can fail, and nothing else.
fn bars(row: &ClaimRow, today: Date) -> impl Iterator<Item = Bar> {
    let is_red = row.outcome.as_ref().is_some_and(crate::case::Outcome::is_red);
    let waiver = row.waiver.as_ref();
    let undecided = match waiver {
        None => Bar::Undecided,
        Some(_) => Bar::WaiverNotInForce,
    };
    let is_waived = waiver.is_some_and(|waiver| waiver.granted <= today && today <= waiver.until);
    let (passed, open) = (row.standing() == Standing::Passed, row.standing() == Standing::Undecided);
    let passed_scored = row.scored && passed;
    [
        is_red.then_some(Bar::Failed),
        (row.scored && open && !is_red && !is_waived).then_some(undecided),
        (passed && waiver.is_some()).then_some(Bar::WaiverNeedless),
        (passed_scored && row.proof == Some(ProofStanding::Stale)).then_some(Bar::Stale),
        (passed_scored && !matches!(row.proof, Some(ProofStanding::Proven | ProofStanding::Stale)))
            .then_some(Bar::Unproven),
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{CaseId, Evidence, Outcome, Subject, Undecided, Verdict};
    use crate::report::{WaiverRow, sample};

    fn today() -> Date {
        Date::new(2026, 6, 15).unwrap()
    }

    fn shut_by(spoil: impl FnOnce(&mut Report)) -> Vec<(Bar, Vec<String>)> {
        let mut report = sample::all_passing();
        spoil(&mut report);
        decide(&report, today()).shut_by.into_iter().map(|shut| (shut.reason, shut.what)).collect()
    }

    fn row<'r>(report: &'r mut Report, id: &str) -> &'r mut ClaimRow {
        report.claims.iter_mut().find(|row| row.id.to_string() == id).unwrap()
    }

    fn set(report: &mut Report, id: &str, verdict: Verdict) {
        row(report, id).outcome.as_mut().unwrap().verdict = verdict;
    }

    fn waive(report: &mut Report, id: &str, granted: (u16, u8, u8), until: (u16, u8, u8)) {
        let date = |(year, month, day)| Date::new(year, month, day).unwrap();
        row(report, id).waiver = Some(WaiverRow {
            reason: "no counters".into(),
            granted: date(granted),
            until: date(until),
            line: 3,
        });
    }

    fn undecide(report: &mut Report, id: &str) {
        set(report, id, Verdict::Undecided(Undecided::unverified("no counters", "")));
        row(report, id).outcome.as_mut().unwrap().known_before = true;
    }

    #[test]
    fn it_opens_when_everything_passes_and_is_proven() {
        let report = sample::all_passing();
        assert!(decide(&report, today()).is_open(), "{:?}", decide(&report, today()));
        assert_eq!(report.claims.iter().filter(|row| row.scored).count(), 116);
    }

    #[test]
    fn a_waiver_in_force_excuses_a_claim_that_is_undecided() {
        let spoil = |until| {
            shut_by(move |report| {
                undecide(report, "J16");
                waive(report, "J16", (2026, 1, 1), until);
            })
        };
        assert_eq!(spoil((2026, 6, 15)), [], "its last day");
        assert_eq!(spoil((2026, 6, 14)), [(Bar::WaiverNotInForce, vec!["J16".into()])]);
    }

    #[test]
    fn a_waiver_of_tomorrow_excuses_nothing_today() {
        let shut = shut_by(|report| {
            undecide(report, "J16");
            waive(report, "J16", (2026, 6, 16), (2026, 12, 31));
        });
        assert_eq!(shut, [(Bar::WaiverNotInForce, vec!["J16".into()])]);
    }

    #[test]
    fn a_claim_that_is_undecided_or_was_not_run_keeps_it_shut() {
        let shut = shut_by(|report| {
            undecide(report, "J16");
            row(report, "C4").outcome = None;
        });
        assert_eq!(shut, [(Bar::Undecided, vec!["C4".into(), "J16".into()])]);
    }

    #[test]
    fn a_failed_claim_keeps_it_shut_waived_or_not_scored_or_not() {
        let fail = || Verdict::Fail { diagnosis: "red".into() };
        let shut = shut_by(|report| {
            set(report, "J16", fail());
            waive(report, "J16", (2026, 1, 1), (2026, 12, 31));
            set(report, "I19", fail());
        });
        assert_eq!(shut, [(Bar::Failed, vec!["I19".into(), "J16".into()])]);
    }

    #[test]
    fn a_claim_that_could_not_be_judged_with_all_it_needs_there_has_failed() {
        let shut = shut_by(|report| {
            set(report, "C4", Verdict::Undecided(Undecided::unverified("the check panicked", "")));
        });
        assert_eq!(shut, [(Bar::Failed, vec!["C4".into()])]);
    }

    #[test]
    fn a_golden_out_of_tolerance_keeps_it_shut() {
        let shut = shut_by(|report| {
            report.goldens.push(Outcome {
                case: CaseId::golden("tiny", "p", "model.norm"),
                subject: Subject::Golden {
                    model: "tiny".into(),
                    prompt: "p".into(),
                    tensor: "model.norm".into(),
                },
                verdict: Verdict::Fail { diagnosis: "out of tolerance".into() },
                known_before: false,
                evidence: Evidence::default(),
            });
        });
        assert_eq!(shut, [(Bar::Failed, vec!["golden::tiny::p::model.norm".into()])]);
    }

    #[test]
    fn a_claim_without_a_fresh_proof_keeps_it_shut() {
        let shut = shut_by(|report| {
            row(report, "A1").proof = Some(ProofStanding::Stale);
            row(report, "A2").proof = Some(ProofStanding::Unproven);
            row(report, "A3").proof = None;
        });
        assert_eq!(shut, [(Bar::Unproven, vec!["A2".into(), "A3".into()]), (Bar::Stale, vec!["A1".into()])]);
    }

    #[test]
    fn a_waiver_that_is_not_needed_keeps_it_shut() {
        let shut = shut_by(|report| waive(report, "J16", (2026, 1, 1), (2026, 12, 31)));
        assert_eq!(shut, [(Bar::WaiverNeedless, vec!["J16".into()])]);
    }

    #[test]
    fn a_run_that_contradicts_itself_keeps_it_shut() {
        let shut = shut_by(|report| report.problems.push("the points do not add up".into()));
        assert_eq!(shut, [(Bar::Unbelievable, vec!["the points do not add up".into()])]);
    }

    #[test]
    fn an_obstacle_reads_as_a_sentence() {
        let one = Obstacle { reason: Bar::Undecided, what: vec!["J16".into()] };
        let two = Obstacle { reason: Bar::Stale, what: vec!["A1".into(), "A2".into()] };
        assert_eq!(one.to_string(), "1 claim is undecided: J16");
        assert_eq!(two.to_string(), "2 claims passed with a proof of an earlier state: A1 A2");
    }

    #[test]
    fn every_reason_has_its_sentence_for_one_and_for_many_and_what_to_do() {
        for (bar, one, two, remedy) in [
            (
                Bar::Unbelievable,
                "the run contradicts itself",
                "the run contradicts itself",
                "this is a defect of the engine or of what it ran on; run it again alone",
            ),
            (
                Bar::Failed,
                "1 case failed",
                "2 cases failed",
                "the report says what was observed and how to run each case again",
            ),
            (
                Bar::Undecided,
                "1 claim is undecided",
                "2 claims are undecided",
                "the report says what each claim waits for",
            ),
            (
                Bar::WaiverNotInForce,
                "1 claim is undecided under a waiver that is not in force",
                "2 claims are undecided under a waiver that is not in force",
                "decide the claim, or grant the waiver anew in checklist/waivers.yaml",
            ),
            (
                Bar::WaiverNeedless,
                "1 claim passed without the waiver that is still there",
                "2 claims passed without the waiver that is still there",
                "remove the waiver from checklist/waivers.yaml",
            ),
            (
                Bar::Unproven,
                "1 claim passed without a proof that the check can fail",
                "2 claims passed without a proof that the check can fail",
                "cargo probador prove",
            ),
            (
                Bar::Stale,
                "1 claim passed with a proof of an earlier state",
                "2 claims passed with a proof of an earlier state",
                "cargo probador prove",
            ),
        ] {
            assert_eq!((bar.sentence(1).as_str(), bar.sentence(2).as_str()), (one, two));
            assert_eq!(bar.remedy(), remedy);
        }
    }
}

//! After the run: was everything that was planned really run, can red be seen, do the points add up? Pure.

use std::collections::BTreeMap;

use crate::case::{Case, CaseId, Outcome, Subject, Verdict};
use crate::checklist::{CHECKLIST_POINTS, Score};

/// What is wrong with the run itself; empty when it can be believed.
pub fn account(planned: &[Case], outcomes: &[Outcome], score: &Score) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut n_outcomes: BTreeMap<&CaseId, usize> = BTreeMap::new();
    for outcome in outcomes {
        *n_outcomes.entry(&outcome.case).or_default() += 1;
    }
    for case in planned {
        match n_outcomes.remove(&case.id) {
            Some(1) => {}
            None => wrong.push(format!("`{}` was planned and has no outcome", case.id)),
            Some(n) => wrong.push(format!("`{}` has {n} outcomes", case.id)),
        }
    }
    for case in n_outcomes.keys() {
        wrong.push(format!("`{case}` has an outcome and was never planned"));
    }
    let canary = outcomes.iter().find(|outcome| outcome.subject == Subject::Canary);
    if !canary.is_some_and(|canary| matches!(canary.verdict, Verdict::Fail { .. })) {
        wrong.push(
            "the case that is always red was not seen red: this run cannot tell red from green".to_owned(),
        );
    }
    if score.all.total() != CHECKLIST_POINTS {
        wrong.push(format!("the score adds up to {} points, not {CHECKLIST_POINTS}", score.all.total()));
    }
    let by_section: u32 = score.sections.values().map(|section| section.total()).sum();
    if by_section != score.all.total() {
        wrong.push(format!("the sections add up to {by_section} points, the whole to {}", score.all.total()));
    }
    for outcome in outcomes {
        if outcome.verdict == Verdict::Pass && outcome.evidence.measurements.is_empty() {
            wrong.push(format!("`{}` passed without measuring anything", outcome.case));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::{Evidence, Measurement, Relation};
    use crate::checklist::{Group, SectionScore};

    fn case(subject: Subject, name: &str) -> Case {
        let id = if subject == Subject::Canary { CaseId::canary() } else { CaseId::golden("m", "p", name) };
        Case { id, subject, title: String::new(), group: Group::File, source: None, undecided: None }
    }

    fn outcome(case: &Case, verdict: Verdict) -> Outcome {
        let measurement = Measurement {
            what: "x".into(),
            value: 0.0,
            relation: Relation::AtMost,
            limit: 0.0,
            unit: String::new(),
            n: 1,
            interval: None,
        };
        let evidence = Evidence { measurements: vec![measurement], ..Evidence::default() };
        Outcome {
            case: case.id.clone(),
            subject: case.subject.clone(),
            verdict,
            known_before: false,
            evidence,
        }
    }

    fn good() -> (Vec<Case>, Vec<Outcome>, Score) {
        let cases = vec![case(Subject::Claim("C4".parse().unwrap()), "a"), case(Subject::Canary, "")];
        let outcomes = vec![
            outcome(&cases[0], Verdict::Pass),
            outcome(&cases[1], Verdict::Fail { diagnosis: "red".into() }),
        ];
        let all = SectionScore { passed: 3, failed: 0, undecided: 177 };
        (cases, outcomes, Score { all, sections: [('C', all)].into() })
    }

    #[track_caller]
    fn check(spoil: impl FnOnce(&mut Vec<Case>, &mut Vec<Outcome>, &mut Score), expected: &str) {
        let (mut cases, mut outcomes, mut score) = good();
        spoil(&mut cases, &mut outcomes, &mut score);
        let wrong = account(&cases, &outcomes, &score);
        assert!(wrong.iter().any(|what| what.contains(expected)), "expected {expected:?} among {wrong:?}");
    }

    #[test]
    fn a_complete_run_is_believed() {
        let (cases, outcomes, score) = good();
        assert_eq!(account(&cases, &outcomes, &score), Vec::<String>::new());
    }

    #[test]
    fn a_planned_case_without_an_outcome_is_seen() {
        check(|_, outcomes, _| drop(outcomes.remove(0)), "was planned and has no outcome");
        check(|cases, _, _| drop(cases.remove(0)), "was never planned");
        check(|_, outcomes, _| outcomes.push(outcomes[0].clone()), "has 2 outcomes");
    }

    #[test]
    fn a_canary_that_is_green_or_absent_is_seen() {
        check(|_, outcomes, _| outcomes[1].verdict = Verdict::Pass, "cannot tell red from green");
        check(|_, outcomes, _| drop(outcomes.pop()), "cannot tell red from green");
    }

    #[test]
    fn points_that_do_not_add_up_are_seen() {
        check(|_, _, score| score.all.passed += 1, "adds up to 181 points");
        check(|_, _, score| score.sections.clear(), "the sections add up to 0");
    }

    #[test]
    fn a_pass_that_measured_nothing_is_seen() {
        check(|_, outcomes, _| outcomes[0].evidence.measurements.clear(), "passed without measuring");
    }
}

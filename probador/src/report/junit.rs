//! JUnit XML, as Jenkins and GitLab read it: a suite a section, undecided cases as skipped.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::{ClaimRow, Report};
use crate::case::{Outcome, Verdict};
use crate::checklist::Section;

/// Renders the report.
pub fn to_junit(report: &Report) -> anyhow::Result<String> {
    let mut junit = Junit::new("probador");
    junit.set_time(Duration::from_secs_f64(report.seconds.max(0.0)));
    for section in Section::ALL {
        let mut suite = TestSuite::new(format!("{section} {}", section.title()));
        suite.add_test_cases(report.section(section).map(of_claim));
        junit.add_test_suite(suite);
    }
    for (name, outcomes) in [("playbooks", &report.playbooks), ("golden traces", &report.goldens)] {
        let mut suite = TestSuite::new(name);
        suite.add_test_cases(outcomes.iter().map(|outcome| of_outcome(outcome.case.as_str(), outcome)));
        if !outcomes.is_empty() {
            junit.add_test_suite(suite);
        }
    }
    let mut suite = TestSuite::new("accounting");
    for problem in &report.problems {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(problem.as_str());
        suite.add_test_case(TestCase::new("the run can be believed", status));
    }
    if report.problems.is_empty() {
        suite.add_test_case(TestCase::new("the run can be believed", TestCaseStatus::success()));
    }
    junit.add_test_suite(suite);
    Ok(junit.to_string()?)
}

fn of_claim(row: &ClaimRow) -> TestCase {
    let mut case = if let Some(outcome) = &row.outcome {
        of_outcome(&row.case, outcome)
    } else {
        let mut status = TestCaseStatus::skipped();
        status.set_message("not selected");
        TestCase::new(row.case.as_str(), status)
    };
    case.set_classname(format!("checklist.{}", row.id));
    case
}

fn of_outcome(name: &str, outcome: &Outcome) -> TestCase {
    let status = match &outcome.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail { diagnosis } => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(diagnosis.lines().next().unwrap_or_default());
            status.set_description(format!("{diagnosis}\n{}", outcome.evidence.rerun));
            status
        }
        Verdict::Undecided(undecided) if outcome.known_before => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(undecided.to_string());
            status
        }
        Verdict::Undecided(undecided) => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_message(undecided.to_string());
            status.set_description(outcome.evidence.rerun.as_str());
            status
        }
    };
    let mut case = TestCase::new(name, status);
    case.set_time(Duration::from_secs_f64(outcome.evidence.seconds.max(0.0)));
    let measured: Vec<_> = outcome.evidence.measurements.iter().map(ToString::to_string).collect();
    if !measured.is_empty() {
        case.set_system_out(measured.join("\n"));
    }
    case
}

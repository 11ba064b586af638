//! JUnit XML, as Jenkins and GitLab read it: a suite a section, undecided cases as skipped.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use super::{ClaimRow, Report};
use crate::case::{Outcome, Verdict};
use crate::checklist::Section;

/// Renders the report.
pub fn to_junit(report: &Report) -> anyhow::Result<String> {
    let mut junit = Junit::new("probador");
    junit.set_time(seconds(report.seconds));
    for section in Section::ALL {
        let mut suite = TestSuite::new(format!("{section} {}", section.title()));
        suite.add_test_cases(report.section(section).map(of_claim));
        let outcomes = report.section(section).filter_map(|row| row.outcome.as_ref());
        suite.set_time(seconds(outcomes.map(|outcome| outcome.evidence.seconds).sum()));
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
    // The root's count of skipped cases is in no schema of Jenkins'; its suites have theirs.
    let text = junit.to_string()?;
    let root = text.find("<testsuites").unwrap_or_default();
    let end = root + text[root..].find('>').unwrap_or_default();
    let (head, tail) = text.split_at(end);
    let head: Vec<&str> = head.split(' ').filter(|attribute| !attribute.starts_with("skipped=")).collect();
    Ok(head.join(" ") + tail)
}

/// A duration, whatever a report that was read says it is.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
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
    case.set_time(seconds(outcome.evidence.seconds));
    let measured: Vec<_> = outcome.evidence.measurements.iter().map(ToString::to_string).collect();
    if !measured.is_empty() {
        case.set_system_out(measured.join("\n"));
    }
    case
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::super::sample;
    use super::*;

    /// What Jenkins' schema of JUnit files allows: the attributes and the children of each element. GitLab reads the
    /// same ones and less.
    const ALLOWED: [(&str, &[&str], &[&str]); 7] = [
        ("testsuites", &["name", "time", "tests", "failures", "errors"], &["testsuite"]),
        (
            "testsuite",
            &["name", "tests", "failures", "errors", "skipped", "time"],
            &["testcase", "system-out", "system-err"],
        ),
        (
            "testcase",
            &["name", "classname", "time"],
            &["skipped", "error", "failure", "system-out", "system-err"],
        ),
        ("failure", &["type", "message"], &[]),
        ("error", &["type", "message"], &[]),
        ("skipped", &["type", "message"], &[]),
        ("system-out", &[], &[]),
    ];

    type Attributes = BTreeMap<String, String>;

    /// Every element with its parent and attributes.
    fn elements(xml: &str) -> Vec<(String, String, Attributes)> {
        let mut reader = Reader::from_str(xml);
        let (mut open, mut found) = (vec![String::new()], Vec::new());
        loop {
            let event = reader.read_event().unwrap();
            let (start, is_empty) = match event {
                Event::Start(start) => (start, false),
                Event::Empty(start) => (start, true),
                Event::End(_) => {
                    open.pop();
                    continue;
                }
                Event::Eof => return found,
                _ => continue,
            };
            let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
            let attributes = start.attributes().map(|attribute| {
                let attribute = attribute.unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                (text(attribute.key.as_ref()), text(&attribute.value))
            });
            found.push((open.last().unwrap().clone(), name.clone(), attributes.collect()));
            if !is_empty {
                open.push(name);
            }
        }
    }

    #[test]
    fn the_file_keeps_to_what_jenkins_and_gitlab_read() {
        for report in [sample::all_passing(), sample::eventful()] {
            let xml = to_junit(&report).unwrap();
            for (parent, name, attributes) in elements(&xml) {
                let (_, allowed, _) = ALLOWED.iter().find(|(known, _, _)| *known == name).unwrap();
                for attribute in attributes.keys() {
                    assert!(allowed.contains(&attribute.as_str()), "{name} has {attribute}");
                }
                if !parent.is_empty() {
                    let (_, _, children) = ALLOWED.iter().find(|(known, _, _)| *known == parent).unwrap();
                    assert!(children.contains(&name.as_str()), "{parent} holds {name}");
                }
                if let Some(time) = attributes.get("time") {
                    let (whole, rest) = time.split_once('.').unwrap();
                    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
                    assert!(digits(whole) && digits(rest) && rest.len() <= 3, "{time}");
                }
            }
        }
    }

    #[test]
    fn the_counts_are_those_of_the_cases() {
        let xml = to_junit(&sample::eventful()).unwrap();
        let elements = elements(&xml);
        let n = |wanted: &str| elements.iter().filter(|(_, name, _)| name == wanted).count();
        let sum = |attribute: &str| -> usize {
            let suites = elements.iter().filter(|(_, name, _)| name == "testsuite");
            suites.map(|(_, _, attributes)| attributes[attribute].parse::<usize>().unwrap()).sum()
        };
        assert_eq!((n("failure"), n("skipped"), n("error")), (2, 2, 0));
        assert_eq!((sum("failures"), sum("skipped"), sum("errors")), (2, 2, 0));
        assert_eq!(sum("tests"), n("testcase"));
        let (_, _, root) = &elements[0];
        assert_eq!(root["failures"], "2");
    }

    #[test]
    fn a_run_that_contradicts_itself_is_an_error_for_whoever_reads_the_file() {
        let mut report = sample::all_passing();
        report.problems.push("points <do> not add up".into());
        let xml = to_junit(&report).unwrap();
        assert!(xml.contains("errors=\"1\"") && xml.contains("points &lt;do"), "{xml}");
    }

    #[test]
    fn a_duration_that_is_none_does_not_end_the_run() {
        for time in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
            assert_eq!(seconds(time), Duration::ZERO);
        }
    }
    #[test]
    fn what_could_not_be_judged_is_an_error_and_what_was_known_before_is_skipped() {
        let mut report = sample::all_passing();
        let mut known = sample::playbook("known", sample::out_of_time());
        known.known_before = true;
        report.playbooks = vec![sample::playbook("broken", sample::out_of_time()), known];
        let xml = to_junit(&report).unwrap();
        let elements = elements(&xml);
        let suites = elements.iter().filter(|(_, name, _)| name == "testsuite");
        let suite = suites.map(|(_, _, of)| of).find(|of| of["name"] == "playbooks").unwrap();
        assert_eq!((suite["errors"].as_str(), suite["failures"].as_str()), ("1", "0"));
        let messages = |wanted: &str| -> Vec<String> {
            let found = elements.iter().filter(|(_, name, _)| name == wanted);
            found.map(|(_, _, attributes)| attributes["message"].clone()).collect()
        };
        let why = "inconclusive: it ran out of time; run it alone";
        assert_eq!((messages("error"), messages("skipped")), (vec![why.to_owned()], vec![why.to_owned()]));
        assert!(xml.contains("cargo probador run edge-cases/broken"), "{xml}");
    }
}

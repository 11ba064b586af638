//! What a person sees in the terminal: a line as each case ends, then the score, failures last with how to run them again.

use std::fmt::Write as _;

use super::model::{NOT_SELECTED, said};
use super::{Report, RunVerdict};
use crate::case::{Case, Outcome, Subject, Verdict};
use crate::checklist::{CHECKLIST_POINTS, Section, Standing};
use crate::printer::{Printer, Tone};
use crate::prove::ProofStanding;

/// One line for a case that has ended; nothing for one that was known to be undecidable, or a golden that was met.
pub fn case_line(case: &Case, outcome: &Outcome, printer: &Printer) -> Option<String> {
    let is_golden = matches!(outcome.subject, Subject::Golden { .. });
    if outcome.subject == Subject::Canary
        || (is_golden && !outcome.is_red())
        || (outcome.known_before && !matches!(outcome.verdict, Verdict::Fail { .. }))
    {
        return None;
    }
    let (tone, word) = tone(outcome);
    let word = printer.paint_talk(tone, &format!("{word:>9}"));
    let measured =
        outcome.evidence.measurements.first().map(|first| format!("  {first}")).unwrap_or_default();
    let seconds = format!("{:6.2} s", outcome.evidence.seconds);
    Some(format!("{word}  {seconds}  {}{}", case.title, printer.paint_talk(Tone::Faint, &measured)))
}

/// `pass checklist::...`: for machines.
pub fn terse_line(outcome: &Outcome) -> String {
    format!("{} {}", outcome.verdict.word(), outcome.case)
}

fn tone(outcome: &Outcome) -> (Tone, &'static str) {
    match outcome.verdict {
        Verdict::Pass => (Tone::Good, "pass"),
        Verdict::Fail { .. } => (Tone::Bad, "FAIL"),
        // What was known before gets no line.
        Verdict::Undecided(_) => (Tone::Bad, "undecided"),
    }
}

/// The summary: what waits for what, points by section, verdict; failures come last.
pub fn summary(report: &Report, printer: &Printer) -> String {
    let mut lines = Vec::new();
    let waiting = report.waiting();
    if !waiting.is_empty() {
        lines.push(printer.paint(Tone::Strong, "undecided, and what it waits for"));
        for group in &waiting {
            if group.what == NOT_SELECTED {
                lines.push(format!("  {:>3} points  were not selected for this run", group.points));
                continue;
            }
            let ids: Vec<_> = group.claims.iter().map(ToString::to_string).collect();
            lines.push(format!("  {:>3} points  {}", group.points, group.what));
            let remedy = if group.remedy.is_empty() { String::new() } else { format!("; {}", group.remedy) };
            lines.push(printer.paint(Tone::Faint, &format!("              {}{remedy}", ids.join(" "))));
        }
        lines.push(String::new());
    }
    lines.push(
        printer.paint(Tone::Strong, "section                              passed  failed  undecided   of"),
    );
    for section in Section::ALL {
        let score = report.score.sections.get(&section.letter()).copied().unwrap_or_default();
        lines.push(row(&format!("{section} {}", section.title()), score, printer));
    }
    lines.push(row("all", report.score.all, printer));
    if !report.playbooks.is_empty() {
        let passed = report.playbooks.iter().filter(|outcome| outcome.verdict == Verdict::Pass).count();
        lines.push(format!("playbooks: {passed} of {} pass", report.playbooks.len()));
    }
    if !report.goldens.is_empty() {
        let passed = report.goldens.iter().filter(|outcome| outcome.verdict == Verdict::Pass).count();
        lines.push(format!("golden tensors: {passed} of {} within tolerance", report.goldens.len()));
    }
    lines.push(proofs(report));
    lines.push(gate(report));
    lines.push(String::new());
    for outcome in report.failures() {
        lines.push(printer.paint(Tone::Bad, &format!("failed: {}", outcome.case)));
        lines.extend(said(&outcome.verdict).lines().map(|line| format!("  {line}")));
        lines.push(format!("  again: {}", outcome.evidence.rerun));
    }
    for problem in &report.problems {
        lines.push(printer.paint(Tone::Bad, &format!("the run contradicts itself: {problem}")));
    }
    lines.push(verdict(report, printer));
    lines.join("\n")
}

/// Whether a release may go out, and what speaks against it.
fn gate(report: &Report) -> String {
    if report.gate.is_open() {
        return "gate: open".to_owned();
    }
    let reasons: Vec<String> = report.gate.shut_by.iter().map(crate::gate::Obstacle::sentence).collect();
    format!("gate: shut; {}", reasons.join("; "))
}

/// How many of the claims that passed are proven, and which are not.
fn proofs(report: &Report) -> String {
    let passed = report.claims.iter().filter(|row| row.standing() == Standing::Passed).count();
    let open: Vec<_> = report.unproven().collect();
    let mut line = format!("proofs: {} of {passed} claims that passed were seen red", passed - open.len());
    for (standing, word) in
        [(Some(ProofStanding::Stale), "stale"), (Some(ProofStanding::Unproven), "unproven")]
    {
        let ids: Vec<_> =
            open.iter().filter(|row| row.proof == standing).map(|row| row.id.to_string()).collect();
        if !ids.is_empty() {
            // Writing to a string cannot fail.
            let _ = write!(line, "; {word}: {}", ids.join(" "));
        }
    }
    line
}

fn row(name: &str, score: crate::checklist::SectionScore, printer: &Printer) -> String {
    let cell = |value: u32, width: usize, tone: Tone| {
        let text = format!("{value:>width$}");
        if value == 0 { printer.paint(Tone::Faint, &text) } else { printer.paint(tone, &text) }
    };
    format!(
        "{name:<36} {}  {}  {}  {:>3}",
        cell(score.passed, 6, Tone::Good),
        cell(score.failed, 6, Tone::Bad),
        cell(score.undecided, 9, Tone::Unsure),
        score.total()
    )
}

fn verdict(report: &Report, printer: &Printer) -> String {
    let (tone, word) = match report.verdict {
        RunVerdict::Pass => (Tone::Good, "PASS"),
        RunVerdict::Incomplete => (Tone::Unsure, "NOTHING FAILED"),
        RunVerdict::Fail => (Tone::Bad, "FAIL"),
        RunVerdict::Unbelievable => (Tone::Bad, "THE RUN CANNOT BE BELIEVED"),
    };
    let all = report.score.all;
    format!(
        "{}: {} of {CHECKLIST_POINTS} points passed, {} failed, {} undecided; model {}, {:.1} s",
        printer.paint(tone, word),
        all.passed,
        all.failed,
        all.undecided,
        report.model.name,
        report.seconds
    )
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::case::{CaseId, Evidence, Measurement, Relation, Undecided};
    use crate::checklist::Group;
    use crate::printer::ColorChoice;

    fn printer() -> Printer {
        Printer::new(ColorChoice::Never, true)
    }

    fn golden() -> Subject {
        Subject::Golden { model: "tiny".into(), prompt: "hello".into(), tensor: "logits".into() }
    }

    /// The line of a case that ended so, if it gets one.
    fn line(subject: Subject, verdict: Verdict, known_before: bool) -> Option<String> {
        let case = Case {
            id: CaseId::canary(),
            subject: subject.clone(),
            title: "C4 Causal mask".into(),
            group: Group::File,
            source: None,
            undecided: None,
        };
        let measurements = vec![Measurement {
            what: "error".into(),
            value: 1.5,
            relation: Relation::AtMost,
            limit: 2.0,
            unit: "ms".into(),
            n: 1,
            interval: None,
        }];
        let evidence = Evidence { measurements, seconds: 0.25, ..Evidence::default() };
        let outcome = Outcome { case: CaseId::canary(), subject, verdict, known_before, evidence };
        case_line(&case, &outcome, &printer())
    }

    #[test]
    fn a_case_that_ended_gets_a_line_unless_it_was_known_before_or_is_one_of_many() {
        let claim = || Subject::Claim("C4".parse().unwrap());
        let fail = || Verdict::Fail { diagnosis: "x".into() };
        let check = |subject: Subject, verdict: Verdict, known_before: bool, word: Option<&str>| {
            let expected =
                word.map(|word| format!("{word:>9}    0.25 s  C4 Causal mask  error 1.5, at most 2 ms"));
            assert_eq!(
                line(subject.clone(), verdict.clone(), known_before),
                expected,
                "{subject:?} {verdict:?}"
            );
        };
        check(claim(), Verdict::Pass, false, Some("pass"));
        check(claim(), fail(), false, Some("FAIL"));
        check(claim(), fail(), true, Some("FAIL"));
        check(claim(), sample::out_of_time(), false, Some("undecided"));
        check(claim(), sample::out_of_time(), true, None);
        check(golden(), Verdict::Pass, false, None);
        check(golden(), fail(), false, Some("FAIL"));
        check(golden(), sample::out_of_time(), true, None);
        check(Subject::Canary, fail(), false, None);
    }

    #[test]
    fn machines_get_verdict_and_case() {
        let outcome = sample::playbook("unicode", sample::out_of_time());
        assert_eq!(terse_line(&outcome), "undecided playbook::edge_cases::unicode");
    }

    #[test]
    fn the_summary_says_what_waits_what_failed_and_how_to_see_it_again() {
        let mut report = sample::eventful();
        let row = report.claims.iter_mut().find(|row| row.id.to_string() == "J15").unwrap();
        let outcome = row.outcome.as_mut().unwrap();
        outcome.verdict = Verdict::Undecided(Undecided::unverified("no second machine", ""));
        outcome.known_before = true;
        let points = row.points;
        let text = summary(&report, &printer());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "undecided, and what it waits for");
        let after = |line: &str| lines[lines.iter().position(|found| *found == line).unwrap() + 1];
        let points_of = |id: &str| report.claims.iter().find(|row| row.id.to_string() == id).unwrap().points;
        assert_eq!(
            after(&format!("  {:>3} points  no energy counters", points_of("J16"))),
            "              J16; run it elsewhere"
        );
        assert_eq!(after(&format!("  {points:>3} points  no second machine")), "              J15");
        let not_selected = format!("  {:>3} points  were not selected for this run", points_of("J17"));
        assert!(lines.contains(&not_selected.as_str()), "{text}");
        assert_eq!(
            after("golden tensors: 4 of 5 within tolerance"),
            "proofs: 113 of 114 claims that passed were seen red; stale: A1"
        );
        assert!(text.contains("\ngate: shut; 2 cases failed; "), "{text}");
        let failed = lines.iter().position(|line| line.starts_with("failed: checklist::c_")).unwrap();
        assert_eq!(lines[failed + 1..failed + 3], ["  position 3 sees <position 4>", "  and more"]);
        assert!(
            lines[failed + 3].starts_with("  again: cargo probador full --exact checklist::c_"),
            "{text}"
        );
        assert!(lines.last().unwrap().starts_with("FAIL: 1"), "{text}");
        assert!(!text.contains("playbooks: "), "{text}");
    }

    #[test]
    fn the_summary_ends_with_the_verdict() {
        let mut report = sample::all_passing();
        let text = summary(&report, &printer());
        assert!(text.starts_with("section  ") && text.contains("\ngate: open\n"), "{text}");
        assert!(
            text.contains("\nall                                     180       0          0  180\n"),
            "{text}"
        );
        let points = "180 of 180 points passed, 0 failed, 0 undecided; model tiny, 12.5 s";
        assert!(text.ends_with(&format!("\nPASS: {points}")), "{text}");
        assert!(!text.contains("golden tensors"), "{text}");

        report.playbooks =
            vec![sample::playbook("a", Verdict::Pass), sample::playbook("b", sample::out_of_time())];
        report.verdict = RunVerdict::Incomplete;
        let text = summary(&report, &printer());
        assert!(text.contains("\nplaybooks: 1 of 2 pass\n"), "{text}");
        let failed = "failed: playbook::edge_cases::b\n  inconclusive: it ran out of time; run it alone\n  again: cargo probador run edge-cases/b\n";
        assert!(text.ends_with(&format!("{failed}NOTHING FAILED: {points}")), "{text}");

        report.problems.push("points do not add up".into());
        report.verdict = RunVerdict::Unbelievable;
        let text = summary(&report, &printer());
        let said = "the run contradicts itself: points do not add up\nTHE RUN CANNOT BE BELIEVED: ";
        assert!(text.ends_with(&format!("{said}{points}")), "{text}");
    }
}

//! What a person sees in the terminal: a line as each case ends, then the score, failures last with how to run them again.

use std::fmt::Write as _;

use super::model::NOT_SELECTED;
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
        Verdict::Undecided(_) if outcome.known_before => (Tone::Faint, "undecided"),
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
        let said = match &outcome.verdict {
            Verdict::Pass => String::new(),
            Verdict::Fail { diagnosis } => diagnosis.clone(),
            Verdict::Undecided(undecided) => undecided.to_string(),
        };
        lines.extend(said.lines().map(|line| format!("  {line}")));
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

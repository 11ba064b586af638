//! The report as the few lines of Markdown that GitHub shows on the page of a run.

use std::fmt::Write as _;

use super::model::said;
use super::{Report, RunVerdict, TableStanding};
use crate::case::Verdict;
use crate::checklist::{CHECKLIST_POINTS, Section};

/// Failures that are shown one by one.
const SHOWN: usize = 20;

/// Renders the report.
pub fn step_summary(report: &Report) -> String {
    let word = match report.verdict {
        RunVerdict::Pass => "✅ Pass",
        RunVerdict::Incomplete => "☑️ Nothing failed",
        RunVerdict::Fail => "❌ Fail",
        RunVerdict::Unbelievable => "❌ The run cannot be believed",
    };
    let all = report.score.all;
    let mut text = format!(
        "## Probador: {word}, {} of {CHECKLIST_POINTS} points on `{}`\n\n{} points failed, {} are undecided.\n",
        all.passed, report.model.name, all.failed, all.undecided
    );
    // Writing to a string cannot fail.
    if report.gate.is_open() {
        text.push_str("The release gate is open.\n");
    } else {
        text.push_str("\nThe release gate is shut:\n\n");
        for obstacle in &report.gate.shut_by {
            let _ = writeln!(text, "- {}", obstacle.sentence());
        }
    }
    text.push_str("\n| Section | Passed | Failed | Undecided | Of |\n|---|---:|---:|---:|---:|\n");
    for section in Section::ALL {
        let score = report.score.sections.get(&section.letter()).copied().unwrap_or_default();
        let _ = writeln!(
            text,
            "| {section} {} | {} | {} | {} | {} |",
            section.title(),
            score.passed,
            score.failed,
            score.undecided,
            score.total()
        );
    }
    let failures: Vec<_> = report.failures().collect();
    if !failures.is_empty() {
        text.push_str("\n### Failures\n\n");
    }
    for outcome in failures.iter().take(SHOWN) {
        let said = match &outcome.verdict {
            Verdict::Fail { diagnosis } => diagnosis.lines().next().unwrap_or_default().to_owned(),
            verdict => said(verdict),
        };
        let _ = writeln!(text, "- {}: {}", code(outcome.case.as_str()), code(&said));
        let _ = writeln!(text, "  {}", code(&outcome.evidence.rerun));
    }
    if failures.len() > SHOWN {
        let _ = writeln!(text, "\nand {} more", failures.len() - SHOWN);
    }
    let fooled: Vec<_> = report.impostors.rows.iter().filter(|row| !row.fooled.is_empty()).collect();
    let impostors = match (report.impostors.standing, fooled.len()) {
        (TableStanding::NotRun, _) => "The impostors were not run.".to_owned(),
        (TableStanding::Stale, _) => "The impostors were run on an earlier state.".to_owned(),
        (TableStanding::Fresh, 0) => format!("All {} impostors were caught.", report.impostors.rows.len()),
        (TableStanding::Fresh, n) => format!("{n} impostors pass a claim about behaviour."),
    };
    let _ = writeln!(text, "\n{impostors}");
    text
}

/// A code span that its text cannot leave, whatever it holds.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest + 1);
    let line = text.replace(['\n', '\r'], " ");
    format!("{fence} {line} {fence}")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_summary_opens_with_the_verdict_and_names_failures_gate_and_impostors() {
        let text = step_summary(&sample::eventful());
        assert!(text.starts_with("## Probador: ❌ Fail, "), "{text}");
        assert!(text.contains("- 2 cases failed\n"), "{text}");
        assert!(text.contains("position 3 sees <position 4>"), "{text}");
        assert!(text.contains("The impostors were run on an earlier state."), "{text}");
        assert!(step_summary(&sample::all_passing()).contains("The release gate is open."));
    }

    #[test]
    fn a_code_span_holds_whatever_it_is_given() {
        assert_eq!(code("a"), "` a `");
        assert_eq!(code("a ``b`` [x](y)\nz"), "``` a ``b`` [x](y) z ```");
    }
    #[test]
    fn failures_are_shown_up_to_a_number_and_the_rest_is_counted() {
        let mut report = sample::all_passing();
        let fail = || Verdict::Fail { diagnosis: "exits with 1\nand more".into() };
        report.playbooks = (0..SHOWN).map(|n| sample::playbook(&format!("p{n}"), fail())).collect();
        let text = step_summary(&report);
        assert_eq!(text.matches(": ` exits with 1 `\n  ` cargo probador run edge-cases/p").count(), SHOWN);
        assert!(!text.contains(" more\n"), "{text}");
        report.playbooks.insert(0, sample::playbook("first", sample::out_of_time()));
        let text = step_summary(&report);
        let first = "- ` playbook::edge_cases::first `: ` inconclusive: it ran out of time; run it alone `\n";
        assert!(text.contains(first), "{text}");
        assert!(!text.contains("edge-cases/p19") && text.contains("\nand 1 more\n"), "{text}");
    }

    #[test]
    fn a_run_that_cannot_be_believed_says_so_first() {
        let check = |verdict: RunVerdict, word: &str| {
            let text = step_summary(&Report { verdict, ..sample::all_passing() });
            assert!(
                text.starts_with(&format!("## Probador: {word}, 180 of 180 points on `tiny`\n")),
                "{text}"
            );
        };
        check(RunVerdict::Unbelievable, "❌ The run cannot be believed");
        check(RunVerdict::Incomplete, "☑️ Nothing failed");
        check(RunVerdict::Pass, "✅ Pass");
    }

    #[test]
    fn impostors_are_caught_get_through_or_were_not_tried() {
        let mut report = sample::eventful();
        let mut check = |standing: TableStanding, n_caught: usize, expected: &str| {
            report.impostors.standing = standing;
            let row = report.impostors.rows[0].clone();
            report.impostors.rows.truncate(1);
            let caught = super::super::ImpostorRow { fooled: Vec::new(), ..row };
            report.impostors.rows.extend(vec![caught; n_caught]);
            let text = step_summary(&report);
            assert!(text.ends_with(&format!("\n\n{expected}\n")), "{text}");
        };
        check(TableStanding::NotRun, 0, "The impostors were not run.");
        check(TableStanding::Stale, 0, "The impostors were run on an earlier state.");
        check(TableStanding::Fresh, 2, "1 impostors pass a claim about behaviour.");
        report.impostors.rows.remove(0);
        assert!(step_summary(&report).ends_with("\n\nAll 2 impostors were caught.\n"));
    }
}

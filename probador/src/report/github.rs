//! Annotations that GitHub shows at the line of the claim that failed.

use super::Report;
use crate::case::{Outcome, Verdict};

/// One workflow command for each red outcome.
pub fn annotations(report: &Report) -> Vec<String> {
    let claims = report.claims.iter().filter_map(|row| {
        let outcome = row.outcome.as_ref().filter(|outcome| outcome.is_red())?;
        let title = format!("{} {}", row.id, row.title);
        Some(format!(
            "::error file={},line={},title={}::{}",
            property(&row.file),
            row.line,
            property(&title),
            message(&said(outcome))
        ))
    });
    let goldens =
        report.playbooks.iter().chain(&report.goldens).filter(|outcome| outcome.is_red()).map(|outcome| {
            format!("::error title={}::{}", property(outcome.case.as_str()), message(&said(outcome)))
        });
    claims.chain(goldens).collect()
}

fn said(outcome: &Outcome) -> String {
    match &outcome.verdict {
        Verdict::Pass => String::new(),
        Verdict::Fail { diagnosis } => format!("{diagnosis}\n{}", outcome.evidence.rerun),
        Verdict::Undecided(undecided) => format!("{undecided}\n{}", outcome.evidence.rerun),
    }
}

/// Escapes the message of a workflow command.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Escapes a property of a workflow command.
fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_inside_texts_are_escaped() {
        assert_eq!(message("50 %\nof: a, b"), "50 %25%0Aof: a, b");
        assert_eq!(property("golden::a,b"), "golden%3A%3Aa%2Cb");
    }
}

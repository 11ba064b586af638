//! Annotations that GitHub shows at the line of the claim that failed.

use super::Report;
use super::model::said;
use crate::case::Outcome;

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
            message(&told(outcome))
        ))
    });
    let goldens =
        report.playbooks.iter().chain(&report.goldens).filter(|outcome| outcome.is_red()).map(|outcome| {
            format!("::error title={}::{}", property(outcome.case.as_str()), message(&told(outcome)))
        });
    claims.chain(goldens).collect()
}

/// What a red outcome says, and how to see it again.
fn told(outcome: &Outcome) -> String {
    format!("{}\n{}", said(&outcome.verdict), outcome.evidence.rerun)
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
    use super::super::sample;
    use super::*;

    #[test]
    fn separators_inside_texts_are_escaped() {
        assert_eq!(message("50 %\nof: a, b"), "50 %25%0Aof: a, b");
        assert_eq!(property("golden::a,b"), "golden%3A%3Aa%2Cb");
    }
    #[test]
    fn each_red_outcome_is_one_command_at_its_claim() {
        let report = sample::eventful();
        let row = report.claims.iter().find(|row| row.id.to_string() == "C4").unwrap();
        let rerun = format!("cargo probador full --exact {}", row.case);
        let claim = format!(
            "::error file={},line={},title=C4 {}::position 3 sees <position 4>%0Aand more%0A{rerun}",
            row.file, row.line, row.title
        );
        let golden = "::error title=golden%3A%3Atiny%3A%3Aa_prompt%3A%3Amodel.layers.1::model.layers.1: out of tolerance%0A";
        assert_eq!(annotations(&report), [claim, golden.to_owned()]);

        let mut report = sample::all_passing();
        assert_eq!(annotations(&report), [""; 0]);
        report.playbooks = vec![sample::playbook("a", sample::out_of_time())];
        let title = "playbook%3A%3Aedge_cases%3A%3Aa";
        let said = "inconclusive: it ran out of time; run it alone%0Acargo probador run edge-cases/a";
        assert_eq!(annotations(&report), [format!("::error title={title}::{said}")]);
    }
}

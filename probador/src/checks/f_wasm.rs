//! Section F: WebAssembly and its runners, judged from outside.

use std::path::Path;

use super::{CheckError, CheckFn, Context};
use crate::case::Judgement;
use crate::checklist::Claim;
use crate::process::{Ended, Finished};

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[("F9", playbooks_execute)];

/// A playbook that is to be run, with the exit code that it must end with.
struct Scenario {
    what: &'static str,
    text: &'static str,
    code: i32,
    /// What it must print, on whichever stream.
    says: &'static str,
}

/// `MARK` is a file that the playbook leaves: that it was run, not only read.
const SCENARIOS: [Scenario; 3] = [
    Scenario {
        what: "a good playbook",
        text: "name: Good\nsteps:\n  - {action: run, command: 'apr inspect {model} --json', expect_json: [{at: '', not_empty: true}]}\n  - {action: run, command: 'touch \"MARK\"', expect_exit: 0}\n",
        code: 0,
        says: "1 passed, 0 failed",
    },
    Scenario {
        what: "a failing playbook",
        text: "name: Failing\nsteps:\n  - {action: run, command: 'touch \"MARK\"', expect_exit: 0}\n  - {action: run, command: 'apr inspect {model} --json', output_contains: words that no model has}\n",
        code: 100,
        says: "does not contain \"words that no model has\"",
    },
    Scenario {
        what: "a broken playbook",
        text: "name: Broken\nsteps:\n  - {action: run, command: apr, expect_exit: 2, surprise: 1}\n",
        code: 2,
        says: ":3:49: unknown key `surprise`",
    },
];

/// F9: `apr probador run FILE` runs what is good, and tells what fails from what cannot be read.
fn playbooks_execute(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let folder = tempfile::tempdir()?;
    let mut n_kept = 0;
    for (index, scenario) in SCENARIOS.iter().enumerate() {
        let mark = folder.path().join(format!("mark-{index}"));
        let file = folder.path().join(format!("playbook-{index}.yaml"));
        std::fs::write(&file, scenario.text.replace("MARK", &mark.display().to_string()))?;
        let finished = context.apr(|apr| {
            let words = ["probador", "run", "--no-build", "--model"];
            apr.args(words).arg(&context.model().path).arg(&file).folder(context.workspace().root())
        })?;
        n_kept += usize::from(judge(scenario, &finished, &mark, &mut judgement));
    }
    judgement.exactly("playbooks told apart", n_kept, SCENARIOS.len(), "", SCENARIOS.len());
    Ok(judgement)
}

fn judge(scenario: &Scenario, finished: &Finished, mark: &Path, judgement: &mut Judgement) -> bool {
    let Scenario { what, code, says, .. } = scenario;
    let said = format!("{}{}", finished.stdout_text(), String::from_utf8_lossy(&finished.stderr));
    let was_run = mark.exists();
    let must_run = *code != 2;
    let ended = match finished.ended {
        Ended::Exited(found) => format!("exits with {found}"),
        _ => finished.describe(),
    };
    judgement.require(finished.ended == Ended::Exited(*code), || format!("{what} {ended}, expected {code}"))
        && judgement
            .require(said.contains(says), || format!("{what} is not reported by {says:?}: {}", said.trim()))
        && judgement.require(was_run == must_run, || {
            format!("{what} {}", if was_run { "is run all the same" } else { "is not run" })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a run of this scenario that ended so, printed this, and was or was not run.
    fn judged(at: usize, ended: Ended, printed: &str, was_run: bool) -> (bool, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        if was_run {
            std::fs::write(&mark, "").unwrap();
        }
        let finished = Finished {
            command: "apr probador run x".to_owned(),
            ended,
            stdout: printed.into(),
            stderr: Vec::new(),
            seconds: 0.0,
            peak_memory: None,
            left_behind: Vec::new(),
        };
        let mut judgement = Judgement::new();
        let is_kept = judge(&SCENARIOS[at], &finished, &mark, &mut judgement);
        (is_kept, judgement.failures)
    }

    #[test]
    fn a_playbook_that_is_told_right_and_run_as_it_should_be_is_kept() {
        assert_eq!(judged(0, Ended::Exited(0), "PASS: 1 passed, 0 failed", true), (true, vec![]));
        assert_eq!(judged(2, Ended::Exited(2), "x.yaml:3:49: unknown key `surprise`", false), (true, vec![]));
    }

    #[test]
    fn an_ending_words_and_traces_other_than_expected_are_each_found() {
        #[track_caller]
        fn check(at: usize, ended: Ended, printed: &str, was_run: bool, expected: &str) {
            assert_eq!(judged(at, ended, printed, was_run), (false, vec![expected.to_owned()]));
        }
        check(0, Ended::Exited(1), "", true, "a good playbook exits with 1, expected 0");
        check(
            0,
            Ended::Signalled,
            "oh",
            true,
            "a good playbook `apr probador run x` was killed by a signal: oh, expected 0",
        );
        check(
            0,
            Ended::Exited(0),
            "all is well\n",
            true,
            "a good playbook is not reported by \"1 passed, 0 failed\": all is well",
        );
        check(0, Ended::Exited(0), "1 passed, 0 failed", false, "a good playbook is not run");
        let refused = ":3:49: unknown key `surprise`";
        check(2, Ended::Exited(2), refused, true, "a broken playbook is run all the same");
    }
}

//! Section G: what the sources and the tools say.

use crate::case::{Judgement, Undecided};
use crate::checklist::Claim;
use crate::checks::{CheckError, CheckFn, Context};
use crate::lint;
use crate::stored::{CLIPPY, ToolResult, tree_hash};

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[("G3", clippy_has_nothing_to_say)];

/// G3: judges the stored result of clippy, if it is of this very tree.
fn clippy_has_nothing_to_say(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let stored = ToolResult::read(&context.stored_result(CLIPPY))?;
    let tree = tree_hash(context.source_root())?;
    if stored.tree != tree {
        return Err(CheckError::Undecided(Undecided::unverified(
            "the stored result of clippy is of another state of the tree",
            "cargo probador lint --clippy",
        )));
    }
    let mut judgement = Judgement::new();
    judgement.input("tree", tree);
    judgement.note(format!("{} ({})", stored.command, stored.tool));
    judgement.exactly("clippy warnings", stored.findings.len(), 0, "", stored.n_packages);
    for finding in stored.findings.iter().take(5) {
        judgement.fail(format!("clippy warning: {finding}"));
    }
    Ok(judgement)
}

/// G2, G4 to G8, J10, J23: no finding of the lint `rule` in the workspace.
pub fn lint(context: &Context, rule: &str) -> Result<Judgement, CheckError> {
    let linted = lint::run(context.source_root(), &[lint::find(rule)?])?;
    let mut judgement = Judgement::new();
    judgement.note(format!("{} files of {} crates", linted.n_files, linted.n_crates));
    for suppressed in &linted.suppressed {
        let finding = &suppressed.finding;
        judgement.note(format!("excused: {}:{}: {}", finding.file, finding.line, suppressed.reason));
    }
    judgement.exactly("findings", linted.findings.len(), 0, "", linted.n_files);
    for finding in &linted.findings {
        judgement.fail(finding.to_string());
    }
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Verdict;
    use crate::faults;
    use crate::models::choose;
    use crate::workspace::Workspace;

    /// The verdict of G3 under the fault of this name, or under one that does nothing.
    fn verdict(fault: Option<&str>) -> Verdict {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        let checklist = workspace.checklist().unwrap();
        let claim = checklist.claim("G3".parse().unwrap()).unwrap();
        let subject = match fault {
            Some(name) => faults::plant(name, &model.path).unwrap().unwrap(),
            None => faults::plant_nothing(Some(claim), &model.path).unwrap(),
        };
        let context = Context::new(workspace, model, None, []).with_fault(subject);
        clippy_has_nothing_to_say(&context, claim).unwrap_or_else(|error| panic!("{error:?}")).verdict()
    }

    #[test]
    fn a_stored_warning_is_red_and_its_clean_twin_green() {
        assert_eq!(verdict(None), Verdict::Pass);
        let Verdict::Fail { diagnosis } = verdict(Some("clippy-warning-stored")) else { panic!("accepted") };
        assert!(diagnosis.contains("clippy warning: warning: this could be simpler"), "{diagnosis}");
    }

    #[test]
    fn a_result_of_another_state_of_the_tree_decides_nothing() {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        let claim = workspace.checklist().unwrap().claim("G3".parse().unwrap()).unwrap().clone();
        let subject = faults::plant_nothing(Some(&claim), &model.path).unwrap();
        let path = subject.planted.stored_result().unwrap().to_owned();
        let stored = ToolResult::read(&path).unwrap();
        ToolResult { tree: "of yesterday".to_owned(), ..stored }.write(&path).unwrap();
        let context = Context::new(workspace, model, None, []).with_fault(subject);
        let judged = clippy_has_nothing_to_say(&context, &claim);
        let Err(CheckError::Undecided(undecided)) = judged else { panic!("{judged:?}") };
        assert_eq!(undecided.what, "the stored result of clippy is of another state of the tree");
        assert_eq!(undecided.remedy, "cargo probador lint --clippy");
    }
}

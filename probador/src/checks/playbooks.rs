//! Claims that are judged by playbooks: there must be enough of them, and all must pass.

use super::{CheckError, Context};
use crate::availability::available;
use crate::case::Judgement;
use crate::checklist::Claim;
use crate::playbook::Playbooks;

/// Judges `claim` by its playbooks. Each is run once, whoever else asks for it.
pub fn judge(context: &Context, claim: &Claim, playbooks: Playbooks) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let judges: Vec<_> =
        context.playbooks().iter().filter(|playbook| claim.is_judged_by(&playbook.id)).collect();
    let n = judges.len();
    judgement.at_least("playbooks", n as f64, playbooks.required() as f64, "", n);
    let mut n_passed = 0;
    for playbook in &judges {
        if let Some(undecided) =
            playbook.outline().undecided(&|need| available(need, context.workspace(), context.model()))
        {
            return Err(CheckError::Undecided(undecided));
        }
        let report = context.playbook(&playbook.id)?;
        n_passed += usize::from(report.passed);
        judgement.failures.extend(report.failures.iter().map(|what| format!("{}: {what}", playbook.id)));
    }
    judgement.exactly("playbooks that pass", n_passed, n, "", n);
    Ok(judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::{Check, SourceText};
    use crate::models::choose;
    use crate::playbook::read;
    use crate::workspace::Workspace;

    /// What is judged of a checkout with this one playbook in the category of edge cases.
    fn judged(text: &str) -> Result<Judgement, CheckError> {
        let workspace = Workspace::find(None).unwrap();
        let model = choose(None, &workspace).unwrap();
        let checklist = workspace.checklist().unwrap();
        let of_edge_cases = |claim: &&Claim| matches!(claim.check, Check::Playbook(Playbooks::Of(category)) if category.word() == "edge-cases");
        let claim = checklist.claims().iter().find(of_edge_cases).unwrap();
        let Check::Playbook(wanted) = claim.check else { unreachable!() };
        let file = "playbooks/edge-cases/only.yaml".to_owned();
        let playbook = read(&SourceText { file, text: text.to_owned() }).unwrap();
        judge(&Context::new(workspace, model, None, [playbook]), claim, wanted)
    }

    #[test]
    fn a_playbook_that_cannot_be_decided_here_leaves_its_claim_undecided() {
        let text =
            "name: Only\nneeds: [release-model]\nsteps:\n  - {action: run, command: apr, expect_exit: 2}\n";
        let judged = judged(text);
        let Err(CheckError::Undecided(undecided)) = judged else { panic!("{judged:?}") };
        assert_eq!(undecided.what, "the claim is about the released model, `tiny` only stands in for it");
        assert_eq!(undecided.remedy, "make model && cargo probador full --model release");
    }
}

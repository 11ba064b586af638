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

//! Checklist and golden index to cases: a pure function, so that listing opens no weights and no tensors.

use crate::case::{Case, CaseId, Subject, Undecided};
use crate::checklist::{Check, Checklist, Group, Need};

/// A golden tensor, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenTensor {
    /// Name of the prompt.
    pub prompt: String,
    /// Checkpoint key.
    pub tensor: String,
}

/// What is to be turned into cases.
pub struct Inputs<'i> {
    /// The checklist.
    pub checklist: &'i Checklist,
    /// The name of the model under test.
    pub model: &'i str,
    /// The golden tensors of that model.
    pub goldens: &'i [GoldenTensor],
    /// Whether what a check needs is there, and if not, what is missing and what would help.
    pub available: &'i dyn Fn(Need) -> Result<(), Undecided>,
}

/// Every case: claims in order, then golden tensors in the manifest's order, then the canary.
pub fn generate(inputs: &Inputs<'_>) -> Vec<Case> {
    let claims = inputs.checklist.claims().iter().map(|claim| {
        let undecided = match (&claim.check, &claim.waits_for) {
            (Check::Pending, waits_for) => Some(Undecided::unverified(
                format!("waits for {}", waits_for.as_deref().unwrap_or("a check")),
                String::new(),
            )),
            _ => claim.needs.iter().find_map(|&need| (inputs.available)(need).err()),
        };
        Case {
            id: CaseId::claim(claim),
            subject: Subject::Claim(claim.id),
            title: format!("{} {}", claim.id, claim.title),
            group: claim.group,
            source: Some((claim.file.clone(), claim.line)),
            undecided,
        }
    });
    let goldens = inputs.goldens.iter().map(|golden| Case {
        id: CaseId::golden(inputs.model, &golden.prompt, &golden.tensor),
        subject: Subject::Golden {
            model: inputs.model.to_owned(),
            prompt: golden.prompt.clone(),
            tensor: golden.tensor.clone(),
        },
        title: format!("{} of `{}`", golden.tensor, golden.prompt),
        group: Group::Model,
        source: None,
        undecided: (inputs.available)(Need::Model).err(),
    });
    let canary = Case {
        id: CaseId::canary(),
        subject: Subject::Canary,
        title: "the case that is always red".to_owned(),
        group: Group::File,
        source: None,
        undecided: None,
    };
    claims.chain(goldens).chain([canary]).collect()
}

//! Checklist and golden index to cases: a pure function, so that listing opens no weights and no tensors.

use crate::case::{Case, CaseId, Subject, Undecided};
use crate::checklist::{Check, Checklist, Claim, Group, Need};
use crate::playbook::{self, Playbook, Playbooks};

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
    /// The playbooks.
    pub playbooks: &'i [Playbook],
    /// The name of the model under test.
    pub model: &'i str,
    /// The golden tensors of that model.
    pub goldens: &'i [GoldenTensor],
    /// Whether what a check needs is there, and if not, what is missing and what would help.
    pub available: &'i dyn Fn(Need) -> Result<(), Undecided>,
}

/// Every case: claims in order, then playbooks by name, then golden tensors in the manifest's order, then the canary.
pub fn generate(inputs: &Inputs<'_>) -> Vec<Case> {
    let claims = inputs.checklist.claims().iter().map(|claim| {
        let undecided = match (&claim.check, &claim.waits_for) {
            (Check::Pending, waits_for) => Some(Undecided::unverified(
                format!("waits for {}", waits_for.as_deref().unwrap_or("a check")),
                String::new(),
            )),
            _ => claim.needs.iter().find_map(|&need| (inputs.available)(need).err()).or_else(|| {
                judged_by(claim, inputs.playbooks).find_map(|playbook| obstacle(playbook, inputs.available))
            }),
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
    let playbooks = inputs.playbooks.iter().map(|playbook| Case {
        id: CaseId::playbook(&playbook.id),
        subject: Subject::Playbook(playbook.id.clone()),
        title: format!("{} {}", playbook.id, playbook.name),
        group: playbook.group(),
        source: Some((playbook.file.clone(), 1)),
        undecided: obstacle(playbook, inputs.available),
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
    claims.chain(playbooks).chain(goldens).chain([canary]).collect()
}

/// Why a playbook cannot be decided here.
pub fn obstacle(playbook: &Playbook, available: &dyn Fn(Need) -> Result<(), Undecided>) -> Option<Undecided> {
    playbook::obstacle(playbook)
        .or_else(|| playbook.needs().into_iter().find_map(|need| available(need).err()))
}

/// The playbooks that a claim is judged by: those of its category, or all that this stack can have.
pub fn judged_by<'p>(claim: &Claim, playbooks: &'p [Playbook]) -> impl Iterator<Item = &'p Playbook> {
    let wanted = match &claim.check {
        Check::Playbook(Playbooks::All) => Some(None),
        Check::Playbook(Playbooks::Of(category)) => Some(Some(*category)),
        _ => None,
    };
    playbooks.iter().filter(move |playbook| match wanted {
        None => false,
        Some(None) => true,
        Some(category) => playbook.category() == category,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::{Section, SourceText, load};
    use crate::playbook::read;

    fn checklist() -> Checklist {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../checklist");
        let read = |name: String| SourceText {
            text: std::fs::read_to_string(folder.join(&name)).unwrap(),
            file: name,
        };
        let sections = Section::ALL.map(|section| read(section.file_name()));
        load(&sections, &read("faults.yaml".to_owned())).unwrap()
    }

    fn cases(available: &dyn Fn(Need) -> Result<(), Undecided>) -> Vec<Case> {
        let goldens = [GoldenTensor { prompt: "hello".into(), tensor: "model.layers.0".into() }];
        let scenario = |name: &str, text: &str| {
            read(&SourceText { file: format!("playbooks/{name}.yaml"), text: text.to_owned() }).unwrap()
        };
        let step = "steps: [{action: run, command: apr, expect_exit: 2}]";
        let playbooks = [
            scenario("edge-cases/no-words", &format!("name: No words\n{step}")),
            scenario(
                "performance/module",
                "name: Module\nrunner: wasm\ncomponent: m.wasm\ncases: [{name: a, input: b, expect_not_empty: true}]",
            ),
        ];
        generate(&Inputs {
            checklist: &checklist(),
            playbooks: &playbooks,
            model: "tiny",
            goldens: &goldens,
            available,
        })
    }

    #[test]
    fn every_claim_every_golden_and_the_canary_are_cases_of_different_names() {
        let cases = cases(&|_| Ok(()));
        let mut names: Vec<_> = cases.iter().map(|case| case.id.as_str()).collect();
        assert_eq!(names.len(), 118 + 2 + 1 + 1);
        assert!(names.contains(&"playbook::edge_cases::no_words"), "{names:?}");
        assert!(names.contains(&"golden::tiny::hello::model.layers.0"), "{names:?}");
        assert_eq!(names.last(), Some(&"canary::always_red"));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 122);
    }

    #[test]
    fn a_playbook_is_undecided_for_what_it_needs_or_for_what_nothing_runs_yet() {
        let find =
            |cases: &[Case], name: &str| cases.iter().find(|case| case.id.as_str() == name).unwrap().clone();
        let all = cases(&|_| Ok(()));
        assert_eq!(find(&all, "playbook::edge_cases::no_words").undecided, None);
        assert_eq!(find(&all, "playbook::edge_cases::no_words").group, Group::Process);
        let module = find(&all, "playbook::performance::module");
        assert_eq!(
            (module.group, module.undecided.unwrap().what.as_str()),
            (Group::Perf, "waits for `subjects/wasm`")
        );
        let without_model = cases(&|need| match need {
            Need::Model => Err(Undecided::unverified("no model", "make model")),
            _ => Ok(()),
        });
        let undecided = find(&without_model, "playbook::edge_cases::no_words").undecided;
        assert_eq!(undecided, Some(Undecided::unverified("no model", "make model")));
    }

    #[test]
    fn a_pending_claim_is_undecided_whatever_is_there() {
        let cases = cases(&|_| Ok(()));
        let j1 = cases.iter().find(|case| case.title.starts_with("J1 ")).unwrap();
        assert!(j1.undecided.as_ref().unwrap().what.starts_with("waits for `apr profile`"));
        let c4 = cases.iter().find(|case| case.title.starts_with("C4 ")).unwrap();
        assert_eq!(c4.undecided, None);
    }

    #[test]
    fn a_claim_is_undecided_for_the_first_need_that_is_missing() {
        let missing = |need| match need {
            Need::ReleaseModel => Err(Undecided::unverified("a stand-in", "make model")),
            _ => Ok(()),
        };
        let cases = cases(&missing);
        let b1 = cases.iter().find(|case| case.title.starts_with("B1 ")).unwrap();
        assert_eq!(b1.undecided, Some(Undecided::unverified("a stand-in", "make model")));
        let b2 = cases.iter().find(|case| case.title.starts_with("B2 ")).unwrap();
        assert_eq!(b2.undecided, None);
    }
}

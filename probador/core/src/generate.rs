//! Checklist and golden index to cases: a pure function, so that listing opens no weights and no tensors.

use crate::case::{Case, CaseId, Subject, Undecided};
use crate::checklist::{Check, Checklist, Group, Need};
use crate::playbook_id::PlaybookId;

/// Says whether what a check needs is there, and if not, what is missing and what would help.
pub type Available<'a> = dyn Fn(Need) -> Result<(), Undecided> + 'a;

/// A golden tensor, as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoldenTensor {
    /// Name of the prompt.
    pub prompt: String,
    /// Checkpoint key.
    pub tensor: String,
}

/// What listing has to know of a playbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaybookOutline {
    /// What it is called.
    pub id: PlaybookId,
    /// What people call it.
    pub name: String,
    /// Its file.
    pub file: String,
    /// What it must not run beside.
    pub group: Group,
    /// What leaves it undecided when absent.
    pub needs: Vec<Need>,
    /// Why nothing here can run it, whatever is installed.
    pub obstacle: Option<Undecided>,
}

/// What is to be turned into cases.
pub struct Inputs<'i> {
    /// The checklist.
    pub checklist: &'i Checklist,
    /// The playbooks.
    pub playbooks: &'i [PlaybookOutline],
    /// The name of the model under test.
    pub model: &'i str,
    /// The golden tensors of that model.
    pub goldens: &'i [GoldenTensor],
    /// What is there.
    pub available: &'i Available<'i>,
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
                let mut judges = inputs.playbooks.iter().filter(|playbook| claim.is_judged_by(&playbook.id));
                judges.find_map(|playbook| playbook.undecided(inputs.available))
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
        group: playbook.group,
        source: Some((playbook.file.clone(), 1)),
        undecided: playbook.undecided(inputs.available),
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

impl PlaybookOutline {
    /// Why it cannot be decided here.
    pub fn undecided(&self, available: &Available<'_>) -> Option<Undecided> {
        self.obstacle.clone().or_else(|| self.needs.iter().find_map(|&need| available(need).err()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::{Section, SourceText, load};

    fn checklist() -> Checklist {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checklist");
        let read = |name: String| SourceText {
            text: std::fs::read_to_string(folder.join(&name)).unwrap(),
            file: name,
        };
        let sections = Section::ALL.map(|section| read(section.file_name()));
        load(&sections, &read("faults.yaml".to_owned())).unwrap()
    }

    fn cases(available: &Available<'_>) -> Vec<Case> {
        let goldens = [GoldenTensor { prompt: "hello".into(), tensor: "model.layers.0".into() }];
        let outline = |id: &str, group, obstacle| PlaybookOutline {
            id: id.parse().unwrap(),
            name: "A name".to_owned(),
            file: format!("playbooks/{id}.yaml"),
            group,
            needs: vec![Need::Model, Need::Apr],
            obstacle,
        };
        let waits = Undecided::unverified("waits for a runtime", "");
        let playbooks = [
            outline("edge-cases/no-words", Group::Process, None),
            outline("performance/module", Group::Perf, Some(waits)),
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
    fn a_playbook_is_undecided_for_what_it_needs_or_for_what_nothing_here_can_run() {
        let find =
            |cases: &[Case], name: &str| cases.iter().find(|case| case.id.as_str() == name).unwrap().clone();
        let all = cases(&|_| Ok(()));
        assert_eq!(find(&all, "playbook::edge_cases::no_words").undecided, None);
        assert_eq!(find(&all, "playbook::edge_cases::no_words").group, Group::Process);
        let module = find(&all, "playbook::performance::module");
        assert_eq!(
            (module.group, module.undecided.unwrap().what.as_str()),
            (Group::Perf, "waits for a runtime")
        );
        let without_model = cases(&|need| match need {
            Need::Model => Err(Undecided::unverified("no model", "make model")),
            _ => Ok(()),
        });
        let undecided = find(&without_model, "playbook::edge_cases::no_words").undecided;
        assert_eq!(undecided, Some(Undecided::unverified("no model", "make model")));
    }

    #[test]
    fn a_claim_about_playbooks_is_undecided_when_one_of_its_own_is() {
        let cases = cases(&|_| Ok(()));
        let undecided = |id: &str| {
            let case = cases.iter().find(|case| case.title.starts_with(id)).unwrap();
            case.undecided.as_ref().map(|undecided| undecided.what.clone())
        };
        assert_eq!(undecided("I9 "), None);
        assert_eq!(undecided("I11 ").as_deref(), Some("waits for a runtime"));
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

//! Where the proof of each claim stands: made with everything as it is now, made before something changed, or never.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::key::Keys;
use super::proofs::{PROOFS, Proofs};
use crate::checklist::{Checklist, Claim, Fault, Need};
use crate::models::{ModelChoice, choose};
use crate::workspace::Workspace;

/// Whether a claim's faults have turned it red.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProofStanding {
    /// All of them, with check, faults and subject as they are now.
    Proven,
    /// All of them, before something it depends on changed.
    Stale,
    /// Not all of them.
    Unproven,
}

impl ProofStanding {
    /// `proven`, `stale` or `unproven`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Stale => "stale",
            Self::Unproven => "unproven",
        }
    }
}

/// The stored proofs, and what they would depend on now.
pub struct ProofBook {
    proofs: Proofs,
    models: Vec<(ModelChoice, Option<Keys>)>,
}

impl ProofBook {
    /// Opens the proofs of `workspace`, on `model` and on the embedded model: what a small model can decide is proven on
    /// it.
    pub fn open(workspace: &Workspace, model: &ModelChoice) -> anyhow::Result<Self> {
        let proofs = Proofs::read(&workspace.path(PROOFS))?;
        let mut models = vec![model.clone()];
        if let Ok(embedded) = choose(None, workspace)
            && embedded.name != model.name
        {
            models.push(embedded);
        }
        let common = Keys::of_any_model(workspace).ok();
        // A model that cannot be opened has no fresh proof; that it cannot is for its own claims to say.
        let keyed = |model: ModelChoice| {
            let keys = common.clone().and_then(|common| common.on(workspace, &model).ok());
            (model, keys)
        };
        Ok(Self { proofs, models: models.into_iter().map(keyed).collect() })
    }

    /// What proofs on the model that the book was opened for depend on; `None` when that cannot be opened.
    pub fn keys(&self) -> Option<&Keys> {
        self.models.first()?.1.as_ref()
    }

    /// Where the proof of `claim` stands; `None` for a claim that nothing checks yet.
    pub fn standing(&self, claim: &Claim, checklist: &Checklist) -> anyhow::Result<Option<ProofStanding>> {
        if !claim.has_check() {
            return Ok(None);
        }
        let faults: Vec<&Fault> =
            claim.faults.iter().filter_map(|name| checklist.faults().get(name)).collect();
        let id = claim.id.to_string();
        let covers = |caught: &[String]| claim.faults.iter().all(|fault| caught.contains(fault));
        let mut best = ProofStanding::Unproven;
        for (model, keys) in self.models.iter().filter(|(model, _)| decides(model, claim)) {
            if let Some(keys) = keys
                && covers(self.proofs.caught(&model.name, &id, &keys.of(claim, &faults)?))
            {
                return Ok(Some(ProofStanding::Proven));
            }
            if self.proofs.get(&model.name, &id).is_some_and(|proof| covers(&proof.faults)) {
                best = ProofStanding::Stale;
            }
        }
        Ok(Some(best))
    }
}

/// Whether `claim` can be decided, and so proven, on `model`.
fn decides(model: &ModelChoice, claim: &Claim) -> bool {
    let stands_in = model.known.as_ref().is_some_and(|known| known.stand_in);
    !(stands_in && claim.needs.contains(&Need::ReleaseModel))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::Proof;

    fn standing(id: &str, change: impl FnOnce(&mut Proofs, &str, &Claim)) -> Option<ProofStanding> {
        let workspace = Workspace::find(None).unwrap();
        let checklist = workspace.checklist().unwrap();
        let model = choose(None, &workspace).unwrap();
        let claim = checklist.claim(id.parse().unwrap()).unwrap();
        let mut book = ProofBook::open(&workspace, &model).unwrap();
        book.proofs = Proofs::default();
        let faults: Vec<&Fault> =
            claim.faults.iter().filter_map(|name| checklist.faults().get(name)).collect();
        let key = Keys::new(&workspace, &model).unwrap().of(claim, &faults).unwrap();
        change(&mut book.proofs, &key, claim);
        book.standing(claim, &checklist).unwrap()
    }

    fn keep(proofs: &mut Proofs, key: &str, claim: &Claim, n_faults: usize) {
        let faults = claim.faults[..n_faults].to_vec();
        proofs.set("tiny", &claim.id.to_string(), Some(Proof { key: key.to_owned(), faults }));
    }

    #[test]
    fn a_proof_counts_when_all_faults_were_caught_with_everything_as_it_is_now() {
        let all = standing("C4", |proofs, key, claim| keep(proofs, key, claim, claim.faults.len()));
        assert_eq!(all, Some(ProofStanding::Proven));
        let some = standing("C4", |proofs, key, claim| keep(proofs, key, claim, 1));
        assert_eq!(some, Some(ProofStanding::Unproven));
        let old = standing("C4", |proofs, _, claim| keep(proofs, "before", claim, claim.faults.len()));
        assert_eq!(old, Some(ProofStanding::Stale));
        assert_eq!(standing("C4", |_, _, _| {}), Some(ProofStanding::Unproven));
    }

    #[test]
    fn a_small_model_proves_nothing_about_the_released_one_and_no_check_needs_no_proof() {
        let on_tiny = standing("D5", |proofs, key, claim| keep(proofs, key, claim, claim.faults.len()));
        assert_eq!(on_tiny, Some(ProofStanding::Unproven));
        assert_eq!(standing("J1", |_, _, _| {}), None);
    }

    #[test]
    fn what_the_small_model_proved_counts_beside_another_model_and_a_model_without_a_key_proves_nothing() {
        let workspace = Workspace::find(None).unwrap();
        let checklist = workspace.checklist().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken.apr");
        std::fs::write(&broken, "no model").unwrap();
        let model = choose(broken.to_str(), &workspace).unwrap();
        let mut book = ProofBook::open(&workspace, &model).unwrap();
        let names: Vec<_> = book.models.iter().map(|(model, keys)| (&*model.name, keys.is_some())).collect();
        assert_eq!(names, [("broken", false), ("tiny", true)]);
        let claim = checklist.claim("C4".parse().unwrap()).unwrap();
        let faults: Vec<&Fault> =
            claim.faults.iter().filter_map(|name| checklist.faults().get(name)).collect();
        let key = book.models[1].1.as_ref().unwrap().of(claim, &faults).unwrap();
        let proof = |key: &str| Some(Proof { key: key.to_owned(), faults: claim.faults.clone() });
        book.proofs = Proofs::default();
        book.proofs.set("broken", "C4", proof("before"));
        assert_eq!(book.standing(claim, &checklist).unwrap(), Some(ProofStanding::Stale));
        book.proofs.set("tiny", "C4", proof(&key));
        assert_eq!(book.standing(claim, &checklist).unwrap(), Some(ProofStanding::Proven));
    }

    #[test]
    fn every_standing_has_its_word() {
        let standings = [ProofStanding::Proven, ProofStanding::Stale, ProofStanding::Unproven];
        assert_eq!(standings.map(ProofStanding::word), ["proven", "stale", "unproven"]);
    }
}

//! Proofs that were made, by model and claim, each with the hash of all it depends on.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::stored::{read_kept, write};

/// Where proofs are kept, in the checkout; committed.
pub const PROOFS: &str = "checklist/proofs.json";

/// Every proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proofs {
    /// Proofs by model and claim.
    pub models: BTreeMap<String, BTreeMap<String, Proof>>,
}

/// That a claim was seen green clean and red under its faults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Hash of the claim, its faults, the code that checks and plants, and the subject.
    pub key: String,
    /// The faults it was red under.
    pub faults: Vec<String>,
}

impl Proofs {
    /// Reads the proofs of a checkout; none when there is no file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read_kept(path, "is not a file of proofs", "prove")
    }

    /// Writes them, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, self)
    }

    /// The faults that `claim` was red under on `model`, with everything as `key` says it is now.
    pub fn caught(&self, model: &str, claim: &str, key: &str) -> &[String] {
        self.get(model, claim).filter(|proof| proof.key == key).map_or(&[], |proof| &proof.faults)
    }

    /// The proof of `claim` on `model`, fresh or stale.
    pub fn get(&self, model: &str, claim: &str) -> Option<&Proof> {
        self.models.get(model)?.get(claim)
    }

    /// Keeps a proof, or drops the one there was.
    pub fn set(&mut self, model: &str, claim: &str, proof: Option<Proof>) {
        let proofs = self.models.entry(model.to_owned()).or_default();
        match proof {
            Some(proof) => drop(proofs.insert(claim.to_owned(), proof)),
            None => drop(proofs.remove(claim)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_model_its_claim_and_its_key_only() {
        let mut proofs = Proofs::default();
        let proof = Proof { key: "k".to_owned(), faults: vec!["f".to_owned()] };
        proofs.set("tiny", "A1", Some(proof));
        assert_eq!(proofs.caught("tiny", "A1", "k"), ["f"]);
        for (model, claim, key) in [("tiny", "A1", "l"), ("tiny", "A2", "k"), ("release", "A1", "k")] {
            assert!(proofs.caught(model, claim, key).is_empty(), "{model} {claim} {key}");
        }
        proofs.set("tiny", "A1", None);
        assert!(proofs.caught("tiny", "A1", "k").is_empty());
    }

    #[test]
    fn proofs_survive_being_written_and_a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("proofs.json");
        assert_eq!(Proofs::read(&path).unwrap(), Proofs::default());
        let mut proofs = Proofs::default();
        proofs.set("tiny", "A1", Some(Proof { key: "k".to_owned(), faults: vec![] }));
        proofs.write(&path).unwrap();
        assert_eq!(Proofs::read(&path).unwrap(), proofs);
        std::fs::write(&path, "[]").unwrap();
        assert!(Proofs::read(&path).unwrap_err().to_string().contains("is not a file of proofs"));
    }
}

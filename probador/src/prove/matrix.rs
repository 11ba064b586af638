//! Every claim under every fault: what each catches beyond what it must, and which claims catch just the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::checklist::ClaimId;

/// Which claims are red under which faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// The faults that turn each claim red.
    pub red: BTreeMap<ClaimId, BTreeSet<String>>,
}

impl Matrix {
    /// A matrix of these claims, none of them red yet.
    pub fn of(claims: impl Iterator<Item = ClaimId>) -> Self {
        Self { red: claims.map(|claim| (claim, BTreeSet::new())).collect() }
    }

    /// Notes that `claim` is red under `fault`.
    pub fn note_red(&mut self, claim: ClaimId, fault: &str) {
        self.red.entry(claim).or_default().insert(fault.to_owned());
    }

    /// Claims that are red under exactly the same faults: one of them adds nothing that a fault shows.
    pub fn redundant(&self) -> Vec<Vec<ClaimId>> {
        let mut groups: BTreeMap<&BTreeSet<String>, Vec<ClaimId>> = BTreeMap::new();
        for (claim, faults) in self.red.iter().filter(|(_, faults)| !faults.is_empty()) {
            groups.entry(faults).or_default().push(*claim);
        }
        groups.into_values().filter(|claims| claims.len() > 1).collect()
    }

    /// Faults of `all` that no claim is red under.
    pub fn uncaught<'f>(&self, all: impl Iterator<Item = &'f str>) -> Vec<&'f str> {
        all.filter(|fault| !self.red.values().any(|faults| faults.contains(*fault))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_that_catch_the_same_are_named_and_faults_that_nobody_catches_too() {
        let id = |text: &str| text.parse::<ClaimId>().unwrap();
        let mut matrix = Matrix::of(["A1", "A2", "A3", "A4", "A6"].into_iter().map(id));
        for (claim, fault) in [("A1", "cut"), ("A2", "cut"), ("A2", "flip"), ("A3", "cut")] {
            matrix.note_red(id(claim), fault);
        }
        assert_eq!(matrix.redundant(), [vec![id("A1"), id("A3")]]);
        assert_eq!(matrix.uncaught(["cut", "flip", "lost"].into_iter()), ["lost"]);
    }
}

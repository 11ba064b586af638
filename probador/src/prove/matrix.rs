//! Every claim under every fault: what each catches beyond what it must, and which claims catch just the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::checklist::ClaimId;

/// Which claims are red under which faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matrix {
    /// The faults that turn each claim red.
    pub red: BTreeMap<ClaimId, BTreeSet<String>>,
}

impl Matrix {
    /// Notes whether `claim` is red under `fault`.
    pub fn note(&mut self, claim: ClaimId, fault: &str, is_red: bool) {
        let faults = self.red.entry(claim).or_default();
        if is_red {
            faults.insert(fault.to_owned());
        }
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
        let mut matrix = Matrix::default();
        for (claim, fault, is_red) in [
            ("A1", "cut", true),
            ("A1", "flip", false),
            ("A2", "cut", true),
            ("A2", "flip", true),
            ("A3", "cut", true),
            ("A4", "cut", false),
            ("A6", "cut", false),
        ] {
            matrix.note(id(claim), fault, is_red);
        }
        assert_eq!(matrix.redundant(), [vec![id("A1"), id("A3")]]);
        assert_eq!(matrix.uncaught(["cut", "flip", "lost"].into_iter()), ["lost"]);
    }
}

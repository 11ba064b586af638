//! The stored result: for each crate what became of its mutants, with the key of what that depends on.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::State;
use crate::stored::{read_kept, write};

/// Where the result is kept, in the checkout; committed.
pub const MUTANTS: &str = "checklist/mutants.json";

/// Every crate's result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredMutants {
    /// Results, by the name of the crate.
    pub crates: BTreeMap<String, CrateResult>,
}

/// What became of a crate's mutants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrateResult {
    /// What the result depends on.
    pub state: State,
    /// The tool and its version.
    pub tool: String,
    /// Shares of the mutants that were tried, all of one division: `1/1` when all were at once.
    pub shares: BTreeMap<String, Tried>,
}

/// Mutants that were tried.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Those that made a test fail.
    pub caught: usize,
    /// Those that made the tests run without end.
    pub timeout: usize,
    /// Those that did not compile.
    pub unviable: usize,
    /// Those that no test noticed.
    pub missed: Vec<Mutant>,
}

/// One change to the code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 1.
    pub column: u32,
    /// What was changed into what, and in which function.
    pub mutant: String,
    /// What stands in that line.
    pub text: String,
}

impl std::fmt::Display for Mutant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.mutant)
    }
}

impl Tried {
    /// Both together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.caught += other.caught;
        self.timeout += other.timeout;
        self.unviable += other.unviable;
        self.missed.extend(other.missed.iter().cloned());
        self
    }

    /// Mutants that compiled.
    pub fn viable(&self) -> usize {
        self.caught + self.timeout + self.missed.len()
    }
}

impl CrateResult {
    /// What became of those that were tried.
    pub fn so_far(&self) -> Tried {
        self.shares.values().fold(Tried::default(), Tried::and)
    }

    /// What became of all mutants, if every share of them was tried.
    pub fn whole(&self) -> Option<Tried> {
        let n =
            self.shares.keys().filter_map(|share| n_of(share)).find(|n| {
                *n > 0 && (1..=*n).all(|index| self.shares.contains_key(&format!("{index}/{n}")))
            })?;
        let shares = (1..=n).filter_map(|index| self.shares.get(&format!("{index}/{n}")));
        Some(shares.fold(Tried::default(), Tried::and))
    }
}

impl StoredMutants {
    /// Reads what is stored; nothing when there is no file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read_kept(path, "is no stored result of mutants", "mutants")
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, self)
    }

    /// Keeps what became of a share of a crate's mutants; what was stored of another state, or of another division, whose
    /// shares overlap with this one, is of no use any more.
    pub fn keep(&mut self, name: &str, state: State, tool: &str, share: &str, tried: Tried) {
        let result = self.crates.entry(name.to_owned()).or_default();
        let is_same_state = result.state == state;
        result.shares.retain(|other, _| is_same_state && n_of(other) == n_of(share));
        result.state = state;
        tool.clone_into(&mut result.tool);
        result.shares.insert(share.to_owned(), tried);
    }

    /// Keeps what became of the survivors of a crate, tried again in a `state` that only adds tests.
    pub fn keep_again(&mut self, name: &str, state: State, tried: &Tried) -> anyhow::Result<()> {
        let result = self.crates.entry(name.to_owned()).or_default();
        let n_before: usize = result.shares.values().map(|share| share.missed.len()).sum();
        if tried.unviable > 0 || tried.viable() != n_before {
            bail!(
                "{} of {n_before} survivors of {name} were found again\nhint: cargo probador mutants --fresh --crate {name}",
                tried.viable()
            );
        }
        for share in result.shares.values_mut() {
            let before = share.missed.len();
            share.missed.retain(|mutant| tried.missed.contains(mutant));
            share.caught += before - share.missed.len();
        }
        result.state = state;
        Ok(())
    }
}

/// Of how many shares one is, by its name.
fn n_of(share: &str) -> Option<usize> {
    share.split_once('/').and_then(|(_, n)| n.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(key: &str) -> State {
        State { key: key.to_owned(), ..State::default() }
    }

    fn tried(caught: usize, missed: &[u32]) -> Tried {
        let mutant = |&line: &u32| Mutant {
            file: "a.rs".to_owned(),
            line,
            column: 1,
            mutant: "replace < with <= in a".to_owned(),
            text: "a < b".to_owned(),
        };
        Tried { caught, missed: missed.iter().map(mutant).collect(), ..Tried::default() }
    }

    #[test]
    fn shares_make_a_whole_once_all_are_there() {
        let mut stored = StoredMutants::default();
        stored.keep("apr-format", state("k"), "t", "1/2", tried(3, &[]));
        assert_eq!(stored.crates["apr-format"].whole(), None);
        stored.keep("apr-format", state("k"), "t", "2/2", tried(4, &[7]));
        let whole = stored.crates["apr-format"].whole().unwrap();
        assert_eq!((whole.caught, whole.missed.len(), whole.viable()), (7, 1, 8));
        assert_eq!(whole.missed[0].to_string(), "a.rs:7:1: replace < with <= in a");
        stored.keep("apr-format", state("k"), "t", "1/1", tried(8, &[]));
        assert_eq!(stored.crates["apr-format"].shares.len(), 1, "all at once replaces shares");
        let none =
            CrateResult { shares: [("1/0".to_owned(), tried(3, &[]))].into(), ..CrateResult::default() };
        assert_eq!(none.whole(), None, "no shares are not all of them");
    }

    #[test]
    fn a_share_of_another_division_is_dropped_so_that_no_mutant_counts_twice() {
        let mut stored = StoredMutants::default();
        for (share, caught) in [("1/2", 3), ("1/3", 2), ("2/3", 2)] {
            stored.keep("apr-format", state("k"), "t", share, tried(caught, &[]));
        }
        let result = &stored.crates["apr-format"];
        assert_eq!(result.shares.keys().collect::<Vec<_>>(), ["1/3", "2/3"]);
        assert_eq!(result.so_far().caught, 4);
    }

    #[test]
    fn a_share_of_another_state_is_dropped() {
        let mut stored = StoredMutants::default();
        stored.keep("apr-format", state("before"), "t", "1/2", tried(3, &[]));
        stored.keep("apr-format", state("now"), "t", "2/2", tried(4, &[]));
        assert_eq!(stored.crates["apr-format"].whole(), None);
        assert_eq!(stored.crates["apr-format"].shares.keys().collect::<Vec<_>>(), ["2/2"]);
    }

    #[test]
    fn survivors_that_a_new_test_notices_are_caught_in_their_share() {
        let mut stored = StoredMutants::default();
        stored.keep("apr-format", state("k"), "t", "1/2", tried(3, &[2, 5]));
        stored.keep("apr-format", state("k"), "t", "2/2", tried(4, &[7]));
        stored.keep_again("apr-format", state("more"), &tried(2, &[5])).unwrap();
        let result = &stored.crates["apr-format"];
        assert_eq!((&result.shares["1/2"], &result.shares["2/2"]), (&tried(4, &[5]), &tried(5, &[])));
        assert_eq!(result.state.key, "more");
        let error = stored.keep_again("apr-format", state("k"), &tried(0, &[])).unwrap_err().to_string();
        assert!(error.starts_with("0 of 1 survivors of apr-format were found again\nhint:"), "{error}");
        let unviable = Tried { unviable: 1, ..tried(1, &[]) };
        stored.keep_again("apr-format", state("k"), &unviable).unwrap_err();
    }

    #[test]
    fn what_is_stored_survives_and_a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutants.json");
        assert_eq!(StoredMutants::read(&path).unwrap(), StoredMutants::default());
        let mut stored = StoredMutants::default();
        stored.keep("apr-format", state("k"), "t", "1/1", tried(3, &[2, 5]));
        stored.write(&path).unwrap();
        assert_eq!(StoredMutants::read(&path).unwrap(), stored);
        std::fs::write(&path, "3").unwrap();
        let error = StoredMutants::read(&path).unwrap_err().to_string();
        assert!(error.contains("is no stored result of mutants\nhint: delete it"), "{error}");
    }
}

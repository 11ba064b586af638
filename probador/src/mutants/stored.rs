//! The stored result: for each file of a crate what became of its mutants, with the state that it is of.

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
    /// The tool that last tried some, and its version.
    pub tool: String,
    /// Results of its source files, by their path from the top of the checkout.
    pub files: BTreeMap<String, FileResult>,
}

/// What became of a file's mutants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileResult {
    /// What the result depends on.
    pub state: State,
    /// The result.
    pub tried: Tried,
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
    /// What became of the mutants of all files.
    pub fn tried(&self) -> Tried {
        self.files.values().map(|file| &file.tried).fold(Tried::default(), Tried::and)
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

    /// Keeps what became of the mutants of some files of a crate, each in a state.
    pub fn keep(&mut self, name: &str, tool: &str, files: impl IntoIterator<Item = (String, FileResult)>) {
        let result = self.crates.entry(name.to_owned()).or_default();
        tool.clone_into(&mut result.tool);
        result.files.extend(files);
    }

    /// Keeps what became of the survivors in those files of a crate that `states` only adds tests to, tried again.
    pub fn keep_again(
        &mut self,
        name: &str,
        states: &BTreeMap<String, State>,
        tried: &BTreeMap<String, Tried>,
    ) -> anyhow::Result<()> {
        let result = self.crates.entry(name.to_owned()).or_default();
        for (path, file) in &mut result.files {
            let adds_tests = |state: &&State| **state != file.state && state.only_adds_tests_to(&file.state);
            let Some(state) = states.get(path).filter(adds_tests) else { continue };
            let n_before = file.tried.missed.len();
            let again = tried.get(path).cloned().unwrap_or_default();
            if again.unviable > 0 || again.viable() != n_before {
                bail!(
                    "{} of {n_before} survivors in `{path}` were found again\nhint: cargo probador mutants --fresh --crate {name}",
                    again.viable()
                );
            }
            file.tried.missed.retain(|mutant| again.missed.contains(mutant));
            file.tried.caught += n_before - file.tried.missed.len();
            file.state = state.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "subjects/format/src/a.rs";

    fn state(code: &str, tests: &[&str]) -> State {
        State { code: code.to_owned(), tests: tests.iter().map(|&test| test.to_owned()).collect() }
    }

    fn tried(caught: usize, missed: &[u32]) -> Tried {
        let mutant = |&line: &u32| Mutant {
            file: PATH.to_owned(),
            line,
            column: 1,
            mutant: "replace < with <= in a".to_owned(),
            text: "a < b".to_owned(),
        };
        Tried { caught, missed: missed.iter().map(mutant).collect(), ..Tried::default() }
    }

    fn stored(caught: usize, missed: &[u32]) -> StoredMutants {
        let mut stored = StoredMutants::default();
        let file = FileResult { state: state("c", &["t"]), tried: tried(caught, missed) };
        stored.keep("apr-format", "tool", [(PATH.to_owned(), file)]);
        stored
    }

    #[test]
    fn a_files_result_replaces_its_own_and_no_others() {
        let mut stored = stored(3, &[7]);
        let other = FileResult { state: state("d", &[]), tried: tried(5, &[]) };
        stored.keep("apr-format", "newer", [("subjects/format/src/b.rs".to_owned(), other)]);
        let all = stored.crates["apr-format"].tried();
        assert_eq!((all.caught, all.missed.len(), all.viable()), (8, 1, 9));
        assert_eq!(all.missed[0].to_string(), "subjects/format/src/a.rs:7:1: replace < with <= in a");
        let again = FileResult { state: state("e", &[]), tried: tried(4, &[]) };
        stored.keep("apr-format", "newer", [(PATH.to_owned(), again)]);
        let result = &stored.crates["apr-format"];
        assert_eq!((result.tried().viable(), result.tool.as_str()), (9, "newer"));
    }

    #[test]
    fn survivors_that_a_new_test_notices_are_caught() {
        let mut more = stored(3, &[2, 5]);
        let now = BTreeMap::from([(PATH.to_owned(), state("c", &["t", "u"]))]);
        let again = |caught, missed: &[u32]| BTreeMap::from([(PATH.to_owned(), tried(caught, missed))]);
        more.keep_again("apr-format", &now, &again(1, &[5])).unwrap();
        let file = &more.crates["apr-format"].files[PATH];
        assert_eq!((&file.tried, &file.state), (&tried(4, &[5]), &now[PATH]));
        more.keep_again("apr-format", &now, &BTreeMap::new()).unwrap();
        let error =
            stored(3, &[2, 5]).keep_again("apr-format", &now, &again(1, &[])).unwrap_err().to_string();
        let said =
            format!("1 of 2 survivors in `{PATH}` were found again\nhint: cargo probador mutants --fresh");
        assert!(error.starts_with(&said), "{error}");
        let unviable = BTreeMap::from([(PATH.to_owned(), Tried { unviable: 1, ..tried(1, &[5]) })]);
        stored(3, &[2, 5]).keep_again("apr-format", &now, &unviable).unwrap_err();
    }

    #[test]
    fn files_that_changed_or_are_gone_are_left_as_they_are() {
        for now in [BTreeMap::new(), BTreeMap::from([(PATH.to_owned(), state("d", &["t", "u"]))])] {
            let mut kept = stored(3, &[2]);
            kept.keep_again("apr-format", &now, &BTreeMap::new()).unwrap();
            assert_eq!(kept, stored(3, &[2]));
        }
    }

    #[test]
    fn what_is_stored_survives_and_a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mutants.json");
        assert_eq!(StoredMutants::read(&path).unwrap(), StoredMutants::default());
        let stored = stored(3, &[2, 5]);
        stored.write(&path).unwrap();
        assert_eq!(StoredMutants::read(&path).unwrap(), stored);
        std::fs::write(&path, "3").unwrap();
        let error = StoredMutants::read(&path).unwrap_err().to_string();
        assert!(error.contains("is no stored result of mutants\nhint: delete it"), "{error}");
    }
}

//! The mutation score of a crate, from stored results that are fresh and the list of equivalent mutants.

use std::path::Path;

use super::{CrateResult, EQUIVALENT, Equivalent, Mutant, State, StoredMutants, Tried};
use crate::case::Undecided;
use crate::members::Member;
use crate::yaml::Problem;

/// What became of the mutants of a crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Everything that was tried.
    pub tried: Tried,
    /// Survivors that are not equivalent.
    pub survivors: Vec<Mutant>,
    /// Survivors that mean the same, each with why.
    pub equivalent: Vec<(Mutant, String)>,
    /// Entries of the list of equivalent mutants that name none of the survivors of their crate.
    pub problems: Vec<Problem>,
}

impl Score {
    /// The share of mutants that could be noticed and were, in percent.
    pub fn percent(&self) -> f64 {
        let n = self.n();
        if n == 0 { 0.0 } else { 100.0 * (n - self.survivors.len()) as f64 / n as f64 }
    }

    /// Adds what was tried, and tells the survivors that are listed as equivalent from the others.
    pub fn sort_out(&mut self, tried: &Tried, listed: &[Equivalent]) {
        for mutant in &tried.missed {
            match listed.iter().find(|entry| entry.is(mutant)) {
                Some(entry) => self.equivalent.push((mutant.clone(), entry.reason.clone())),
                None => self.survivors.push(mutant.clone()),
            }
        }
        self.tried = std::mem::take(&mut self.tried).and(tried);
    }

    /// Mutants that could be noticed: those that compile and are not equivalent.
    pub fn n(&self) -> usize {
        self.tried.caught + self.tried.timeout + self.survivors.len()
    }
}

/// Whether what `result` says of the file at `path` holds for its `state`: tests that were added since could only catch
/// more.
pub fn is_known(result: &CrateResult, path: &str, state: &State) -> bool {
    result.files.get(path).is_some_and(|file| state.only_adds_tests_to(&file.state))
}

/// The score of `member` in the checkout at `root`; undecided when the result of one of its files is missing or of
/// another state of it.
pub fn score(
    root: &Path,
    member: &Member,
    stored: &StoredMutants,
    listed: &[Equivalent],
) -> Result<Score, Undecided> {
    let name = &member.name;
    let undecided = |what| Undecided::unverified(what, format!("cargo probador mutants --crate {name}"));
    let result = stored
        .crates
        .get(name)
        .ok_or_else(|| undecided(format!("no result of the mutants of {name} is stored")))?;
    let states = State::of_files(root, member).map_err(|error| undecided(format!("{error:#}")))?;
    let n_open = states.iter().filter(|(path, state)| !is_known(result, path, state)).count();
    if n_open > 0 {
        let n = states.len();
        return Err(undecided(format!(
            "the mutants of {n_open} of {n} files of {name} are not tried as they are"
        )));
    }
    let files = result.files.iter().filter(|(path, _)| states.contains_key(*path));
    let tried = files.map(|(_, file)| &file.tried).fold(Tried::default(), Tried::and);
    let own = format!("{}/", member.folder);
    let gone = listed
        .iter()
        .filter(|entry| entry.file.starts_with(&own) && !tried.missed.iter().any(|mutant| entry.is(mutant)));
    let problems = gone.map(|entry| {
        let what = format!("`{}` is no survivor: it is gone, or a test notices it", entry.mutant);
        entry.problem(EQUIVALENT, what)
    });
    let mut score = Score { problems: problems.collect(), ..Score::default() };
    score.sort_out(&tried, listed);
    Ok(score)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::members;
    use crate::mutants::{FileResult, find};

    fn mutant(line: u32, text: &str) -> Mutant {
        Mutant {
            file: "subjects/qwen2/src/mlp.rs".to_owned(),
            line,
            column: 5,
            mutant: "replace + with - in mlp".to_owned(),
            text: text.to_owned(),
        }
    }

    fn listed(text: &str) -> Equivalent {
        let Mutant { file, mutant, .. } = mutant(1, text);
        Equivalent { file, text: text.to_owned(), mutant, reason: "x is always zero".to_owned(), at: (4, 3) }
    }

    /// The score of qwen2 with 17 caught mutants, a timeout and two survivors, and these entries of the list; `spoil`
    /// changes what is stored.
    fn judged(spoil: impl FnOnce(&mut StoredMutants), listed: &[Equivalent]) -> Result<Score, Undecided> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = members(root).unwrap();
        let member = find(&members, "apr-qwen2").unwrap();
        let mut stored = StoredMutants::default();
        let states = State::of_files(root, member).unwrap();
        let files = states.into_iter().map(|(path, state)| {
            let is_mlp = path == "subjects/qwen2/src/mlp.rs";
            let tried = Tried {
                caught: 17,
                timeout: 1,
                unviable: 9,
                missed: vec![mutant(3, "a + x"), mutant(9, "b + c")],
            };
            (path, FileResult { state, tried: if is_mlp { tried } else { Tried::default() } })
        });
        stored.keep("apr-qwen2", "t", files);
        spoil(&mut stored);
        score(root, member, &stored, listed)
    }

    fn files(stored: &mut StoredMutants) -> &mut std::collections::BTreeMap<String, FileResult> {
        &mut stored.crates.get_mut("apr-qwen2").unwrap().files
    }

    #[test]
    fn what_compiles_and_is_not_equivalent_counts() {
        let plain = judged(|_| {}, &[]).unwrap();
        assert_eq!((plain.n(), plain.percent()), (20, 90.0));
        let excused = judged(|_| {}, &[listed("a + x")]).unwrap();
        assert_eq!((excused.n(), excused.survivors.len(), excused.problems.len()), (19, 1, 0));
        assert_eq!(excused.survivors[0].line, 9);
        assert_eq!(excused.equivalent, [(mutant(3, "a + x"), "x is always zero".to_owned())]);
        assert_eq!(Score::default().percent(), 0.0);
    }

    #[test]
    fn an_equivalent_mutant_that_is_gone_or_caught_is_a_problem() {
        let score = judged(|_| {}, &[listed("gone")]).unwrap();
        assert_eq!(
            score.problems[0].to_string(),
            "checklist/equivalent-mutants.yaml:4:3: `replace + with - in mlp` is no survivor: it is gone, or a test notices it"
        );
        assert_eq!(score.survivors.len(), 2);
    }

    #[test]
    fn a_missing_and_a_stale_result_decide_nothing() {
        let said = |spoil: fn(&mut StoredMutants)| judged(spoil, &[]).unwrap_err().to_string();
        assert_eq!(
            said(|stored| stored.crates.clear()),
            "unverified: no result of the mutants of apr-qwen2 is stored; cargo probador mutants --crate apr-qwen2"
        );
        let n = "files of apr-qwen2 are not tried as they are";
        let gone = said(|stored| drop(files(stored).remove("subjects/qwen2/src/mlp.rs")));
        assert!(gone.starts_with("unverified: the mutants of 1 of ") && gone.contains(n), "{gone}");
        let changed = said(|stored| files(stored).values_mut().for_each(|file| file.state.code.clear()));
        assert!(changed.contains(n) && !changed.contains(" 1 of "), "{changed}");
        let test_gone = said(|stored| {
            for file in files(stored).values_mut() {
                file.state.tests.insert("t".to_owned());
            }
        });
        assert!(test_gone.contains(n), "{test_gone}");
    }

    #[test]
    fn a_result_holds_after_tests_were_added_and_one_of_a_file_that_is_gone_counts_for_nothing() {
        let fewer_tests =
            judged(|stored| files(stored).values_mut().for_each(|file| file.state.tests.clear()), &[]);
        assert_eq!(fewer_tests.unwrap().n(), 20);
        let tried = Tried { caught: 100, ..Tried::default() };
        let gone = FileResult { tried, ..FileResult::default() };
        let more = judged(|stored| drop(files(stored).insert("gone.rs".to_owned(), gone)), &[]);
        assert_eq!(more.unwrap().n(), 20);
    }
}

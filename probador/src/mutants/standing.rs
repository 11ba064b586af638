//! The mutation score of a crate, from stored results that are fresh and the list of equivalent mutants.

use super::{EQUIVALENT, Equivalent, Mutant, StoredMutants, Tried};
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

/// The score of `member`; undecided when its result is missing, unfinished or of another state of what it depends on.
pub fn score(member: &Member, stored: &StoredMutants, listed: &[Equivalent]) -> Result<Score, Undecided> {
    let name = &member.name;
    let undecided = |what| Undecided::unverified(what, format!("cargo probador mutants --crate {name}"));
    let result = stored
        .crates
        .get(name)
        .ok_or_else(|| undecided(format!("no result of the mutants of {name} is stored")))?;
    if is_stale(member, stored) {
        return Err(undecided(format!(
            "the stored result of the mutants of {name} is of another state of it"
        )));
    }
    let tried = result
        .whole()
        .ok_or_else(|| undecided(format!("only a share of the mutants of {name} was tried")))?;
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

/// Whether what is stored of `member` is missing or of another state.
fn is_stale(member: &Member, stored: &StoredMutants) -> bool {
    stored.crates.get(&member.name).is_none_or(|result| result.state.key != member.key)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::members::members;
    use crate::mutants::{State, find};

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

    /// The score of qwen2 with 17 caught mutants, a timeout and two survivors, and these entries of the list.
    fn judged(share: &str, stale: bool, listed: &[Equivalent]) -> Result<Score, Undecided> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = members(root).unwrap();
        let member = find(&members, "apr-qwen2").unwrap();
        let key = if stale { "before" } else { member.key.as_str() };
        let tried = Tried {
            caught: 17,
            timeout: 1,
            unviable: 9,
            missed: vec![mutant(3, "a + x"), mutant(9, "b + c")],
        };
        let mut stored = StoredMutants::default();
        if !share.is_empty() {
            let state = State { key: key.to_owned(), ..State::default() };
            stored.keep("apr-qwen2", state, "t", share, tried);
        }
        score(member, &stored, listed)
    }

    #[test]
    fn what_compiles_and_is_not_equivalent_counts() {
        let plain = judged("1/1", false, &[]).unwrap();
        assert_eq!((plain.n(), plain.percent()), (20, 90.0));
        let excused = judged("1/1", false, &[listed("a + x")]).unwrap();
        assert_eq!((excused.n(), excused.survivors.len(), excused.problems.len()), (19, 1, 0));
        assert_eq!(excused.survivors[0].line, 9);
        assert_eq!(excused.equivalent, [(mutant(3, "a + x"), "x is always zero".to_owned())]);
        assert_eq!(Score::default().percent(), 0.0);
    }

    #[test]
    fn an_equivalent_mutant_that_is_gone_or_caught_is_a_problem() {
        let score = judged("1/1", false, &[listed("gone")]).unwrap();
        assert_eq!(
            score.problems[0].to_string(),
            "checklist/equivalent-mutants.yaml:4:3: `replace + with - in mlp` is no survivor: it is gone, or a test notices it"
        );
        assert_eq!(score.survivors.len(), 2);
    }

    #[test]
    fn a_missing_a_stale_and_an_unfinished_result_decide_nothing() {
        let said = |share: &str, stale: bool| judged(share, stale, &[]).unwrap_err().to_string();
        assert_eq!(
            said("", false),
            "unverified: no result of the mutants of apr-qwen2 is stored; cargo probador mutants --crate apr-qwen2"
        );
        assert!(said("1/1", true).contains("is of another state of it"));
        assert!(said("1/2", false).contains("only a share of the mutants of apr-qwen2 was tried"));
    }
}

//! The mutation score of a scope, from stored results that are fresh and the list of equivalent mutants.

use std::path::Path;

use super::room::Scope;
use super::{EQUIVALENT, Equivalent, Mutant, ROOMS, Room, StoredMutants, Tried};
use crate::case::Undecided;
use crate::members::Member;
use crate::yaml::Problem;

/// What became of the mutants of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Everything that was tried.
    pub tried: Tried,
    /// Survivors that are not equivalent.
    pub survivors: Vec<Mutant>,
    /// Entries of the list of equivalent mutants that name none of the survivors of their room.
    pub problems: Vec<Problem>,
}

impl Score {
    /// The share of mutants that could be noticed and were, in percent.
    pub fn percent(&self) -> f64 {
        let n = self.n();
        if n == 0 { 0.0 } else { 100.0 * (n - self.survivors.len()) as f64 / n as f64 }
    }

    /// Mutants that could be noticed: those that compile and are not equivalent.
    pub fn n(&self) -> usize {
        self.tried.caught + self.tried.timeout + self.survivors.len()
    }
}

/// The score of `scope`; undecided when a room's result is missing, unfinished or of another state of what it depends on.
pub fn score(
    scope: &Scope,
    stored: &StoredMutants,
    equivalent: &[Equivalent],
    root: &Path,
    members: &[Member],
) -> anyhow::Result<Result<Score, Undecided>> {
    let mut score = Score::default();
    for room in ROOMS.iter().filter(|room| scope.rooms.contains(&room.name)) {
        let undecided = |what: String| {
            Ok(Err(Undecided::unverified(what, format!("cargo probador mutants --crate {}", room.name))))
        };
        let Some(result) = stored.rooms.get(room.name) else {
            return undecided(format!("no result of the mutants of {} is stored", room.name));
        };
        if is_stale(room, stored, root, members)? {
            return undecided(format!(
                "the stored result of the mutants of {} is of another state of it",
                room.name
            ));
        }
        let Some(tried) = result.whole() else {
            return undecided(format!("only a share of the mutants of {} was tried", room.name));
        };
        for listed in equivalent.iter().filter(|listed| room.holds(&listed.file)) {
            if !tried.missed.iter().any(|mutant| listed.is(mutant)) {
                let what = format!("`{}` is no survivor: it is gone, or a test notices it", listed.mutant);
                score.problems.push(listed.problem(EQUIVALENT, what));
            }
        }
        let is_equivalent = |mutant: &&Mutant| equivalent.iter().any(|listed| listed.is(mutant));
        score.survivors.extend(tried.missed.iter().filter(|mutant| !is_equivalent(mutant)).cloned());
        score.tried = score.tried.and(&tried);
    }
    Ok(Ok(score))
}

/// Whether what is stored of `room` is missing or of another state.
pub fn is_stale(
    room: &Room,
    stored: &StoredMutants,
    root: &Path,
    members: &[Member],
) -> anyhow::Result<bool> {
    let key = room.key(root, members)?;
    Ok(stored.rooms.get(room.name).is_none_or(|result| result.key != key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members::members;
    use crate::mutants::SCOPES;

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
    fn judged(share: &str, stale: bool, equivalent: &[Equivalent]) -> Result<Score, Undecided> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = members(root).unwrap();
        let scope = SCOPES.iter().find(|scope| scope.name == "qwen2").unwrap();
        let room = super::super::find("qwen2").unwrap()[0];
        let key = if stale { "before".to_owned() } else { room.key(root, &members).unwrap() };
        let tried = Tried {
            caught: 17,
            timeout: 1,
            unviable: 9,
            missed: vec![mutant(3, "a + x"), mutant(9, "b + c")],
        };
        let mut stored = StoredMutants::default();
        if !share.is_empty() {
            stored.keep("qwen2", &key, "t", share, tried);
        }
        score(scope, &stored, equivalent, root, &members).unwrap()
    }

    #[test]
    fn what_compiles_and_is_not_equivalent_counts() {
        let plain = judged("1/1", false, &[]).unwrap();
        assert_eq!((plain.n(), plain.percent()), (20, 90.0));
        let excused = judged("1/1", false, &[listed("a + x")]).unwrap();
        assert_eq!((excused.n(), excused.survivors.len(), excused.problems.len()), (19, 1, 0));
        assert_eq!(excused.survivors[0].line, 9);
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
            "unverified: no result of the mutants of qwen2 is stored; cargo probador mutants --crate qwen2"
        );
        assert!(said("1/1", true).contains("is of another state of it"));
        assert!(said("1/2", false).contains("only a share of the mutants of qwen2 was tried"));
    }
}

//! What all runs together cover, if every one of them is of the crate as it is now.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Place, Scope, StoredCoverage};
use crate::case::Undecided;
use crate::members::Member;

pub use super::stored::FileCounts as FileCoverage;

/// How to get a fresh result.
const REMEDY: &str = "cargo probador coverage";

/// What the tests of the whole workspace execute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Every file, from the top of the checkout.
    pub files: BTreeMap<String, FileCoverage>,
    /// Crates whose branches were not counted.
    pub without_branches: Vec<String>,
    /// The tools of the runs.
    pub tools: Vec<String>,
    /// Files that nothing could execute where they were measured, and what the processor lacked.
    pub left_out: BTreeMap<String, String>,
}

/// Executed places among all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// Executed.
    pub executed: usize,
    /// All.
    pub total: usize,
}

impl Share {
    /// In percent; of nothing, none.
    pub fn percent(self) -> f64 {
        if self.total == 0 { 0.0 } else { 100.0 * self.executed as f64 / self.total as f64 }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { executed: self.executed + other.executed, total: self.total + other.total }
    }
}

/// Puts the runs of `stored` together; undecided when one is missing or of another state of its crate.
pub fn coverage<'m>(
    stored: &StoredCoverage,
    members: impl IntoIterator<Item = &'m Member>,
) -> Result<Coverage, Undecided> {
    let members: Vec<&Member> = members.into_iter().collect();
    let absent: Vec<&str> = members
        .iter()
        .filter(|member| !stored.crates.contains_key(&member.name))
        .map(|member| member.name.as_str())
        .collect();
    if !absent.is_empty() {
        let what = format!("no coverage is stored of {}", absent.join(", "));
        return Err(Undecided::unverified(what, REMEDY));
    }
    let stale = stale(stored, members.iter().copied());
    if !stale.is_empty() {
        let what = format!("the stored coverage is of another state of {}", stale.join(", "));
        return Err(Undecided::unverified(what, REMEDY));
    }
    Ok(together(stored, members))
}

/// The members whose run is missing or of another state.
pub fn stale<'m>(stored: &StoredCoverage, members: impl IntoIterator<Item = &'m Member>) -> Vec<&'m str> {
    let is_fresh =
        |member: &&Member| stored.crates.get(&member.name).is_some_and(|run| run.key == member.key);
    members.into_iter().filter(|member| !is_fresh(member)).map(|member| member.name.as_str()).collect()
}

/// The members whose run says something of another state of a crate below: run again, they may cover more of this one.
pub fn behind<'m>(stored: &StoredCoverage, members: &'m [Member]) -> Vec<&'m str> {
    let is_now =
        |name: &str, code: &str| members.iter().any(|member| member.name == name && member.code == code);
    let is_behind = |member: &&Member| {
        let run = stored.crates.get(&member.name);
        run.is_some_and(|run| run.below.iter().any(|(name, below)| !is_now(name, &below.code)))
    };
    members.iter().filter(is_behind).map(|member| member.name.as_str()).collect()
}

/// Puts together the runs of `members` that are there.
pub fn together<'m>(stored: &StoredCoverage, members: impl IntoIterator<Item = &'m Member>) -> Coverage {
    let members: Vec<&Member> = members.into_iter().collect();
    let mut coverage = Coverage::default();
    for &member in &members {
        let Some(run) = stored.crates.get(&member.name) else { continue };
        if !run.has_branches {
            coverage.without_branches.push(member.name.clone());
        }
        if !coverage.tools.contains(&run.tool) {
            coverage.tools.push(run.tool.clone());
        }
        coverage.left_out.extend(run.left_out.iter().map(|(path, lacks)| (path.clone(), lacks.clone())));
        coverage.files.extend(run.files.iter().map(|(path, counts)| (path.clone(), counts.clone())));
    }
    let code_now = |name: &str| members.iter().find(|member| member.name == name).map(|member| &member.code);
    for member in &members {
        let below = stored.crates.get(&member.name).map(|run| &run.below);
        // What was executed of another state of a crate below is in other places now.
        let fresh = below.into_iter().flatten().filter(|(name, below)| code_now(name) == Some(&below.code));
        for (path, executed) in fresh.flat_map(|(_, below)| &below.files) {
            if let Some(file) = coverage.files.get_mut(path) {
                file.gain(executed);
            }
        }
    }
    coverage
}

impl Coverage {
    /// The files of `scope`.
    pub fn within<'c>(&'c self, scope: &'c Scope) -> impl Iterator<Item = (&'c str, &'c FileCoverage)> {
        self.files.iter().filter(|(path, _)| scope.holds(path)).map(|(path, file)| (path.as_str(), file))
    }

    /// The files under `folder`.
    pub fn under(&self, folder: &Path) -> Vec<&FileCoverage> {
        let files = self.files.iter().filter(|(path, _)| Path::new(path).starts_with(folder));
        files.map(|(_, file)| file).collect()
    }
}

/// The executed share of lines, functions and sides of branches of `files`.
pub fn shares<'f>(files: impl IntoIterator<Item = &'f FileCoverage>) -> [Share; 3] {
    fn share<P: Place>(counts: &super::Counts<P>) -> Share {
        Share { executed: counts.total.saturating_sub(counts.missed.0.len()), total: counts.total }
    }
    files.into_iter().fold([Share::default(); 3], |[lines, functions, branches], file| {
        [
            lines.and(share(&file.lines)),
            functions.and(share(&file.functions)),
            branches.and(share(&file.branches)),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Counts, Line, Run};
    use super::*;
    use crate::coverage::stored::{Below, Executed};

    fn member(name: &str, key: &str) -> Member {
        Member {
            name: name.into(),
            folder: name.into(),
            below: [].into(),
            key: key.into(),
            code: format!("code {key}"),
        }
    }

    fn run(file: &str, total: usize, missed: &[u32]) -> Run {
        let counts = FileCoverage {
            lines: Counts { total, missed: missed.iter().copied().map(Line).collect() },
            ..FileCoverage::default()
        };
        Run {
            key: "now".to_owned(),
            tool: "tool".to_owned(),
            has_branches: true,
            files: [(file.to_owned(), counts)].into(),
            below: BTreeMap::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// `ground` misses lines 2 and 3, of which `top` executes 3.
    fn stored() -> StoredCoverage {
        let mut top = run("top/src/lib.rs", 5, &[]);
        let gained = Executed { lines: [Line(3)].into_iter().collect(), ..Executed::default() };
        let files = [("ground/src/lib.rs".to_owned(), gained)].into();
        top.below.insert("ground".to_owned(), Below { code: "code now".to_owned(), files });
        let ground = run("ground/src/lib.rs", 5, &[2, 3]);
        StoredCoverage { crates: [("ground".to_owned(), ground), ("top".to_owned(), top)].into() }
    }

    #[test]
    fn a_line_is_covered_when_any_run_executes_it() {
        let members = [member("ground", "now"), member("top", "now")];
        let coverage = coverage(&stored(), &members).unwrap();
        assert_eq!(coverage.files["ground/src/lib.rs"].lines.missed.0, [Line(2)].into());
        let [lines, functions, _] = shares(coverage.files.values());
        assert_eq!(lines, Share { executed: 9, total: 10 });
        assert_eq!((lines.percent(), functions.percent()), (90.0, 0.0));
        assert_eq!(coverage.tools, ["tool"]);
        assert_eq!(coverage.under(Path::new("ground")).len(), 1);
        let scope = Scope { name: "top", paths: &["top/"] };
        assert_eq!(coverage.within(&scope).map(|(path, _)| path).collect::<Vec<_>>(), ["top/src/lib.rs"]);
    }

    #[test]
    fn a_run_that_is_missing_or_of_another_state_decides_nothing() {
        let said = |members: &[Member]| coverage(&stored(), members).unwrap_err().to_string();
        assert_eq!(
            said(&[member("ground", "now"), member("top", "now"), member("new", "now")]),
            "unverified: no coverage is stored of new; cargo probador coverage"
        );
        let members = [member("ground", "now"), member("top", "since")];
        assert_eq!(
            said(&members),
            "unverified: the stored coverage is of another state of top; cargo probador coverage"
        );
        assert_eq!(stale(&stored(), &members), ["top"]);
    }

    #[test]
    fn what_a_run_executed_of_another_state_of_a_crate_below_covers_nothing_of_this_one() {
        let mut stored = stored();
        stored.crates.get_mut("ground").unwrap().key = "since".to_owned();
        let members = [member("ground", "since"), member("top", "now")];
        let coverage = coverage(&stored, &members).unwrap();
        assert_eq!(coverage.files["ground/src/lib.rs"].lines.missed.0, [Line(2), Line(3)].into());
        assert_eq!(behind(&stored, &members), ["top"]);
        // Other tests of the same code leave what was executed of it as it was.
        let retested = [Member { code: "code now".to_owned(), ..members[0].clone() }, members[1].clone()];
        assert_eq!(behind(&stored, &retested), Vec::<&str>::new());
        assert_eq!(behind(&stored, &[member("ground", "now"), member("top", "now")]), Vec::<&str>::new());
    }

    #[test]
    fn what_was_never_run_adds_nothing_and_what_is_run_below_a_missing_crate_is_left_out() {
        let members = [member("top", "now"), member("new", "now")];
        let coverage = together(&stored(), &members);
        assert_eq!(coverage.files.keys().collect::<Vec<_>>(), ["top/src/lib.rs"]);
        assert_eq!(coverage.without_branches, Vec::<String>::new());
    }

    #[test]
    fn what_a_processor_could_not_execute_is_named() {
        let mut stored = stored();
        let left_out = [("top/src/wide.rs".to_owned(), "avx512f".to_owned())];
        stored.crates.get_mut("top").unwrap().left_out = left_out.clone().into();
        let members = [member("ground", "now"), member("top", "now")];
        assert_eq!(coverage(&stored, &members).unwrap().left_out, left_out.into());
    }

    #[test]
    fn runs_without_branches_are_named() {
        let mut stored = stored();
        stored.crates.get_mut("top").unwrap().has_branches = false;
        let members = [member("ground", "now"), member("top", "now")];
        assert_eq!(coverage(&stored, &members).unwrap().without_branches, ["top"]);
    }
}

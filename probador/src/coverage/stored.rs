//! The stored result: for each crate the run of its tests, with the keys of the crates it says something of.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::export::{FileMeasure, Measured, Seen};
use super::{Line, Place, Places, Point, Side};
use crate::members::Member;
use crate::stored::{read_kept, write};

/// Where coverage is kept, in the checkout; committed.
pub const COVERAGE: &str = "checklist/coverage.json";

/// Every run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredCoverage {
    /// Runs, by the crate whose tests were run.
    pub crates: BTreeMap<String, Run>,
}

/// The tests of one crate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Key of the crate it was measured on; see `members.rs`.
    pub key: String,
    /// The tool and the compiler.
    pub tool: String,
    /// Whether branches were counted, which needs a nightly compiler.
    pub has_branches: bool,
    /// The crate's own files.
    pub files: BTreeMap<String, FileCounts>,
    /// What it executed of crates below that their own tests had missed, by the name of the crate.
    pub below: BTreeMap<String, Below>,
    /// Files that nothing could execute where it ran, and what the processor lacked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: BTreeMap<String, String>,
}

/// What a run executed of a crate below its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Below {
    /// Key of that crate's code: in another state of it these places are others.
    pub code: String,
    /// Its files.
    pub files: BTreeMap<String, Executed>,
}

/// What a crate's own tests make of one of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCounts {
    /// Lines.
    pub lines: Counts<Line>,
    /// Functions, by their start.
    pub functions: Counts<Point>,
    /// Sides of branches.
    pub branches: Counts<Side>,
}

/// How many places there are, and which were missed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, bound = "P: Place")]
pub struct Counts<P> {
    /// All of them.
    pub total: usize,
    /// Those that no test executed.
    pub missed: Places<P>,
}

impl<P> Default for Counts<P> {
    fn default() -> Self {
        Self { total: 0, missed: Places::default() }
    }
}

/// Places of one file that were executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Executed {
    /// Lines.
    pub lines: Places<Line>,
    /// Functions.
    pub functions: Places<Point>,
    /// Sides of branches.
    pub branches: Places<Side>,
}

impl StoredCoverage {
    /// Reads what is stored; nothing when there is no file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        read_kept(path, "is not a stored coverage", "coverage")
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, self)
    }
}

impl Run {
    /// What `measured` holds of `member`, and of what `missed` says was missed of `all` the crates below it.
    pub fn new(
        member: &Member,
        all: &[Member],
        measured: &Measured,
        missed: &BTreeMap<String, FileCounts>,
        tool: String,
        has_branches: bool,
    ) -> Self {
        let files_of = |member: &Member| {
            let own = format!("{}/src/", member.folder);
            measured.files.iter().filter(move |(path, _)| path.starts_with(&own))
        };
        let files = files_of(member).map(|(path, file)| (path.clone(), counts(file))).collect();
        let mut below = BTreeMap::new();
        for other in all.iter().filter(|other| member.below.contains(&other.name)) {
            let executed = files_of(other).filter_map(|(path, file)| {
                let executed = gained(missed.get(path)?, file);
                (executed != Executed::default()).then(|| (path.clone(), executed))
            });
            let files: BTreeMap<_, _> = executed.collect();
            if !files.is_empty() {
                below.insert(other.name.clone(), Below { code: other.code.clone(), files });
            }
        }
        let own = format!("{}/src/", member.folder);
        let left_out = measured.left_out.iter().filter(|(path, _)| path.starts_with(&own));
        let left_out = left_out.map(|(path, lacks)| (path.clone(), lacks.clone())).collect();
        Self { key: member.key.clone(), tool, has_branches, files, below, left_out }
    }
}

impl FileCounts {
    /// Takes out of what is missed what another run executed.
    pub fn gain(&mut self, executed: &Executed) {
        take(&mut self.lines, &executed.lines);
        take(&mut self.functions, &executed.functions);
        take(&mut self.branches, &executed.branches);
    }
}

fn take<P: Place>(counts: &mut Counts<P>, executed: &Places<P>) {
    counts.missed.0.retain(|place| !executed.0.contains(place));
}

fn counts(file: &FileMeasure) -> FileCounts {
    fn of<P: Place>(seen: &Seen<P>) -> Counts<P> {
        Counts { total: seen.executed.len() + seen.missed.len(), missed: Places(seen.missed.clone()) }
    }
    FileCounts { lines: of(&file.lines), functions: of(&file.functions), branches: of(&file.sides) }
}

/// What of the missed places of a file `file` executed.
fn gained(missed: &FileCounts, file: &FileMeasure) -> Executed {
    fn both<P: Place>(missed: &Counts<P>, seen: &Seen<P>) -> Places<P> {
        missed.missed.0.intersection(&seen.executed).copied().collect()
    }
    Executed {
        lines: both(&missed.lines, &file.lines),
        functions: both(&missed.functions, &file.functions),
        branches: both(&missed.branches, &file.sides),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose lines up to `executed` were executed and those up to `total` were not.
    fn file(executed: u32, total: u32) -> FileMeasure {
        let mut file = FileMeasure::default();
        file.lines.executed = (1..=executed).map(Line).collect();
        file.lines.missed = (executed + 1..=total).map(Line).collect();
        file
    }

    fn member(name: &str, below: &[&str]) -> Member {
        Member {
            name: name.to_owned(),
            folder: name.to_owned(),
            below: below.iter().map(|&name| name.to_owned()).collect(),
            key: format!("key of {name}"),
            code: format!("code of {name}"),
        }
    }

    fn run(measured: &Measured, missed: &BTreeMap<String, FileCounts>) -> Run {
        let all = [member("ground", &[]), member("top", &["ground"]), member("beside", &[])];
        Run::new(&all[1], &all, measured, missed, "tool".to_owned(), true)
    }

    #[test]
    fn a_run_keeps_its_own_files_and_below_only_what_was_missed_there() {
        let mut measured = Measured::default();
        measured.files.insert("top/src/lib.rs".to_owned(), file(3, 4));
        measured.files.insert("ground/src/lib.rs".to_owned(), file(8, 10));
        measured.files.insert("ground/src/known.rs".to_owned(), file(2, 2));
        measured.files.insert("beside/src/lib.rs".to_owned(), file(2, 2));
        for path in ["top/src/wide.rs", "ground/src/wide.rs"] {
            measured.left_out.insert(path.to_owned(), "avx512f".to_owned());
        }
        let missed_of = |lines: &[u32]| FileCounts {
            lines: Counts { total: 10, missed: lines.iter().copied().map(Line).collect() },
            ..FileCounts::default()
        };
        let missed = BTreeMap::from([
            ("ground/src/lib.rs".to_owned(), missed_of(&[7, 9])),
            ("ground/src/known.rs".to_owned(), missed_of(&[])),
            ("beside/src/lib.rs".to_owned(), missed_of(&[1])),
        ]);
        let run = run(&measured, &missed);
        assert_eq!(run.files.keys().collect::<Vec<_>>(), ["top/src/lib.rs"]);
        assert_eq!((run.files["top/src/lib.rs"].lines.total), 4);
        assert_eq!(run.files["top/src/lib.rs"].lines.missed.0, [Line(4)].into());
        assert_eq!(run.key, "key of top");
        assert_eq!(run.left_out, [("top/src/wide.rs".to_owned(), "avx512f".to_owned())].into());
        assert_eq!(run.below.keys().collect::<Vec<_>>(), ["ground"]);
        let Below { code, files } = &run.below["ground"];
        assert_eq!(code, "code of ground");
        assert_eq!(files.keys().collect::<Vec<_>>(), ["ground/src/lib.rs"]);
        let mut counts = missed_of(&[7, 9]);
        counts.gain(&files["ground/src/lib.rs"]);
        assert_eq!(counts.lines.missed.0, [Line(9)].into());
    }

    #[test]
    fn what_is_stored_survives_and_a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coverage.json");
        assert_eq!(StoredCoverage::read(&path).unwrap(), StoredCoverage::default());
        let mut measured = Measured::default();
        measured.files.insert("top/src/lib.rs".to_owned(), file(3, 4));
        let stored = StoredCoverage { crates: [("top".to_owned(), run(&measured, &BTreeMap::new()))].into() };
        stored.write(&path).unwrap();
        assert_eq!(StoredCoverage::read(&path).unwrap(), stored);
        std::fs::write(&path, r#"{"crates": {}, "more": 1}"#).unwrap();
        let error = StoredCoverage::read(&path).unwrap_err().to_string();
        assert!(error.contains("is not a stored coverage\nhint: delete it"), "{error}");
    }
}

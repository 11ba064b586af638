//! What llvm-cov exports of one run, as executed and missed places of each file: lines from its LCOV text, functions and
//! sides of branches from its JSON, which alone says in which column they are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use serde::Deserialize;

use super::{Line, Place, Point, Side};

/// What one run executed, by file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Files from the top of the checkout.
    pub files: BTreeMap<String, FileMeasure>,
    /// Files that nothing could execute, and what the processor lacks for it.
    pub left_out: BTreeMap<String, String>,
}

/// What one run executed of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileMeasure {
    /// Its lines.
    pub lines: Seen<Line>,
    /// Its functions, each by its start.
    pub functions: Seen<Point>,
    /// Both sides of its branches.
    pub sides: Seen<Side>,
}

/// Places that could be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<P> {
    /// Those that were.
    pub executed: BTreeSet<P>,
    /// Those that were not.
    pub missed: BTreeSet<P>,
}

impl<P> Default for Seen<P> {
    fn default() -> Self {
        Self { executed: BTreeSet::new(), missed: BTreeSet::new() }
    }
}

impl<P: Place> Seen<P> {
    /// Notes a place; a function that is compiled several times is executed when one of them is.
    fn note(&mut self, place: P, executed: bool) {
        if executed {
            self.missed.remove(&place);
            self.executed.insert(place);
        } else if !self.executed.contains(&place) {
            self.missed.insert(place);
        }
    }

    fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.executed.retain(|place| keep(place.line()));
        self.missed.retain(|place| keep(place.line()));
    }
}

impl FileMeasure {
    /// Drops what is in lines that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.lines.retain(&keep);
        self.functions.retain(&keep);
        self.sides.retain(&keep);
    }
}

impl Measured {
    /// Reads both exports of a run over the checkout at `root`; files outside of it are left out.
    pub fn read(root: &Path, lcov: &str, json: &str) -> anyhow::Result<Self> {
        let mut measured = Self::default();
        measured.read_lcov(root, lcov).context("llvm-cov's LCOV export is not what it was")?;
        let export: Export =
            serde_json::from_str(json).context("llvm-cov's JSON export is not what it was")?;
        measured.read_json(root, &export).context("llvm-cov's JSON export is not what it was")?;
        Ok(measured)
    }

    fn file(&mut self, root: &Path, path: &str) -> Option<&mut FileMeasure> {
        let inside = Path::new(path).strip_prefix(root).ok()?.to_string_lossy().into_owned();
        Some(self.files.entry(inside).or_default())
    }

    fn read_lcov(&mut self, root: &Path, text: &str) -> anyhow::Result<()> {
        let mut path = "";
        for line in text.lines() {
            if let Some(named) = line.strip_prefix("SF:") {
                path = named;
            } else if let Some(said) = line.strip_prefix("DA:") {
                let mut numbers = said.split(',').map(str::parse::<u64>);
                let (Some(Ok(number)), Some(Ok(count))) = (numbers.next(), numbers.next()) else {
                    return Err(anyhow!("`{line}` has no line and count"));
                };
                if let Some(file) = self.file(root, path) {
                    file.lines.note(Line(u32::try_from(number)?), count > 0);
                }
            }
        }
        Ok(())
    }

    fn read_json(&mut self, root: &Path, export: &Export) -> anyhow::Result<()> {
        let number = |region: &[u64], index: usize| {
            region.get(index).copied().ok_or_else(|| anyhow!("a region has {} numbers", region.len()))
        };
        let point = |region: &[u64]| -> anyhow::Result<Point> {
            Ok(Point { line: number(region, 0)?.try_into()?, column: number(region, 1)?.try_into()? })
        };
        for data in &export.data {
            for function in &data.functions {
                let (Some(path), Some(region)) = (function.filenames.first(), function.regions.first())
                else {
                    continue;
                };
                if let Some(file) = self.file(root, path) {
                    file.functions.note(point(region)?, function.count > 0);
                }
            }
            for exported in &data.files {
                let Some(file) = self.file(root, &exported.filename) else { continue };
                for branch in &exported.branches {
                    let at = point(branch)?;
                    file.sides.note(Side { at, held: true }, number(branch, 4)? > 0);
                    file.sides.note(Side { at, held: false }, number(branch, 5)? > 0);
                }
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Export {
    data: Vec<Data>,
}

#[derive(Deserialize)]
struct Data {
    files: Vec<ExportedFile>,
    functions: Vec<ExportedFunction>,
}

#[derive(Deserialize)]
struct ExportedFile {
    filename: String,
    #[serde(default)]
    branches: Vec<Vec<u64>>,
}

#[derive(Deserialize)]
struct ExportedFunction {
    count: u64,
    filenames: Vec<String>,
    regions: Vec<Vec<u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LCOV: &str = "SF:/work/a/src/lib.rs\nFN:1,_Ra\nDA:1,3\nDA:2,0\nend_of_record\nSF:/rustc/core.rs\nDA:9,1\nend_of_record\n";
    const JSON: &str = r#"{"data": [{
        "files": [{"filename": "/work/a/src/lib.rs", "segments": [], "branches": [[2, 8, 2, 12, 0, 4, 0, 0, 4]]}],
        "functions": [
            {"name": "generic of u8", "count": 0, "filenames": ["/work/a/src/lib.rs"], "regions": [[1, 5, 3, 2, 0, 0, 0, 0]]},
            {"name": "generic of u16", "count": 2, "filenames": ["/work/a/src/lib.rs"], "regions": [[1, 5, 3, 2, 2, 0, 0, 0]]},
            {"name": "idle", "count": 0, "filenames": ["/work/a/src/lib.rs"], "regions": [[7, 1, 9, 2, 0, 0, 0, 0]]},
            {"name": "abroad", "count": 1, "filenames": ["/rustc/core.rs"], "regions": [[1, 1, 1, 2, 1, 0, 0, 0]]}
        ]}], "type": "llvm.coverage.json.export", "version": "3.1.0"}"#;

    #[test]
    fn lines_functions_and_sides_of_branches_are_read() {
        let measured = Measured::read(Path::new("/work"), LCOV, JSON).unwrap();
        assert_eq!(measured.files.keys().collect::<Vec<_>>(), ["a/src/lib.rs"]);
        let file = &measured.files["a/src/lib.rs"];
        assert_eq!((&file.lines.executed, &file.lines.missed), (&[Line(1)].into(), &[Line(2)].into()));
        let at = |line, column| Point { line, column };
        assert_eq!(file.functions.executed, [at(1, 5)].into(), "executed once is executed");
        assert_eq!(file.functions.missed, [at(7, 1)].into());
        assert_eq!(file.sides.executed, [Side { at: at(2, 8), held: false }].into());
        assert_eq!(file.sides.missed, [Side { at: at(2, 8), held: true }].into());
    }

    #[test]
    fn what_is_executed_in_one_place_stays_executed_and_what_has_no_place_here_is_left_out() {
        let twice = LCOV.replace("DA:2,0", "DA:1,0");
        let json = JSON
            .replace(
                r#""files": ["#,
                r#""files": [{"filename": "/rustc/core.rs", "branches": [[1, 1, 1, 2, 1, 1]]}, "#,
            )
            .replace(
                r#"["/work/a/src/lib.rs"], "regions": [[7, 1, 9, 2, 0, 0, 0, 0]]"#,
                r#"[], "regions": [[7, 1]]"#,
            );
        let measured = Measured::read(Path::new("/work"), &twice, &json).unwrap();
        assert_eq!(measured.files.keys().collect::<Vec<_>>(), ["a/src/lib.rs"]);
        let file = &measured.files["a/src/lib.rs"];
        assert_eq!((&file.lines.executed, &file.lines.missed), (&[Line(1)].into(), &[].into()));
        assert_eq!(file.functions.missed, [].into(), "a function in no file is in none");
    }

    #[test]
    fn lines_that_are_not_wanted_are_dropped_with_all_that_is_in_them() {
        let mut file =
            Measured::read(Path::new("/work"), LCOV, JSON).unwrap().files.remove("a/src/lib.rs").unwrap();
        file.retain(|line| line == 1);
        assert_eq!(file.lines.missed.len() + file.sides.missed.len() + file.sides.executed.len(), 0);
        assert_eq!(file.functions.executed.len() + file.lines.executed.len(), 2);
    }

    #[test]
    fn an_export_of_another_form_is_an_error() {
        let read = |lcov: &str, json: &str| {
            format!("{:#}", Measured::read(Path::new("/work"), lcov, json).unwrap_err())
        };
        assert!(read("SF:/work/a.rs\nDA:x,1\n", JSON).contains("`DA:x,1` has no line and count"));
        assert!(read("", "{}").contains("JSON export is not what it was"));
        let short = JSON.replace("[[2, 8, 2, 12, 0, 4, 0, 0, 4]]", "[[2, 8, 2]]");
        assert!(read("", &short).contains("a region has 3 numbers"));
    }
}

//! Faults in the stored results of coverage and mutants: results of this very tree that no tool ever gave.

use std::path::{Path, PathBuf};

use crate::checklist::{Check, Claim};
use crate::coverage::{
    COVERAGE, Counts, ENGINE, FileCounts, INFERENCE, Line, Point, Run, Side, Sources, StoredCoverage,
    VERDICT_CORE,
};
use crate::members::members;
use crate::mutants::{FileResult, MUTANTS, Mutant, State, StoredMutants, Tried, mutated};
use crate::workspace::Workspace;

/// Makes the stored result with the fault `name` in `folder`.
pub(super) fn make(name: &str, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let spoil: fn(&str, &Sources, &mut FileCounts) = match name {
        "a-quarter-of-lines-missed" => |_, _, file| {
            file.lines.missed = (1..=file.lines.total as u32).step_by(4).map(Line).collect();
        },
        "every-tenth-line-of-inference-missed" => |path, _, file| {
            if INFERENCE.holds(path) {
                file.lines.missed = (1..=file.lines.total as u32).step_by(10).map(Line).collect();
            }
        },
        "branches-of-the-engine-missed" => |path, _, file| {
            if ENGINE.holds(path) {
                let side = |column: u32| Side { at: Point { line: 1, column }, held: true };
                file.branches.missed = [1, 2].map(side).into_iter().collect();
            }
        },
        "core-line-missed" => |path, _, file| {
            if path == "probador/core/src/compare/tolerance.rs" {
                file.lines.missed.0.insert(Line(30));
            }
        },
        "core-branches-missed" => |path, _, file| {
            if VERDICT_CORE.holds(path) {
                let at = Point { line: 1, column: 1 };
                file.branches.missed = [Side { at, held: true }].into_iter().collect();
            }
        },
        "public-function-missed" => |path, sources, file| {
            let first = sources.public.first().filter(|_| path == "subjects/qwen2/src/model.rs");
            let at = first.map(|function| Point { line: *function.lines.start(), column: 5 });
            file.functions.missed = at.into_iter().collect();
        },
        "ordinary-file-left-out" => {
            let mut stored = coverage(|_, _, _| {})?;
            for run in stored.crates.values_mut() {
                let left_out = run.files.remove_entry("subjects/qwen2/src/model.rs");
                run.left_out.extend(left_out.map(|(path, _)| (path, "avx512f".to_owned())));
            }
            return write(&stored, folder).map(Some);
        }
        "mutants-survive" => return mutants(folder, 3).map(Some),
        _ => return Ok(None),
    };
    write(&coverage(spoil)?, folder).map(Some)
}

/// Makes the stored result that `claim` must not flag, where it judges one of these.
pub(super) fn twin(claim: &Claim, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    match claim.check {
        Check::Coverage(_) => write(&coverage(|_, _, _| {})?, folder).map(Some),
        Check::Mutation(_) => mutants(folder, 0).map(Some),
        _ => Ok(None),
    }
}

/// A result that covers all of this very tree, but for what is excused and what `spoil` takes away.
fn coverage(spoil: fn(&str, &Sources, &mut FileCounts)) -> anyhow::Result<StoredCoverage> {
    let workspace = Workspace::find(None)?;
    let mut stored = StoredCoverage::default();
    for member in members(workspace.root())? {
        let mut run = Run {
            key: member.key,
            tool: "a planted result".to_owned(),
            has_branches: true,
            files: [].into(),
            below: [].into(),
            left_out: [].into(),
        };
        for entry in walkdir::WalkDir::new(workspace.path(&member.folder).join("src")) {
            let entry = entry?;
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let sources = Sources::read(entry.path())?;
            let path = entry.path().strip_prefix(workspace.root())?.to_string_lossy().into_owned();
            let excused = sources.exclusions.iter().map(|excuse| Line(*excuse.lines.start()));
            let n_lines = std::fs::read_to_string(entry.path())?.lines().count();
            let mut file = FileCounts {
                lines: Counts { total: n_lines, missed: excused.collect() },
                functions: Counts { total: sources.public.len(), ..Counts::default() },
                branches: Counts { total: 10, ..Counts::default() },
            };
            spoil(&path, &sources, &mut file);
            run.files.insert(path, file);
        }
        stored.crates.insert(member.name, run);
    }
    Ok(stored)
}

fn write(stored: &StoredCoverage, folder: &Path) -> anyhow::Result<PathBuf> {
    let path = folder.join(file_name(COVERAGE));
    stored.write(&path)?;
    Ok(path)
}

/// A result in which, of twenty mutants in each crate that a test could notice, all but `n_missed` were.
fn mutants(folder: &Path, n_missed: u32) -> anyhow::Result<PathBuf> {
    let workspace = Workspace::find(None)?;
    let members = members(workspace.root())?;
    let equivalent = workspace.equivalent_mutants()?;
    let mut stored = StoredMutants::default();
    for member in mutated(&members) {
        let library = format!("{}/src/lib.rs", member.folder);
        let results = State::of_files(workspace.root(), member)?.into_iter().map(|(path, state)| {
            let survivor = |line: u32| Mutant {
                file: path.clone(),
                line,
                column: 1,
                mutant: "replace + with - in a planted result".to_owned(),
                text: String::new(),
            };
            let listed = equivalent.iter().filter(|listed| listed.file == path).map(|listed| Mutant {
                mutant: listed.mutant.clone(),
                text: listed.text.clone(),
                ..survivor(1)
            });
            let mut tried = Tried { missed: listed.collect(), ..Tried::default() };
            if path == library {
                tried.caught = 20 - n_missed as usize;
                tried.missed.extend((1..=n_missed).map(survivor));
            }
            (path, FileResult { state, tried })
        });
        stored.keep(&member.name, "a planted result", results.collect::<Vec<_>>());
    }
    let path = folder.join(file_name(MUTANTS));
    stored.write(&path)?;
    Ok(path)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

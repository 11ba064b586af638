//! Faults in the sources: a scratch copy of the tree, edited, built, and its own engine asked for a verdict.
//!
//! The checkout itself is never touched. Copy and build folder are shared by all faults and kept between runs, so that
//! each fault compiles only what it changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use rustix::fs::{FlockOperation, flock};

use super::trial::Reaction;
use crate::case::Verdict;
use crate::checklist::{Claim, ClaimId, Edit};
use crate::engine::Engine;
use crate::process::Program;
use crate::report::Report;
use crate::workspace::Workspace;

/// How long the built engine may take over the claims of one fault.
const JUDGE_TIME: Duration = Duration::from_mins(30);
/// What a build reads, from the top of the checkout.
const SOURCES: [&str; 6] =
    ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo", "probador", "subjects"];

/// A copy of the sources in which faults are planted.
pub struct Scratch {
    root: PathBuf,
    tree: PathBuf,
    target: PathBuf,
    /// Keeps two runs from planting in the same copy.
    _lock: File,
}

/// Executables of a tree with a fault in it, until the next one is built.
pub struct Built<'s> {
    scratch: &'s Scratch,
}

impl Scratch {
    /// Opens the scratch copy of `workspace` in the cache; waits for another run that uses it.
    pub fn open(workspace: &Workspace) -> anyhow::Result<Self> {
        let folder = Workspace::cache().join("scratch");
        std::fs::create_dir_all(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        let lock = File::create(folder.join("lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        Ok(Self {
            root: workspace.root().to_owned(),
            tree: folder.join("tree"),
            target: folder.join("target"),
            _lock: lock,
        })
    }

    /// Builds the sources with `edits` in them; without any, as they are.
    pub fn build(&self, edits: &[Edit]) -> anyhow::Result<Built<'_>> {
        self.write_tree(edits)?;
        let build = Program::cargo()
            .args(["build", "--quiet", "--release", "--package", "apr-cli", "--package", "probador"])
            .args(["--config", "profile.release.debug=false", "--target-dir"])
            .arg(&self.target)
            .folder(&self.tree);
        let finished = build.run()?;
        if !finished.succeeded() {
            bail!("the edited sources do not build: {}", finished.describe());
        }
        Ok(Built { scratch: self })
    }

    /// Makes the copy equal to the sources with `edits` in them, touching only files that differ: what is not touched
    /// is not compiled again.
    fn write_tree(&self, edits: &[Edit]) -> anyhow::Result<()> {
        let mut wanted: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
        for name in SOURCES {
            let top = self.root.join(name);
            if !top.exists() {
                continue;
            }
            for entry in files(&top) {
                let entry = entry?;
                let name = entry.strip_prefix(&self.root)?.to_owned();
                wanted.insert(name, std::fs::read(&entry)?);
            }
        }
        for edit in edits {
            let contents = wanted.get_mut(Path::new(&edit.file)).ok_or_else(|| {
                anyhow!("the edit of `{}` no longer applies: there is no such file", edit.file)
            })?;
            let text =
                std::str::from_utf8(contents).with_context(|| format!("`{}` is no text", edit.file))?;
            *contents = edit.apply(text).map_err(|error| anyhow!("{error}"))?.into_bytes();
        }
        if self.tree.exists() {
            for entry in files(&self.tree) {
                let entry = entry?;
                if !wanted.contains_key(entry.strip_prefix(&self.tree)?) {
                    std::fs::remove_file(&entry)?;
                }
            }
        }
        for (name, contents) in wanted {
            let path = self.tree.join(name);
            if std::fs::read(&path).is_ok_and(|present| present == contents) {
                continue;
            }
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, contents)
                .with_context(|| format!("failed to write `{}`", path.display()))?;
        }
        Ok(())
    }
}

/// Every file under `top`, build folders left out.
fn files(top: &Path) -> impl Iterator<Item = anyhow::Result<PathBuf>> {
    let is_source = |entry: &walkdir::DirEntry| {
        !["target", "corpus", "artifacts"].contains(&&*entry.file_name().to_string_lossy())
    };
    let walk = walkdir::WalkDir::new(top).sort_by_file_name().into_iter().filter_entry(is_source);
    walk.filter_map(|entry| match entry {
        Ok(entry) if entry.file_type().is_file() => Some(Ok(entry.into_path())),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    })
}

impl Built<'_> {
    /// How `claims` take it, judged by the engine that was built with the fault on the model of `engine`.
    pub fn react(&self, engine: &Engine, claims: &[&Claim]) -> anyhow::Result<BTreeMap<ClaimId, Reaction>> {
        let context = engine.context();
        let reports = tempfile::tempdir()?;
        let mut judge = Program::new(self.scratch.target.join("release/cargo-probador"))
            .args(["full", "--no-build", "--format", "json", "--root"])
            .arg(context.workspace().root())
            .arg("--reports")
            .arg(reports.path())
            .arg("--model")
            .arg(context.model().known.as_ref().map_or_else(
                || context.model().path.clone().into_os_string(),
                |known| known.name.clone().into(),
            ))
            .timeout(JUDGE_TIME);
        if let Some(seed) = context.seed_override() {
            judge = judge.arg("--seed").arg(seed.to_string());
        }
        for claim in claims {
            judge = judge.arg("--exact").arg(claim.case_name());
        }
        if let Some(data) = std::env::var_os("APR_DATA_DIR") {
            judge = judge.env("APR_DATA_DIR", data);
        }
        let finished = judge.run()?;
        let report: Report = serde_json::from_slice(&finished.stdout).map_err(|_| {
            anyhow!("the engine built with the fault gave no report: {}", finished.describe())
        })?;
        Ok(claims
            .iter()
            .map(|claim| {
                let row = report.claims.iter().find(|row| row.id == claim.id);
                (claim.id, reaction(row.and_then(|row| row.outcome.as_ref()).map(|outcome| &outcome.verdict)))
            })
            .collect())
    }
}

fn reaction(verdict: Option<&Verdict>) -> Reaction {
    match verdict {
        Some(Verdict::Fail { diagnosis }) => Reaction::Red { said: diagnosis.clone() },
        Some(Verdict::Pass) => Reaction::Green,
        Some(Verdict::Undecided(undecided)) => Reaction::Broken { why: undecided.to_string() },
        None => Reaction::Broken { why: "it has no outcome".to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(folder: &Path) -> Scratch {
        let root = folder.join("root");
        std::fs::create_dir_all(root.join("subjects/a/target")).unwrap();
        std::fs::write(root.join("Cargo.toml"), "[workspace]").unwrap();
        std::fs::write(root.join("subjects/a/lib.rs"), "fn a() { start + 1 }").unwrap();
        std::fs::write(root.join("subjects/a/target/built"), "x").unwrap();
        let lock = File::create(folder.join("lock")).unwrap();
        Scratch { root, tree: folder.join("tree"), target: folder.join("target"), _lock: lock }
    }

    #[test]
    fn the_copy_gets_the_edit_and_loses_it_and_the_sources_stay_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = scratch(folder.path());
        let edit = Edit {
            file: "subjects/a/lib.rs".to_owned(),
            before: "start + 1".to_owned(),
            after: "start".to_owned(),
        };
        let copy = || std::fs::read_to_string(scratch.tree.join("subjects/a/lib.rs")).unwrap();
        scratch.write_tree(std::slice::from_ref(&edit)).unwrap();
        assert_eq!(copy(), "fn a() { start }");
        assert!(!scratch.tree.join("subjects/a/target").exists());
        let untouched = std::fs::metadata(scratch.tree.join("Cargo.toml")).unwrap().modified().unwrap();
        std::fs::write(scratch.tree.join("stale.rs"), "").unwrap();
        scratch.write_tree(&[]).unwrap();
        assert_eq!(copy(), "fn a() { start + 1 }");
        assert!(!scratch.tree.join("stale.rs").exists());
        assert_eq!(
            std::fs::metadata(scratch.tree.join("Cargo.toml")).unwrap().modified().unwrap(),
            untouched
        );
        let source = std::fs::read_to_string(scratch.root.join("subjects/a/lib.rs")).unwrap();
        assert_eq!(source, "fn a() { start + 1 }");
    }

    #[test]
    fn an_edit_of_a_file_that_is_gone_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let edit = Edit { file: "subjects/b.rs".to_owned(), before: "x".to_owned(), after: "y".to_owned() };
        let error = scratch(folder.path()).write_tree(&[edit]).unwrap_err();
        assert_eq!(error.to_string(), "the edit of `subjects/b.rs` no longer applies: there is no such file");
    }

    #[test]
    fn only_red_is_red() {
        let undecided = Verdict::Undecided(crate::case::Undecided::unverified("no model", ""));
        assert!(matches!(reaction(Some(&undecided)), Reaction::Broken { .. }));
        assert!(matches!(reaction(None), Reaction::Broken { .. }));
        assert_eq!(reaction(Some(&Verdict::Pass)), Reaction::Green);
        let red = Verdict::Fail { diagnosis: "off".to_owned() };
        assert_eq!(reaction(Some(&red)), Reaction::Red { said: "off".to_owned() });
    }

    #[test]
    fn a_file_that_is_no_text_and_a_folder_that_is_not_there_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = scratch(folder.path());
        std::fs::write(scratch.root.join("subjects/a/raw.rs"), b"\xff").unwrap();
        let edit =
            Edit { file: "subjects/a/raw.rs".to_owned(), before: "x".to_owned(), after: "y".to_owned() };
        let error = scratch.write_tree(std::slice::from_ref(&edit)).unwrap_err();
        assert_eq!(error.to_string(), "`subjects/a/raw.rs` is no text");
        assert!(!scratch.tree.exists(), "nothing is written when an edit does not apply");
        let nowhere = folder.path().join("nowhere");
        let found: Vec<_> = files(&nowhere).collect();
        assert!(matches!(&found[..], [Err(error)] if error.to_string().contains("nowhere")), "{found:?}");
    }
}

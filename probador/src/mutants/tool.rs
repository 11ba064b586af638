//! cargo-mutants: finding it, or saying how to get it; trying the mutants of a crate with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};

use super::{Mutant, Tried, read_outcomes};
use crate::members::Member;
use crate::process::{Ended, Program};

/// How long all mutants of one crate may take.
const TIME: Duration = Duration::from_hours(24);
/// How long the tests may take on one mutant: this many times as long as without any, and never less than so many
/// seconds. A mutant that loops costs all of that.
const LIMIT: [&str; 4] = ["--timeout-multiplier", "4", "--minimum-test-timeout", "20"];
/// Variables that say where tests find models.
const DATA: [&str; 2] = ["APR_DATA_DIR", "PROBADOR_MODEL"];

/// The tool.
#[derive(Clone, Debug)]
pub struct Tool {
    root: PathBuf,
    version: String,
}

/// Which of a crate's mutants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// All in these files, by their path from the top of the checkout.
    Files(Vec<String>),
    /// These alone.
    These(Vec<Mutant>),
    /// Those in the lines that this file of differences adds or changes.
    InDiff(PathBuf),
}

impl Tool {
    /// Finds it for the checkout at `root`.
    pub fn find(root: &Path) -> anyhow::Result<Self> {
        let program = cargo(["mutants", "--version"]);
        let hint = "hint: cargo install --locked cargo-mutants";
        let run = program.run().context(hint)?;
        if !run.succeeded() {
            return Err(anyhow!("{}", run.describe())).context(hint);
        }
        Ok(Self { root: root.to_owned(), version: run.stdout_text().trim().to_owned() })
    }

    /// Its name and version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Tries the `chosen` mutants of `member`, in a copy of the checkout; what became of them, by their file. The tool's
    /// own files go below `folder`.
    pub fn run(
        &self,
        member: &Member,
        chosen: &Chosen,
        folder: &Path,
    ) -> anyhow::Result<BTreeMap<String, Tried>> {
        std::fs::create_dir_all(folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        // What an earlier run left would be taken for the result of one that finds nothing to try.
        let left = folder.join("mutants.out");
        if left.exists() {
            std::fs::remove_dir_all(&left)
                .with_context(|| format!("failed to remove `{}`", left.display()))?;
        }
        let program = cargo(arguments(member, chosen, folder))
            // Dependencies are built once for all crates; the tool works on copies of the sources elsewhere.
            .env("CARGO_TARGET_DIR", self.root.join("target/mutants"))
            .folder(&self.root)
            .timeout(TIME);
        let run = program.run()?;
        let outcomes = folder.join("mutants.out/outcomes.json");
        match run.ended {
            // 0: all were caught; 2: some were missed; 3: some ran without end. Others say why nothing was tried.
            Ended::Exited(0 | 2 | 3) if !outcomes.exists() => Ok(BTreeMap::new()),
            Ended::Exited(0 | 2 | 3) => {
                let text = std::fs::read_to_string(&outcomes)
                    .with_context(|| format!("failed to read `{}`", outcomes.display()))?;
                read_outcomes(&self.root, &text)
            }
            _ => bail!("{}\nhint: see `{}`", run.describe(), folder.join("mutants.out/log").display()),
        }
    }
}

fn arguments(member: &Member, chosen: &Chosen, folder: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = ["mutants", "--package", &member.name].map(str::to_owned).into();
    arguments.extend(
        ["--jobs", "1", "--profile", "mutants", "--no-shuffle"].iter().chain(&LIMIT).map(|&s| s.to_owned()),
    );
    arguments.extend(["--output".to_owned(), folder.display().to_string()]);
    let mut files = vec![format!("{}/src/**/*.rs", member.folder)];
    match chosen {
        Chosen::Files(chosen) => files.clone_from(chosen),
        Chosen::These(mutants) => {
            // One expression: the tool takes a mutant that any of several matches.
            let names: Vec<String> =
                mutants.iter().map(|mutant| regex::escape(&mutant.to_string())).collect();
            arguments.extend(["--re".to_owned(), format!("^({})$", names.join("|"))]);
        }
        Chosen::InDiff(diff) => arguments.extend(["--in-diff".to_owned(), diff.display().to_string()]),
    }
    arguments.extend(files.into_iter().flat_map(|file| ["--file".to_owned(), file]));
    arguments
}

fn cargo(arguments: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Program {
    Program::new("cargo").args(arguments).with_toolchain().pass_on(&DATA)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(chosen: &Chosen) -> String {
        let member = Member {
            name: "apr-qwen2".into(),
            folder: "subjects/qwen2".into(),
            below: [].into(),
            key: "k".into(),
            code: String::new(),
        };
        arguments(&member, chosen, Path::new("out")).join(" ")
    }

    const COMMON: &str = "mutants --package apr-qwen2 --jobs 1 --profile mutants --no-shuffle \
                          --timeout-multiplier 4 --minimum-test-timeout 20 --output out ";

    #[test]
    fn files_and_differences_are_tried_with_all_tests_of_the_crate() {
        let files = ["subjects/qwen2/src/mlp.rs", "subjects/qwen2/src/lib.rs"].map(str::to_owned);
        assert_eq!(
            line(&Chosen::Files(files.into())),
            format!("{COMMON}--file subjects/qwen2/src/mlp.rs --file subjects/qwen2/src/lib.rs")
        );
        assert_eq!(
            line(&Chosen::InDiff("a.diff".into())),
            format!("{COMMON}--in-diff a.diff --file subjects/qwen2/src/**/*.rs")
        );
    }

    #[test]
    fn survivors_are_named_one_by_one_and_nothing_in_their_names_is_an_expression() {
        let survivor = |line: u32| Mutant {
            file: "subjects/qwen2/src/mlp.rs".to_owned(),
            line,
            column: 5,
            mutant: "replace + with - in mlp".to_owned(),
            text: String::new(),
        };
        let named = r"--re ^(subjects/qwen2/src/mlp\.rs:3:5: replace \+ with \- in mlp|subjects/qwen2/src/mlp\.rs:14:5: replace \+ with \- in mlp)$";
        assert_eq!(
            line(&Chosen::These(vec![survivor(3), survivor(14)])),
            format!("{COMMON}{named} --file subjects/qwen2/src/**/*.rs")
        );
    }
}

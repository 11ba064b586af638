//! Faults in small trees and stored results that a lint or a tool's judge must flag.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::checklist::{Check, Claim};
use crate::lint::{self, Example};
use crate::stored::{ToolResult, tree_hash};
use crate::workspace::Workspace;

/// What was made.
pub(super) enum Made {
    /// A tree to lint.
    Tree(PathBuf),
    /// A stored result to judge.
    Result(PathBuf),
}

/// Faults, their rules, and which of the trees that the rule must flag is planted: the first whose description begins
/// so.
const TREES: [(&str, &str, &str); 19] = [
    ("unsafe-without-reason", "G2", ""),
    ("model-read-into-memory", "G4", ""),
    ("raw-safetensors-in-inference", "G5", ""),
    ("string-as-error", "G6", ""),
    ("reply-by-search", "G7", "the specification's anti-pattern"),
    ("reply-by-closure", "G7", "the search behind a helper"),
    ("reply-by-expression", "G7", "a regular expression"),
    ("reply-by-hash", "G7", "a match on a hash"),
    ("reply-by-table", "G7", "a phrase table"),
    ("reply-from-file", "G7", "a reply read from a file"),
    ("reply-by-draw", "G7", "a random pick"),
    ("reply-by-handler", "G7", "a request handler"),
    ("logits-constant", "G7", "constant logits"),
    ("sleep-and-print", "G7", "sleep and print"),
    ("naive-elements", "G8", ""),
    ("naive-matrix-product", "G8", "a matrix product"),
    ("push-without-capacity", "J23", ""),
    ("dead-code-silenced", "I5", "warnings silenced"),
    ("public-item-unused", "I5", "public items that nobody"),
];

/// Makes the fixture of the fault `name` in `folder`: a tree that the rule itself says it must flag.
pub(super) fn make(name: &str, folder: &Path) -> anyhow::Result<Option<Made>> {
    if name == "clippy-warning-stored" {
        return stored(folder, &["warning: this could be simpler"]).map(Some);
    }
    let Some((_, rule, what)) = TREES.iter().find(|(fault, ..)| *fault == name) else {
        return Ok(super::measured::make(name, folder)?.map(Made::Result));
    };
    let mut examples = lint::find(rule)?.must_flag.iter();
    let example = examples.find(|example| example.what.starts_with(what));
    tree(example.context("the rule has no example of that kind")?, folder).map(Some)
}

/// Makes the fixture's twin that `claim` must not flag, where it judges a tree or a stored result.
pub(super) fn twin(claim: &Claim, folder: &Path) -> anyhow::Result<Option<Made>> {
    if let Check::Lint(rule) = &claim.check {
        let rule = lint::find(rule)?;
        let example = rule.must_not_flag.first().context("the rule has no example it must not flag")?;
        return tree(example, folder).map(Some);
    }
    let judges_a_result = claim.faults.iter().any(|name| name == "clippy-warning-stored");
    if judges_a_result {
        return stored(folder, &[]).map(Some);
    }
    Ok(super::measured::twin(claim, folder)?.map(Made::Result))
}

/// Writes an example of a lint.
fn tree(example: &Example, folder: &Path) -> anyhow::Result<Made> {
    for (path, text) in example.with_manifest() {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, text)?;
    }
    Ok(Made::Tree(folder.to_owned()))
}

/// A result of clippy over this very tree, with these findings.
fn stored(folder: &Path, findings: &[&str]) -> anyhow::Result<Made> {
    let result = ToolResult {
        tool: "clippy".to_owned(),
        command: "cargo clippy".to_owned(),
        tree: tree_hash(Workspace::find(None)?.root())?,
        n_packages: 8,
        findings: findings.iter().map(|&finding| finding.to_owned()).collect(),
    };
    let path = folder.join("clippy.json");
    result.write(&path)?;
    Ok(Made::Result(path))
}

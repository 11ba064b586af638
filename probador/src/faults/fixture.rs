//! Faults in small trees and stored results that a lint or a tool's judge must flag.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::lint;
use crate::stored::{ToolResult, tree_hash};
use crate::workspace::Workspace;

/// What was made.
pub(super) enum Made {
    /// A tree to lint.
    Tree(PathBuf),
    /// A stored result to judge.
    Result(PathBuf),
}

/// Makes the fixture of the fault `name` in `folder`: the first tree that the rule itself says it must flag.
pub(super) fn make(name: &str, folder: &Path) -> anyhow::Result<Option<Made>> {
    let rule = match name {
        "clippy-warning-stored" => return stored(folder, &["warning: this could be simpler"]).map(Some),
        // The twin that must not be flagged.
        "clippy-clean-stored" => return stored(folder, &[]).map(Some),
        "unsafe-without-reason" => "G2",
        "model-read-into-memory" => "G4",
        "raw-safetensors-in-inference" => "G5",
        "string-as-error" => "G6",
        _ => return Ok(None),
    };
    let example = lint::find(rule)?.must_flag.first().context("the rule has no example it must flag")?;
    let has_manifest = example.files.iter().any(|(path, _)| path.ends_with("Cargo.toml"));
    let manifest = (!has_manifest).then_some(("Cargo.toml", "[package]\nname = \"example\"\n"));
    for (path, text) in example.files.iter().copied().chain(manifest) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(Some(Made::Tree(folder.to_owned())))
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

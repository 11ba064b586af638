//! Results of tools, stored with the hash of the tree they were made from, so that a stale one is seen as such.

use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Where clippy's result is kept, in the checkout.
pub const CLIPPY: &str = "target/probador/clippy.json";

/// What a tool found, and in which tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolResult {
    /// The tool and its version.
    pub tool: String,
    /// The command that was run.
    pub command: String,
    /// [`tree_hash`] of the sources it saw.
    pub tree: String,
    /// Packages it looked at; a run over none shows nothing.
    pub n_packages: usize,
    /// What it found, a finding an entry.
    pub findings: Vec<String>,
}

impl ToolResult {
    /// Reads a stored result.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("`{}` is not a stored result", path.display()))
    }

    /// Stores it at `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        write(path, self)
    }
}

/// Reads what is kept in a JSON file at `path`; nothing when there is none. Where it is something else, `wrong` says so
/// of the file, and `command` of the engine makes it anew.
pub fn read_kept<T: DeserializeOwned + Default>(
    path: &Path,
    wrong: &str,
    command: &str,
) -> anyhow::Result<T> {
    if !path.exists() {
        return Ok(T::default());
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!("`{}` {wrong}\nhint: delete it and run `cargo probador {command}`", path.display())
    })
}

/// Writes `value` as a JSON file that people can compare, whole or not at all.
pub fn write(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)? + "\n";
    crate::report::write_file(path, text.as_bytes())
}

/// BLAKE3 over the names and contents of everything a compiler reads: Rust sources, manifests, tool settings.
pub fn tree_hash(root: &Path) -> anyhow::Result<String> {
    let is_source = |path: &Path| {
        path.extension()
            .is_some_and(|extension| extension == "rs" || extension == "toml" || extension == "lock")
    };
    let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0
            || !(name == "target" || name == "reports" || (name.starts_with('.') && name != ".cargo"))
    });
    let mut hasher = blake3::Hasher::new();
    for entry in walk {
        let entry = entry?;
        if entry.file_type().is_file() && is_source(entry.path()) {
            let name = entry.path().strip_prefix(root)?.to_string_lossy().into_owned();
            let contents = std::fs::read(entry.path())?;
            hasher.update(format!("{name}\0{}\0", contents.len()).as_bytes());
            hasher.update(&contents);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_tree_follows_its_sources_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.rs", "fn a() {}");
        let first = tree_hash(folder.path()).unwrap();
        write("notes.txt", "x");
        assert_eq!(tree_hash(folder.path()).unwrap(), first);
        write("a.rs", "fn b() {}");
        let second = tree_hash(folder.path()).unwrap();
        assert_ne!(second, first);
        write("Cargo.toml", "");
        assert_ne!(tree_hash(folder.path()).unwrap(), second);
    }
}

//! Faults in small trees and stored results that a lint or a tool's judge must flag.

use std::path::{Path, PathBuf};

use crate::stored::{ToolResult, tree_hash};

/// What was made.
pub(super) enum Made {
    /// A tree to lint.
    Tree(PathBuf),
    /// A stored result to judge.
    Result(PathBuf),
}

/// Makes the fixture of the fault `name` in `folder`.
pub(super) fn make(name: &str, folder: &Path) -> anyhow::Result<Option<Made>> {
    let (file, source) = match name {
        "clippy-warning-stored" => {
            let root = crate::workspace::Workspace::find(None)?;
            let result = ToolResult {
                tool: "clippy".to_owned(),
                command: "cargo clippy".to_owned(),
                tree: tree_hash(root.root())?,
                n_packages: 8,
                findings: vec!["warning: this could be simpler".to_owned()],
            };
            let path = folder.join("clippy.json");
            result.write(&path)?;
            return Ok(Some(Made::Result(path)));
        }
        "unsafe-without-reason" => {
            ("subjects/tensor/src/lib.rs", "//! x\npub fn first(v: &[u8]) -> u8 { unsafe { *v.as_ptr() } }\n")
        }
        "model-read-into-memory" => (
            "subjects/format/src/lib.rs",
            "//! x\npub fn load(path: &std::path::Path) -> std::io::Result<Vec<u8>> { std::fs::read(path) }\n",
        ),
        "raw-safetensors-in-inference" => (
            "subjects/qwen2/src/lib.rs",
            "//! x\npub fn n(bytes: &[u8]) -> usize { safetensors::SafeTensors::deserialize(bytes).map_or(0, |t| t.len()) }\n",
        ),
        "string-as-error" => (
            "subjects/tokenizer/src/lib.rs",
            "//! x\npub fn parse(text: &str) -> Result<u32, String> { text.parse().map_err(|_| text.to_owned()) }\n",
        ),
        _ => return Ok(None),
    };
    let path = folder.join(file);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, source)?;
    Ok(Some(Made::Tree(folder.to_owned())))
}

//! The files that a run rests on, each by the SHA-256 of its bytes: what was judged, and what it was judged by.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::checklist::Section;
use crate::golden::MANIFEST;
use crate::workspace::Workspace;

/// One file, as it was when the run had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// What it is to the run.
    pub role: Role,
    /// Its path in the checkout, or its name where it lies outside.
    pub name: String,
    /// Its SHA-256, in lower-case hex.
    pub sha256: String,
}

/// What a file is to a run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The model that was judged.
    Model,
    /// The `apr` executable that was judged.
    Apr,
    /// This executable.
    Engine,
    /// What is claimed, what it is waived or proven by, and the playbooks.
    Checklist,
    /// What the model's goldens are, each by its hash.
    Golden,
}

impl Role {
    /// Whether it is judged; the others judge.
    pub fn is_judged(self) -> bool {
        matches!(self, Self::Model | Self::Apr)
    }

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Apr => "apr",
            Self::Engine => "engine",
            Self::Checklist => "checklist",
            Self::Golden => "golden",
        }
    }
}

/// Where the files of a run are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputPaths {
    /// The model file.
    pub model: PathBuf,
    /// The `apr` executable, where there is one.
    pub apr: Option<PathBuf>,
    /// The model's name, which its goldens are found by.
    pub model_name: String,
}

/// Hashes every file that a run in `workspace` rests on. What is not there is not listed.
pub fn input_files(workspace: &Workspace, paths: &InputPaths) -> anyhow::Result<Vec<InputFile>> {
    let mut files = Vec::new();
    let mut add = |role: Role, path: &Path| -> anyhow::Result<()> {
        if path.is_file() {
            files.push(InputFile { role, name: name(workspace, path), sha256: sha256_of(path)? });
        }
        Ok(())
    };
    add(Role::Model, &paths.model)?;
    if let Some(apr) = &paths.apr {
        add(Role::Apr, apr)?;
    }
    add(Role::Engine, &std::env::current_exe().context("cannot tell which executable this is")?)?;
    for section in Section::ALL {
        add(Role::Checklist, &workspace.path("checklist").join(section.file_name()))?;
    }
    for file in ["faults.yaml", "waivers.yaml", "proofs.json"] {
        add(Role::Checklist, &workspace.path("checklist").join(file))?;
    }
    for playbook in workspace.playbook_sources()? {
        add(Role::Checklist, &workspace.path(&playbook.file))?;
    }
    // The manifest holds the hash of each tensor, and a tensor is read only when it has that hash.
    let golden = workspace.path("golden");
    add(Role::Golden, &golden.join("models.yaml"))?;
    add(Role::Golden, &golden.join(&paths.model_name).join(MANIFEST))?;
    Ok(files)
}

/// The SHA-256 of a file, in lower-case hex; large files are read piece by piece.
pub fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let failed = || format!("failed to read `{}`", path.display());
    let mut file = std::fs::File::open(path).with_context(failed)?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let n = std::io::Read::read(&mut file, &mut piece).with_context(failed)?;
        if n == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&piece[..n]);
    }
}

/// A path in the checkout without the way to it, which differs from machine to machine.
fn name(workspace: &Workspace, path: &Path) -> String {
    match path.strip_prefix(workspace.root()) {
        Ok(inside) if !inside.starts_with("target") => inside.to_string_lossy().into_owned(),
        _ => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_is_among_the_inputs_of_a_run_and_each_file_once() {
        let workspace = Workspace::find(None).unwrap();
        let apr = std::env::current_exe().unwrap();
        let model = workspace.path("golden/tiny/tiny.apr");
        let paths = InputPaths { model, apr: Some(apr), model_name: "tiny".into() };
        let files = input_files(&workspace, &paths).unwrap();
        for role in [Role::Model, Role::Apr, Role::Engine, Role::Checklist, Role::Golden] {
            assert!(files.iter().any(|file| file.role == role), "{role:?}: {files:?}");
        }
        assert!(files.iter().any(|file| file.name == "checklist/c-forward-pass.yaml"));
        assert!(files.iter().any(|file| file.name == "golden/tiny/manifest.yaml"));
        assert!(files.iter().all(|file| file.sha256.len() == 64 && !file.name.starts_with('/')));
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&path).unwrap(), expected);
    }
    #[test]
    fn what_is_not_there_is_not_listed_and_what_lies_outside_goes_by_its_name() {
        let workspace = Workspace::find(None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("mine.apr");
        std::fs::write(&model, "abc").unwrap();
        let paths = InputPaths { model, apr: None, model_name: "no-such".into() };
        let files = input_files(&workspace, &paths).unwrap();
        let of_role = |role: Role| -> Vec<&str> {
            files.iter().filter(|file| file.role == role).map(|file| file.name.as_str()).collect()
        };
        assert_eq!(of_role(Role::Model), ["mine.apr"]);
        assert_eq!(of_role(Role::Apr), [""; 0]);
        assert_eq!(of_role(Role::Golden), ["golden/models.yaml"]);
        assert!(!of_role(Role::Engine)[0].contains('/'), "{files:?}");
    }
}

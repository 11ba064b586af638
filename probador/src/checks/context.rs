//! What a check sees: the workspace, the model under test opened once, and whatever fault was planted in either.

use std::path::{Path, PathBuf};

use crate::models::ModelChoice;
use crate::report::ModelFacts;
use crate::workspace::Workspace;

/// The subject of a check.
pub struct Context {
    workspace: Workspace,
    model: ModelChoice,
    seed: Option<u64>,
}

impl Context {
    /// The subject as it is.
    pub fn new(workspace: Workspace, model: ModelChoice, seed: Option<u64>) -> Self {
        Self { workspace, model, seed }
    }

    /// The checkout.
    pub fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The model under test.
    pub fn model(&self) -> &ModelChoice {
        &self.model
    }

    /// The seed that replaces every row's, if one was given.
    pub fn seed_override(&self) -> Option<u64> {
        self.seed
    }

    /// What a report says of the model; nothing is opened that no check opened.
    pub fn model_facts(&self) -> ModelFacts {
        ModelFacts {
            name: self.model.name.clone(),
            path: self.model.path.display().to_string(),
            file_size: std::fs::metadata(&self.model.path).map_or(0, |metadata| metadata.len()),
            root_hash: String::new(),
            stand_in: self.model.known.as_ref().is_some_and(|known| known.stand_in),
        }
    }

    /// Where the sources under test are.
    pub fn source_root(&self) -> &Path {
        self.workspace.root()
    }

    /// Where a tool's stored result is.
    pub fn stored_result(&self, name: &str) -> PathBuf {
        self.workspace.path(name)
    }
}

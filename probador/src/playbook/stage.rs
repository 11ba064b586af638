//! Where playbooks run: the model, and the `apr` that they find, or a stand-in that misbehaves in one way.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::process::write_wrapper;

/// The model under test and the programs that playbooks find.
pub struct Stage {
    /// Holds `apr` alone, and comes first on PATH.
    bin: TempDir,
    apr: PathBuf,
    model: PathBuf,
    root: PathBuf,
    /// What `--model` takes to run it again.
    model_name: String,
}

/// A stand-in for `apr`: the engine, asked to misbehave.
pub struct StandIn<'s> {
    /// The engine's executable.
    pub engine: &'s Path,
    /// How to misbehave.
    pub fault: &'s str,
}

impl Stage {
    /// A stage on which `apr` is the executable at that path, with `stand_in` in front of it.
    pub fn new(
        apr: &Path,
        model: &Path,
        model_name: &str,
        root: &Path,
        stand_in: Option<&StandIn<'_>>,
    ) -> anyhow::Result<Self> {
        let bin =
            tempfile::Builder::new().prefix("probador-bin-").tempdir().context("no temporary folder")?;
        let apr = std::path::absolute(apr)?;
        let name = bin.path().join("apr");
        match stand_in {
            None => std::os::unix::fs::symlink(&apr, &name)?,
            Some(StandIn { engine, fault }) => {
                let memory = bin.path().join("memory");
                std::fs::create_dir(&memory)?;
                let words = [
                    engine.as_os_str(),
                    "misbehave".as_ref(),
                    fault.as_ref(),
                    memory.as_os_str(),
                    apr.as_os_str(),
                ];
                write_wrapper(&name, &words)?;
            }
        }
        Ok(Self {
            bin,
            apr,
            model: std::path::absolute(model)?,
            root: root.to_owned(),
            model_name: model_name.to_owned(),
        })
    }

    /// The `apr` that playbooks find.
    pub fn program(&self) -> PathBuf {
        self.bin.path().join("apr")
    }

    /// The `apr` under test, for a line that runs a command again.
    pub fn apr(&self) -> &Path {
        &self.apr
    }

    /// The model under test.
    pub fn model(&self) -> &Path {
        &self.model
    }

    /// The checkout.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `--model` takes.
    pub fn model_name(&self) -> &str {
        &self.model_name
    }

    /// PATH with the folder of `apr` in front.
    pub fn path(&self) -> anyhow::Result<OsString> {
        let inherited = std::env::var_os("PATH").unwrap_or_default();
        let folders = [self.bin.path().to_owned()].into_iter().chain(std::env::split_paths(&inherited));
        Ok(std::env::join_paths(folders)?)
    }
}

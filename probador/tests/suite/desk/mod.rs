//! A folder to write playbooks in and to run them from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::repository;

/// A folder for playbooks outside of the checkout.
pub(crate) struct Desk(tempfile::TempDir);

/// How a run of the engine ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn run(&self, text: &str, more: &[&str]) -> Ended {
        let file = self.write("playbook.yaml", text);
        probador(&[&["run", "--no-build", file.to_str().unwrap()], more].concat())
    }

    /// Runs a playbook of these steps and expects it to pass.
    #[track_caller]
    pub(crate) fn passes(&self, steps: &str) {
        let ended = self.run(&format!("name: x\nneeds: []\n{steps}"), &[]);
        assert_eq!(ended.code, Some(0), "{}\n{}", ended.stdout, ended.stderr);
    }

    /// Runs a playbook of these steps and expects it to fail in these words.
    #[track_caller]
    pub(crate) fn fails(&self, steps: &str, expected: &str) -> Ended {
        let ended = self.run(&format!("name: x\nneeds: []\n{steps}"), &[]);
        assert_eq!(ended.code, Some(100), "{}\n{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains(expected), "{expected:?} is not in {}", ended.stdout);
        ended
    }
}

pub(crate) fn engine() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-probador"));
    command.arg("--root").arg(repository()).env_remove("PROBADOR_MODEL").env("NO_COLOR", "1");
    command
}

pub(crate) fn probador(arguments: &[&str]) -> Ended {
    let output = engine().args(arguments).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

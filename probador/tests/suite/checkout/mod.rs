//! Small checkouts made for each test of the command line.

pub(crate) mod goldens;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use apr_format::Metadata;
use assert_cmd::Command;

use crate::support::{self, repository, rewritten};

/// A checkout with a checklist of its own; everything else is the repository's.
pub(crate) struct Checkout(tempfile::TempDir);

impl Checkout {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(repository().join("checklist")).unwrap() {
            let path = entry.unwrap().path();
            let to = folder.path().join("checklist").join(path.file_name().unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(&path, to).unwrap();
        }
        for shared in ["golden", "playbooks", "subjects", "scripts", "probador"] {
            symlink(repository().join(shared), folder.path().join(shared)).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn edit(&self, file: &str, before: &str, after: &str) {
        let path = self.path().join("checklist").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(before), "{file} does not hold {before:?}");
        fs::write(path, text.replacen(before, after, 1)).unwrap();
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        probador(self.path(), arguments)
    }

    pub(crate) fn run_with(
        &self,
        environment: &[(&str, &Path)],
        arguments: &[&str],
    ) -> assert_cmd::assert::Assert {
        engine(self.path()).envs(environment.iter().copied()).args(arguments).assert()
    }
}

fn engine(root: &Path) -> Command {
    let mut command = support::engine();
    command.arg("--root").arg(root);
    command
}

/// The engine on the checkout at `root`.
pub(crate) fn probador(root: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    engine(root).args(arguments).assert()
}

/// A program of these lines of shell.
pub(crate) fn program(path: &Path, lines: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{lines}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A copy of the small model at `path` whose tensors' bytes and metadata are changed.
pub(crate) fn altered(path: &Path, edit: impl Fn(&str, &mut [u8]), configure: impl Fn(&mut Metadata)) {
    rewritten(path, configure, |file, name| {
        let mut bytes = file.tensor(name).unwrap().bytes().to_vec();
        edit(name, &mut bytes);
        bytes
    });
}

/// A file that is no model.
pub(crate) fn broken_model(checkout: &Checkout) -> String {
    let path = checkout.path().join("broken.apr");
    fs::write(&path, b"APR\0 and then nothing that makes sense").unwrap();
    path.display().to_string()
}

//! Small checkouts made for each test of the command line.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use assert_cmd::Command;

/// The checkout that this was built from.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A checkout with a checklist of its own; everything else is the repository's.
pub struct Checkout(tempfile::TempDir);

impl Checkout {
    pub fn new() -> Self {
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

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn edit(&self, file: &str, before: &str, after: &str) {
        let path = self.path().join("checklist").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(before), "{file} does not hold {before:?}");
        fs::write(path, text.replacen(before, after, 1)).unwrap();
    }

    pub fn run(&self, arguments: &[&str]) -> assert_cmd::assert::Assert {
        probador(self.path(), arguments)
    }
}

/// The engine on the checkout at `root`.
pub fn probador(root: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    command.env_remove("PROBADOR_MODEL").env_remove("GITHUB_ACTIONS").env("NO_COLOR", "1");
    command.arg("--root").arg(root).args(arguments).assert()
}

/// A file that is no model.
pub fn broken_model(checkout: &Checkout) -> String {
    let path = checkout.path().join("broken.apr");
    fs::write(&path, b"APR\0 and then nothing that makes sense").unwrap();
    path.display().to_string()
}

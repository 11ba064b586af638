//! A small workspace, and programs that stand in for the tools that are run over it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use assert_cmd::Command;
use assert_cmd::assert::Assert;
use tempfile::TempDir;

/// What every crate of the workspace says; line 2 is where mutants are made.
pub(crate) const SOURCE: &str = "\
pub fn least(a: u8, b: u8) -> u8 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests;
";

/// A workspace of three crates, and the folder that is first on PATH when the engine runs there.
pub(crate) struct Small {
    root: TempDir,
    programs: TempDir,
}

impl Small {
    /// The verdict core, `apr-format` above it, and the engine above both.
    pub(crate) fn new() -> Self {
        let small = Self { root: tempfile::tempdir().unwrap(), programs: tempfile::tempdir().unwrap() };
        // A folder is a checkout when it has this file; nothing here reads it.
        small.write("checklist/a-model-loading.yaml", "");
        small.write("Cargo.lock", "package = []\n");
        let crates = [
            ("probador/core", "probador-core", ""),
            ("subjects/format", "apr-format", "[dependencies]\nprobador-core.workspace = true\n"),
            ("probador", "probador", ""),
        ];
        let folders = crates.map(|(folder, ..)| format!("\"{folder}\""));
        small.write("Cargo.toml", &format!("[workspace]\nmembers = [{}]\n", folders.join(", ")));
        for (folder, name, dependencies) in crates {
            let manifest = format!("[package]\nname = \"{name}\"\n{dependencies}");
            small.write(&format!("{folder}/Cargo.toml"), &manifest);
            small.write(&format!("{folder}/src/lib.rs"), SOURCE);
            small.write(&format!("{folder}/src/tests.rs"), "#[test]\nfn one_is_least() {}\n");
        }
        small
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Puts a shell script in the place of a program. It can read and leave files in `$here`.
    pub(crate) fn program(&self, name: &str, script: &str) {
        let here = self.programs.path().display();
        let script = format!("#!/bin/sh\nhere='{here}'\necho \"{name} $*\" >> \"$here/calls\"\n{script}\n");
        self.beside_programs(name, &script);
        fs::set_permissions(self.programs.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Writes a file that such scripts read.
    pub(crate) fn beside_programs(&self, name: &str, text: &str) {
        let path = self.programs.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Takes away what scripts would read; a program, too.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.programs.path().join(name)).unwrap();
    }

    /// What a script left.
    pub(crate) fn left(&self, name: &str) -> String {
        fs::read_to_string(self.programs.path().join(name)).unwrap_or_default()
    }

    /// The programs that were started since this was last asked, with their arguments.
    pub(crate) fn calls(&self) -> Vec<String> {
        let calls = self.left("calls").lines().map(str::to_owned).collect();
        let _ = fs::remove_file(self.programs.path().join("calls"));
        calls
    }

    /// The engine, in the workspace.
    pub(crate) fn engine(&self) -> Command {
        let mut command = Command::cargo_bin("cargo-probador").unwrap();
        command.env("PATH", format!("{}:/usr/bin:/bin", self.programs.path().display()));
        for name in ["CARGO", "CARGO_TARGET_DIR", "RUSTUP_TOOLCHAIN", "LLVM_COV", "LLVM_PROFDATA"] {
            command.env_remove(name);
        }
        command.env("NO_COLOR", "1").current_dir(self.path());
        command
    }

    /// The engine on the workspace.
    pub(crate) fn run(&self, arguments: &[&str]) -> Assert {
        self.engine().arg("--root").arg(self.path()).args(arguments).assert()
    }
}

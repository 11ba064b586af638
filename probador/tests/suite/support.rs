//! What tests of commands have in common: where the repository is, starting the engine, what it said.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use assert_cmd::assert::Assert;

/// The checkout that this was built from.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The small model.
pub(crate) fn tiny() -> PathBuf {
    repository().join("golden/tiny/tiny.apr")
}

/// The engine started in `folder`, by a user of whom nothing is known.
pub(crate) fn in_folder(folder: &Path, arguments: &[&str]) -> Assert {
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    command.env_remove("PROBADOR_MODEL").env_remove("PROBADOR_ROOT").env_remove("CI").env("NO_COLOR", "1");
    command.current_dir(folder).args(arguments).assert()
}

/// What a run printed to standard output.
pub(crate) fn stdout(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

/// What a run said on standard error.
pub(crate) fn stderr(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

/// Data, then talk.
pub(crate) fn streams(assert: &Assert) -> (String, String) {
    (stdout(assert), stderr(assert))
}

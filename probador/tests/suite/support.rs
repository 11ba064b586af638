//! What tests of commands have in common: where the repository is, copies of folders and of the small model, starting the
//! engine, what it said.

use std::fs;
use std::path::{Path, PathBuf};

use apr_format::{AprFile, AprWriter, Metadata, Overwrite, TensorSpec};
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

/// A copy of the small model at `path`, of other metadata and of the bytes that `bytes` says for each name.
pub(crate) fn rewritten(
    path: &Path,
    configure: impl Fn(&mut Metadata),
    bytes: impl Fn(&AprFile, &str) -> Vec<u8>,
) {
    let file = AprFile::open(&tiny()).unwrap();
    let specs = file.entries().iter().map(|entry| TensorSpec {
        name: entry.name.clone(),
        dtype: entry.dtype,
        shape: entry.shape.clone(),
    });
    let mut metadata = file.metadata().clone();
    configure(&mut metadata);
    let mut writer = AprWriter::create(path, metadata, specs.collect(), Overwrite::Allow).unwrap();
    for entry in file.entries() {
        writer.write_tensor(&entry.name, &bytes(&file, &entry.name)).unwrap();
    }
    writer.finish().unwrap();
}

/// Copies the files of the folder `from` for which `is_wanted` holds to the folder `to`, which is made with those inside it.
pub(crate) fn copy_folder(from: &Path, to: &Path, is_wanted: impl Fn(&Path) -> bool) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(target).unwrap();
        } else if is_wanted(entry.path()) {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The engine, started by a user of whom nothing is known.
pub(crate) fn engine() -> Command {
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    for variable in ["PROBADOR_MODEL", "PROBADOR_ROOT", "CI", "GITHUB_ACTIONS"] {
        command.env_remove(variable);
    }
    command.env("NO_COLOR", "1");
    command
}

/// The engine started in `folder`.
pub(crate) fn in_folder(folder: &Path, arguments: &[&str]) -> Assert {
    engine().current_dir(folder).args(arguments).assert()
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

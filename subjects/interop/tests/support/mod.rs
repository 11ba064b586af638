//! Builders of small model files, sound and broken, and what every refusal has in common.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod gguf_file;
pub mod safetensors_file;

use std::path::{Path, PathBuf};

use apr_format::Overwrite;
use apr_interop::{ImportOptions, ImportSummary, Silent, Source, import};

/// A file under `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Imports `source` to `out` with default options.
pub fn import_default(source: &Path, out: &Path) -> Result<ImportSummary, String> {
    import_with(source, out, &ImportOptions::default())
}

/// Imports `source` to `out`; the error as a user sees it.
pub fn import_with(source: &Path, out: &Path, options: &ImportOptions) -> Result<ImportSummary, String> {
    let source = Source::from_path(source).map_err(|error| error.to_string())?;
    import(&source, out, options, &Silent).map_err(|error| error.to_string())
}

/// Demands that importing `source` fails with a message that names `file` and holds `expected`, and that neither an
/// output nor a temporary file is left, nor one that was there before touched.
#[track_caller]
pub fn refused(source: &Path, file: &Path, options: &ImportOptions, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.apr");
    let message = match import_with(source, &out, options) {
        Ok(summary) => panic!("imported, but should be refused with {expected:?}: {summary:?}"),
        Err(message) => message,
    };
    assert!(message.contains(&*file.to_string_lossy()), "the file is not named in: {message}");
    assert!(message.contains(expected), "expected {expected:?} in: {message}");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "something is left behind");

    std::fs::write(&out, "precious").unwrap();
    let options = ImportOptions { overwrite: Overwrite::Allow, ..options.clone() };
    assert!(import_with(source, &out, &options).is_err());
    assert_eq!(std::fs::read(&out).unwrap(), b"precious", "an earlier output was touched");
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "something is left behind");
}

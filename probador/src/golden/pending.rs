//! What a mismatch leaves beside its golden for a person to look at: `<key>.npy.new`. Never in CI.

use std::path::PathBuf;

use apr_format::atomic::Overwrite;

use super::manifest::Prompt;
use super::npy;
use super::set::GoldenSet;
use super::verify::VerifiedPrompt;

/// The `.new` file beside a golden.
fn pending_path(golden: &std::path::Path) -> PathBuf {
    let mut name = golden.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Writes what the model computed beside every golden that it misses, and removes what an earlier run left beside those
/// that it now meets. Returns the files written.
pub fn leave_pending(
    set: &GoldenSet,
    prompt: &Prompt,
    verified: &VerifiedPrompt,
) -> Result<Vec<PathBuf>, apr_format::FormatError> {
    let mut written = Vec::new();
    for result in &verified.tensors {
        let Some(tensor) = prompt.tensor(result.key) else { continue };
        let path = pending_path(&set.path(tensor));
        match &result.actual {
            Some(actual) => {
                npy::write_f32(&path, &actual.shape, &actual.values, Overwrite::Allow)?;
                written.push(path);
            }
            // A leftover that is not there, or cannot be removed, says nothing about the result.
            None => drop(std::fs::remove_file(path)),
        }
    }
    Ok(written)
}

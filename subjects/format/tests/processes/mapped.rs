//! Mapped files: watched while they are mapped and no longer, apart from what others map, locked in memory where that is
//! asked for.

use std::fs;
use std::path::{Path, PathBuf};

use apr_format::AprFile;
use tempfile::TempDir;

use super::{child, stdout, write_big};

/// A model of 8 MiB.
fn model() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    write_big(&path, 7).unwrap();
    (directory, path)
}

/// Cuts off what is mapped, and reads it.
fn cut_and_read(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(4096).unwrap();
    let sum: u64 = bytes.iter().map(|&byte| u64::from(byte)).sum();
    Err(format!("the missing bytes were read as {sum}"))
}

pub(super) fn shrink(path: &Path) -> Result<(), String> {
    let file = AprFile::open(path).map_err(|error| error.to_string())?;
    cut_and_read(path, file.tensor("a").unwrap().bytes())
}

/// The same after more mappings than are watched at once.
pub(super) fn shrink_after_others(path: &Path) -> Result<(), String> {
    for _ in 0..100 {
        AprFile::open(path).map_err(|error| error.to_string())?;
    }
    shrink(path)
}

/// Ends with the message that the child `name`, which is [`shrink`] in the end, owes its user.
fn ends_with_a_message(name: &str) {
    let (_directory, path) = model();
    let output = child(name, &path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{stderr}");
    let expected = format!("error: `{}` was cut short while it was in use\nhint: ", path.display());
    assert!(stderr.starts_with(&expected), "{stderr}");
}

pub(super) fn watched() {
    ends_with_a_message("shrink");
}

pub(super) fn watched_after_others() {
    ends_with_a_message("shrink-after-others");
}

/// Reads a mapping of its own that was cut short, beside a model that is whole.
#[cfg(unix)]
#[expect(unsafe_code, reason = "a mapping that this crate knows nothing of")]
pub(super) fn shrink_other(path: &Path) -> Result<(), String> {
    let _whole = AprFile::open(path).map_err(|error| error.to_string())?;
    let other = path.with_extension("other");
    fs::write(&other, vec![1; 1 << 16]).unwrap();
    // SAFETY: nobody changes what is read: what is cut off cannot be read at all, which is what is tested.
    let mapping = unsafe { memmap2::Mmap::map(&fs::File::open(&other).unwrap()) }.unwrap();
    cut_and_read(&other, &mapping[4096..])
}

#[cfg(unix)]
pub(super) fn not_watched() {
    use std::os::unix::process::ExitStatusExt;
    let (_directory, path) = model();
    let output = child("shrink-other", &path).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.signal(), stdout(&output)), (Some(libc::SIGBUS), String::new()), "{stderr}");
    assert!(!stderr.contains("cut short"), "{stderr}");
}

/// Locks the model, unless it may not, and says so; and how many KiB of this process are locked.
#[cfg(target_os = "linux")]
pub(super) fn lock(path: &Path) -> Result<(), String> {
    let file = AprFile::open(path).map_err(|error| error.to_string())?;
    let is_locked = file.lock_in_memory().is_ok();
    println!("{is_locked} {}", super::kilobytes("VmLck:")?);
    Ok(())
}

#[cfg(target_os = "linux")]
pub(super) fn locked() {
    let (_directory, path) = model();
    let said = stdout(&child("lock", &path).output().unwrap());
    let (is_locked, kilobytes) = said.trim().split_once(' ').unwrap_or_else(|| panic!("{said}"));
    // Whoever may not lock is told.
    assert_eq!(is_locked == "true", kilobytes.parse::<u64>().unwrap() >= 8192, "{said}");
}

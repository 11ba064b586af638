//! One repository in the cache: blobs, references and snapshots.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::digest::BlobHash;
use super::reference::is_inside;
use super::{HubError, HubRef};
use crate::progress::Progress;

/// Entries of a snapshot that are looked at.
const MAX_SNAPSHOT_FILES: usize = 10_000;

/// Bytes of a reference that are read; a commit has 40 characters.
const MAX_REF_BYTES: u64 = 128;

/// The cache of one repository.
#[derive(Debug)]
pub(super) struct RepositoryCache {
    root: PathBuf,
    locks: PathBuf,
}

/// Held while a blob is downloaded; other processes wait.
pub(super) struct BlobLock(File);

impl RepositoryCache {
    pub(super) fn new(cache: &Path, reference: &HubRef) -> Self {
        let folder = reference.folder();
        Self { root: cache.join(&folder), locks: cache.join(".locks").join(&folder) }
    }

    /// Where a blob is, once it is complete.
    pub(super) fn blob(&self, hash: &BlobHash) -> PathBuf {
        self.root.join("blobs").join(hash.as_str())
    }

    /// Where it is until then.
    pub(super) fn partial(&self, hash: &BlobHash) -> PathBuf {
        self.root.join("blobs").join(format!("{}.incomplete", hash.as_str()))
    }

    /// The directory of a snapshot.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root.join("snapshots").join(commit)
    }

    /// The commit that `revision` was when it was last looked up.
    pub(super) fn commit(&self, revision: &str) -> Result<Option<String>, HubError> {
        let path = self.root.join("refs").join(revision);
        let read = |file: File| {
            let mut commit = String::new();
            file.take(MAX_REF_BYTES).read_to_string(&mut commit).map(|_| commit)
        };
        match File::open(&path).and_then(read) {
            Ok(commit) if is_commit(commit.trim()) => Ok(Some(commit.trim().to_owned())),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                let is_known = is_commit(revision) && self.snapshot(revision).is_dir();
                Ok(is_known.then(|| revision.to_owned()))
            }
            Err(error) => Err(HubError::io("read", &path)(error)),
        }
    }

    /// Remembers what `revision` is.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        let path = self.root.join("refs").join(revision);
        let directory = parent(&path)?;
        let mut file = tempfile::NamedTempFile::new_in(directory).map_err(HubError::io("write", &path))?;
        file.write_all(commit.as_bytes()).map_err(HubError::io("write", &path))?;
        file.persist(&path).map_err(|error| HubError::io("write", &path)(error.error))?;
        Ok(())
    }

    /// The files of a snapshot, by their paths in the repository.
    pub(super) fn snapshot_files(&self, commit: &str) -> Result<Vec<String>, HubError> {
        let root = self.snapshot(commit);
        let mut names = Vec::new();
        let mut directories = vec![(root, String::new())];
        while let Some((directory, prefix)) = directories.pop() {
            let entries = match fs::read_dir(&directory) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries.map_err(HubError::io("list", &directory))?,
            };
            for entry in entries {
                let entry = entry.map_err(HubError::io("list", &directory))?;
                let kind = entry.file_type().map_err(HubError::io("list", &directory))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let name = format!("{prefix}{name}");
                if kind.is_dir() {
                    directories.push((entry.path(), format!("{name}/")));
                } else if names.len() < MAX_SNAPSHOT_FILES {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// Waits until no other process downloads this blob.
    pub(super) fn lock(&self, hash: &BlobHash, progress: &dyn Progress) -> Result<BlobLock, HubError> {
        let path = self.locks.join(format!("{}.lock", hash.as_str()));
        parent(&path)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(HubError::io("lock", &path))?;
        let mut has_told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(BlobLock(file)),
                Err(TryLockError::Error(error)) => return Err(HubError::io("lock", &path)(error)),
                Err(TryLockError::WouldBlock) if progress.is_cancelled() => return Err(HubError::Cancelled),
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut has_told, true) {
                        progress.note("waiting for another process that downloads the same file");
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }

    /// Whether a blob is there and has the hash that names it.
    pub(super) fn has(&self, hash: &BlobHash, progress: &dyn Progress) -> Result<bool, HubError> {
        let path = self.blob(hash);
        if !path.is_file() {
            return Ok(false);
        }
        let found = hash.of_same_kind(&path, progress).map_err(HubError::io("read", &path))?;
        Ok(found.ok_or(HubError::Cancelled)? == *hash)
    }

    /// Makes `name` in the snapshot of `commit` a link to the blob, and returns it.
    pub(super) fn link(&self, commit: &str, name: &str, hash: &BlobHash) -> Result<PathBuf, HubError> {
        let link = self.snapshot(commit).join(name);
        let directory = parent(&link)?;
        // From snapshots/<commit>/<directories of name>/ up to the repository.
        let up = "../".repeat(2 + name.matches('/').count());
        let target = PathBuf::from(format!("{up}blobs/{}", hash.as_str()));
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(link);
        }
        // A link cannot be replaced in place: make another beside it and move that over.
        let fresh = tempfile::Builder::new()
            .prefix(".link-")
            .make_in(directory, |path| make_link(&target, &self.blob(hash), path))
            .map_err(HubError::io("link", &link))?;
        fresh.into_temp_path().persist(&link).map_err(|error| HubError::io("link", &link)(error.error))?;
        Ok(link)
    }

    /// The file `name` of a snapshot, if it is there; checked against the hash that names its blob.
    pub(super) fn verified_link(
        &self,
        commit: &str,
        name: &str,
        progress: &dyn Progress,
    ) -> Result<Option<PathBuf>, HubError> {
        let link = self.snapshot(commit).join(name);
        let Ok(blob) = link.canonicalize() else { return Ok(None) };
        let hash = blob.file_name().and_then(|name| BlobHash::from_etag(name.to_str()?));
        // Where a file system has no links, the cache holds copies, whose names say nothing.
        if let Some(hash) = hash {
            let found = hash.of_same_kind(&blob, progress).map_err(HubError::io("read", &blob))?;
            if found.ok_or(HubError::Cancelled)? != hash {
                return Err(HubError::Corrupt(blob));
            }
        }
        Ok(Some(link))
    }
}

impl Drop for BlobLock {
    fn drop(&mut self) {
        // Closing the file would release it too.
        let _ = self.0.unlock();
    }
}

#[cfg(unix)]
fn make_link(target: &Path, _blob: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(not(unix))]
fn make_link(_target: &Path, blob: &Path, at: &Path) -> io::Result<()> {
    fs::copy(blob, at).map(|_| ())
}

/// Creates the directory that `path` lies in.
pub(super) fn parent(path: &Path) -> Result<&Path, HubError> {
    let directory = path.parent().unwrap_or(path);
    fs::create_dir_all(directory).map_err(HubError::io("create", directory))?;
    Ok(directory)
}

/// Whether `text` is a commit's full hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) && is_inside(text)
}

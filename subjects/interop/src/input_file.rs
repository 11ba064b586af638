//! A file that is being imported: read by position, never mapped, and watched for changes.
//!
//! A mapped file that another program truncates kills the process that reads it; a read of it is an error that can be
//! reported. Reading also keeps resident memory at the size of the buffers.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::ImportError;
use crate::progress::Progress;

/// An open source file.
#[derive(Debug)]
pub(crate) struct InputFile {
    path: PathBuf,
    file: File,
    opened: Identity,
}

/// What tells whether a file is still the one that was opened.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    size: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Bytes hashed at a time.
const HASH_CHUNK: usize = 1 << 20;

impl InputFile {
    /// Opens a regular file.
    pub(crate) fn open(path: &Path) -> Result<Self, ImportError> {
        let open = || {
            // A FIFO would block the open itself, so its kind is looked at first; the open file has the last word.
            if !std::fs::metadata(path)?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            Ok((file, Identity::of(&metadata)))
        };
        let (file, opened) = open().map_err(ImportError::io("open", path))?;
        Ok(Self { path: path.to_owned(), file, opened })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub(crate) fn size(&self) -> u64 {
        self.opened.size
    }

    /// Fills `buffer` from `offset` on.
    pub(crate) fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImportError> {
        self.file.read_exact_at(buffer, offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ImportError::Changed { path: self.path.clone() },
            _ => ImportError::io("read", &self.path)(error),
        })
    }

    /// The first `length` bytes, or all when there are fewer.
    pub(crate) fn prefix(&self, length: u64) -> Result<Vec<u8>, ImportError> {
        let mut prefix = vec![0; usize::try_from(length.min(self.size())).unwrap_or(usize::MAX)];
        self.read_at(0, &mut prefix)?;
        Ok(prefix)
    }

    /// SHA-256 of the whole file, in hex: the hash that hubs publish.
    pub(crate) fn sha256(&self, progress: &dyn Progress) -> Result<String, ImportError> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; HASH_CHUNK];
        let mut offset = 0;
        while offset < self.size() {
            if progress.is_cancelled() {
                return Err(ImportError::Cancelled);
            }
            let n = usize::try_from(self.size() - offset).map_or(HASH_CHUNK, |left| left.min(HASH_CHUNK));
            self.read_at(offset, &mut buffer[..n])?;
            hasher.update(&buffer[..n]);
            offset += n as u64;
            progress.advance(n as u64);
        }
        Ok(hex::encode(hasher.finalize()))
    }

    /// Fails when the file has changed since it was opened.
    pub(crate) fn check_unchanged(&self) -> Result<(), ImportError> {
        let now = self.file.metadata().map_err(ImportError::io("inspect", &self.path))?;
        if Identity::of(&now) == self.opened {
            Ok(())
        } else {
            Err(ImportError::Changed { path: self.path.clone() })
        }
    }
}

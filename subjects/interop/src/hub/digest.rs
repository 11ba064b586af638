//! The hashes that name blobs: SHA-256 for large files, git's SHA-1 for the others.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use crate::progress::Progress;

/// A blob's hash, in lower-case hex, and by its length what it is a hash of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlobHash(String);

const SHA1_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;
const BUFFER_BYTES: usize = 1 << 20;

impl BlobHash {
    /// A hash from an ETag, quoted or not.
    pub(super) fn from_etag(etag: &str) -> Option<Self> {
        let hash = etag.trim().trim_start_matches("W/").trim_matches('"');
        let is_hash = matches!(hash.len(), SHA1_DIGITS | SHA256_DIGITS)
            && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        is_hash.then(|| Self(hash.to_owned()))
    }

    /// The hex digits.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash that the file at `path` has, of the same kind; `None` when it was cancelled.
    pub(super) fn of_same_kind(&self, path: &Path, progress: &dyn Progress) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        if self.0.len() == SHA256_DIGITS {
            return hash(Sha256::new(), &mut file, progress);
        }
        // git hashes a header before the content.
        hash(Sha1::new_with_prefix(format!("blob {size}\0")), &mut file, progress)
    }
}

fn hash<D: sha2::Digest>(
    mut hasher: D,
    file: &mut File,
    progress: &dyn Progress,
) -> io::Result<Option<BlobHash>> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        if progress.is_cancelled() {
            return Ok(None);
        }
        match file.read(&mut buffer)? {
            0 => return Ok(Some(BlobHash(hex::encode(hasher.finalize())))),
            n => hasher.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    #[test]
    fn hashes_are_those_of_git_and_of_lfs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        for expected in [
            // `git hash-object`, `sha256sum`
            "ce013625030ba8dba906f756967f9e9ca394464a",
            "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        ] {
            let hash = BlobHash::from_etag(&format!("\"{expected}\"")).unwrap();
            assert_eq!(hash.of_same_kind(file.path(), &Silent).unwrap(), Some(hash.clone()));
        }
    }

    #[test]
    fn etag_that_is_no_hash_names_no_blob() {
        for etag in
            ["", "\"abc\"", "../../../../etc/passwd", &"g".repeat(40), &"A".repeat(64), &"a".repeat(41)]
        {
            assert_eq!(BlobHash::from_etag(etag), None, "{etag}");
        }
        assert!(BlobHash::from_etag(&format!("W/\"{}\"", "a".repeat(40))).is_some());
    }
}

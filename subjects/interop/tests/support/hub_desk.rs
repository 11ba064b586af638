//! A cache in a temporary folder and what tests of the hub fetch into it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use apr_interop::hub::{Fetched, Hub, HubError, HubRef, Settings, Tuning};
use apr_interop::{Progress, Silent};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::hub_server::Repository;

/// A cache, and a hub that fills it.
pub(crate) struct Desk {
    pub(crate) cache: TempDir,
    pub(crate) settings: Settings,
}

impl Desk {
    pub(crate) fn new(endpoint: &str) -> Self {
        let cache = TempDir::new().unwrap();
        let tuning = Tuning {
            chunk_bytes: 1000,
            n_connections: 3,
            n_retries: 3,
            first_pause: Duration::from_millis(5),
            connect_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_millis(700),
        };
        let settings = Settings {
            cache: cache.path().to_owned(),
            endpoint: endpoint.parse().unwrap(),
            token: None,
            offline: false,
            tuning,
        };
        Self { cache, settings }
    }

    pub(crate) fn fetch(&self, reference: &str) -> Result<Fetched, HubError> {
        self.fetch_with(reference, &Silent)
    }

    pub(crate) fn fetch_with(&self, reference: &str, progress: &dyn Progress) -> Result<Fetched, HubError> {
        Hub::new(self.settings.clone()).fetch(&reference.parse::<HubRef>().unwrap(), progress)
    }

    pub(crate) fn repository(&self) -> PathBuf {
        self.cache.path().join("models--org--model")
    }

    pub(crate) fn partial(&self, hash: &str) -> PathBuf {
        self.repository().join("blobs").join(format!("{hash}.incomplete"))
    }

    /// Puts the beginning of a download into the cache.
    pub(crate) fn begin(&self, hash: &str, bytes: &[u8]) {
        fs::create_dir_all(self.repository().join("blobs")).unwrap();
        fs::write(self.partial(hash), bytes).unwrap();
    }

    /// Every file below the cache, without locks, by path.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.repository()];
        while let Some(directory) = directories.pop() {
            let Ok(entries) = fs::read_dir(&directory) else { continue };
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                } else {
                    let path = entry.path().strip_prefix(self.repository()).unwrap().display().to_string();
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

/// Bytes that differ everywhere.
pub(crate) fn content(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn weights() -> Repository {
    Repository::default().with_large("model.gguf", content(10_500))
}

pub(crate) const GGUF: &str = "hf://org/model/model.gguf";

/// Counts what it is told, and asks to stop after so many bytes.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) n_bytes: AtomicU64,
    pub(crate) stop_after: Option<u64>,
}

impl Progress for Counting {
    fn start(&self, _what: &str, _total_bytes: Option<u64>) {}

    fn advance(&self, n_bytes: u64) {
        self.n_bytes.fetch_add(n_bytes, Ordering::SeqCst);
    }

    fn is_cancelled(&self) -> bool {
        self.stop_after.is_some_and(|stop| self.n_bytes.load(Ordering::SeqCst) > stop)
    }
}

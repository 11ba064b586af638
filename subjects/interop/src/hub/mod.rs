//! Models from the Hugging Face hub, by way of the standard cache.
//!
//! `hf://org/repo[/file][@revision]` becomes files under `$HF_HUB_CACHE`, in the layout that `huggingface_hub` uses, so
//! that either finds what the other downloaded:
//!
//! ```text
//! models--org--repo/blobs/<hash>                      content, named by SHA-256 or by git's SHA-1
//! models--org--repo/blobs/<hash>.incomplete           the first bytes of a download that was interrupted
//! models--org--repo/refs/<revision>                   the commit that a branch or tag pointed to
//! models--org--repo/snapshots/<commit>/<file>         a relative link to the blob
//! .locks/models--org--repo/<hash>.lock                held while a blob is downloaded
//! ```
//!
//! What is handed out has the hash that names it, whether it was downloaded now or lay in the cache. With
//! `HF_HUB_OFFLINE=1` there is no HTTP client at all ([`Hub`] holds none), so nothing can open a socket.

mod cache;
mod digest;
mod download;
mod error;
mod http;
mod reference;
mod repository;
mod settings;

use std::path::PathBuf;

use cache::RepositoryCache;
use download::Downloader;
use http::Client;
use repository::{Choice, INDEX, Listing};

pub use error::HubError;
pub use reference::HubRef;
pub use settings::{Settings, Token, Tuning};

use crate::progress::Progress;

/// The hub, or what the cache has of it.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    /// Absent when offline.
    client: Option<Client>,
}

/// A model that is now on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The file that was asked for; or the snapshot's directory; or the one GGUF file of a repository that has nothing
    /// else to import.
    pub path: PathBuf,
    /// The commit it is of.
    pub commit: String,
}

impl Hub {
    /// The hub as the environment describes it.
    pub fn from_env() -> Result<Self, HubError> {
        Ok(Self::new(Settings::from_variables(|name| std::env::var_os(name))?))
    }

    /// The hub as `settings` describe it.
    pub fn new(settings: Settings) -> Self {
        let client = (!settings.offline).then(|| Client::new(&settings));
        Self { settings, client }
    }

    /// Brings a model here: the file that `reference` names, or everything of its repository that an import reads.
    pub fn fetch(&self, reference: &HubRef, progress: &dyn Progress) -> Result<Fetched, HubError> {
        let cache = RepositoryCache::new(&self.settings.cache, reference);
        match &self.client {
            Some(client) => Online { client, cache, reference, progress, settings: &self.settings }.fetch(),
            None => cached(&cache, reference, progress),
        }
    }
}

/// One fetch over the network.
struct Online<'h> {
    client: &'h Client,
    cache: RepositoryCache,
    reference: &'h HubRef,
    progress: &'h dyn Progress,
    settings: &'h Settings,
}

impl Online<'_> {
    fn fetch(&self) -> Result<Fetched, HubError> {
        let listing = self.downloader().retrying(|| Listing::fetch(self.client, self.reference))?;
        let commit = listing.commit.clone();
        let fetched = match listing.choose(self.reference)? {
            Choice::File(name) => self.file(&commit, &name)?,
            Choice::Model { files, is_sharded } => {
                for name in &files {
                    self.file(&commit, name)?;
                }
                if is_sharded {
                    let index = self.file(&commit, INDEX)?;
                    for name in repository::shards(self.reference, &index)? {
                        self.file(&commit, &name)?;
                    }
                }
                self.cache.snapshot(&commit)
            }
        };
        if self.reference.revision() != commit {
            self.cache.write_ref(self.reference.revision(), &commit)?;
        }
        Ok(Fetched { path: fetched, commit })
    }

    fn file(&self, commit: &str, name: &str) -> Result<PathBuf, HubError> {
        self.downloader().file(commit, name)
    }

    fn downloader(&self) -> Downloader<'_> {
        Downloader {
            client: self.client,
            cache: &self.cache,
            reference: self.reference,
            progress: self.progress,
            tuning: &self.settings.tuning,
        }
    }
}

/// What the cache has of `reference`, all of it or nothing.
fn cached(cache: &RepositoryCache, reference: &HubRef, progress: &dyn Progress) -> Result<Fetched, HubError> {
    let not_cached =
        |what: &str| HubError::NotCached { reference: reference.to_string(), what: what.to_owned() };
    let commit = cache.commit(reference.revision())?.ok_or_else(|| not_cached("this revision"))?;
    let listing = Listing { commit: commit.clone(), names: cache.snapshot_files(&commit)? };
    let file = |name: &str| cache.verified_link(&commit, name, progress)?.ok_or_else(|| not_cached(name));
    let path = match listing.choose(reference).map_err(|_| not_cached("all of it"))? {
        Choice::File(name) => file(&name)?,
        Choice::Model { files, is_sharded } => {
            for name in &files {
                file(name)?;
            }
            if is_sharded {
                for name in repository::shards(reference, &file(INDEX)?)? {
                    file(&name)?;
                }
            }
            cache.snapshot(&commit)
        }
    };
    Ok(Fetched { path, commit })
}

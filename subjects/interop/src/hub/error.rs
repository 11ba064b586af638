//! Why a model did not come from the hub.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a model did not come from the hub. What is in the cache already stays usable.
#[derive(Debug, Error)]
pub enum HubError {
    /// Not `hf://org/repo[/file][@revision]`.
    #[error(
        "`{text}` is not a model on the hub: {fault}\nhint: write hf://org/repo, with /file for one file and @revision for a version"
    )]
    Reference {
        /// What was given.
        text: String,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// An environment variable that cannot be used.
    #[error("environment variable {name} {fault}")]
    Variable {
        /// Its name.
        name: &'static str,
        /// What is wrong with its value.
        fault: &'static str,
    },
    /// `HF_HUB_OFFLINE` is set, and the cache does not have it.
    #[error(
        "the cache does not have {what} of {reference}, and HF_HUB_OFFLINE is set\nhint: unset HF_HUB_OFFLINE to download it"
    )]
    NotCached {
        /// What was asked for.
        reference: String,
        /// Which part is missing.
        what: String,
    },
    /// No such repository, revision or file, or no access to it.
    #[error("{reference}: {what} (HTTP status {status})\nhint: {hint}")]
    Refused {
        /// What was asked for.
        reference: String,
        /// What the hub said is not there.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// What may help.
        hint: &'static str,
    },
    /// An answer that is neither a success nor a refusal that we know.
    #[error("{url} answered with HTTP status {status}")]
    Status {
        /// Which address, without its query.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The network failed, several times over where that may help.
    #[error(
        "failed to reach {url}: {fault}\nhint: what was downloaded so far is kept; try again, or set HF_HUB_OFFLINE=1 to use only what is cached"
    )]
    Network {
        /// Which address, without its query.
        url: String,
        /// What happened.
        fault: String,
        /// Whether trying again may help.
        may_pass: bool,
    },
    /// An answer that makes no sense.
    #[error("{url} gave an answer that cannot be used: {fault}")]
    Response {
        /// Which address, without its query.
        url: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A redirect that is not followed.
    #[error("{url} redirects {fault}")]
    Redirect {
        /// Which address, without its query.
        url: String,
        /// Where, and why it is not followed.
        fault: String,
    },
    /// What was downloaded, twice, is not what the hub says it is.
    #[error(
        "{reference}: `{file}` has hash {found}, the hub says {expected}\nhint: the download was discarded; a proxy or mirror may be altering files"
    )]
    HashMismatch {
        /// What was asked for.
        reference: String,
        /// The file.
        file: String,
        /// The hash it should have.
        expected: String,
        /// The hash it has.
        found: String,
    },
    /// The file changed on the hub, again and again.
    #[error("{reference}: `{file}` keeps changing on the hub while it is downloaded")]
    KeepsChanging {
        /// What was asked for.
        reference: String,
        /// The file.
        file: String,
    },
    /// A cached file is not what its name says.
    #[error("`{}` in the cache does not have the hash that names it\nhint: delete it and fetch the model again with HF_HUB_OFFLINE unset", .0.display())]
    Corrupt(PathBuf),
    /// The repository holds nothing that can be imported.
    #[error("{reference} has no weights that can be imported{detail}")]
    NoWeights {
        /// What was asked for.
        reference: String,
        /// What it has instead, with a hint.
        detail: String,
    },
    /// The hub names a file that would land outside of the cache.
    #[error("{reference}: the hub names a file {name:?}, which is not a path inside a repository")]
    FileName {
        /// What was asked for.
        reference: String,
        /// The name.
        name: String,
    },
    /// The cache could not be read or written.
    #[error("failed to {action} `{}`: {error}", path.display())]
    Io {
        /// What was tried, as in `failed to {action}`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The user asked to stop.
    #[error("the download was cancelled; what was downloaded so far is kept")]
    Cancelled,
}

impl HubError {
    /// For `map_err` after a system call on `path`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, path: path.to_owned(), error }
    }
}

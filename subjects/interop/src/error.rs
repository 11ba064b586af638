//! Why an import failed. Every message names the file.

use std::io;
use std::path::{Path, PathBuf};

use apr_format::FormatError;
use thiserror::Error;

use crate::gguf::GgufError;
use crate::hub::HubError;
use crate::model::ModelFault;
use crate::safetensors::SafetensorsError;

/// Why a model was not imported. No output file is left behind, and one that was there before is untouched.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The operating system refused something.
    #[error("failed to {action} `{}`: {error}", path.display())]
    Io {
        /// What was tried, as in `failed to {action}`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is nothing at the path.
    #[error("`{}` does not exist\nhint: give a .gguf or .safetensors file, a directory with config.json, or hf://org/repo", .0.display())]
    NotFound(PathBuf),
    /// Neither GGUF nor safetensors.
    #[error("`{}` is neither a GGUF nor a safetensors file{hint}", path.display())]
    UnknownKind {
        /// The file.
        path: PathBuf,
        /// A hint line, or nothing.
        hint: &'static str,
    },
    /// A faulty GGUF file.
    #[error("failed to read GGUF file `{}`: {fault}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: GgufError,
    },
    /// A faulty safetensors file or index.
    #[error("failed to read safetensors file `{}`: {fault}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: SafetensorsError,
    },
    /// A readable source that is not an importable model.
    #[error("cannot import `{}`: {fault}", path.display())]
    Model {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        fault: ModelFault,
    },
    /// A value that the chosen dtype cannot hold.
    #[error("tensor `{name}` in `{}` holds {value}, which is too large for {dtype}\nhint: pass --dtype bf16 or --dtype f32", path.display())]
    DoesNotFit {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The value.
        value: f32,
        /// The dtype's name.
        dtype: &'static str,
    },
    /// The source changed while it was read.
    #[error("`{}` changed while it was being imported\nhint: wait until nothing writes to it, and import again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The user asked to stop.
    #[error("the import was cancelled; nothing was written")]
    Cancelled,
    /// The hub, or the cache of what it sent.
    #[error(transparent)]
    Hub(HubError),
    /// The output could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl ImportError {
    /// For `map_err` after a system call on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, path: path.to_owned(), error }
    }

    /// For `map_err` after reading GGUF from `path`.
    pub(crate) fn gguf(path: &Path) -> impl FnOnce(GgufError) -> Self {
        move |fault| Self::Gguf { path: path.to_owned(), fault }
    }

    /// For `map_err` after reading safetensors from `path`.
    pub(crate) fn safetensors(path: &Path) -> impl FnOnce(SafetensorsError) -> Self {
        move |fault| Self::Safetensors { path: path.to_owned(), fault }
    }

    /// For `map_err` after understanding the model at `path`.
    pub(crate) fn model(path: &Path) -> impl FnOnce(ModelFault) -> Self {
        move |fault| Self::Model { path: path.to_owned(), fault }
    }
}

impl From<HubError> for ImportError {
    fn from(error: HubError) -> Self {
        match error {
            HubError::Cancelled => Self::Cancelled,
            error => Self::Hub(error),
        }
    }
}

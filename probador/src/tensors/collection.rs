//! An `.apr` file or a folder of `.npy` files as named tensors, loaded one at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use apr_format::AprFile;
use thiserror::Error;

use super::forward_order;
use crate::golden::npy::{self, NpyError};

/// Named tensors.
pub struct Collection {
    path: PathBuf,
    source: Source,
}

enum Source {
    File(AprFile),
    Folder(BTreeMap<String, PathBuf>),
}

/// A tensor that was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its element type as stored, in the words of its format.
    pub dtype: String,
    /// Its values.
    pub numbers: Numbers,
}

/// Values, as wide as they need to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// From an `.apr` file, whose types all fit float32.
    F32(Vec<f32>),
    /// From an `.npy` file.
    F64(Vec<f64>),
}

/// Why a collection cannot be read.
#[derive(Debug, Error)]
pub enum TensorsError {
    /// The system refuses.
    #[error("failed to read `{}`: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// A model that cannot be opened.
    #[error(transparent)]
    Format(#[from] apr_format::FormatError),
    /// An array that cannot be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// A folder without arrays.
    #[error("`{}` holds no .npy file\nhint: `apr trace MODEL --prompt TEXT --export DIR` makes such a folder", .0.display())]
    NoTensors(PathBuf),
    /// A tensor that is not there.
    #[error("`{}` has no tensor `{name}`", path.display())]
    Missing {
        /// The collection.
        path: PathBuf,
        /// The name.
        name: String,
    },
}

impl Collection {
    /// Opens what `path` names: a folder of `.npy` files, or else an `.apr` file.
    pub fn open(path: &Path) -> Result<Self, TensorsError> {
        let failed = |source| TensorsError::Io { path: path.to_owned(), source };
        let source = if fs::metadata(path).map_err(failed)?.is_dir() {
            let mut files = BTreeMap::new();
            for entry in fs::read_dir(path).map_err(failed)? {
                let file = entry.map_err(failed)?.path();
                if file.extension().is_some_and(|extension| extension == "npy")
                    && let Some(name) = file.file_stem().and_then(|stem| stem.to_str())
                {
                    files.insert(name.to_owned(), file);
                }
            }
            if files.is_empty() {
                return Err(TensorsError::NoTensors(path.to_owned()));
            }
            Source::Folder(files)
        } else {
            Source::File(AprFile::open_verified(path)?)
        };
        Ok(Self { path: path.to_owned(), source })
    }

    /// What it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its model file, if it is one.
    pub fn file(&self) -> Option<&AprFile> {
        match &self.source {
            Source::File(file) => Some(file),
            Source::Folder(_) => None,
        }
    }

    /// Every name, in the order of the forward pass.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = match &self.source {
            Source::File(file) => file.entries().iter().map(|entry| entry.name.as_str()).collect(),
            Source::Folder(files) => files.keys().map(String::as_str).collect(),
        };
        names.sort_by(|a, b| forward_order(a, b));
        names
    }

    /// Loads one tensor.
    pub fn load(&self, name: &str) -> Result<Opened, TensorsError> {
        let missing = || TensorsError::Missing { path: self.path.clone(), name: name.to_owned() };
        match &self.source {
            Source::File(file) => {
                let tensor = file.tensor(name).ok_or_else(missing)?;
                Ok(Opened {
                    shape: tensor.shape().to_vec(),
                    dtype: tensor.dtype().name().to_owned(),
                    numbers: Numbers::F32(tensor.to_f32()),
                })
            }
            Source::Folder(files) => {
                let array = npy::read_numbers(files.get(name).ok_or_else(missing)?)?;
                Ok(Opened { shape: array.shape, dtype: array.dtype, numbers: Numbers::F64(array.values) })
            }
        }
    }

    /// A name for the very bytes of a tensor, where the collection knows one without reading them.
    pub(super) fn identity(&self, name: &str) -> Option<String> {
        let file = self.file()?;
        let entry = file.entry(name)?;
        Some(format!("{} {:?} {}", entry.dtype, entry.shape, file.tensor_hash(name)?))
    }
}

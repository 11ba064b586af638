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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use apr_format::{Metadata, Overwrite};

    use super::*;
    use crate::checks::made_up::{vector, write_file};
    use crate::golden::npy::write_f32;

    #[test]
    fn only_arrays_with_names_that_are_text_belong_to_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        write_f32(&folder.path().join("b.npy"), &[1], &[0.5], Overwrite::Refuse).unwrap();
        write_f32(&folder.path().join("a.npy"), &[2], &[1.0, 2.0], Overwrite::Refuse).unwrap();
        fs::write(folder.path().join("notes.txt"), "").unwrap();
        fs::write(folder.path().join("npy"), "").unwrap();
        fs::write(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff.npy")), "").unwrap();
        let collection = Collection::open(folder.path()).unwrap();
        assert_eq!(collection.names(), ["a", "b"]);
        assert!(collection.file().is_none());
        let opened = collection.load("a").unwrap();
        assert_eq!((opened.shape, opened.numbers), (vec![2], Numbers::F64(vec![1.0, 2.0])));
    }

    #[test]
    fn a_tensor_that_is_not_there_is_named_with_where_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.apr");
        write_file(&path, Metadata::default(), vec![vector("model.norm.weight", &[1], &[1.0])]);
        let model = Collection::open(&path).unwrap();
        assert_eq!(model.names(), ["model.norm.weight"]);
        assert_eq!(
            model.load("x").unwrap_err().to_string(),
            format!("`{}` has no tensor `x`", path.display())
        );
        let absent = folder.path().join("absent");
        let error = Collection::open(&absent).err().unwrap().to_string();
        assert!(error.starts_with(&format!("failed to read `{}`: ", absent.display())), "{error}");
        assert_eq!(model.identity("x"), None);
    }
}

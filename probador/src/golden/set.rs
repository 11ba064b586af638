//! A golden set on disk: `golden/<model>/`, its manifest and its tensors.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::manifest::{Manifest, Prompt, Tensor};
use super::npy::{self, Array, NpyError};
use crate::yaml::Problem;

/// The name of the manifest in a golden folder.
pub const MANIFEST: &str = "manifest.yaml";
/// A manifest of this size describes tens of thousands of tensors.
const MANIFEST_LIMIT: u64 = 16 << 20;

/// A model's goldens.
#[derive(Clone, Debug)]
pub struct GoldenSet {
    folder: PathBuf,
    manifest: Manifest,
}

/// Why a golden set cannot be used.
#[derive(Debug, Error)]
pub enum GoldenError {
    /// A file of it cannot be read.
    #[error("failed to read `{}`: {source}\nhint: record it with scripts/generate_golden_traces.py", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The manifest is there and wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Invalid(Vec<Problem>),
    /// A golden that must not be used.
    #[error("the golden `{}` is refused: {what}", path.display())]
    Refused {
        /// Its folder.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// A tensor that cannot be read.
    #[error(transparent)]
    Npy(#[from] NpyError),
    /// A tensor whose bytes are not those that were recorded.
    #[error("`{}` has BLAKE3 {found}, the manifest says {expected}\nhint: restore it, or record the golden again", path.display())]
    Hash {
        /// The file.
        path: PathBuf,
        /// As recorded.
        expected: String,
        /// As found.
        found: String,
    },
    /// A tensor whose shape is not the manifest's.
    #[error("`{}` has shape {found:?}, the manifest says {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// As recorded.
        expected: Vec<usize>,
        /// As found.
        found: Vec<usize>,
    },
    /// The model refused a prompt.
    #[error("the model does not evaluate the prompt `{slug}`: {source}")]
    Model {
        /// The prompt.
        slug: String,
        /// What it says.
        source: apr_generation::ModelError,
    },
    /// The engine's reference refused a prompt.
    #[error(transparent)]
    Reference(#[from] crate::reference::ReferenceError),
    /// A file that cannot be written.
    #[error(transparent)]
    Format(#[from] apr_format::FormatError),
    /// Something that was asked for and is not recorded.
    #[error("{0}")]
    Unknown(String),
}

impl GoldenSet {
    /// Opens the goldens of `model` under `golden`, the folder of all of them; `None` when there are none. Reads the
    /// manifest and no tensor.
    pub fn open(golden: &Path, model: &str) -> Result<Option<Self>, GoldenError> {
        let folder = golden.join(model);
        match fs::metadata(folder.join(MANIFEST)) {
            Ok(_) => Self::open_folder(&folder).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(GoldenError::Io { path: folder.join(MANIFEST), source }),
        }
    }

    /// Opens the goldens in `folder`.
    pub fn open_folder(folder: &Path) -> Result<Self, GoldenError> {
        let path = folder.join(MANIFEST);
        let failed = |source| GoldenError::Io { path: path.clone(), source };
        let size = fs::metadata(&path).map_err(failed)?.len();
        if size > MANIFEST_LIMIT {
            let what = format!("its manifest has {size} bytes, at most {MANIFEST_LIMIT} are read");
            return Err(GoldenError::Refused { path: folder.to_owned(), what });
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        let manifest = Manifest::parse(&path.display().to_string(), &text).map_err(GoldenError::Invalid)?;
        Ok(Self { folder: folder.to_owned(), manifest })
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Refuses a golden that was not made by the reference.
    pub fn check_producer(&self) -> Result<(), GoldenError> {
        match self.manifest.refusal() {
            Some(what) => Err(GoldenError::Refused { path: self.folder.clone(), what }),
            None => Ok(()),
        }
    }

    /// The file of a tensor.
    pub fn path(&self, tensor: &Tensor) -> PathBuf {
        self.folder.join(&tensor.file)
    }

    /// Reads a tensor, after its hash and shape were found to be the recorded ones.
    pub fn read(&self, tensor: &Tensor) -> Result<Array<f32>, GoldenError> {
        let path = self.path(tensor);
        let bytes = npy::read_bytes(&path)?;
        let found = blake3::hash(&bytes).to_hex().to_string();
        if found != tensor.blake3 {
            return Err(GoldenError::Hash { path, expected: tensor.blake3.clone(), found });
        }
        let array = npy::parse_f32(&path, &bytes)?;
        if array.shape != tensor.shape {
            return Err(GoldenError::Shape { path, expected: tensor.shape.clone(), found: array.shape });
        }
        Ok(array)
    }

    /// The prompts of these slugs, or all when none is named; a name that is not recorded is an error.
    pub fn select(&self, slugs: &[String]) -> Result<Vec<&Prompt>, GoldenError> {
        if slugs.is_empty() {
            return Ok(self.manifest.prompts.iter().collect());
        }
        let find = |slug: &String| {
            self.manifest.prompt(slug).ok_or_else(|| {
                let known: Vec<_> = self.manifest.prompts.iter().map(|prompt| prompt.slug.as_str()).collect();
                GoldenError::Unknown(format!(
                    "`{}` has no prompt `{slug}`; it has: {}",
                    self.folder.display(),
                    known.join(", ")
                ))
            })
        };
        slugs.iter().map(find).collect()
    }
}

#[cfg(test)]
mod tests {
    use apr_format::atomic::Overwrite;

    use super::super::tests::golden;
    use super::*;

    #[test]
    fn a_manifest_that_cannot_be_looked_at_or_is_huge_is_an_error_and_not_the_absence_of_goldens() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("fake"), "").unwrap();
        let error = GoldenSet::open(folder.path(), "fake").unwrap_err().to_string();
        let path = folder.path().join("fake").join(MANIFEST);
        assert!(
            error.starts_with(&format!("failed to read `{}`: Not a directory", path.display())),
            "{error}"
        );

        fs::remove_file(folder.path().join("fake")).unwrap();
        golden(&folder.path().join("fake"));
        // It takes no room on the disk.
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(MANIFEST_LIMIT + 1).unwrap();
        let error = GoldenSet::open(folder.path(), "fake").unwrap_err().to_string();
        let folder = folder.path().join("fake");
        let what = "its manifest has 16777217 bytes, at most 16777216 are read";
        assert_eq!(error, format!("the golden `{}` is refused: {what}", folder.display()));
    }

    #[test]
    fn a_tensor_of_another_shape_than_the_manifests_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = golden(folder.path());
        let path = folder.path().join("one_two_three/model.embed_tokens.npy");
        let hash = || blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
        let old = hash();
        npy::write_f32(&path, &[2, 3], &[0.0; 6], Overwrite::Allow).unwrap();
        fs::write(folder.path().join(MANIFEST), text.replacen(&old, &hash(), 1)).unwrap();
        let set = GoldenSet::open_folder(folder.path()).unwrap();
        let error = set.read(&set.manifest().prompts[0].tensors[0]).unwrap_err().to_string();
        assert_eq!(error, format!("`{}` has shape [2, 3], the manifest says [3, 2]", path.display()));
    }
}

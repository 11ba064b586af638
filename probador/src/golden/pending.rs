//! What lies beside a golden for a person to look at, `<key>.npy.new`, and where it comes from.
//!
//! A model that misses a golden leaves what it computed. That shows what went wrong and can never become a golden. Only
//! what PyTorch records anew can: `golden generate --new` leaves its tensors the same way, with the manifest it wrote,
//! `manifest.yaml.new`, which names each by its hash.

use std::fs;
use std::path::{Path, PathBuf};

use apr_format::atomic::{self, Overwrite};
use apr_generation::TensorKey;

use super::manifest::{Manifest, Prompt, Tensor};
use super::npy::{self, Array};
use super::set::{GoldenError, GoldenSet, MANIFEST};
use super::verify::VerifiedPrompt;

/// The `.new` file beside a golden.
pub(super) fn pending_path(golden: &Path) -> PathBuf {
    let mut name = golden.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Who computed what lies beside a golden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// The model under test, or nobody knows: it is no golden and never becomes one.
    Model,
    /// The reference, by the manifest that it left with it.
    Reference,
}

/// A tensor that lies beside its golden.
#[derive(Clone, Debug)]
pub struct Pending<'s> {
    /// Its prompt.
    pub prompt: &'s Prompt,
    /// The golden it lies beside.
    pub tensor: &'s Tensor,
    /// Its file.
    pub path: PathBuf,
    /// BLAKE3 of it.
    pub blake3: String,
    /// Who computed it.
    pub author: Author,
    /// What it holds.
    pub array: Array<f32>,
}

/// What the reference recorded anew: a manifest and the tensors that changed.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub(super) manifest: Manifest,
    pub(super) text: String,
}

impl Proposal {
    /// The file of a proposal for `set`.
    pub fn path(set: &GoldenSet) -> PathBuf {
        pending_path(&set.folder().join(MANIFEST))
    }

    /// What lies beside the goldens of `set`; `None` when the reference left nothing.
    pub fn open(set: &GoldenSet) -> Result<Option<Self>, GoldenError> {
        let path = Self::path(set);
        if !path.exists() {
            return Ok(None);
        }
        let text =
            fs::read_to_string(&path).map_err(|source| GoldenError::Io { path: path.clone(), source })?;
        let manifest = Manifest::parse(&path.display().to_string(), &text).map_err(GoldenError::Invalid)?;
        Ok(Some(Self { manifest, text }))
    }

    /// What the reference says of the tensor `key` of the prompt `slug`.
    pub fn tensor(&self, slug: &str, key: TensorKey) -> Option<&Tensor> {
        self.manifest.prompt(slug)?.tensor(key)
    }

    fn names(&self, slug: &str, key: TensorKey, blake3: &str) -> bool {
        self.tensor(slug, key).is_some_and(|tensor| tensor.blake3 == blake3)
    }
}

/// Everything that lies beside a golden of `set`, in the manifest's order.
pub fn pending(set: &GoldenSet) -> Result<Vec<Pending<'_>>, GoldenError> {
    let proposal = Proposal::open(set)?;
    let mut found = Vec::new();
    for prompt in &set.manifest().prompts {
        for tensor in &prompt.tensors {
            let path = pending_path(&set.path(tensor));
            if !path.exists() {
                continue;
            }
            let bytes = npy::read_bytes(&path)?;
            let blake3 = blake3::hash(&bytes).to_hex().to_string();
            let is_recorded =
                proposal.as_ref().is_some_and(|proposal| proposal.names(&prompt.slug, tensor.key, &blake3));
            let author = if is_recorded { Author::Reference } else { Author::Model };
            let array = npy::parse_f32(&path, &bytes)?;
            found.push(Pending { prompt, tensor, path, blake3, author, array });
        }
    }
    Ok(found)
}

/// Writes what the model computed beside every golden that it misses, and removes what an earlier run left beside those
/// that it now meets. What the reference left stays. Returns the files written.
pub fn leave_pending(
    set: &GoldenSet,
    prompt: &Prompt,
    verified: &VerifiedPrompt,
) -> Result<Vec<PathBuf>, GoldenError> {
    let proposal = Proposal::open(set)?;
    let mut written = Vec::new();
    for result in &verified.tensors {
        let Some(tensor) = prompt.tensor(result.key) else { continue };
        let path = pending_path(&set.path(tensor));
        let is_recorded = |proposal: &Proposal| {
            fs::read(&path).is_ok_and(|bytes| {
                proposal.names(&prompt.slug, tensor.key, blake3::hash(&bytes).to_hex().as_str())
            })
        };
        if proposal.as_ref().is_some_and(is_recorded) {
            continue;
        }
        match &result.actual {
            Some(actual) => {
                npy::write_f32(&path, &actual.shape, &actual.values, Overwrite::Allow)?;
                written.push(path);
            }
            // A leftover that is not there, or cannot be removed, says nothing about the result.
            None => drop(fs::remove_file(path)),
        }
    }
    Ok(written)
}

/// Leaves beside the goldens of `set` what the reference recorded anew in `folder`: each tensor whose bytes are others or
/// damaged, and the manifest. Refused when more than values changed, for then a tensor cannot be judged by itself. Returns the files
/// written; none when every tensor is what it was.
pub fn propose(set: &GoldenSet, folder: &Path) -> Result<Vec<PathBuf>, GoldenError> {
    let recorded = GoldenSet::open_folder(folder)?;
    recorded.check_producer()?;
    if let Some(what) = other_than_values(set.manifest(), recorded.manifest()) {
        return Err(GoldenError::Unknown(format!(
            "{what} changed, so that tensors cannot be compared one by one\nhint: record the goldens as a whole with --force"
        )));
    }
    // The manifest last: a tensor without it is nobody's.
    let mut written = Vec::new();
    for (_, tensor, new) in rows(set.manifest(), recorded.manifest()) {
        let path = pending_path(&set.path(tensor));
        // A golden that is there and damaged is none.
        if new.blake3 == tensor.blake3 && set.read(tensor).is_ok() {
            continue;
        }
        recorded.read(new)?;
        atomic::write(&path, &npy::read_bytes(&recorded.path(new))?, Overwrite::Allow)?;
        written.push(path);
    }
    let path = Proposal::path(set);
    if written.is_empty() {
        drop(fs::remove_file(path));
        return Ok(written);
    }
    let text = npy::read_bytes(&folder.join(MANIFEST))?;
    atomic::write(&path, &text, Overwrite::Allow)?;
    written.push(path);
    Ok(written)
}

/// Each tensor of `old` with that of `new`.
pub(super) fn rows<'m>(
    old: &'m Manifest,
    new: &'m Manifest,
) -> impl Iterator<Item = (&'m Prompt, &'m Tensor, &'m Tensor)> {
    old.prompts.iter().flat_map(move |prompt| {
        let tensors = prompt.tensors.iter();
        tensors
            .filter_map(move |tensor| Some((prompt, tensor, new.prompt(&prompt.slug)?.tensor(tensor.key)?)))
    })
}

/// What of two manifests differs besides the values of tensors and who computed them.
pub(super) fn other_than_values(old: &Manifest, new: &Manifest) -> Option<&'static str> {
    if old.model != new.model {
        return Some("the model");
    }
    if old.verification != new.verification {
        return Some("what is asked for");
    }
    let tensors = |manifest: &Manifest| -> Vec<_> {
        let tensors = manifest.prompts.iter().flat_map(|prompt| {
            prompt.tensors.iter().map(|tensor| {
                (prompt.slug.clone(), tensor.key, tensor.shape.clone(), tensor.positions.clone())
            })
        });
        tensors.collect()
    };
    let asked = |manifest: &Manifest| -> Vec<_> {
        manifest.prompts.iter().map(|prompt| (prompt.slug.clone(), prompt.ids.clone())).collect()
    };
    if asked(old) != asked(new) {
        return Some("the prompts or their ids");
    }
    (tensors(old) != tensors(new)).then_some("which tensors and positions are recorded")
}

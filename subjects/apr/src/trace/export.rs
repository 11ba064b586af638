//! A probe that writes every tensor to its `.npy` file as the model computes it, so that memory holds one piece at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use apr_generation::{Probe, Site, TensorKey};

use super::keys::KeyFilter;
use super::npy::NpyFile;

/// Writes the tensors that were asked for into a folder.
pub(crate) struct Exporter<'a> {
    folder: PathBuf,
    filter: &'a KeyFilter,
    n_positions: usize,
    tensors: BTreeMap<TensorKey, Growing>,
    /// The first thing that went wrong; a probe cannot stop the model.
    error: Option<anyhow::Error>,
}

/// A tensor on its way to disk.
struct Growing {
    file: NpyFile,
    n_positions_done: usize,
}

/// What an export wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exported {
    pub(crate) n_files: usize,
    pub(crate) n_bytes: u64,
}

impl<'a> Exporter<'a> {
    /// Exports a sequence of `n_positions` into `folder`.
    pub(crate) fn new(folder: &Path, filter: &'a KeyFilter, n_positions: usize) -> Self {
        Self { folder: folder.to_owned(), filter, n_positions, tensors: BTreeMap::new(), error: None }
    }

    /// The error of the pass so far, if any; to be asked after every piece.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Makes every file durable. A tensor that was asked for and never came is an error.
    pub(crate) fn finish(mut self) -> Result<Exported> {
        self.check()?;
        let missing: Vec<String> = self
            .filter
            .keys()
            .iter()
            .filter(|key| !self.tensors.contains_key(key))
            .map(ToString::to_string)
            .collect();
        ensure!(missing.is_empty(), "the model computed no {}", missing.join(", "));
        let mut exported = Exported::default();
        for growing in self.tensors.into_values() {
            exported.n_bytes += growing.file.finish()?;
            exported.n_files += 1;
        }
        Ok(exported)
    }

    fn write(&mut self, key: TensorKey, shape: &[usize], values: &[f32]) -> Result<()> {
        let is_scores = matches!(key, TensorKey::Layer(_, Site::Scores));
        let n_positions = self.n_positions;
        let [first, width] = *shape else {
            anyhow::bail!("the model hands over `{key}` with shape {shape:?}, not with two dimensions");
        };
        if let std::collections::btree_map::Entry::Vacant(entry) = self.tensors.entry(key) {
            let shape = if is_scores { [first, n_pairs(n_positions)] } else { [n_positions, width] };
            let path = self.folder.join(format!("{key}.npy"));
            entry.insert(Growing { file: NpyFile::create::<f32>(&path, &shape)?, n_positions_done: 0 });
        }
        let growing = self.tensors.get_mut(&key).context("a tensor that was just added")?;
        let done = growing.n_positions_done;
        if is_scores {
            // [n_heads, n_pairs of this piece]: each head's part goes to the end of that head's row.
            let n_new = (done + 1..=n_positions)
                .find(|&after| n_pairs(after) - n_pairs(done) == width)
                .with_context(|| format!("{width} scores are not whole positions after {done}"))?
                - done;
            for (head, scores) in values.chunks_exact(width).enumerate() {
                growing.file.write(head * n_pairs(n_positions) + n_pairs(done), scores)?;
            }
            growing.n_positions_done += n_new;
        } else {
            growing.file.write(done * width, values)?;
            growing.n_positions_done += first;
        }
        Ok(())
    }
}

impl Probe for Exporter<'_> {
    fn wants(&self, key: TensorKey) -> bool {
        self.error.is_none() && self.filter.wants(key)
    }

    fn record(&mut self, key: TensorKey, shape: &[usize], values: &[f32]) {
        if self.error.is_none()
            && let Err(error) = self.write(key, shape, values)
        {
            self.error = Some(error);
        }
    }
}

/// Pairs of a query and a key it may see, among `n_positions`.
const fn n_pairs(n_positions: usize) -> usize {
    n_positions * (n_positions + 1) / 2
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};
    use ndarray_npy::read_npy;

    use super::*;

    fn filter(patterns: &[&str]) -> KeyFilter {
        let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        KeyFilter::new(&patterns, 1).unwrap()
    }

    #[test]
    fn pieces_of_rows_and_of_scores_land_in_their_places() {
        let folder = tempfile::tempdir().unwrap();
        let filter = filter(&["q_proj", "scores"]);
        let scores = TensorKey::Layer(0, Site::Scores);
        let q_proj = TensorKey::Layer(0, Site::QProj);
        let mut exporter = Exporter::new(folder.path(), &filter, 3);
        assert!(!exporter.wants(TensorKey::Norm) && exporter.wants(scores));
        // Two heads; positions 0 and 1, then position 2.
        exporter.record(q_proj, &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        exporter.record(scores, &[2, 3], &[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
        exporter.record(q_proj, &[1, 2], &[5.0, 6.0]);
        exporter.record(scores, &[2, 3], &[4.0, 5.0, 6.0, 40.0, 50.0, 60.0]);
        let exported = exporter.finish().unwrap();
        assert_eq!(exported.n_files, 2);
        let found: Array2<f32> = read_npy(folder.path().join("model.layers.0.self_attn.q_proj.npy")).unwrap();
        assert_eq!(found, array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        let found: Array2<f32> = read_npy(folder.path().join("model.layers.0.self_attn.scores.npy")).unwrap();
        assert_eq!(found, array![[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]]);
    }

    #[test]
    fn tensor_that_never_comes_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let filter = filter(&["model.norm"]);
        let error = Exporter::new(folder.path(), &filter, 3).finish().unwrap_err();
        assert_eq!(error.to_string(), "the model computed no model.norm");
    }

    #[test]
    fn tensor_of_too_few_positions_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let filter = filter(&["model.norm"]);
        let mut exporter = Exporter::new(folder.path(), &filter, 3);
        exporter.record(TensorKey::Norm, &[2, 1], &[1.0, 2.0]);
        assert!(exporter.check().is_ok());
        assert!(exporter.finish().unwrap_err().to_string().contains("has 3 elements and 2 were computed"));
    }

    #[test]
    fn write_that_fails_stops_the_recording_and_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let filter = filter(&["model.norm"]);
        let mut exporter = Exporter::new(&folder.path().join("gone"), &filter, 1);
        exporter.record(TensorKey::Norm, &[1, 1], &[1.0]);
        assert!(!exporter.wants(TensorKey::Norm));
        assert!(exporter.check().unwrap_err().to_string().starts_with("failed to create"));
    }
}

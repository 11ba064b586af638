//! What a model computes for a recorded prompt, cut to the positions that are stored.

use std::collections::BTreeMap;

use apr_generation::{CausalLm, LogitRows, Recorder, Site, TensorKey, Trace};
use apr_tokenizer::TokenId;

use super::manifest::{Prompt, Tensor};
use super::set::GoldenError;
use crate::compare::{DistributionError, negative_log_likelihood, top_k};

/// Positions evaluated at once: bounds the memory that logits of a large vocabulary take.
const BLOCK: usize = 64;

/// A prompt as a model evaluates it.
pub(super) struct Evaluated {
    /// Tensors that were asked for and came, whole.
    pub(super) tensors: BTreeMap<TensorKey, Trace>,
    /// Logits of the stored positions, by position.
    pub(super) logits: BTreeMap<usize, Vec<f32>>,
    /// The likeliest ids at the positions where they are recorded.
    pub(super) top: Result<Vec<Vec<usize>>, DistributionError>,
    /// Perplexity of every id but the first.
    pub(super) perplexity: Result<f64, DistributionError>,
}

/// Evaluates `prompt` from a clean cache, recording the tensors that `wanted` says yes to.
pub(super) fn evaluate(
    model: &mut dyn CausalLm,
    prompt: &Prompt,
    wanted: impl Fn(TensorKey) -> bool,
) -> Result<Evaluated, GoldenError> {
    let failed = |source| GoldenError::Model { slug: prompt.slug.clone(), source };
    let stored_logits: Vec<usize> =
        prompt.tensor(TensorKey::Logits).map(|tensor| tensor.positions.clone()).unwrap_or_default();
    let ids: Vec<TokenId> = prompt.ids.iter().map(|&id| TokenId(id)).collect();
    let mut recorder = Recorder::new(|key| key != TensorKey::Logits && wanted(key));
    let mut logits = BTreeMap::new();
    let mut top = Ok(Vec::new());
    let mut likelihoods = Ok(0.0);
    model.reset();
    for (block, block_ids) in ids.chunks(BLOCK).enumerate() {
        let rows = model.prefill(block_ids, LogitRows::All, Some(&mut recorder)).map_err(failed)?;
        for row in 0..rows.n_rows() {
            let position = block * BLOCK + row;
            let row = rows.row(row);
            if stored_logits.contains(&position) {
                logits.insert(position, row.to_vec());
            }
            if let Some(recorded) = prompt.top_k.iter().find(|recorded| recorded.position == position) {
                top = top.and_then(|mut top: Vec<Vec<usize>>| {
                    top.push(top_k(row, recorded.ids.len())?);
                    Ok(top)
                });
            }
            if let Some(next) = ids.get(position + 1) {
                likelihoods =
                    likelihoods.and_then(|sum| Ok(sum + negative_log_likelihood(row, next.index())?));
            }
        }
    }
    let n_scored = ids.len() - 1;
    Ok(Evaluated {
        tensors: recorder.into_tensors(),
        logits,
        top,
        perplexity: likelihoods.map(|sum| (sum / n_scored as f64).exp()),
    })
}

impl Evaluated {
    /// Shape and values of `tensor` at the stored positions; `None` when the model did not compute it, or not all of it.
    pub(super) fn stored(&self, tensor: &Tensor, n_positions: usize) -> Option<Trace> {
        if tensor.key == TensorKey::Logits {
            let rows: Option<Vec<&Vec<f32>>> =
                tensor.positions.iter().map(|at| self.logits.get(at)).collect();
            let values = rows?.into_iter().flatten().copied().collect::<Vec<f32>>();
            let width = values.len() / tensor.positions.len().max(1);
            return Some(Trace { shape: vec![tensor.positions.len(), width], values });
        }
        let whole = self.tensors.get(&tensor.key)?;
        let (shape, values) = cut(tensor, &whole.shape, &whole.values, n_positions)?;
        Some(Trace { shape, values })
    }
}

/// Shape and values of the rows that `tensor` stores, out of those of all positions; for scores, in every head the keys
/// of those queries. `None` when `shape` is not that of `n_positions` positions.
pub(super) fn cut<T: Copy>(
    tensor: &Tensor,
    shape: &[usize],
    values: &[T],
    n_positions: usize,
) -> Option<(Vec<usize>, Vec<T>)> {
    rows_at(tensor.key, &tensor.positions, shape, values, n_positions)
}

/// Shape and values of `key` at `positions`, out of those of all `n_positions`; as [`cut`] says.
pub(super) fn rows_at<T: Copy>(
    key: TensorKey,
    positions: &[usize],
    shape: &[usize],
    values: &[T],
    n_positions: usize,
) -> Option<(Vec<usize>, Vec<T>)> {
    let &[n_rows, width] = shape else { return None };
    if matches!(key, TensorKey::Layer(_, Site::Scores)) {
        if width != n_positions * (n_positions + 1) / 2 {
            return None;
        }
        let of_head = |head: &'_ [T]| -> Vec<T> {
            positions.iter().flat_map(|&at| head[at * (at + 1) / 2..][..=at].to_vec()).collect()
        };
        let kept: Vec<T> = values.chunks_exact(width).flat_map(of_head).collect();
        return Some((vec![n_rows, kept.len() / n_rows.max(1)], kept));
    }
    if n_rows != n_positions {
        return None;
    }
    let kept = positions.iter().flat_map(|&at| values[at * width..][..width].iter().copied()).collect();
    Some((vec![positions.len(), width], kept))
}

/// Where in a lower triangle a pair stands: the query's position and the key's.
pub(super) fn pair_at(positions: &[usize], mut pair: usize) -> Option<(usize, usize)> {
    for &position in positions {
        if pair <= position {
            return Some((position, pair));
        }
        pair -= position + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::manifest::NoiseFloor;
    use super::*;
    use crate::compare::Tolerance;

    fn tensor(key: TensorKey, positions: &[usize]) -> Tensor {
        Tensor {
            key,
            file: String::new(),
            shape: Vec::new(),
            positions: positions.to_vec(),
            left_out: Vec::new(),
            blake3: String::new(),
            tolerance: Tolerance::EXACT,
            noise_floor: NoiseFloor { max_abs: 0.0, max_rel: 0.0 },
        }
    }

    #[test]
    fn rows_and_scores_are_cut_to_the_stored_positions() {
        let norm = tensor(TensorKey::Norm, &[0, 2]);
        assert_eq!(cut(&norm, &[3, 2], &[0, 1, 10, 11, 20, 21], 3), Some((vec![2, 2], vec![0, 1, 20, 21])));
        assert_eq!(cut(&norm, &[3, 2], &[0; 6], 4), None, "too few rows");
        let scores = tensor(TensorKey::Layer(0, Site::Scores), &[0, 2]);
        let triangle: Vec<u8> = (0..12).collect();
        assert_eq!(cut(&scores, &[2, 6], &triangle, 3), Some((vec![2, 4], vec![0, 3, 4, 5, 6, 9, 10, 11])));
        assert_eq!(cut(&scores, &[2, 6], &triangle, 4), None, "too few pairs");
        assert_eq!(cut(&scores, &[12], &triangle, 3), None, "one dimension");
    }

    #[test]
    fn a_pair_is_a_query_and_a_key() {
        assert_eq!(pair_at(&[0, 2], 0), Some((0, 0)));
        assert_eq!(pair_at(&[0, 2], 1), Some((2, 0)));
        assert_eq!(pair_at(&[0, 2], 3), Some((2, 2)));
        assert_eq!(pair_at(&[0, 2], 4), None);
    }
}

//! Attention, norms and rotations of models whose weights are packed: f32 throughout, over a cache of f16.

use std::cell::RefCell;

use half::f16;

use super::{AttentionShape, Compute, QUERIES_A_PART, RoundedRows, SharedMut};
use crate::buffer::Buffer;
use crate::kernels::{MAX_ROWS, OnScores, TiledPart};

/// The keys and values of one key/value head.
#[derive(Clone, Copy)]
pub struct TiledHeadCache<'a> {
    /// Rotated keys in tiles of sixteen positions, `[n_positions / 16, head_dim, 16]`.
    pub keys: &'a [f16],
    /// Values, `[n_positions, head_dim]`.
    pub values: &'a [f16],
}

impl TiledHeadCache<'_> {
    /// Positions of a tile of keys.
    pub const TILE: usize = 16;
}

thread_local! {
    /// Attention scores of this thread.
    static SCORES: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
    /// A row of this thread between its norm and its rounding.
    static ROW: RefCell<Buffer> = const { RefCell::new(Buffer::new()) };
}

impl Compute {
    /// Causal attention: `queries` and `out` are `[n_queries, n_heads * head_dim]`, `caches` one for each key/value head,
    /// holding at least `start + n_queries` positions and whole tiles of keys. With `scores`, `[n_heads, n_pairs]` for the
    /// pairs of each query with the keys up to itself, what goes into the softmax is written there.
    ///
    /// # Panics
    /// When the lengths do not fit the shape.
    pub fn attention_tiled(
        &self,
        shape: AttentionShape,
        queries: &[f32],
        caches: &[TiledHeadCache<'_>],
        out: &mut [f32],
        scores: Option<&mut [f32]>,
    ) {
        let AttentionShape { n_heads, n_kv_heads, head_dim, start, n_queries } = shape;
        assert!(n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads) && head_dim.is_multiple_of(16));
        let row_stride = n_heads * head_dim;
        let n_positions = start + n_queries;
        let padded = n_positions.next_multiple_of(TiledHeadCache::TILE);
        assert!(queries.len() == n_queries * row_stride && out.len() == queries.len(), "queries and output");
        assert!(
            caches.len() == n_kv_heads
                && caches.iter().all(|cache| {
                    cache.keys.len() >= padded * head_dim && cache.values.len() >= n_positions * head_dim
                }),
            "caches of {n_positions} positions"
        );
        let group = n_heads / n_kv_heads;
        let n_pairs = shape.n_pairs();
        assert!(scores.as_ref().is_none_or(|scores| scores.len() == n_heads * n_pairs), "scores");
        let scores = scores.map(|scores| SharedMut(scores.as_mut_ptr()));
        let n_runs = n_queries.div_ceil(QUERIES_A_PART);
        // Few queries do not occupy many threads: then heads of a group go to parts of their own.
        let n_splits = self.team.n_threads().div_ceil(n_runs * n_kv_heads).min(group);
        let part_heads = group.div_ceil(n_splits);
        let out = SharedMut(out.as_mut_ptr());
        self.team.run(n_runs * n_kv_heads * n_splits, &|part| {
            let (part, split) = (part / n_splits, part % n_splits);
            // The last queries have the most keys: start with them.
            let (run, kv_head) = (n_runs - 1 - part / n_kv_heads, part % n_kv_heads);
            let first = run * QUERIES_A_PART;
            let first_head = kv_head * group + (split * part_heads).min(group);
            let n_part_heads = part_heads.min((kv_head + 1) * group - first_head);
            let offset = first * row_stride + first_head * head_dim;
            let on_scores = |query: usize, head: usize, row: &[f32]| {
                if let Some(scores) = &scores {
                    let target = (first_head + head) * n_pairs + shape.pairs_before(first + query);
                    // SAFETY: the row of this head and query; no other part writes it.
                    unsafe { scores.get().add(target).copy_from_nonoverlapping(row.as_ptr(), row.len()) };
                }
            };
            SCORES.with_borrow_mut(|row_scores| {
                row_scores.resize(MAX_ROWS * padded);
                // SAFETY: lengths were checked above; each part writes the heads and queries of its own; `f16` is its bits.
                unsafe {
                    (self.kernels.float.tiled_attention)(&mut TiledPart {
                        queries: queries.as_ptr().add(offset),
                        out: out.get().add(offset),
                        row_stride,
                        keys: caches[kv_head].keys.as_ptr().cast(),
                        values: caches[kv_head].values.as_ptr().cast(),
                        n_heads: n_part_heads,
                        head_dim,
                        start: start + first,
                        n_queries: QUERIES_A_PART.min(n_queries - first),
                        scale: 1.0 / (head_dim as f32).sqrt(),
                        scores: row_scores,
                        on_scores: scores.is_some().then_some(&on_scores as &OnScores<'_, f32>),
                    });
                }
            });
        });
    }

    /// RMSNorm of each row of `x[M, K]` with `gain[K]`, rounded; what was rounded goes to `normed`, where it is asked for.
    ///
    /// # Panics
    /// When `x` and `normed` are not rows of `gain`'s length, or that is no multiple of 64.
    pub fn rms_norm_rounded(
        &self,
        x: &[f32],
        gain: &[f32],
        epsilon: f64,
        rows: &mut RoundedRows,
        normed: Option<&mut [f32]>,
    ) {
        let k = gain.len();
        assert!(k > 0 && x.len().is_multiple_of(k), "rows of {k}");
        assert!(normed.as_ref().is_none_or(|normed| normed.len() == x.len()), "rows of {k}");
        let normed = normed.map(|normed| SharedMut(normed.as_mut_ptr()));
        self.fill_rows(rows, x.len() / k, k, &|row, target| {
            ROW.with_borrow_mut(|scratch| {
                scratch.resize(k);
                // SAFETY: the table is one `available` offered; the three have length `k`.
                unsafe {
                    (self.kernels.float.rms_norm_narrow)(&x[row * k..][..k], gain, epsilon, scratch);
                }
                if let Some(normed) = &normed {
                    // SAFETY: no other part writes this row.
                    unsafe { normed.get().add(row * k).copy_from_nonoverlapping(scratch.as_ptr(), k) };
                }
                // SAFETY: the target is this row's, of `k` values.
                unsafe { target.round(self.kernels.integer, scratch) };
            });
        });
    }

    /// RMSNorm of each row of `x[M, K]` with `gain[K]` into `y[M, K]`.
    ///
    /// # Panics
    /// When `x` and `y` are not rows of `gain`'s length.
    pub fn rms_norm_narrow(&self, x: &[f32], gain: &[f32], epsilon: f64, y: &mut [f32]) {
        let k = gain.len();
        assert!(x.len() == y.len() && x.len().is_multiple_of(k), "rows of {k}");
        self.for_rows(y, k, &|row, y| {
            // SAFETY: the table is one `available` offered; the three have length `k`.
            unsafe { (self.kernels.float.rms_norm_narrow)(&x[row * k..][..k], gain, epsilon, y) };
        });
    }

    /// Like [`Compute::rotate_halves`], in f32.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn rotate_halves_narrow(&self, x: &mut [f32], head_dim: usize, angles: &[f32]) {
        assert!(head_dim.is_multiple_of(2) && angles.len().is_multiple_of(head_dim));
        let n_rows = angles.len() / head_dim;
        assert!(
            n_rows > 0 && x.len().is_multiple_of(n_rows * head_dim),
            "{n_rows} rows of heads of {head_dim}"
        );
        let width = x.len() / n_rows;
        self.for_rows(x, width, &|row, x| {
            let (cos, sin) = angles[row * head_dim..][..head_dim].split_at(head_dim / 2);
            for head in x.chunks_exact_mut(head_dim) {
                // SAFETY: the table is one `available` offered; `cos` and `sin` are half a head.
                unsafe { (self.kernels.float.rotate_halves_narrow)(head, cos, sin) };
            }
        });
    }
}

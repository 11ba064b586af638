//! Causal grouped-query attention in f32 over a cache of f16, tiled: for models whose weights are packed.
//!
//! Keys lie in tiles of sixteen positions, one dimension of all sixteen after the other, so that a lane is a position and
//! a score needs no sum across lanes. Some rows, pairs of a query and a head, pass over keys and values together. What a
//! row's result is does not depend on the others: its scores, its sum and its values are added in the order of
//! dimensions and positions, whoever else is in the tile.

use super::attention::OnScores;
use super::elementwise::exp;
use super::lanes::{Element, F16Bits, Lanes32, WIDTH};

/// Attention of the query heads that share one key/value head, for query positions `start..start + n_queries`.
///
/// `out = softmax(scale * q k^T) v` over the keys `0..=position` (Vaswani et al. 2017, eq. 1; heads grouped as in Ainslie
/// et al. 2023).
///
/// # Safety
/// `queries` and `out` are valid for `n_queries` rows `row_stride` apart of `n_heads * head_dim` elements each; `keys` for
/// the tiles of `start + n_queries` positions, `values` for their rows; `head_dim` is a multiple of sixteen; nobody else
/// touches `out` meanwhile.
pub(crate) struct TiledPart<'a> {
    /// `[n_queries, n_heads * head_dim]`, rows `row_stride` apart.
    pub(crate) queries: *const f32,
    /// Like `queries`.
    pub(crate) out: *mut f32,
    /// Elements from one position to the next in `queries` and `out`.
    pub(crate) row_stride: usize,
    /// `[n_positions / 16, head_dim, 16]`.
    pub(crate) keys: *const F16Bits,
    /// `[n_positions, head_dim]`.
    pub(crate) values: *const F16Bits,
    /// Query heads in the group.
    pub(crate) n_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Position of the first query.
    pub(crate) start: usize,
    /// Number of queries.
    pub(crate) n_queries: usize,
    /// `1 / sqrt(head_dim)`.
    pub(crate) scale: f32,
    /// Room for `R` rows of scores, each as long as the tiles of `start + n_queries` positions.
    pub(crate) scores: &'a mut [f32],
    /// Called with the query, the head within the group and the scores of the keys `0..=position`.
    pub(crate) on_scores: Option<&'a OnScores<'a, f32>>,
}

/// The most rows in a tile.
pub(crate) const MAX_ROWS: usize = 8;

/// See [`TiledPart`]; tiles of `R` rows.
///
/// # Safety
/// See [`TiledPart`]; the instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn tiled_attention<L: Lanes32, const R: usize>(part: &mut TiledPart<'_>) {
    let n_rows = part.n_queries * part.n_heads;
    let mut row = 0;
    // SAFETY: `row + R <= n_rows` in every call.
    unsafe {
        while row + R <= n_rows {
            rows::<L, R>(part, row);
            row += R;
        }
        // Without the guards, tiles that cannot be left over would be compiled.
        match n_rows - row {
            1 => rows::<L, 1>(part, row),
            2 if R > 2 => rows::<L, 2>(part, row),
            3 if R > 3 => rows::<L, 3>(part, row),
            4 if R > 4 => rows::<L, 4>(part, row),
            5 if R > 5 => rows::<L, 5>(part, row),
            6 if R > 6 => rows::<L, 6>(part, row),
            7 if R > 7 => rows::<L, 7>(part, row),
            _ => {}
        }
    }
}

/// Rows `first..first + R` of the pairs of a query and a head.
///
/// # Safety
/// See [`TiledPart`].
#[inline(always)]
unsafe fn rows<L: Lanes32, const R: usize>(part: &mut TiledPart<'_>, first: usize) {
    let (head_dim, n_heads) = (part.head_dim, part.n_heads);
    let place = |row: usize| (first + row) / n_heads * part.row_stride + (first + row) % n_heads * head_dim;
    let n_keys = |row: usize| part.start + (first + row) / n_heads + 1;
    let all_keys = n_keys(R - 1);
    let n_tiles = all_keys.div_ceil(WIDTH);
    let stride = n_tiles * WIDTH;
    let scores: *mut f32 = part.scores.as_mut_ptr();
    // SAFETY: the scratch holds `R` rows of `stride` scores; the pointers are valid as the struct says.
    unsafe {
        let queries: [*const f32; R] = std::array::from_fn(|row| part.queries.add(place(row)));
        let scale = L::splat(part.scale);
        for tile in 0..n_tiles {
            let keys = part.keys.add(tile * WIDTH * head_dim);
            let mut sums = [L::splat(0.0); R];
            for i in 0..head_dim {
                let keys: L = F16Bits::load(keys.add(i * WIDTH));
                for row in 0..R {
                    sums[row] = keys.mul_add(L::splat(*queries[row].add(i)), sums[row]);
                }
            }
            for row in 0..R {
                sums[row].mul(scale).store(scores.add(row * stride + tile * WIDTH));
            }
        }
        let mut reciprocals = [0.0; R];
        for row in 0..R {
            let all = std::slice::from_raw_parts_mut(scores.add(row * stride), stride);
            let (scores, beyond) = all.split_at_mut(n_keys(row));
            if let Some(on_scores) = part.on_scores {
                on_scores((first + row) / n_heads, (first + row) % n_heads, scores);
            }
            reciprocals[row] = 1.0 / softmax_weights::<L>(scores);
            // No key at a later position counts.
            beyond.fill(0.0);
        }
        let mut i = 0;
        while i < head_dim {
            let mut sums = [L::splat(0.0); R];
            for key in 0..all_keys {
                let values: L = F16Bits::load(part.values.add(key * head_dim + i));
                for row in 0..R {
                    sums[row] = values.mul_add(L::splat(*scores.add(row * stride + key)), sums[row]);
                }
            }
            for row in 0..R {
                sums[row].mul(L::splat(reciprocals[row])).store(part.out.add(place(row) + i));
            }
            i += WIDTH;
        }
    }
}

/// Makes each score `s` a weight `e^(s - max)` and returns the weights' sum.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
unsafe fn softmax_weights<L: Lanes32>(scores: &mut [f32]) -> f32 {
    let n = scores.len();
    let scores = scores.as_mut_ptr();
    // SAFETY: `i + WIDTH <= n` in the loops; the tails handle the `n - i` scores that are left.
    unsafe {
        // The largest does not depend on the order, and a NaN comes back in the exponentials.
        let lowest = L::splat(f32::NEG_INFINITY);
        let mut largest = lowest;
        let mut i = 0;
        while i + WIDTH <= n {
            largest = L::load(scores.add(i)).max(largest);
            i += WIDTH;
        }
        let mut max = largest.to_array().into_iter().fold(f32::NEG_INFINITY, f32::max);
        for i in i..n {
            max = max.max(*scores.add(i));
        }
        let minus_max = L::splat(-max);
        let mut sums = L::splat(0.0);
        let mut i = 0;
        while i < n {
            let count = WIDTH.min(n - i);
            let score: L = f32::load_partial_or_whole(scores.add(i), count);
            let mut weights = exp::<L>(score.add(minus_max));
            if count < WIDTH {
                let mut padded = weights.to_array();
                padded[count..].fill(0.0);
                weights = L::load(padded.as_ptr());
                std::ptr::copy_nonoverlapping(padded.as_ptr(), scores.add(i), count);
            } else {
                weights.store(scores.add(i));
            }
            sums = sums.add(weights);
            i += count;
        }
        sums.sum()
    }
}

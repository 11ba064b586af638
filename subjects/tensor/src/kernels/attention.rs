//! Causal grouped-query attention for a run of query positions of one key/value head.
//!
//! Scores are summed in f64: those of Qwen2 reach more than a thousand, and the softmax exponentiates what a rounding of 2^-24 of
//! that leaves wrong. Weights and values are f32.

use super::elementwise::exp;
use super::lanes::{Element, Lanes, Lanes32, WIDTH};

/// Sees the scores of one query and head, keys `0..=position`, before the softmax.
pub(crate) type OnScores<'a, S> = dyn Fn(usize, usize, &[S]) + 'a;

/// Attention of the query heads that share one key/value head, for query positions `start..start + n_queries`.
///
/// `scores[p] = scale * (q . k[p] + u . t[p])`, `out = softmax(scores) * v` over the keys `0..=position` (Vaswani et al.
/// 2017, eq. 1; heads grouped as in Ainslie et al. 2023). The second product is there with a [`PositionTerm`] only.
///
/// # Safety
/// `queries`, `out` and the term's `queries` are valid for `n_queries` rows `row_stride` apart of `n_heads * head_dim`
/// elements each; `keys`, `values` and the term's `positions` for `(start + n_queries) * head_dim`; `head_dim` is a multiple of sixteen; nobody else touches
/// `out` meanwhile.
pub(crate) struct AttentionPart<'a> {
    /// `[n_queries, n_heads * head_dim]`, rows `row_stride` apart.
    pub(crate) queries: *const f64,
    /// Like `queries`.
    pub(crate) out: *mut f32,
    /// Elements from one position to the next in `queries` and `out`.
    pub(crate) row_stride: usize,
    /// `[n_positions, head_dim]`.
    pub(crate) keys: *const f32,
    /// `[n_positions, head_dim]`.
    pub(crate) values: *const f32,
    /// A summand of the scores that depends on the query and the key's position alone.
    pub(crate) position_term: Option<PositionTerm>,
    /// Query heads in the group.
    pub(crate) n_heads: usize,
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Position of the first query.
    pub(crate) start: usize,
    /// Number of queries.
    pub(crate) n_queries: usize,
    /// `1 / sqrt(head_dim)`.
    pub(crate) scale: f64,
    /// Room for the scores of four heads, or of all if there are fewer, with `start + n_queries` keys each.
    pub(crate) scores: &'a mut [f64],
    /// As much room for what the softmax makes of them.
    pub(crate) weights: &'a mut [f32],
    /// Called with the query, the head within the group and the scores of the keys `0..=position`.
    pub(crate) on_scores: Option<&'a OnScores<'a, f64>>,
}

/// `u` and `t` of [`AttentionPart`].
#[derive(Clone, Copy)]
pub(crate) struct PositionTerm {
    /// `u`, laid out like the queries.
    pub(crate) queries: *const f64,
    /// `t`, `[n_positions, head_dim]`.
    pub(crate) positions: *const f64,
}

/// See [`AttentionPart`].
///
/// # Safety
/// See [`AttentionPart`]; the instruction set of `W` and `L` is present.
#[inline(always)]
pub(crate) unsafe fn attention<W: Lanes<Scalar = f64>, L: Lanes32>(part: &mut AttentionPart<'_>) {
    for query in 0..part.n_queries {
        let n_keys = part.start + query + 1;
        let mut head = 0;
        while head < part.n_heads {
            let n_heads = (part.n_heads - head).min(4);
            // SAFETY: `head + n_heads <= part.n_heads`, `query < part.n_queries`.
            unsafe {
                match n_heads {
                    1 => heads::<W, L, 1>(part, query, head, n_keys),
                    2 => heads::<W, L, 2>(part, query, head, n_keys),
                    3 => heads::<W, L, 3>(part, query, head, n_keys),
                    _ => heads::<W, L, 4>(part, query, head, n_keys),
                }
            }
            head += n_heads;
        }
    }
}

/// `H` heads of one query at once, so that a key or value is loaded once for all of them.
///
/// # Safety
/// See [`AttentionPart`]; `first_head + H <= n_heads`.
#[inline(always)]
unsafe fn heads<W: Lanes<Scalar = f64>, L: Lanes32, const H: usize>(
    part: &mut AttentionPart<'_>,
    query: usize,
    first_head: usize,
    n_keys: usize,
) {
    let head_dim = part.head_dim;
    let scores: *mut f64 = part.scores.as_mut_ptr();
    let weights: *mut f32 = part.weights.as_mut_ptr();
    // SAFETY: the scratch holds `H * n_keys` scores and weights; the pointers are valid as the struct says.
    unsafe {
        let offset = query * part.row_stride + first_head * head_dim;
        let queries = part.queries.add(offset);
        for key in 0..n_keys {
            let mut sums = [W::splat(0.0); H];
            dots(queries, part.keys.add(key * head_dim), head_dim, &mut sums);
            if let Some(term) = part.position_term {
                dots(term.queries.add(offset), term.positions.add(key * head_dim), head_dim, &mut sums);
            }
            for (head, sum) in sums.into_iter().enumerate() {
                *scores.add(head * n_keys + key) = sum.sum() * part.scale;
            }
        }
        let mut reciprocals = [0.0; H];
        for (head, reciprocal) in reciprocals.iter_mut().enumerate() {
            let scores = std::slice::from_raw_parts(scores.add(head * n_keys), n_keys);
            let weights = std::slice::from_raw_parts_mut(weights.add(head * n_keys), n_keys);
            if let Some(on_scores) = part.on_scores {
                on_scores(query, first_head + head, scores);
            }
            *reciprocal = 1.0 / exp_of_differences::<L>(scores, weights);
        }
        let out = part.out.add(offset);
        let mut i = 0;
        while i < head_dim {
            let mut sums = [L::splat(0.0); H];
            for key in 0..n_keys {
                let values = L::load(part.values.add(key * head_dim + i));
                for (head, sum) in sums.iter_mut().enumerate() {
                    *sum = values.mul_add(L::splat(*weights.add(head * n_keys + key)), *sum);
                }
            }
            for head in 0..H {
                sums[head].mul(L::splat(reciprocals[head])).store(out.add(head * head_dim + i));
            }
            i += WIDTH;
        }
    }
}

/// Adds to the sums the products of a row with `H` queries that lie one after the other.
///
/// # Safety
/// `row` is valid for `head_dim` elements, a multiple of sixteen; `queries` for `H` times as many.
#[inline(always)]
unsafe fn dots<W: Lanes<Scalar = f64>, E: Element<W>, const H: usize>(
    queries: *const f64,
    row: *const E,
    head_dim: usize,
    sums: &mut [W; H],
) {
    let mut i = 0;
    while i < head_dim {
        // SAFETY: `i + 16 <= head_dim`, `head < H`.
        unsafe {
            let lanes = E::load(row.add(i));
            for (head, sum) in sums.iter_mut().enumerate() {
                *sum = lanes.mul_add(W::load(queries.add(head * head_dim + i)), *sum);
            }
        }
        i += WIDTH;
    }
}

/// Makes each score `s` a weight `e^(s - max)` and returns the weights' sum.
///
/// # Safety
/// The instruction set of `L` is present; both have one length.
#[inline(always)]
unsafe fn exp_of_differences<L: Lanes32>(scores: &[f64], weights: &mut [f32]) -> f32 {
    let max =
        scores.iter().copied().fold(f64::NEG_INFINITY, |max, score| if score > max { score } else { max });
    for (weight, score) in weights.iter_mut().zip(scores) {
        *weight = (score - max) as f32;
    }
    let n = weights.len();
    // SAFETY: `i + WIDTH <= n` in the loop; the tail handles the `n - i` weights that are left.
    unsafe {
        let mut sums = L::splat(0.0);
        let mut i = 0;
        while i + WIDTH <= n {
            let lanes = exp::<L>(L::load(weights.as_ptr().add(i)));
            lanes.store(weights.as_mut_ptr().add(i));
            sums = sums.add(lanes);
            i += WIDTH;
        }
        let tail: L = f32::load_partial(weights.as_ptr().add(i), n - i);
        let mut tail = exp::<L>(tail).to_array();
        tail[n - i..].fill(0.0);
        std::ptr::copy_nonoverlapping(tail.as_ptr(), weights.as_mut_ptr().add(i), n - i);
        sums.add(L::load(tail.as_ptr())).sum()
    }
}

//! Causal grouped-query attention for a run of query positions of one key/value head.

use super::elementwise::exp;
use super::lanes::{Element, Lanes, WIDTH};

/// Sees the scores of one query and head, keys `0..=position`, before the softmax.
pub(crate) type OnScores<'a> = dyn Fn(usize, usize, &[f32]) + 'a;

/// Attention of the query heads that share one key/value head, for query positions `start..start + n_queries`.
///
/// `scores[p] = scale * q . k[p]`, `out = softmax(scores) * v` over the keys `0..=position` (Vaswani et al. 2017, eq. 1;
/// heads grouped as in Ainslie et al. 2023).
///
/// # Safety
/// `queries` and `out` are valid for `n_queries` rows `row_stride` apart of `n_heads * head_dim` elements each;
/// `keys` and `values` for `(start + n_queries) * head_dim`; `head_dim` is a multiple of sixteen; nobody else touches
/// `out` meanwhile.
pub(crate) struct AttentionPart<'a> {
    /// `[n_queries, n_heads * head_dim]`, rows `row_stride` apart.
    pub(crate) queries: *const f32,
    /// Like `queries`.
    pub(crate) out: *mut f32,
    /// Elements from one position to the next in `queries` and `out`.
    pub(crate) row_stride: usize,
    /// `[n_positions, head_dim]`.
    pub(crate) keys: *const f32,
    /// `[n_positions, head_dim]`.
    pub(crate) values: *const f32,
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
    /// Room for `n_heads * (start + n_queries)` scores.
    pub(crate) scratch: &'a mut [f32],
    /// Called with the query, the head within the group and the scores of the keys `0..=position`.
    pub(crate) on_scores: Option<&'a OnScores<'a>>,
}

/// See [`AttentionPart`].
///
/// # Safety
/// See [`AttentionPart`]; the instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn attention<L: Lanes>(part: &mut AttentionPart<'_>) {
    for query in 0..part.n_queries {
        let n_keys = part.start + query + 1;
        let mut head = 0;
        while head < part.n_heads {
            let n_heads = (part.n_heads - head).min(4);
            // SAFETY: `head + n_heads <= part.n_heads`, `query < part.n_queries`.
            unsafe {
                match n_heads {
                    1 => heads::<L, 1>(part, query, head, n_keys),
                    2 => heads::<L, 2>(part, query, head, n_keys),
                    3 => heads::<L, 3>(part, query, head, n_keys),
                    _ => heads::<L, 4>(part, query, head, n_keys),
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
unsafe fn heads<L: Lanes, const H: usize>(
    part: &mut AttentionPart<'_>,
    query: usize,
    first_head: usize,
    n_keys: usize,
) {
    let head_dim = part.head_dim;
    let scores: *mut f32 = part.scratch.as_mut_ptr();
    // SAFETY: the scratch holds `H * n_keys` scores; the pointers are valid as the struct says.
    unsafe {
        let offset = query * part.row_stride + first_head * head_dim;
        let queries = part.queries.add(offset);
        for key in 0..n_keys {
            let row = part.keys.add(key * head_dim);
            let mut sums = [L::splat(0.0); H];
            let mut i = 0;
            while i < head_dim {
                let keys = L::load(row.add(i));
                for (head, sum) in sums.iter_mut().enumerate() {
                    *sum = keys.mul_add(L::load(queries.add(head * head_dim + i)), *sum);
                }
                i += WIDTH;
            }
            for (head, sum) in sums.into_iter().enumerate() {
                *scores.add(head * n_keys + key) = sum.sum() * part.scale;
            }
        }
        let mut reciprocals = [0.0; H];
        for (head, reciprocal) in reciprocals.iter_mut().enumerate() {
            let row = std::slice::from_raw_parts_mut(scores.add(head * n_keys), n_keys);
            if let Some(on_scores) = part.on_scores {
                on_scores(query, first_head + head, row);
            }
            *reciprocal = 1.0 / exp_of_differences::<L>(row);
        }
        let out = part.out.add(offset);
        let mut i = 0;
        while i < head_dim {
            let mut sums = [L::splat(0.0); H];
            for key in 0..n_keys {
                let values = L::load(part.values.add(key * head_dim + i));
                for (head, sum) in sums.iter_mut().enumerate() {
                    *sum = values.mul_add(L::splat(*scores.add(head * n_keys + key)), *sum);
                }
            }
            for head in 0..H {
                sums[head].mul(L::splat(reciprocals[head])).store(out.add(head * head_dim + i));
            }
            i += WIDTH;
        }
    }
}

/// Replaces each score `s` by `e^(s - max)` and returns their sum.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
unsafe fn exp_of_differences<L: Lanes>(scores: &mut [f32]) -> f32 {
    let max =
        scores.iter().copied().fold(f32::NEG_INFINITY, |max, score| if score > max { score } else { max });
    let n = scores.len();
    // SAFETY: `i + WIDTH <= n` in the loop; the tail handles the `n - i` scores that are left.
    unsafe {
        let minus_max = L::splat(-max);
        let mut sums = L::splat(0.0);
        let mut i = 0;
        while i + WIDTH <= n {
            let lanes = exp::<L>(L::load(scores.as_ptr().add(i)).add(minus_max));
            lanes.store(scores.as_mut_ptr().add(i));
            sums = sums.add(lanes);
            i += WIDTH;
        }
        let mut tail =
            exp::<L>(f32::load_partial::<L>(scores.as_ptr().add(i), n - i).add(minus_max)).to_array();
        tail[n - i..].fill(0.0);
        std::ptr::copy_nonoverlapping(tail.as_ptr(), scores.as_mut_ptr().add(i), n - i);
        sums.add(L::load(tail.as_ptr())).sum()
    }
}

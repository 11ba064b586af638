//! The safe face of the kernels: shapes are checked here, the work is split over the team here.

mod peaks;
mod rounded;
mod tiled;

use std::cell::RefCell;
use std::ops::Range;
use std::thread;

use crate::buffer::Buffer;
use crate::kernels::{
    self, AttentionPart, Bf16Bits, F16Bits, Kernels, MatmulPart, MatmulTable, OnScores, available,
};
use crate::team::Team;
use crate::{DType, Packing, Tensor};

pub use rounded::{Output, Product as PackedProduct, RoundedRows};
pub use tiled::TiledHeadCache;

/// A thread team and the kernels this processor runs fastest; everything a forward pass computes goes through it.
///
/// Results do not depend on the number of threads, on how rows are grouped into calls, or on the instruction set.
pub struct Compute {
    team: Team,
    kernels: Kernels,
}

/// The keys and values of one key/value head, `[n_positions, head_dim]` each.
#[derive(Clone, Copy)]
pub struct HeadCache<'a> {
    /// Rotated keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

/// A summand `u . t[p]` of the score of a query with the key at position `p`, for what depends on the position alone.
#[derive(Clone, Copy)]
pub struct PositionTerm<'a> {
    /// `u`, `[n_queries, n_heads * head_dim]`.
    pub queries: &'a [f64],
    /// `t`, `[n_positions, head_dim]`.
    pub positions: &'a [f64],
}

/// The dimensions of an attention call.
#[derive(Clone, Copy, Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub n_heads: usize,
    /// Key/value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head, a multiple of sixteen.
    pub head_dim: usize,
    /// Position of the first query.
    pub start: usize,
    /// Number of queries.
    pub n_queries: usize,
}

impl AttentionShape {
    /// Pairs of a query with a key at or before it.
    pub fn n_pairs(self) -> usize {
        self.pairs_before(self.n_queries)
    }

    /// Those of the first `query` queries.
    fn pairs_before(self, query: usize) -> usize {
        query * self.start + query * (query + 1) / 2
    }
}

/// Weights that a part of a product with one row takes at least: below, its streams are mostly starting.
const PART_BYTES: usize = 384 << 10;

/// Queries an attention part handles: enough to share a head's keys in cache, few enough to spread over threads.
const QUERIES_A_PART: usize = 8;

thread_local! {
    /// Attention scores and weights of this thread.
    static SCORES: RefCell<(Buffer<f64>, Buffer)> = const { RefCell::new((Buffer::new(), Buffer::new())) };
}

/// A pointer that parts running on several threads write disjoint places through.
struct SharedMut<T>(*mut T);
// SAFETY: each part writes only its own elements; `Compute`'s methods say which.
unsafe impl<T> Sync for SharedMut<T> {}

impl<T> SharedMut<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

/// The operands of a matrix product, whose columns parts on several threads share out.
struct Product<S> {
    m: usize,
    k: usize,
    n: usize,
    x: *const S,
    bias: *const f32,
    y: *mut S,
}
// SAFETY: `x` and `bias` are only read; each part writes its own columns of `y`.
unsafe impl<S> Sync for Product<S> {}

impl<S> Product<S> {
    fn part<E: bytemuck::Pod>(&self, w: &Tensor, columns: Range<usize>) -> MatmulPart<E, S> {
        MatmulPart {
            m: self.m,
            k: self.k,
            x: self.x,
            w: bytemuck::cast_slice::<u8, E>(w.bytes()).as_ptr(),
            bias: self.bias,
            first: columns.start,
            last: columns.end,
            y: self.y,
            y_stride: self.n,
        }
    }
}

impl Compute {
    /// `n_threads` threads (every available processor when `None`, at most 64), the best kernels there are.
    pub fn new(n_threads: Option<usize>) -> Self {
        let n_threads = n_threads.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
        let kernels = available()[0];
        Self { team: Team::new(n_threads), kernels }
    }

    /// Like [`Compute::new`] with the named kernels, or `None` where this processor lacks them.
    #[cfg_attr(
        any(),
        probador::allow(I5, reason = "tests and benches compare every kernel table, not the best one only")
    )]
    pub fn with_kernels(n_threads: usize, name: &str) -> Option<Self> {
        let kernels = available().into_iter().find(|table| table.name == name)?;
        Some(Self { team: Team::new(n_threads), kernels })
    }

    /// Names of the kernel tables this processor can run, fastest first.
    #[cfg_attr(
        any(),
        probador::allow(I5, reason = "tests and benches compare every kernel table, not the best one only")
    )]
    pub fn available_kernels() -> Vec<&'static str> {
        available().into_iter().map(|table| table.name).collect()
    }

    /// Name of the kernels in use.
    pub fn kernels(&self) -> &'static str {
        self.kernels.name
    }

    /// Threads in the team.
    pub fn n_threads(&self) -> usize {
        self.team.n_threads()
    }

    /// `y[M, N] = x[M, K] * w[N, K]^T (+ bias[N])`, summed in f32.
    ///
    /// # Panics
    /// When the lengths do not fit `w`'s shape.
    pub fn matmul(&self, x: &[f32], w: &Tensor, bias: Option<&[f32]>, y: &mut [f32]) {
        self.product(&self.kernels.float.matmul, x, w, bias, y);
    }

    /// Like [`Compute::matmul`], summed in f64: half as fast where it is not memory that limits.
    ///
    /// # Panics
    /// When the lengths do not fit `w`'s shape.
    pub fn matmul_wide(&self, x: &[f64], w: &Tensor, bias: Option<&[f32]>, y: &mut [f64]) {
        self.product(&self.kernels.float.matmul_wide, x, w, bias, y);
    }

    fn product<S>(&self, table: &MatmulTable<S>, x: &[S], w: &Tensor, bias: Option<&[f32]>, y: &mut [S]) {
        let [n, k] = *w.shape() else {
            panic!("matmul needs a matrix, the weights have shape {:?}", w.shape())
        };
        assert!(Packing::of(w.dtype()).is_none(), "packed weights take rounded rows");
        assert!(k > 0 && x.len().is_multiple_of(k), "x of {} elements is not rows of {k}", x.len());
        let m = x.len() / k;
        assert_eq!(y.len(), m * n, "y of {m} rows by {n}");
        assert!(bias.is_none_or(|bias| bias.len() == n), "bias of {n}");
        if m == 0 || n == 0 {
            return;
        }
        let part_rows = self.part_rows(m, n, w.bytes().len());
        let product = Product {
            m,
            k,
            n,
            x: x.as_ptr(),
            bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
            y: y.as_mut_ptr(),
        };
        let product = &product;
        self.team.run(n.div_ceil(part_rows), &|part| {
            let columns = part * part_rows..n.min((part + 1) * part_rows);
            // SAFETY: lengths were checked above; the parts' columns are disjoint; the table is one `available`
            // offered; `Tensor` guarantees `[n, k]` elements at their alignment.
            unsafe {
                match w.dtype() {
                    DType::F32 => (table.f32)(&product.part(w, columns)),
                    DType::F16 => (table.f16)(&product.part::<F16Bits>(w, columns)),
                    DType::Bf16 => (table.bf16)(&product.part::<Bf16Bits>(w, columns)),
                    DType::Int8 | DType::Int4 => unreachable!("refused above"),
                }
            }
        });
    }

    /// Rows of `w` that one part of a product takes.
    ///
    /// Several parts a thread, so that one held up by another process does not hold up the rest. For many rows of `x` at
    /// least a panel's rows each; for one, whose streams start slowly, at least [`PART_BYTES`], and as many parts for
    /// every thread.
    fn part_rows(&self, m: usize, n: usize, n_bytes: usize) -> usize {
        let n_threads = self.team.n_threads();
        if m == 1 {
            let parts_a_thread = (n_bytes / (n_threads * PART_BYTES)).clamp(1, 8);
            n.div_ceil(n_threads * parts_a_thread).next_multiple_of(4)
        } else {
            n.div_ceil(n_threads * 8).max(32).next_multiple_of(32)
        }
    }

    /// RMSNorm of each row of `x[M, K]` with `gain[K]` into `y[M, K]`.
    ///
    /// # Panics
    /// When `x` and `y` are not rows of `gain`'s length.
    pub fn rms_norm(&self, x: &[f64], gain: &[f32], epsilon: f64, y: &mut [f64]) {
        let k = gain.len();
        assert!(x.len() == y.len() && x.len().is_multiple_of(k), "rows of {k}");
        self.for_rows(y, k, &|row, y| {
            // SAFETY: the table is one `available` offered; the three have length `k`.
            unsafe { (self.kernels.float.rms_norm)(&x[row * k..][..k], gain, epsilon, y) };
        });
    }

    /// Rotates every head of each row of `x[M, n_heads * head_dim]`, row `m` by the angles whose cosines are in the first
    /// half of `angles[m]` and whose sines are in the second; `angles` is `[M, head_dim]`.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn rotate_halves(&self, x: &mut [f64], head_dim: usize, angles: &[f64]) {
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
                unsafe { (self.kernels.float.rotate_halves)(head, cos, sin) };
            }
        });
    }

    /// `gate = silu(gate) * up`, elementwise.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn silu_mul(&self, gate: &mut [f32], up: &[f32]) {
        const CHUNK: usize = 1024;
        assert_eq!(gate.len(), up.len());
        self.for_rows(gate, CHUNK, &|chunk, gate| {
            // SAFETY: the table is one `available` offered; both have one length.
            unsafe { (self.kernels.float.silu_mul)(gate, &up[chunk * CHUNK..][..gate.len()]) };
        });
    }

    /// `sum += addend`, elementwise.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add(&self, sum: &mut [f64], addend: &[f32]) {
        const CHUNK: usize = 4096;
        assert_eq!(sum.len(), addend.len());
        self.for_rows(sum, CHUNK, &|chunk, sum| {
            // SAFETY: the table is one `available` offered; both have one length.
            unsafe { (self.kernels.float.add)(sum, &addend[chunk * CHUNK..][..sum.len()]) };
        });
    }

    /// `sum += factor * addend`, elementwise, on the calling thread: for work that is shared out by rows already.
    ///
    /// # Panics
    /// When the lengths differ.
    pub fn add_scaled(&self, sum: &mut [f32], factor: f32, addend: &[f32]) {
        assert_eq!(sum.len(), addend.len());
        // SAFETY: the table is one `available` offered; both have one length.
        unsafe { (self.kernels.float.add_scaled)(sum, factor, addend) };
    }

    /// Rounds each element to f32.
    ///
    /// # Panics
    /// When the lengths differ.
    #[cfg_attr(
        any(),
        probador::allow(
            G8,
            reason = "this is what others call to narrow: one conversion an element, which compilers vectorise for every instruction set"
        )
    )]
    pub fn narrow(&self, x: &[f64], y: &mut [f32]) {
        const CHUNK: usize = 4096;
        assert_eq!(x.len(), y.len());
        self.for_rows(y, CHUNK, &|chunk, y| {
            for (y, x) in y.iter_mut().zip(&x[chunk * CHUNK..]) {
                *y = *x as f32;
            }
        });
    }

    /// Causal attention: `queries` and `out` are `[n_queries, n_heads * head_dim]`, `caches` one for each key/value
    /// head, holding at least `start + n_queries` positions; the term, where there is one, joins each score before it
    /// is scaled. With `scores`, `[n_heads, n_pairs]` for the pairs of each query with the keys up to itself, what goes
    /// into the softmax is written there.
    ///
    /// # Panics
    /// When the lengths do not fit the shape.
    pub fn attention(
        &self,
        shape: AttentionShape,
        queries: &[f64],
        caches: &[HeadCache<'_>],
        position_term: Option<PositionTerm<'_>>,
        out: &mut [f32],
        scores: Option<&mut [f32]>,
    ) {
        let AttentionShape { n_heads, n_kv_heads, head_dim, start, n_queries } = shape;
        assert!(n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads) && head_dim.is_multiple_of(16));
        let row_stride = n_heads * head_dim;
        let n_positions = start + n_queries;
        assert!(queries.len() == n_queries * row_stride && out.len() == queries.len(), "queries and output");
        assert!(
            caches.len() == n_kv_heads
                && caches
                    .iter()
                    .all(|cache| cache.keys.len().min(cache.values.len()) >= n_positions * head_dim),
            "caches of {n_positions} positions"
        );
        assert!(
            position_term.is_none_or(|term| {
                term.queries.len() == queries.len() && term.positions.len() >= n_positions * head_dim
            }),
            "position term"
        );
        let group = n_heads / n_kv_heads;
        let n_pairs = shape.n_pairs();
        assert!(scores.as_ref().is_none_or(|scores| scores.len() == n_heads * n_pairs), "scores");
        let scores = scores.map(|scores| SharedMut(scores.as_mut_ptr()));
        let n_runs = n_queries.div_ceil(QUERIES_A_PART);
        let out = SharedMut(out.as_mut_ptr());
        self.team.run(n_runs * n_kv_heads, &|part| {
            // The last queries have the most keys: start with them.
            let run = n_runs - 1 - part / n_kv_heads;
            let kv_head = part % n_kv_heads;
            let first = run * QUERIES_A_PART;
            let n_part = QUERIES_A_PART.min(n_queries - first);
            let offset = first * row_stride + kv_head * group * head_dim;
            let on_scores = |query: usize, head: usize, row: &[f64]| {
                if let Some(scores) = &scores {
                    let target = (kv_head * group + head) * n_pairs + shape.pairs_before(first + query);
                    for (key, &score) in row.iter().enumerate() {
                        // SAFETY: the row of this head and query; no other part writes it.
                        unsafe { scores.get().add(target + key).write(score as f32) };
                    }
                }
            };
            SCORES.with_borrow_mut(|(row_scores, row_weights)| {
                row_scores.resize(group.min(4) * n_positions);
                row_weights.resize(group.min(4) * n_positions);
                // SAFETY: lengths were checked above; each part writes the heads and queries of its own.
                unsafe {
                    (self.kernels.float.attention)(&mut AttentionPart {
                        queries: queries.as_ptr().add(offset),
                        out: out.get().add(offset),
                        row_stride,
                        keys: caches[kv_head].keys.as_ptr(),
                        values: caches[kv_head].values.as_ptr(),
                        position_term: position_term.map(|term| kernels::PositionTerm {
                            queries: term.queries.as_ptr().add(offset),
                            positions: term.positions.as_ptr(),
                        }),
                        n_heads: group,
                        head_dim,
                        start: start + first,
                        n_queries: n_part,
                        scale: 1.0 / (head_dim as f64).sqrt(),
                        scores: row_scores,
                        weights: row_weights,
                        on_scores: scores.is_some().then_some(&on_scores as &OnScores<'_, f64>),
                    });
                }
            });
        });
    }

    /// Runs `work(row, values)` for each row of `width` values (the last may be shorter), over the team when there is
    /// enough to do.
    fn for_rows<T>(&self, values: &mut [T], width: usize, work: &(dyn Fn(usize, &mut [T]) + Sync)) {
        // Waking the team costs more than a few thousand elements do.
        const WORTH_SHARING: usize = 16_384;
        if values.len() < WORTH_SHARING {
            values.chunks_mut(width).enumerate().for_each(|(row, values)| work(row, values));
            return;
        }
        let n_values = values.len();
        let n_rows = n_values.div_ceil(width);
        let part_rows = n_rows.div_ceil(self.team.n_threads() * 4);
        let values = SharedMut(values.as_mut_ptr());
        self.team.run(n_rows.div_ceil(part_rows), &|part| {
            for row in part * part_rows..n_rows.min((part + 1) * part_rows) {
                let first = row * width;
                let n = width.min(n_values - first);
                // SAFETY: rows are disjoint and inside the slice.
                work(row, unsafe { std::slice::from_raw_parts_mut(values.get().add(first), n) });
            }
        });
    }
}

//! Matrix products: `y[M, N] = x[M, K] * w[N, K]^T + bias[N]`, with one reduction order for every shape of call.

use std::cell::Cell;

use super::lanes::{Element, Lanes, Scalar, WIDTH};
use crate::buffer::Buffer;

/// The columns `first..last` of a product, summed in `S`: f32, or f64 where cancellation would show.
///
/// # Safety
/// `x` is valid for `m * k` reads, `w` for `last * k`, `bias` (unless null) for `last`; `y` is valid for writes of
/// `m` rows `y_stride` apart, columns `first..last`, that nobody else touches meanwhile.
pub(crate) struct MatmulPart<E, S> {
    /// Number of rows of `x` and `y`.
    pub(crate) m: usize,
    /// Length of a row of `x` and of `w`.
    pub(crate) k: usize,
    /// `[m, k]`.
    pub(crate) x: *const S,
    /// `[n, k]`.
    pub(crate) w: *const E,
    /// `[n]`, or null.
    pub(crate) bias: *const f32,
    /// First column of `y` (row of `w`) to compute.
    pub(crate) first: usize,
    /// One past the last column.
    pub(crate) last: usize,
    /// `[m, y_stride]`.
    pub(crate) y: *mut S,
    /// Elements from one row of `y` to the next.
    pub(crate) y_stride: usize,
}

/// Rows of `w` widened at a time when many rows of `x` share them: 32 rows of 4,864 in f32 take 608 KiB, which stays in a
/// second-level cache while every row of `x` passes over it.
const PANEL_ROWS: usize = 32;
/// From this many rows of `x` on, widening a panel once is cheaper than widening it in every tile.
const PANEL_FROM: usize = 8;

/// Places in the weights that a single row of `x` reads in turn, and how many elements ahead it asks for each. It reads
/// each weight once, so it waits for memory; the hardware's own prefetch restarts at every page. Decoding with the 0.5B
/// model in f16, mapped, two threads: 18 tokens a second from one place, 26 from four
/// (`cargo run --release -p apr-qwen2 --example speed`).
const STREAMS: usize = 4;
/// See [`STREAMS`].
const PREFETCH: usize = 1024;

thread_local! {
    /// The panel of this thread, f32 or f64.
    static PANEL: Cell<Buffer<u8>> = const { Cell::new(Buffer::new()) };
}

/// Computes one part with tiles of `TM` rows of `x` by `TN` rows of `w`.
///
/// # Safety
/// See [`MatmulPart`]; the instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn matmul<L: Lanes, E: Element<L>, const TM: usize, const TN: usize>(
    part: &MatmulPart<E, L::Scalar>,
) where
    L::Scalar: Element<L>,
{
    if part.m == 1 {
        // SAFETY: the caller's promise.
        unsafe { one_row::<L, E>(part) }
        return;
    }
    if part.m < PANEL_FROM {
        // SAFETY: the caller's promise.
        unsafe { rows::<L, E, TM, TN>(part, part.w, 0, part.first, part.last) }
        return;
    }
    // Taken and put back, not borrowed in a closure: a closure would be compiled without the instruction set.
    let mut panel = PANEL.take();
    panel.resize(PANEL_ROWS * part.k * size_of::<L::Scalar>());
    let widened: *mut L::Scalar = bytemuck::cast_slice_mut::<u8, L::Scalar>(&mut panel).as_mut_ptr();
    let mut first = part.first;
    while first < part.last {
        let last = part.last.min(first + PANEL_ROWS);
        // SAFETY: rows `first..last` of `w` exist; the panel has room for them.
        unsafe {
            widen::<L, E>(part.w.add(first * part.k), (last - first) * part.k, widened);
            rows::<L, L::Scalar, TM, TN>(part, widened, first, first, last);
        }
        first = last;
    }
    PANEL.set(panel);
}

/// A single row of `x`, whose weights stream by once: memory limits it. [`STREAMS`] places are read in turn, each
/// onwards from its own row of `w`, so that one waiting for a page does not hold up the others.
///
/// # Safety
/// See [`MatmulPart`].
#[inline(always)]
unsafe fn one_row<L: Lanes, E: Element<L>>(part: &MatmulPart<E, L::Scalar>)
where
    L::Scalar: Element<L>,
{
    let run = (part.last - part.first) / STREAMS;
    let left = part.first + STREAMS * run;
    // SAFETY: the streams are `run` rows apart, which all lie in `first..left`; the rest is in `left..last`.
    unsafe {
        for column in part.first..part.first + run {
            let w = part.w.add(column * part.k);
            let [sums] = tile::<L, E, 1, STREAMS>(part.x, w, run * part.k, part.k);
            for (stream, sum) in sums.into_iter().enumerate() {
                part.store(0, column + stream * run, &[[sum]]);
            }
        }
        columns::<L, E, 1, 1>(part, part.w, 0, 0, left, part.last);
    }
}

/// Copies `n` elements to `target`, widened.
///
/// # Safety
/// Both are valid for `n` elements.
#[inline(always)]
unsafe fn widen<L: Lanes, E: Element<L>>(source: *const E, n: usize, target: *mut L::Scalar) {
    let mut i = 0;
    // SAFETY: `i + WIDTH <= n` in the loop; the tail copies the `n - i` elements that are left.
    unsafe {
        while i + WIDTH <= n {
            E::load(source.add(i)).store(target.add(i));
            i += WIDTH;
        }
        let tail = E::load_partial(source.add(i), n - i).to_array();
        std::ptr::copy_nonoverlapping(tail.as_ptr(), target.add(i), n - i);
    }
}

/// Columns `first..last`, whose weights start at row `first - w_first` of `w`.
///
/// # Safety
/// See [`MatmulPart`].
#[inline(always)]
unsafe fn rows<L: Lanes, E: Element<L>, const TM: usize, const TN: usize>(
    part: &impl Product<L::Scalar>,
    w: *const E,
    w_first: usize,
    first: usize,
    last: usize,
) where
    L::Scalar: Element<L>,
{
    let mut row = 0;
    // SAFETY: tiles stay inside `m` rows and columns `first..last`.
    unsafe {
        while row + TM <= part.m() {
            columns::<L, E, TM, TN>(part, w, w_first, row, first, last);
            row += TM;
        }
        while row + 2 <= part.m() {
            columns::<L, E, 2, TN>(part, w, w_first, row, first, last);
            row += 2;
        }
        while row < part.m() {
            columns::<L, E, 1, 1>(part, w, w_first, row, first, last);
            row += 1;
        }
    }
}

/// `TM` rows of `x` from `row` on, against all the columns.
///
/// # Safety
/// See [`MatmulPart`].
#[inline(always)]
unsafe fn columns<L: Lanes, E: Element<L>, const TM: usize, const TN: usize>(
    part: &impl Product<L::Scalar>,
    w: *const E,
    w_first: usize,
    row: usize,
    first: usize,
    last: usize,
) where
    L::Scalar: Element<L>,
{
    let k = part.k();
    let mut column = first;
    // SAFETY: `row + TM <= m`, and `column + TN <= last` where `TN` columns are computed.
    unsafe {
        let x = part.x().add(row * k);
        while column + TN <= last {
            let sums = tile::<L, E, TM, TN>(x, w.add((column - w_first) * k), k, k);
            part.store(row, column, &sums);
            column += TN;
        }
        while column < last {
            let sums = tile::<L, E, TM, 1>(x, w.add((column - w_first) * k), k, k);
            part.store(row, column, &sums);
            column += 1;
        }
    }
}

/// The dot products of `TM` rows of `x` with `TN` rows of `w` that lie `w_stride` elements apart.
///
/// # Safety
/// `x` is valid for `TM * k` elements, `w` for `k` at each of its rows.
#[inline(always)]
unsafe fn tile<L: Lanes, E: Element<L>, const TM: usize, const TN: usize>(
    x: *const L::Scalar,
    w: *const E,
    w_stride: usize,
    k: usize,
) -> [[L::Scalar; TN]; TM]
where
    L::Scalar: Element<L>,
{
    let zero = L::Scalar::default();
    // SAFETY: every load below stays inside its row of `k` elements.
    unsafe {
        let mut sums = [[L::splat(zero); TN]; TM];
        let mut i = 0;
        while i + WIDTH <= k {
            let mut xs = [L::splat(zero); TM];
            for (m, xs) in xs.iter_mut().enumerate() {
                *xs = L::load(x.add(m * k + i));
            }
            for n in 0..TN {
                let weights = E::load(w.add(n * w_stride + i));
                if TM == 1 {
                    L::prefetch(w.wrapping_add(n * w_stride + i + PREFETCH));
                }
                for (sums, xs) in sums.iter_mut().zip(xs) {
                    sums[n] = weights.mul_add(xs, sums[n]);
                }
            }
            i += WIDTH;
        }
        if i < k {
            for n in 0..TN {
                let weights = E::load_partial(w.add(n * w_stride + i), k - i);
                for (m, sums) in sums.iter_mut().enumerate() {
                    let xs = <L::Scalar as Element<L>>::load_partial(x.add(m * k + i), k - i);
                    sums[n] = weights.mul_add(xs, sums[n]);
                }
            }
        }
        let mut folded = [[zero; TN]; TM];
        for (folded, sums) in folded.iter_mut().zip(sums) {
            for (folded, lanes) in folded.iter_mut().zip(sums) {
                *folded = lanes.sum();
            }
        }
        folded
    }
}

/// What a tile needs to know of its product, whatever the weights' dtype was before they were widened.
trait Product<S> {
    fn m(&self) -> usize;
    fn k(&self) -> usize;
    fn x(&self) -> *const S;
    /// Adds the bias to a tile of sums and writes it at `row`, `column`.
    ///
    /// # Safety
    /// The tile lies inside the part.
    unsafe fn store<const TM: usize, const TN: usize>(&self, row: usize, column: usize, sums: &[[S; TN]; TM]);
}

impl<E, S: Scalar> Product<S> for MatmulPart<E, S> {
    #[inline(always)]
    fn m(&self) -> usize {
        self.m
    }

    #[inline(always)]
    fn k(&self) -> usize {
        self.k
    }

    #[inline(always)]
    fn x(&self) -> *const S {
        self.x
    }

    #[inline(always)]
    unsafe fn store<const TM: usize, const TN: usize>(
        &self,
        row: usize,
        column: usize,
        sums: &[[S; TN]; TM],
    ) {
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let bias = if self.bias.is_null() { 0.0 } else { *self.bias.add(column + n) };
                    *self.y.add((row + m) * self.y_stride + column + n) = sum + S::from(bias);
                }
            }
        }
    }
}

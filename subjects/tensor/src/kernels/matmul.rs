//! Matrix products: `y[M, N] = x[M, K] * w[N, K]^T + bias[N]`, with one reduction order for every shape of call.

use std::cell::Cell;

use super::lanes::{Element, Lanes, WIDTH};
use crate::buffer::Buffer;

/// The columns `first..last` of a product.
///
/// # Safety
/// `x` is valid for `m * k` reads, `w` for `last * k`, `bias` (unless null) for `last`; `y` is valid for writes of
/// `m` rows `y_stride` apart, columns `first..last`, that nobody else touches meanwhile.
pub(crate) struct MatmulPart<E> {
    /// Number of rows of `x` and `y`.
    pub(crate) m: usize,
    /// Length of a row of `x` and of `w`.
    pub(crate) k: usize,
    /// `[m, k]`.
    pub(crate) x: *const f32,
    /// `[n, k]`.
    pub(crate) w: *const E,
    /// `[n]`, or null.
    pub(crate) bias: *const f32,
    /// First column of `y` (row of `w`) to compute.
    pub(crate) first: usize,
    /// One past the last column.
    pub(crate) last: usize,
    /// `[m, y_stride]`.
    pub(crate) y: *mut f32,
    /// Elements from one row of `y` to the next.
    pub(crate) y_stride: usize,
}

/// Rows of `w` widened to f32 at a time when many rows of `x` share them: 32 rows of 4,864 take 608 KiB, which stays
/// in a second-level cache while every row of `x` passes over it.
const PANEL_ROWS: usize = 32;
/// From this many rows of `x` on, widening a panel once is cheaper than widening it in every tile.
const PANEL_FROM: usize = 8;

/// How many elements ahead a single row of `x` asks for its weights. It reads each weight once, so it waits for memory;
/// the hardware's own prefetch restarts at every page. Measured by `make bench` on the head, f16, two threads:
/// 2 KiB ahead on one row of `w` at a time 27.7 GiB/s, on two rows 22, without 15.
const PREFETCH: usize = 1024;

thread_local! {
    /// The panel of this thread.
    static PANEL: Cell<Buffer> = const { Cell::new(Buffer::new()) };
}

/// Computes one part with tiles of `TM` rows of `x` by `TN` rows of `w`.
///
/// # Safety
/// See [`MatmulPart`]; the instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn matmul<L: Lanes, E: Element, const TM: usize, const TN: usize>(part: &MatmulPart<E>) {
    if part.m < PANEL_FROM {
        // SAFETY: the caller's promise.
        unsafe { rows::<L, E, TM, TN>(part, part.w, 0, part.first, part.last) }
        return;
    }
    // Taken and put back, not borrowed in a closure: a closure would be compiled without the instruction set.
    let mut panel = PANEL.take();
    panel.resize(PANEL_ROWS * part.k);
    let mut first = part.first;
    while first < part.last {
        let last = part.last.min(first + PANEL_ROWS);
        // SAFETY: rows `first..last` of `w` exist; the panel has room for them.
        unsafe {
            widen::<L, E>(part.w.add(first * part.k), (last - first) * part.k, panel.as_mut_ptr());
            rows::<L, f32, TM, TN>(part, panel.as_ptr(), first, first, last);
        }
        first = last;
    }
    PANEL.set(panel);
}

/// Copies `n` elements to `target` as f32.
///
/// # Safety
/// Both are valid for `n` elements.
#[inline(always)]
unsafe fn widen<L: Lanes, E: Element>(source: *const E, n: usize, target: *mut f32) {
    let mut i = 0;
    // SAFETY: `i + WIDTH <= n` in the loop; the tail copies the `n - i` elements that are left.
    unsafe {
        while i + WIDTH <= n {
            E::load::<L>(source.add(i)).store(target.add(i));
            i += WIDTH;
        }
        let tail = E::load_partial::<L>(source.add(i), n - i).to_array();
        std::ptr::copy_nonoverlapping(tail.as_ptr(), target.add(i), n - i);
    }
}

/// Columns `first..last`, whose weights start at row `first - w_first` of `w`.
///
/// # Safety
/// See [`MatmulPart`].
#[inline(always)]
unsafe fn rows<L: Lanes, E: Element, const TM: usize, const TN: usize>(
    part: &impl Product,
    w: *const E,
    w_first: usize,
    first: usize,
    last: usize,
) {
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
unsafe fn columns<L: Lanes, E: Element, const TM: usize, const TN: usize>(
    part: &impl Product,
    w: *const E,
    w_first: usize,
    row: usize,
    first: usize,
    last: usize,
) {
    let k = part.k();
    let mut column = first;
    // SAFETY: `row + TM <= m`, and `column + TN <= last` where `TN` columns are computed.
    unsafe {
        let x = part.x().add(row * k);
        while column + TN <= last {
            let sums = tile::<L, E, TM, TN>(x, w.add((column - w_first) * k), k);
            part.store(row, column, &sums);
            column += TN;
        }
        while column < last {
            let sums = tile::<L, E, TM, 1>(x, w.add((column - w_first) * k), k);
            part.store(row, column, &sums);
            column += 1;
        }
    }
}

/// The dot products of `TM` rows of `x` with `TN` rows of `w`.
///
/// # Safety
/// `x` is valid for `TM * k` elements, `w` for `TN * k`.
#[inline(always)]
unsafe fn tile<L: Lanes, E: Element, const TM: usize, const TN: usize>(
    x: *const f32,
    w: *const E,
    k: usize,
) -> [[f32; TN]; TM] {
    // SAFETY: every load below stays inside its row of `k` elements.
    unsafe {
        let mut sums = [[L::splat(0.0); TN]; TM];
        let mut i = 0;
        while i + WIDTH <= k {
            let mut xs = [L::splat(0.0); TM];
            for (m, xs) in xs.iter_mut().enumerate() {
                *xs = L::load(x.add(m * k + i));
            }
            for n in 0..TN {
                let weights = E::load::<L>(w.add(n * k + i));
                if TM == 1 {
                    L::prefetch(w.wrapping_add(n * k + i + PREFETCH));
                }
                for (sums, xs) in sums.iter_mut().zip(xs) {
                    sums[n] = weights.mul_add(xs, sums[n]);
                }
            }
            i += WIDTH;
        }
        if i < k {
            for n in 0..TN {
                let weights = E::load_partial::<L>(w.add(n * k + i), k - i);
                for (m, sums) in sums.iter_mut().enumerate() {
                    let xs = f32::load_partial::<L>(x.add(m * k + i), k - i);
                    sums[n] = weights.mul_add(xs, sums[n]);
                }
            }
        }
        let mut folded = [[0.0; TN]; TM];
        for (folded, sums) in folded.iter_mut().zip(sums) {
            for (folded, lanes) in folded.iter_mut().zip(sums) {
                *folded = lanes.sum();
            }
        }
        folded
    }
}

/// What a tile needs to know of its product, whatever the weights' dtype was before they were widened.
trait Product {
    fn m(&self) -> usize;
    fn k(&self) -> usize;
    fn x(&self) -> *const f32;
    /// Adds the bias to a tile of sums and writes it at `row`, `column`.
    ///
    /// # Safety
    /// The tile lies inside the part.
    unsafe fn store<const TM: usize, const TN: usize>(
        &self,
        row: usize,
        column: usize,
        sums: &[[f32; TN]; TM],
    );
}

impl<E> Product for MatmulPart<E> {
    #[inline(always)]
    fn m(&self) -> usize {
        self.m
    }

    #[inline(always)]
    fn k(&self) -> usize {
        self.k
    }

    #[inline(always)]
    fn x(&self) -> *const f32 {
        self.x
    }

    #[inline(always)]
    unsafe fn store<const TM: usize, const TN: usize>(
        &self,
        row: usize,
        column: usize,
        sums: &[[f32; TN]; TM],
    ) {
        for (m, sums) in sums.iter().enumerate() {
            for (n, &sum) in sums.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe {
                    let bias = if self.bias.is_null() { 0.0 } else { *self.bias.add(column + n) };
                    *self.y.add((row + m) * self.y_stride + column + n) = sum + bias;
                }
            }
        }
    }
}

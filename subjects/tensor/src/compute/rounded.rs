//! Products with packed weights: activations rounded to int8, and the work shared out over the team.

use super::{Compute, SharedMut};
use crate::buffer::Buffer;
use crate::kernels::{GatedPart, IntegerTable, PackedTable, ProductPart, Rounded, Target};
use crate::packed::{BLOCK_COLUMNS, BLOCK_ROWS, GROUP};
use crate::{DType, Tensor};

/// Rows of activations rounded to int8: every 32 of them are multiples of their largest magnitude's 127th.
#[derive(Default)]
pub struct RoundedRows {
    /// `[m, k]`.
    values: Buffer<i8>,
    /// `[m, k / 32]`.
    scales: Buffer<f32>,
    /// `[m, k / 32]`.
    sums: Buffer<i32>,
    m: usize,
    k: usize,
}

/// What becomes of a product.
pub enum Output<'a> {
    /// It is stored, with a bias `[n]` added.
    Store(&'a mut [f32], Option<&'a [f32]>),
    /// It is added to what is there.
    Add(&'a mut [f32]),
}

/// A packed matrix `[n, k]` that rounded rows are multiplied with, and where the products go, `[m, n]`.
pub struct Product<'a> {
    /// The weights.
    pub w: &'a Tensor,
    /// Where the products go.
    pub output: Output<'a>,
}

/// A product whose tiles are shared out.
struct Job<'a> {
    table: &'a PackedTable,
    w: &'a [u8],
    n: usize,
    target: Target,
    y: SharedMut<f32>,
    /// Tiles a part takes.
    part_tiles: usize,
    /// Number of its first part among all.
    first_part: usize,
}
// SAFETY: a bias is only read; each part writes its own columns of `y`.
unsafe impl Sync for Job<'_> {}

impl RoundedRows {
    /// Makes room for `m` rows of `k` values.
    ///
    /// # Panics
    /// When `k` is not a multiple of 64.
    fn resize(&mut self, m: usize, k: usize) {
        assert!(k.is_multiple_of(BLOCK_COLUMNS), "rows of {k} values are not whole blocks");
        self.values.resize(m * k);
        self.scales.resize(m * k / GROUP);
        self.sums.resize(m * k / GROUP);
        (self.m, self.k) = (m, k);
    }

    fn view(&self) -> Rounded {
        Rounded {
            values: self.values.as_ptr(),
            scales: self.scales.as_ptr(),
            sums: self.sums.as_ptr(),
            m: self.m,
            k: self.k,
        }
    }
}

/// Where one row of [`RoundedRows`] goes.
pub(super) struct RoundedRow {
    values: *mut i8,
    scales: *mut f32,
    sums: *mut i32,
}

impl RoundedRow {
    /// Rounds `x`.
    ///
    /// # Safety
    /// The row has room for as many values, in whole groups; the table is one `available` offered.
    pub(super) unsafe fn round(self, table: &IntegerTable, x: &[f32]) {
        // SAFETY: the caller's promise.
        unsafe { (table.quantize)(x.as_ptr(), x.len(), self.values, self.scales, self.sums) };
    }
}

impl Compute {
    /// Rounds the rows of `x[M, K]`.
    ///
    /// # Panics
    /// When `x` is not rows of `k` values, or `k` no multiple of 64.
    pub fn round_rows(&self, x: &[f32], k: usize, rows: &mut RoundedRows) {
        assert!(k > 0 && x.len().is_multiple_of(k), "x of {} elements is not rows of {k}", x.len());
        self.fill_rows(rows, x.len() / k, k, &|row, target| {
            // SAFETY: the target is this row's, of `k` values.
            unsafe { target.round(self.kernels.integer, &x[row * k..][..k]) };
        });
    }

    /// Makes `rows` `m` of `k` values and hands each to `fill`, over the team when there is enough to do.
    pub(super) fn fill_rows(
        &self,
        rows: &mut RoundedRows,
        m: usize,
        k: usize,
        fill: &(dyn Fn(usize, RoundedRow) + Sync),
    ) {
        rows.resize(m, k);
        let (scales, sums) = (SharedMut(rows.scales.as_mut_ptr()), SharedMut(rows.sums.as_mut_ptr()));
        self.for_rows(&mut rows.values, k, &|row, values| {
            let first = row * k / GROUP;
            // SAFETY: the scales and sums of this row, which are nobody else's.
            let (scales, sums) = unsafe { (scales.get().add(first), sums.get().add(first)) };
            fill(row, RoundedRow { values: values.as_mut_ptr(), scales, sums });
        });
    }

    /// `y[M, N] = x[M, K] * w[N, K]^T` for each of `products`, which share `x`.
    ///
    /// # Panics
    /// When the lengths do not fit the weights' shape, or the weights are not packed.
    pub fn multiply_rounded(&self, x: &RoundedRows, products: &mut [Product<'_>]) {
        let mut n_parts = 0;
        let mut jobs = Vec::with_capacity(products.len());
        for product in products {
            let (table, n) = self.packed(product.w, x.k);
            let (y, target) = match &mut product.output {
                Output::Store(y, bias) => {
                    assert!(bias.is_none_or(|bias| bias.len() == n), "bias of {n}");
                    (y, Target::Store { bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr) })
                }
                Output::Add(y) => (y, Target::Add),
            };
            assert_eq!(y.len(), x.m * n, "y of {} rows by {n}", x.m);
            let part_tiles = self.part_tiles(n);
            let y = SharedMut(y.as_mut_ptr());
            jobs.push(Job { table, w: product.w.bytes(), n, target, y, part_tiles, first_part: n_parts });
            n_parts += (n / BLOCK_ROWS).div_ceil(part_tiles);
        }
        let jobs = &jobs;
        self.team.run(n_parts, &|part| {
            let job =
                jobs.iter().rfind(|job| job.first_part <= part).expect("the first job begins at part 0");
            let first = (part - job.first_part) * job.part_tiles;
            // SAFETY: lengths were checked above; the parts' columns are disjoint; the table is one `available` offered;
            // `Tensor` guarantees the blocks of `[n, k]`.
            unsafe {
                (job.table.product)(&ProductPart {
                    x: x.view(),
                    w: job.w.as_ptr(),
                    first,
                    last: (job.n / BLOCK_ROWS).min(first + job.part_tiles),
                    target: job.target,
                    y: job.y.get(),
                    y_stride: job.n,
                });
            }
        });
    }

    /// `silu(x gate^T) * (x up^T)`, rounded: SwiGLU as the next product takes it.
    ///
    /// # Panics
    /// When the lengths do not fit, `gate` and `up` differ in shape or packing, or their rows are no multiple of 64.
    pub fn multiply_gated(&self, x: &RoundedRows, gate: &Tensor, up: &Tensor, rows: &mut RoundedRows) {
        let (table, n) = self.packed(gate, x.k);
        assert!(gate.shape() == up.shape() && gate.dtype() == up.dtype(), "gate and up are alike");
        rows.resize(x.m, n);
        let part_tiles = self.part_tiles(n).next_multiple_of(2);
        let n_tiles = n / BLOCK_ROWS;
        let (values, scales) = (SharedMut(rows.values.as_mut_ptr()), SharedMut(rows.scales.as_mut_ptr()));
        let sums = SharedMut(rows.sums.as_mut_ptr());
        self.team.run(n_tiles.div_ceil(part_tiles), &|part| {
            let first = part * part_tiles;
            // SAFETY: as in `multiply_rounded`; `n` is a multiple of 64, so tiles come in pairs.
            unsafe {
                (table.gated)(&GatedPart {
                    x: x.view(),
                    gate: gate.bytes().as_ptr(),
                    up: up.bytes().as_ptr(),
                    first,
                    last: n_tiles.min(first + part_tiles),
                    n,
                    values: values.get(),
                    scales: scales.get(),
                    sums: sums.get(),
                });
            }
        });
    }

    /// The kernels for `w`, and its rows.
    fn packed(&self, w: &Tensor, k: usize) -> (&'static PackedTable, usize) {
        let integer = self.kernels.integer;
        let table = match w.dtype() {
            DType::Int4 => &integer.int4,
            DType::Int8 => &integer.int8,
            DType::F32 | DType::F16 | DType::Bf16 => panic!("weights of {} are not packed", w.dtype()),
        };
        assert_eq!(w.shape()[1], k, "weights of shape {:?} for rows of {k}", w.shape());
        (table, w.shape()[0])
    }

    /// Tiles of sixteen of `n` rows of weights that a part takes: several parts a thread, so that one held up by another
    /// process does not hold up the rest.
    fn part_tiles(&self, n: usize) -> usize {
        (n / BLOCK_ROWS).div_ceil(self.team.n_threads() * 8).next_multiple_of(2)
    }
}

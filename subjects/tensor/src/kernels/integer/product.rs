//! The product itself, once for every packing, instruction set and use of the result.

use super::dots::{Dots, Group};
use crate::kernels::elementwise::exp;
use crate::kernels::lanes::{Element, F16Bits, Lanes, WIDTH};
use crate::packed::{BLOCK_COLUMNS, BLOCK_GROUPS, BLOCK_ROWS, GROUP, Packing, SCALES_BYTES};

/// Rows of `x` that share the weights of a tile in registers.
const TILE: usize = 6;

/// A packing as a type, so that kernels are compiled for each.
pub(crate) trait Packed {
    const PACKING: Packing;

    /// The exact sums of a group whose values start at `w`.
    ///
    /// # Safety
    /// See [`Dots`].
    unsafe fn dots<D: Dots, const M: usize>(w: *const u8, x: [Group; M]) -> [D::Sums; M];
}

/// Two values a byte.
pub(crate) struct Int4;
/// A value a byte.
pub(crate) struct Int8;

impl Packed for Int4 {
    const PACKING: Packing = Packing::Int4;

    #[inline(always)]
    unsafe fn dots<D: Dots, const M: usize>(w: *const u8, x: [Group; M]) -> [D::Sums; M] {
        // SAFETY: the caller's promise.
        unsafe { D::nibbles(w, x) }
    }
}

impl Packed for Int8 {
    const PACKING: Packing = Packing::Int8;

    #[inline(always)]
    unsafe fn dots<D: Dots, const M: usize>(w: *const u8, x: [Group; M]) -> [D::Sums; M] {
        // SAFETY: the caller's promise.
        unsafe { D::bytes(w, x) }
    }
}

/// Activations rounded to int8 in groups of 32: `m` rows of `k` values.
///
/// # Safety
/// `values` is valid for `m * k` reads, `scales` and `sums` for `m * k / 32`.
#[derive(Clone, Copy)]
pub(crate) struct Rounded {
    /// `[m, k]`.
    pub(crate) values: *const i8,
    /// `[m, k / 32]`.
    pub(crate) scales: *const f32,
    /// `[m, k / 32]`.
    pub(crate) sums: *const i32,
    /// Rows.
    pub(crate) m: usize,
    /// Columns, a multiple of 64.
    pub(crate) k: usize,
}

impl Rounded {
    /// The group `group` of row `row`.
    ///
    /// # Safety
    /// Both are in range.
    #[inline(always)]
    unsafe fn group(&self, row: usize, group: usize) -> Group {
        // SAFETY: the caller's promise.
        unsafe {
            Group {
                values: self.values.add(row * self.k + group * GROUP),
                sum: *self.sums.add(row * (self.k / GROUP) + group),
            }
        }
    }
}

/// What becomes of a product.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// `y = x w^T + bias`, the bias perhaps null.
    Store {
        /// `[n]`, or null.
        bias: *const f32,
    },
    /// `y = y + x w^T`.
    Add,
}

/// Some tiles of sixteen columns of a product.
///
/// # Safety
/// `w` is valid for `last` tiles; `y` for `m` rows `y_stride` apart of `16 * last` elements, whose columns from `16 * first`
/// on nobody else touches meanwhile; a bias for `16 * last`.
pub(crate) struct ProductPart {
    pub(crate) x: Rounded,
    /// The blocks of a packed matrix `[n, k]`.
    pub(crate) w: *const u8,
    /// First tile of sixteen rows of `w`.
    pub(crate) first: usize,
    /// One past the last.
    pub(crate) last: usize,
    pub(crate) target: Target,
    /// `[m, y_stride]`.
    pub(crate) y: *mut f32,
    /// Elements from one row of `y` to the next.
    pub(crate) y_stride: usize,
}

/// Some tiles of `silu(x gate^T) * (x up^T)`, rounded like activations: SwiGLU (Shazeer 2020, eq. 6) as its next product
/// takes it.
///
/// # Safety
/// `gate` and `up` are valid for `last` tiles; the targets, `[m, n]` and `[m, n / 32]`, for `n >= 16 * last` columns,
/// of which nobody else touches those from `16 * first` on meanwhile; `first` and `last` are even.
pub(crate) struct GatedPart {
    pub(crate) x: Rounded,
    /// A packed matrix `[n, k]`.
    pub(crate) gate: *const u8,
    /// Another.
    pub(crate) up: *const u8,
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Columns of the targets.
    pub(crate) n: usize,
    pub(crate) values: *mut i8,
    pub(crate) scales: *mut f32,
    pub(crate) sums: *mut i32,
}

/// The sums of `M` rows of `x` from `row` on with `T` tiles of sixteen rows of weights.
///
/// # Safety
/// The rows exist; each of `w` is valid for a tile's blocks.
#[cfg_attr(
    any(),
    probador::allow(
        G8,
        reason = "this is the product that `Compute` offers: sixteen rows of weights to a register"
    )
)]
#[inline(always)]
unsafe fn sums_of_tiles<D: Dots, P: Packed, const M: usize, const T: usize>(
    x: &Rounded,
    row: usize,
    w: [*const u8; T],
) -> [[D::Floats; T]; M] {
    let n_groups = x.k / GROUP;
    // SAFETY: groups are below `n_groups` in every row, blocks below `k / 64` in every tile.
    unsafe {
        let mut sums = [[D::Floats::splat(0.0); T]; M];
        for block in 0..n_groups / BLOCK_GROUPS {
            for in_block in 0..BLOCK_GROUPS {
                let group = block * BLOCK_GROUPS + in_block;
                let groups: [Group; M] = std::array::from_fn(|m| x.group(row + m, group));
                for t in 0..T {
                    let block = w[t].add(block * P::PACKING.block_bytes());
                    let values = (P::PACKING.block_bytes() - SCALES_BYTES) / BLOCK_GROUPS;
                    let dots = P::dots::<D, M>(block.add(SCALES_BYTES + in_block * values), groups);
                    #[expect(
                        clippy::cast_ptr_alignment,
                        reason = "`Tensor` has blocks start at even addresses"
                    )]
                    let scales = block.cast::<F16Bits>().add(in_block * BLOCK_ROWS);
                    let scales: D::Floats = F16Bits::load(scales);
                    for m in 0..M {
                        let x_scale = *x.scales.add((row + m) * n_groups + group);
                        let scales = scales.mul(D::Floats::splat(x_scale));
                        sums[m][t] = D::to_floats(dots[m]).mul_add(scales, sums[m][t]);
                    }
                }
            }
        }
        sums
    }
}

/// Computes a part of a product.
///
/// # Safety
/// See [`ProductPart`]; the instruction set of `D` is present.
#[inline(always)]
pub(crate) unsafe fn product<D: Dots, P: Packed>(part: &ProductPart) {
    let mut tile = part.first;
    // SAFETY: tiles stay below `last`.
    unsafe {
        while tile + 2 <= part.last {
            product_tiles::<D, P, 2>(part, tile);
            tile += 2;
        }
        if tile < part.last {
            product_tiles::<D, P, 1>(part, tile);
        }
    }
}

/// `T` tiles from `first` on, for all rows of `x`.
///
/// # Safety
/// See [`ProductPart`].
#[inline(always)]
unsafe fn product_tiles<D: Dots, P: Packed, const T: usize>(part: &ProductPart, first: usize) {
    // SAFETY: `row + M <= m` in every call.
    unsafe {
        let mut row = 0;
        while row + TILE <= part.x.m {
            product_rows::<D, P, TILE, T>(part, row, first);
            row += TILE;
        }
        match part.x.m - row {
            1 => product_rows::<D, P, 1, T>(part, row, first),
            2 => product_rows::<D, P, 2, T>(part, row, first),
            3 => product_rows::<D, P, 3, T>(part, row, first),
            4 => product_rows::<D, P, 4, T>(part, row, first),
            5 => product_rows::<D, P, 5, T>(part, row, first),
            _ => {}
        }
    }
}

/// # Safety
/// See [`ProductPart`]; `row + M <= m`, `first + T <= last`.
#[inline(always)]
unsafe fn product_rows<D: Dots, P: Packed, const M: usize, const T: usize>(
    part: &ProductPart,
    row: usize,
    first: usize,
) {
    let tile_bytes = part.x.k / BLOCK_COLUMNS * P::PACKING.block_bytes();
    // SAFETY: the caller's promise.
    unsafe {
        let w = std::array::from_fn(|t| part.w.add((first + t) * tile_bytes));
        let sums = sums_of_tiles::<D, P, M, T>(&part.x, row, w);
        for (m, sums) in sums.into_iter().enumerate() {
            for (t, sums) in sums.into_iter().enumerate() {
                let column = (first + t) * BLOCK_ROWS;
                let y = part.y.add((row + m) * part.y_stride + column);
                let sums = match part.target {
                    Target::Store { bias } if bias.is_null() => sums,
                    Target::Store { bias } => sums.add(D::Floats::load(bias.add(column))),
                    Target::Add => sums.add(D::Floats::load(y)),
                };
                sums.store(y);
            }
        }
    }
}

/// Computes a part of a gated product.
///
/// # Safety
/// See [`GatedPart`]; the instruction set of `D` is present.
#[inline(always)]
pub(crate) unsafe fn gated<D: Dots, P: Packed>(part: &GatedPart) {
    let mut tile = part.first;
    while tile < part.last {
        let mut row = 0;
        // SAFETY: `row + M <= m` in every call, tiles stay below `last`, which is even.
        unsafe {
            while row + 4 <= part.x.m {
                gated_rows::<D, P, 4>(part, row, tile);
                row += 4;
            }
            match part.x.m - row {
                1 => gated_rows::<D, P, 1>(part, row, tile),
                2 => gated_rows::<D, P, 2>(part, row, tile),
                3 => gated_rows::<D, P, 3>(part, row, tile),
                _ => {}
            }
        }
        tile += 2;
    }
}

/// # Safety
/// See [`GatedPart`]; `row + M <= m`, `first + 2 <= last`.
#[inline(always)]
unsafe fn gated_rows<D: Dots, P: Packed, const M: usize>(part: &GatedPart, row: usize, first: usize) {
    let tile_bytes = part.x.k / BLOCK_COLUMNS * P::PACKING.block_bytes();
    // SAFETY: the caller's promise.
    unsafe {
        let (gate, up) = (part.gate.add(first * tile_bytes), part.up.add(first * tile_bytes));
        let w = [gate, gate.add(tile_bytes), up, up.add(tile_bytes)];
        let sums = sums_of_tiles::<D, P, M, 4>(&part.x, row, w);
        for (m, [gate_low, gate_high, up_low, up_high]) in sums.into_iter().enumerate() {
            let mut gated = [0.0; GROUP];
            silu_mul(gate_low, up_low).store(gated.as_mut_ptr());
            silu_mul(gate_high, up_high).store(gated.as_mut_ptr().add(WIDTH));
            let column = first * BLOCK_ROWS;
            let values = part.values.add((row + m) * part.n + column);
            let (scale, sum) = D::quantize(gated.as_ptr(), values);
            let group = (row + m) * (part.n / GROUP) + column / GROUP;
            *part.scales.add(group) = scale;
            *part.sums.add(group) = sum;
        }
    }
}

/// `silu(gate) * up`.
///
/// # Safety
/// The instruction set is present.
#[inline(always)]
unsafe fn silu_mul<L: crate::kernels::lanes::Lanes32>(gate: L, up: L) -> L {
    // SAFETY: the caller's promise.
    unsafe {
        let one = L::splat(1.0);
        gate.div(one.add(exp::<L>(gate.mul(L::splat(-1.0))))).mul(up)
    }
}

/// Rounds `n` values, a multiple of 32.
///
/// # Safety
/// `x` and `values` are valid for `n` elements, `scales` and `sums` for `n / 32`; the instruction set of `D` is present.
#[inline(always)]
pub(crate) unsafe fn quantize<D: Dots>(
    x: *const f32,
    n: usize,
    values: *mut i8,
    scales: *mut f32,
    sums: *mut i32,
) {
    for group in 0..n / GROUP {
        // SAFETY: groups stay below `n / 32`.
        unsafe {
            let (scale, sum) = D::quantize(x.add(group * GROUP), values.add(group * GROUP));
            *scales.add(group) = scale;
            *sums.add(group) = sum;
        }
    }
}

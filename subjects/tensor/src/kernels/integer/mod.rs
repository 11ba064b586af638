//! Products of packed matrices with activations that were rounded to int8, `y[M, N] = x[M, K] * w[N, K]^T`.
//!
//! A group of 32 columns is summed exactly in i32; the sums of a row's groups are scaled and added in f32, in the order
//! of the columns, by one fused multiply-add each. So a result is bit-identical on every instruction set, and depends
//! neither on the rows beside it nor on how rows are shared out.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod dots;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
mod product;
pub(super) mod scalar;
#[cfg(target_arch = "x86_64")]
pub(super) mod vnni;

pub(crate) use dots::{Dots, Group};
pub(crate) use product::{GatedPart, ProductPart, Rounded, Target};

/// The kernels on integers compiled for one instruction set.
///
/// # Safety
/// As for [`super::FloatTable`].
pub(crate) struct IntegerTable {
    pub(crate) int4: PackedTable,
    pub(crate) int8: PackedTable,
    /// Some rounds of exact sums; see `peaks`.
    pub(crate) peak: unsafe fn(rounds: usize) -> f32,
    /// Rounds `n` values, a multiple of 32.
    pub(crate) quantize:
        unsafe fn(x: *const f32, n: usize, values: *mut i8, scales: *mut f32, sums: *mut i32),
}

/// The kernels for one packing.
pub(crate) struct PackedTable {
    pub(crate) product: unsafe fn(&ProductPart),
    pub(crate) gated: unsafe fn(&GatedPart),
}

/// Defines `TABLE`, the kernels compiled for an instruction set's dots with its target features.
macro_rules! integer_table {
    ($dots:ty, features: $features:tt) => {
        /// The kernels compiled for this instruction set.
        pub(crate) static TABLE: super::IntegerTable = super::IntegerTable {
            int4: super::integer_table!(@packed $dots, super::product::Int4, $features),
            int8: super::integer_table!(@packed $dots, super::product::Int8, $features),
            peak: crate::kernels::kernel!($features, (rounds: usize) -> f32 {
                crate::kernels::peaks::integer::<$dots>(rounds)
            }),
            quantize: crate::kernels::kernel!(
                $features,
                (x: *const f32, n: usize, values: *mut i8, scales: *mut f32, sums: *mut i32) {
                    super::product::quantize::<$dots>(x, n, values, scales, sums)
                }
            ),
        };
    };
    (@packed $dots:ty, $packed:ty, $features:tt) => {
        super::PackedTable {
            product: crate::kernels::kernel!($features, (part: &super::ProductPart) {
                super::product::product::<$dots, $packed>(part)
            }),
            gated: crate::kernels::kernel!($features, (part: &super::GatedPart) {
                super::product::gated::<$dots, $packed>(part)
            }),
        }
    };
}
use integer_table;

//! Arithmetic for its own sake, on operands that never leave the first-level cache: what the units can do at best.

use super::integer::{Dots, Group};
use super::lanes::{Lanes, Lanes32, WIDTH};
use crate::packed::{BLOCK_ROWS, GROUP};

/// Rows and vectors whose sums are kept in registers, as the products have it.
const ROWS: usize = 6;

/// Multiply-adds of one round of [`integer`].
pub(crate) const INTEGER: usize = ROWS * BLOCK_ROWS * GROUP;
/// Multiply-adds of one round of [`float`].
pub(crate) const FLOAT: usize = FLOAT_SUMS * FLOAT_STEPS * WIDTH;
/// Sums that do not wait for one another: ten of them cover what a multiply-add takes on any processor of today.
const FLOAT_SUMS: usize = 10;
const FLOAT_STEPS: usize = 16;

/// `rounds` times the exact sums of a group of sixteen rows of bytes with six rows of activations.
///
/// # Safety
/// The instruction set of `D` is present.
#[inline(always)]
pub(crate) unsafe fn integer<D: Dots>(rounds: usize) -> f32 {
    let w = std::hint::black_box([3_u8; BLOCK_ROWS * GROUP]);
    let x = std::hint::black_box([[1_i8; GROUP]; ROWS]);
    // SAFETY: the caller's promise; both are as long as `bytes` reads.
    unsafe {
        let mut total = D::Floats::splat(0.0);
        for _ in 0..rounds {
            // Without this, one round would do for all.
            let w = std::hint::black_box(w.as_ptr());
            let groups: [Group; ROWS] =
                std::array::from_fn(|row| Group { values: x[row].as_ptr(), sum: GROUP as i32 });
            for sums in D::bytes::<ROWS>(w, groups) {
                total = total.add(D::to_floats(sums));
            }
        }
        total.sum()
    }
}

/// `rounds` times some multiply-adds of f32.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn float<L: Lanes32>(rounds: usize) -> f32 {
    // SAFETY: the caller's promise.
    unsafe {
        let (factor, addend) = (L::splat(std::hint::black_box(0.999)), L::splat(std::hint::black_box(0.001)));
        let mut sums = [L::splat(1.0); FLOAT_SUMS];
        for _ in 0..rounds * FLOAT_STEPS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, addend);
            }
        }
        sums.into_iter().fold(L::splat(0.0), |total, sum| total.add(sum)).sum()
    }
}

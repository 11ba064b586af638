//! Integer sums in plain Rust: what the other files must equal.

use super::dots::{Dots, Group};
use crate::kernels::scalar::Scalar;
use crate::packed::{BLOCK_ROWS, GROUP, VECTOR};

/// Sixteen sums in an array.
pub(crate) struct ScalarDots;

impl Dots for ScalarDots {
    type Floats = Scalar;
    type Sums = [i32; BLOCK_ROWS];

    #[inline(always)]
    unsafe fn nibbles<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M] {
        // SAFETY: vectors 0..4 of 64 bytes, values 0..32.
        x.map(|x| unsafe {
            let mut sums = [0; BLOCK_ROWS];
            for (row, sum) in sums.iter_mut().enumerate() {
                for column in 0..GROUP / 2 {
                    let byte = *w.add(column / 4 * VECTOR + 4 * row + column % 4);
                    let (low, high) = (i32::from(byte & 0xf) - 8, i32::from(byte >> 4) - 8);
                    *sum += low * i32::from(*x.values.add(column));
                    *sum += high * i32::from(*x.values.add(GROUP / 2 + column));
                }
            }
            sums
        })
    }

    #[inline(always)]
    unsafe fn bytes<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M] {
        // SAFETY: vectors 0..8 of 64 bytes, values 0..32.
        x.map(|x| unsafe {
            let mut sums = [0; BLOCK_ROWS];
            for (row, sum) in sums.iter_mut().enumerate() {
                for column in 0..GROUP {
                    let value = *w.add(column / 4 * VECTOR + 4 * row + column % 4) as i8;
                    *sum += i32::from(value) * i32::from(*x.values.add(column));
                }
            }
            sums
        })
    }

    #[inline(always)]
    unsafe fn to_floats(sums: Self::Sums) -> Self::Floats {
        Scalar(sums.map(|sum| sum as f32))
    }
}

super::integer_table!(ScalarDots, features: "");

//! What an instruction set must offer for integer products.

use crate::kernels::lanes::Lanes32;
use crate::packed::GROUP;

/// A group of 32 activations.
#[derive(Clone, Copy)]
pub(crate) struct Group {
    /// Their values, 32 of them.
    pub(crate) values: *const i8,
    /// Their sum.
    pub(crate) sum: i32,
}

/// Exact sums of products for sixteen rows at once.
///
/// # Safety
/// Methods may be called only where the instruction set is present; `w` is valid for a group of sixteen rows, 256 bytes
/// of nibbles or 512 of bytes; each `x` is valid for its 32 values.
pub(crate) trait Dots {
    /// Sixteen f32, one a row.
    type Floats: Lanes32;
    /// Sixteen i32, one a row.
    type Sums: Copy;

    /// `sum_k (w[r, k] - 8) x[m, k]` for nibbles `w` of 0 to 15.
    unsafe fn nibbles<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M];

    /// `sum_k w[r, k] x[m, k]` for bytes `w` of -127 to 127.
    unsafe fn bytes<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M];

    /// Each sum rounded to f32.
    unsafe fn to_floats(sums: Self::Sums) -> Self::Floats;

    /// Rounds 32 values to multiples of their largest magnitude's 127th: writes the multiples, returns the scale and the
    /// multiples' sum. Ties go to even. The scale is not finite when a value is not.
    #[inline(always)]
    unsafe fn quantize(x: *const f32, values: *mut i8) -> (f32, i32) {
        // SAFETY: both are valid for a group.
        let (x, values) =
            unsafe { (std::slice::from_raw_parts(x, GROUP), std::slice::from_raw_parts_mut(values, GROUP)) };
        // As integers, magnitudes compare as they do as floats, and NaN is above all of them.
        let largest = x.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
        let largest = f32::from_bits(largest);
        let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
        let mut sum = 0;
        for (value, x) in values.iter_mut().zip(x) {
            *value = (x * inverse).round_ties_even() as i8;
            sum += i32::from(*value);
        }
        (largest / 127.0, sum)
    }
}

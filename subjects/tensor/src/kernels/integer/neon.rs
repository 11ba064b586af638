//! Integer sums by NEON with the dot-product extension: `sdot` multiplies four weights with four activations in each of
//! four lanes and adds them up. Its intrinsics are not stable yet, so it is written in assembler.

use std::arch::aarch64::{
    int8x16_t, int32x4_t, uint8x16_t, vandq_u8, vcvtq_f32_s32, vdupq_n_s8, vdupq_n_s32, vdupq_n_u8, vld1q_s8,
    vld1q_u8, vreinterpretq_s8_u8, vshrq_n_u8, vsubq_s8,
};
use std::arch::asm;

use super::dots::{Dots, Group};
use crate::kernels::neon::Neon;
use crate::packed::VECTOR;

/// Sixteen sums in four registers.
pub(crate) struct NeonDots;

/// Multiplies the four bytes of each lane of `weights` with those of lane `$lane` of `x`, and adds the products to `sums`.
macro_rules! sdot {
    ($lane:literal, $sums:expr, $weights:expr, $x:expr) => {
        asm!(
            concat!("sdot {sums:v}.4s, {weights:v}.16b, {x:v}.4b[", $lane, "]"),
            sums = inout(vreg) $sums,
            weights = in(vreg) $weights,
            x = in(vreg) $x,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
}

/// Adds the products of four columns of sixteen rows, which `quarters` holds, with lane `lane` of `x`.
///
/// # Safety
/// The processor has the dot-product extension; `lane` is below four.
#[inline(always)]
unsafe fn dot(lane: usize, sums: &mut [int32x4_t; 4], quarters: &[int8x16_t; 4], x: int8x16_t) {
    for (sums, weights) in sums.iter_mut().zip(quarters) {
        // SAFETY: arithmetic on registers; the caller promises the extension.
        unsafe {
            match lane {
                0 => sdot!("0", *sums, *weights, x),
                1 => sdot!("1", *sums, *weights, x),
                2 => sdot!("2", *sums, *weights, x),
                _ => sdot!("3", *sums, *weights, x),
            }
        }
    }
}

// SAFETY of every block below: the caller promises the dot-product extension, and valid pointers.
impl Dots for NeonDots {
    type Floats = Neon;
    type Sums = [int32x4_t; 4];

    #[inline(always)]
    unsafe fn nibbles<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M] {
        // SAFETY: vectors 0..4 of 64 bytes, values 0..32.
        unsafe {
            let (mask, zero) = (vdupq_n_u8(0xf), vdupq_n_s8(8));
            let signed = |nibbles: uint8x16_t| vsubq_s8(vreinterpretq_s8_u8(nibbles), zero);
            let mut sums = [[vdupq_n_s32(0); 4]; M];
            for j in 0..4 {
                let mut low = [zero; 4];
                let mut high = [zero; 4];
                for quarter in 0..4 {
                    let both = vld1q_u8(w.add(j * VECTOR + 16 * quarter));
                    low[quarter] = signed(vandq_u8(both, mask));
                    high[quarter] = signed(vshrq_n_u8::<4>(both));
                }
                for m in 0..M {
                    dot(j, &mut sums[m], &low, vld1q_s8(x[m].values));
                    dot(j, &mut sums[m], &high, vld1q_s8(x[m].values.add(16)));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn bytes<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M] {
        // SAFETY: vectors 0..8 of 64 bytes, values 0..32.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); 4]; M];
            for j in 0..8 {
                let mut weights = [vdupq_n_s8(0); 4];
                for (quarter, weights) in weights.iter_mut().enumerate() {
                    *weights = vld1q_s8(w.add(j * VECTOR + 16 * quarter).cast());
                }
                for m in 0..M {
                    dot(j % 4, &mut sums[m], &weights, vld1q_s8(x[m].values.add(j / 4 * 16)));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: Self::Sums) -> Neon {
        // SAFETY: see above.
        Neon(sums.map(|sums| unsafe { vcvtq_f32_s32(sums) }))
    }
}

super::integer_table!(NeonDots, features: "neon,dotprod");

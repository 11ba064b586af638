//! NEON: the sixteen lanes are four registers.

use std::arch::aarch64::{
    float32x4_t, float64x2_t, vaddq_f32, vaddq_f64, vaddq_s32, vbslq_f32, vcgtq_f32, vcltq_f32, vcvt_f64_f32,
    vcvt_high_f64_f32, vcvtnq_s32_f32, vdivq_f32, vdupq_n_f32, vdupq_n_f64, vdupq_n_s32, vfmaq_f32,
    vfmaq_f64, vget_low_f32, vld1_u16, vld1q_f32, vld1q_f64, vmulq_f32, vmulq_f64, vreinterpretq_f32_s32,
    vreinterpretq_f32_u32, vrndnq_f32, vshll_n_u16, vshlq_n_s32, vst1q_f32, vst1q_f64,
};
use std::arch::asm;

use super::lanes::{Lanes, Lanes32};

/// Lanes 0 to 3, 4 to 7, 8 to 11 and 12 to 15.
#[derive(Clone, Copy)]
pub(crate) struct Neon(pub(super) [float32x4_t; 4]);

impl Neon {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(float32x4_t, float32x4_t) -> float32x4_t) -> Self {
        Self(std::array::from_fn(|quarter| op(self.0[quarter], other.0[quarter])))
    }
}

/// Widens four binary16 values; `fcvtl` is baseline, its intrinsic is not stable yet.
///
/// # Safety
/// `source` is valid for four elements.
#[inline(always)]
unsafe fn widen_f16(source: *const u16) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: reads eight bytes at `source`, which the caller vouches for, and nothing else.
    unsafe {
        asm!(
            "ldr {narrow:d}, [{source}]",
            "fcvtl {wide:v}.4s, {narrow:v}.4h",
            source = in(reg) source,
            narrow = out(vreg) _,
            wide = lateout(vreg) wide,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    wide
}

// SAFETY of every block below: NEON is baseline on aarch64; the caller promises pointers valid for sixteen elements.
impl Lanes for Neon {
    type Scalar = f32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        Self([unsafe { vdupq_n_f32(value) }; 4])
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|quarter| unsafe { vld1q_f32(source.add(4 * quarter)) }))
    }

    #[inline(always)]
    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self::load(source) }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|quarter| unsafe { widen_f16(source.add(4 * quarter)) }))
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|quarter| unsafe {
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(source.add(4 * quarter))))
        }))
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        for (quarter, value) in self.0.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1q_f32(target.add(4 * quarter), value) };
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|quarter| unsafe {
            vfmaq_f32(addend.0[quarter], self.0[quarter], factor.0[quarter])
        }))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vaddq_f32(a, b) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vmulq_f32(a, b) })
    }
}

// SAFETY of every block below: as above.
impl Lanes32 for Neon {
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vdivq_f32(a, b) })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) })
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vbslq_f32(vcltq_f32(a, b), a, b) })
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see above.
        Self(self.0.map(|quarter| unsafe { vrndnq_f32(quarter) }))
    }

    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        // SAFETY: see above.
        Self(self.0.map(|quarter| unsafe {
            let biased = vaddq_s32(vcvtnq_s32_f32(quarter), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }))
    }
}

/// Two lanes in each of eight registers, f64.
#[derive(Clone, Copy)]
pub(crate) struct NeonWide([float64x2_t; 8]);

impl NeonWide {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(float64x2_t, float64x2_t) -> float64x2_t) -> Self {
        Self(std::array::from_fn(|pair| op(self.0[pair], other.0[pair])))
    }

    /// Widens sixteen f32.
    #[inline(always)]
    fn from_narrow(narrow: Neon) -> Self {
        Self(std::array::from_fn(|pair| {
            let quarter = narrow.0[pair / 2];
            // SAFETY: NEON is baseline on aarch64.
            unsafe {
                if pair % 2 == 0 { vcvt_f64_f32(vget_low_f32(quarter)) } else { vcvt_high_f64_f32(quarter) }
            }
        }))
    }
}

// SAFETY of every block below: NEON is baseline on aarch64; the caller promises pointers valid for sixteen elements.
impl Lanes for NeonWide {
    type Scalar = f64;

    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        // SAFETY: see above.
        Self([unsafe { vdupq_n_f64(value) }; 8])
    }

    #[inline(always)]
    unsafe fn load(source: *const f64) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|pair| unsafe { vld1q_f64(source.add(2 * pair)) }))
    }

    #[inline(always)]
    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        Self::from_narrow(unsafe { Neon::load(source) })
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self::from_narrow(unsafe { Neon::load_f16(source) })
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self::from_narrow(unsafe { Neon::load_bf16(source) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f64) {
        for (pair, value) in self.0.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { vst1q_f64(target.add(2 * pair), value) };
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|pair| unsafe { vfmaq_f64(addend.0[pair], self.0[pair], factor.0[pair]) }))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vaddq_f64(a, b) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { vmulq_f64(a, b) })
    }
}

super::kernel_table!((Neon, NeonWide), features: "neon", tiles: (2, 2), (1, 2), 4);

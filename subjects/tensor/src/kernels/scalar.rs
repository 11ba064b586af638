//! The specification: sixteen lanes as an array, for any processor. Every other file must equal it bit for bit.

use half::{bf16, f16};

use super::lanes::{Lanes, Lanes32, WIDTH};

/// Sixteen lanes in memory.
#[derive(Clone, Copy)]
pub(crate) struct Scalar(pub(super) [f32; WIDTH]);

impl Scalar {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| op(self.0[lane], other.0[lane])))
    }
}

// SAFETY of every block below: the caller promises pointers valid for sixteen elements.
impl Lanes for Scalar {
    type Scalar = f32;

    unsafe fn splat(value: f32) -> Self {
        Self([value; WIDTH])
    }

    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|lane| unsafe { source.add(lane).read_unaligned() }))
    }

    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self::load(source) }
    }

    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|lane| unsafe {
            f16::from_bits(source.add(lane).read_unaligned()).to_f32()
        }))
    }

    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|lane| unsafe {
            bf16::from_bits(source.add(lane).read_unaligned()).to_f32()
        }))
    }

    unsafe fn store(self, target: *mut f32) {
        for (lane, value) in self.0.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { target.add(lane).write_unaligned(value) };
        }
    }

    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], addend.0[lane])))
    }

    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

// SAFETY of every block below: as above.
impl Lanes32 for Scalar {
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    // `a > b ? a : b`, as the x86 instructions do, so that a NaN in `a` gives `b` everywhere.
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    unsafe fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }

    unsafe fn exp2_integral(self) -> Self {
        Self(self.0.map(|exponent| f32::from_bits(((exponent as i32 + 127) as u32) << 23)))
    }
}

/// Sixteen f64 lanes in memory.
#[derive(Clone, Copy)]
pub(crate) struct ScalarWide([f64; WIDTH]);

// SAFETY of every block below: the caller promises pointers valid for sixteen elements.
impl Lanes for ScalarWide {
    type Scalar = f64;

    unsafe fn splat(value: f64) -> Self {
        Self([value; WIDTH])
    }

    unsafe fn load(source: *const f64) -> Self {
        // SAFETY: see above.
        Self(std::array::from_fn(|lane| unsafe { source.add(lane).read_unaligned() }))
    }

    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        Self(unsafe { Scalar::load(source) }.0.map(f64::from))
    }

    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(unsafe { Scalar::load_f16(source) }.0.map(f64::from))
    }

    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(unsafe { Scalar::load_bf16(source) }.0.map(f64::from))
    }

    unsafe fn store(self, target: *mut f64) {
        for (lane, value) in self.0.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { target.add(lane).write_unaligned(value) };
        }
    }

    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane].mul_add(factor.0[lane], addend.0[lane])))
    }

    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    unsafe fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|lane| self.0[lane] * other.0[lane]))
    }
}

super::kernel_table!((Scalar, ScalarWide), features: "", tiles: (1, 2), (1, 2), 4);

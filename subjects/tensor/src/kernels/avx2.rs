//! AVX2 with FMA and F16C: the sixteen lanes are two registers.

use std::arch::x86_64::{
    __m256, __m256d, _CMP_GT_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _mm_add_pd,
    _mm_add_ps, _mm_add_sd, _mm_add_ss, _mm_castsi128_ps, _mm_cvtepu16_epi32, _mm_cvtph_ps, _mm_cvtsd_f64,
    _mm_cvtss_f32, _mm_loadl_epi64, _mm_loadu_ps, _mm_loadu_si128, _mm_movehl_ps, _mm_shuffle_ps,
    _mm_slli_epi32, _mm_unpackhi_pd, _mm256_add_epi32, _mm256_add_pd, _mm256_add_ps, _mm256_blendv_ps,
    _mm256_castpd256_pd128, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_cvtps_epi32, _mm256_cvtps_pd, _mm256_div_ps,
    _mm256_extractf128_pd, _mm256_extractf128_ps, _mm256_fmadd_pd, _mm256_fmadd_ps, _mm256_loadu_pd,
    _mm256_loadu_ps, _mm256_mul_pd, _mm256_mul_ps, _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_pd,
    _mm256_set1_ps, _mm256_slli_epi32, _mm256_storeu_pd, _mm256_storeu_ps,
};

use super::lanes::{Lanes, Lanes32};

/// Lanes 0 to 7 and 8 to 15.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub(super) __m256, pub(super) __m256);

/// Applies a two-operand intrinsic to both halves.
macro_rules! both {
    ($op:path, $a:expr, $b:expr) => {
        // SAFETY: the caller of the method promises AVX2, FMA and F16C.
        unsafe { Avx2($op($a.0, $b.0), $op($a.1, $b.1)) }
    };
}

// SAFETY of every block below: the caller promises AVX2, FMA and F16C, and pointers valid for sixteen elements.
#[rustfmt::skip]
impl Lanes for Avx2 {
    type Scalar = f32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm256_loadu_ps(source), _mm256_loadu_ps(source.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self::load(source) }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm256_cvtph_ps(_mm_loadu_si128(source.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(source.add(8).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.cast()));
            let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(source.add(8).cast()));
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(high)),
            )
        }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: see above.
        unsafe {
            _mm256_storeu_ps(target, self.0);
            _mm256_storeu_ps(target.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm256_fmadd_ps(self.0, factor.0, addend.0),
                _mm256_fmadd_ps(self.1, factor.1, addend.1),
            )
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        both!(_mm256_add_ps, self, other)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        both!(_mm256_mul_ps, self, other)
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let eight = _mm256_add_ps(self.0, self.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

// SAFETY of every block below: as above.
#[rustfmt::skip]
impl Lanes32 for Avx2 {
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        both!(_mm256_div_ps, self, other)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm256_blendv_ps(other.0, self.0, _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)),
                _mm256_blendv_ps(other.1, self.1, _mm256_cmp_ps::<_CMP_GT_OQ>(self.1, other.1)),
            )
        }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm256_blendv_ps(other.0, self.0, _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, other.0)),
                _mm256_blendv_ps(other.1, self.1, _mm256_cmp_ps::<_CMP_LT_OQ>(self.1, other.1)),
            )
        }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: see above.
        unsafe { Self(_mm256_round_ps::<NEAREST>(self.0), _mm256_round_ps::<NEAREST>(self.1)) }
    }

    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), bias);
            let high = _mm256_add_epi32(_mm256_cvtps_epi32(self.1), bias);
            Self(
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            )
        }
    }
}

/// Lanes 0 to 3, 4 to 7, 8 to 11 and 12 to 15, f64.
#[derive(Clone, Copy)]
pub(crate) struct Avx2Wide([__m256d; 4]);

impl Avx2Wide {
    #[inline(always)]
    fn zip(self, other: Self, op: impl Fn(__m256d, __m256d) -> __m256d) -> Self {
        Self(quarters(|quarter| op(self.0[quarter], other.0[quarter])))
    }
}

/// An array from a function of the quarter; `std::array::from_fn` may not be inlined, and would then lack AVX2.
#[inline(always)]
fn quarters(value: impl Fn(usize) -> __m256d) -> [__m256d; 4] {
    [value(0), value(1), value(2), value(3)]
}

// SAFETY of every block below: the caller promises AVX2, FMA and F16C, and pointers valid for sixteen elements.
#[rustfmt::skip]
impl Lanes for Avx2Wide {
    type Scalar = f64;

    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        // SAFETY: see above.
        Self([unsafe { _mm256_set1_pd(value) }; 4])
    }

    #[inline(always)]
    unsafe fn load(source: *const f64) -> Self {
        // SAFETY: see above.
        Self(quarters(|quarter| unsafe { _mm256_loadu_pd(source.add(4 * quarter)) }))
    }

    #[inline(always)]
    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        Self(quarters(|quarter| unsafe { _mm256_cvtps_pd(_mm_loadu_ps(source.add(4 * quarter))) }))
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(quarters(|quarter| unsafe {
            _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(source.add(4 * quarter).cast())))
        }))
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        Self(quarters(|quarter| unsafe {
            let bits = _mm_cvtepu16_epi32(_mm_loadl_epi64(source.add(4 * quarter).cast()));
            _mm256_cvtps_pd(_mm_castsi128_ps(_mm_slli_epi32::<16>(bits)))
        }))
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f64) {
        for (quarter, value) in self.0.into_iter().enumerate() {
            // SAFETY: see above.
            unsafe { _mm256_storeu_pd(target.add(4 * quarter), value) };
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        Self(quarters(|quarter| unsafe {
            _mm256_fmadd_pd(self.0[quarter], factor.0[quarter], addend.0[quarter])
        }))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { _mm256_add_pd(a, b) })
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        self.zip(other, |a, b| unsafe { _mm256_mul_pd(a, b) })
    }

    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        // SAFETY: see above.
        unsafe {
            let [a, b, c, d] = self.0;
            let four = _mm256_add_pd(_mm256_add_pd(a, c), _mm256_add_pd(b, d));
            let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
}

super::kernel_table!((Avx2, Avx2Wide), features: "avx2,fma,f16c", tiles: (2, 2), (1, 2), 4);

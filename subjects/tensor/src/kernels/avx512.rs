//! AVX-512: the sixteen lanes are one register.

// coverage: this file, on a processor with avx512f

use std::arch::x86_64::{
    __m512, __m512d, _CMP_GT_OQ, _CMP_LT_OQ, _MM_FROUND_NO_EXC, _MM_FROUND_TO_NEAREST_INT, _MM_HINT_T0,
    _mm_add_pd, _mm_add_ps, _mm_add_sd, _mm_add_ss, _mm_cvtsd_f64, _mm_cvtss_f32, _mm_loadu_si128,
    _mm_movehl_ps, _mm_prefetch, _mm_shuffle_ps, _mm_unpackhi_pd, _mm256_add_pd, _mm256_add_ps,
    _mm256_castpd256_pd128, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cvtepu16_epi32,
    _mm256_cvtph_ps, _mm256_extractf128_pd, _mm256_extractf128_ps, _mm256_loadu_ps, _mm256_loadu_si256,
    _mm256_slli_epi32, _mm512_add_epi32, _mm512_add_pd, _mm512_add_ps, _mm512_castpd512_pd256,
    _mm512_castps512_ps256, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepu16_epi32, _mm512_cvtph_ps,
    _mm512_cvtps_epi32, _mm512_cvtps_pd, _mm512_div_ps, _mm512_extractf32x8_ps, _mm512_extractf64x4_pd,
    _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_loadu_pd, _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_mul_pd,
    _mm512_mul_ps, _mm512_roundscale_ps, _mm512_set1_epi32, _mm512_set1_pd, _mm512_set1_ps,
    _mm512_slli_epi32, _mm512_storeu_pd, _mm512_storeu_ps,
};

use super::lanes::{Lanes, Lanes32};

/// Sixteen lanes in one 512-bit register.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(pub(super) __m512);

// SAFETY of every block below: the caller promises AVX-512 F and DQ, and pointers valid for sixteen elements.
#[rustfmt::skip]
impl Lanes for Avx512 {
    type Scalar = f32;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_loadu_ps(source)) }
    }

    #[inline(always)]
    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe { Self::load(source) }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_cvtph_ps(_mm256_loadu_si256(source.cast()))) }
    }

    #[inline(always)]
    unsafe fn load_bf16(source: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            let bits = _mm512_cvtepu16_epi32(_mm256_loadu_si256(source.cast()));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits)))
        }
    }

    #[inline(always)]
    unsafe fn prefetch<T>(address: *const T) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f32) {
        // SAFETY: see above.
        unsafe { _mm512_storeu_ps(target, self.0) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, addend.0)) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: see above.
        unsafe {
            let eight = _mm256_add_ps(_mm512_castps512_ps256(self.0), _mm512_extractf32x8_ps::<1>(self.0));
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
}

// SAFETY of every block below: as above.
#[rustfmt::skip]
impl Lanes32 for Avx512 {
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0);
            Self(_mm512_mask_blend_ps(greater, other.0, self.0))
        }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, other.0);
            Self(_mm512_mask_blend_ps(less, other.0, self.0))
        }
    }

    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)) }
    }

    #[inline(always)]
    unsafe fn exp2_integral(self) -> Self {
        // SAFETY: see above.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            Self(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased)))
        }
    }
}

/// Lanes 0 to 7 and 8 to 15, f64.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Wide(__m512d, __m512d);

// SAFETY of every block below: the caller promises AVX-512 F, F16C and FMA, and pointers valid for sixteen elements.
#[rustfmt::skip]
impl Lanes for Avx512Wide {
    type Scalar = f64;

    #[inline(always)]
    unsafe fn splat(value: f64) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_set1_pd(value), _mm512_set1_pd(value)) }
    }

    #[inline(always)]
    unsafe fn load(source: *const f64) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_loadu_pd(source), _mm512_loadu_pd(source.add(8))) }
    }

    #[inline(always)]
    unsafe fn load_f32(source: *const f32) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm512_cvtps_pd(_mm256_loadu_ps(source)),
                _mm512_cvtps_pd(_mm256_loadu_ps(source.add(8))),
            )
        }
    }

    #[inline(always)]
    unsafe fn load_f16(source: *const u16) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(source.cast()))),
                _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(source.add(8).cast()))),
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
                _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(low))),
                _mm512_cvtps_pd(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(high))),
            )
        }
    }

    #[inline(always)]
    unsafe fn prefetch<T>(address: *const T) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut f64) {
        // SAFETY: see above.
        unsafe {
            _mm512_storeu_pd(target, self.0);
            _mm512_storeu_pd(target.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: see above.
        unsafe {
            Self(
                _mm512_fmadd_pd(self.0, factor.0, addend.0),
                _mm512_fmadd_pd(self.1, factor.1, addend.1),
            )
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_add_pd(self.0, other.0), _mm512_add_pd(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: see above.
        unsafe { Self(_mm512_mul_pd(self.0, other.0), _mm512_mul_pd(self.1, other.1)) }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        // SAFETY: see above.
        unsafe {
            let eight = _mm512_add_pd(self.0, self.1);
            let four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd::<1>(eight));
            let two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd::<1>(four));
            _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
}

super::kernel_table!(
    (Avx512, Avx512Wide),
    features: "avx512f,avx512dq,avx512vl,avx512bw,fma,f16c",
    tiles: (6, 4), (3, 4), 8);

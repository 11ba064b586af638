//! Integer sums by AVX-512 VNNI: `vpdpbusd` multiplies four unsigned weights with four signed activations in each of
//! sixteen lanes and adds them up.

// coverage: this file, on a processor with avx512vnni

use std::arch::x86_64::{
    __m512i, _mm_storeu_si128, _mm512_abs_ps, _mm512_and_si512, _mm512_castps_si512, _mm512_cvtepi32_ps,
    _mm512_cvtps_epi32, _mm512_cvtsepi32_epi8, _mm512_dpbusd_epi32, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_max_epu32, _mm512_mul_ps, _mm512_reduce_add_epi32, _mm512_reduce_max_epu32, _mm512_set1_epi8,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_srli_epi16, _mm512_xor_si512,
};

use super::dots::{Dots, Group};
use crate::kernels::avx512::Avx512;
use crate::packed::VECTOR;

/// Sixteen sums in one register.
pub(crate) struct Vnni;

// SAFETY of every block below: the caller promises AVX-512 F, BW and VNNI, and valid pointers.
impl Dots for Vnni {
    type Floats = Avx512;
    type Sums = __m512i;

    /// Weights stay unsigned: `sum (w - 8) x = sum w x - 8 sum x`, and a sum may begin at `-8 sum x`.
    #[inline(always)]
    unsafe fn nibbles<const M: usize>(w: *const u8, x: [Group; M]) -> [__m512i; M] {
        // SAFETY: vectors 0..4 of 64 bytes, values 0..32.
        unsafe {
            let mask = _mm512_set1_epi8(0xf);
            let mut sums = [_mm512_set1_epi32(0); M];
            for m in 0..M {
                sums[m] = _mm512_set1_epi32(-8 * x[m].sum);
            }
            for j in 0..4 {
                let both = _mm512_loadu_si512(w.add(j * VECTOR).cast());
                let low = _mm512_and_si512(both, mask);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask);
                for m in 0..M {
                    sums[m] = _mm512_dpbusd_epi32(sums[m], low, four(x[m].values.add(4 * j)));
                    sums[m] = _mm512_dpbusd_epi32(sums[m], high, four(x[m].values.add(16 + 4 * j)));
                }
            }
            sums
        }
    }

    /// A weight plus 128 is unsigned: its sign bit flipped.
    #[inline(always)]
    unsafe fn bytes<const M: usize>(w: *const u8, x: [Group; M]) -> [__m512i; M] {
        // SAFETY: vectors 0..8 of 64 bytes, values 0..32.
        unsafe {
            let sign = _mm512_set1_epi8(-128);
            let mut sums = [_mm512_set1_epi32(0); M];
            for m in 0..M {
                sums[m] = _mm512_set1_epi32(-128 * x[m].sum);
            }
            for j in 0..8 {
                let weights = _mm512_xor_si512(_mm512_loadu_si512(w.add(j * VECTOR).cast()), sign);
                for m in 0..M {
                    sums[m] = _mm512_dpbusd_epi32(sums[m], weights, four(x[m].values.add(4 * j)));
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn to_floats(sums: __m512i) -> Avx512 {
        // SAFETY: see above.
        unsafe { Avx512(_mm512_cvtepi32_ps(sums)) }
    }

    #[inline(always)]
    unsafe fn quantize(x: *const f32, values: *mut i8) -> (f32, i32) {
        // SAFETY: see above.
        unsafe { quantize(x, values) }
    }
}

/// Four activations in every lane.
///
/// # Safety
/// `x` is valid for four bytes.
#[inline(always)]
pub(super) unsafe fn four(x: *const i8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

/// [`Dots::quantize`] by AVX-512 F.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn quantize(x: *const f32, values: *mut i8) -> (f32, i32) {
    // SAFETY: 32 elements are two registers.
    unsafe {
        let (low, high) = (_mm512_loadu_ps(x), _mm512_loadu_ps(x.add(16)));
        let magnitudes = _mm512_max_epu32(
            _mm512_castps_si512(_mm512_abs_ps(low)),
            _mm512_castps_si512(_mm512_abs_ps(high)),
        );
        let largest = f32::from_bits(_mm512_reduce_max_epu32(magnitudes));
        let inverse = _mm512_set1_ps(if largest > 0.0 { 127.0 / largest } else { 0.0 });
        let low = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
        let high = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
        _mm_storeu_si128(values.cast(), _mm512_cvtsepi32_epi8(low));
        _mm_storeu_si128(values.add(16).cast(), _mm512_cvtsepi32_epi8(high));
        let sum = _mm512_reduce_add_epi32(low) + _mm512_reduce_add_epi32(high);
        (largest / 127.0, sum)
    }
}

super::integer_table!(Vnni, features: "avx512f,avx512dq,avx512vl,avx512bw,avx512vnni,fma,f16c");

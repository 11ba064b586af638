//! Integer sums by AVX-512 without VNNI: products of bytes are added in pairs to i16, which must not saturate.

// coverage: this file, on a processor with avx512f

use std::arch::x86_64::{
    __m512i, _mm512_abs_epi8, _mm512_add_epi16, _mm512_add_epi32, _mm512_and_si512, _mm512_cvtepi32_ps,
    _mm512_loadu_si512, _mm512_madd_epi16, _mm512_maddubs_epi16, _mm512_mask_sub_epi8, _mm512_movepi8_mask,
    _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srli_epi16,
};

use super::dots::{Dots, Group};
use super::vnni::{four, quantize};
use crate::kernels::avx512::Avx512;
use crate::packed::VECTOR;

/// Sixteen sums in one register.
pub(crate) struct Avx512Dots;

// SAFETY of every block below: the caller promises AVX-512 F and BW, and valid pointers.
impl Dots for Avx512Dots {
    type Floats = Avx512;
    type Sums = __m512i;

    /// A group's eight products of pairs stay within i16: 8 * 2 * 15 * 128 = 30,720.
    #[inline(always)]
    unsafe fn nibbles<const M: usize>(w: *const u8, x: [Group; M]) -> [__m512i; M] {
        // SAFETY: vectors 0..4 of 64 bytes, values 0..32.
        unsafe {
            let mask = _mm512_set1_epi8(0xf);
            let mut pairs = [_mm512_setzero_si512(); M];
            for j in 0..4 {
                let both = _mm512_loadu_si512(w.add(j * VECTOR).cast());
                let low = _mm512_and_si512(both, mask);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask);
                for m in 0..M {
                    let low = _mm512_maddubs_epi16(low, four(x[m].values.add(4 * j)));
                    let high = _mm512_maddubs_epi16(high, four(x[m].values.add(16 + 4 * j)));
                    pairs[m] = _mm512_add_epi16(pairs[m], _mm512_add_epi16(low, high));
                }
            }
            let mut sums = pairs;
            for m in 0..M {
                let products = _mm512_madd_epi16(pairs[m], _mm512_set1_epi16(1));
                sums[m] = _mm512_add_epi32(products, _mm512_set1_epi32(-8 * x[m].sum));
            }
            sums
        }
    }

    /// The sign of the activation moves to the weight, which is never -128: 2 * 128 * 127 = 32,512.
    #[inline(always)]
    unsafe fn bytes<const M: usize>(w: *const u8, x: [Group; M]) -> [__m512i; M] {
        // SAFETY: vectors 0..8 of 64 bytes, values 0..32.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); M];
            for j in 0..8 {
                let weights = _mm512_loadu_si512(w.add(j * VECTOR).cast());
                for m in 0..M {
                    let x = four(x[m].values.add(4 * j));
                    let negative = _mm512_movepi8_mask(x);
                    let signed = _mm512_mask_sub_epi8(weights, negative, _mm512_setzero_si512(), weights);
                    let pairs = _mm512_maddubs_epi16(_mm512_abs_epi8(x), signed);
                    let products = _mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
                    sums[m] = _mm512_add_epi32(sums[m], products);
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

super::integer_table!(Avx512Dots, features: "avx512f,avx512dq,avx512vl,avx512bw,fma,f16c");

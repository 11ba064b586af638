//! Integer sums by AVX2: rows 0 to 7 and 8 to 15 in a register each, products of bytes added in pairs to i16.

use std::arch::x86_64::{
    __m256i, _mm256_abs_epi8, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepi32_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_srli_epi16,
};

use super::dots::{Dots, Group};
use crate::kernels::avx2::Avx2;
use crate::packed::VECTOR;

/// Sixteen sums in two registers.
pub(crate) struct Avx2Dots;

// SAFETY of every block below: the caller promises AVX2, and valid pointers.
impl Dots for Avx2Dots {
    type Floats = Avx2;
    type Sums = [__m256i; 2];

    /// A group's eight products of pairs stay within i16: 8 * 2 * 15 * 128 = 30,720.
    #[inline(always)]
    unsafe fn nibbles<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M] {
        // SAFETY: both halves of vectors 0..4 of 64 bytes, values 0..32.
        unsafe {
            let mask = _mm256_set1_epi8(0xf);
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            for half in 0..2 {
                let mut pairs = [_mm256_setzero_si256(); M];
                for j in 0..4 {
                    let both = _mm256_loadu_si256(w.add(j * VECTOR + 32 * half).cast());
                    let low = _mm256_and_si256(both, mask);
                    let high = _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask);
                    for m in 0..M {
                        let low = _mm256_maddubs_epi16(low, four(x[m].values.add(4 * j)));
                        let high = _mm256_maddubs_epi16(high, four(x[m].values.add(16 + 4 * j)));
                        pairs[m] = _mm256_add_epi16(pairs[m], _mm256_add_epi16(low, high));
                    }
                }
                for m in 0..M {
                    let products = _mm256_madd_epi16(pairs[m], _mm256_set1_epi16(1));
                    sums[m][half] = _mm256_add_epi32(products, _mm256_set1_epi32(-8 * x[m].sum));
                }
            }
            sums
        }
    }

    /// The sign of the activation moves to the weight, which is never -128: 2 * 128 * 127 = 32,512.
    #[inline(always)]
    unsafe fn bytes<const M: usize>(w: *const u8, x: [Group; M]) -> [Self::Sums; M] {
        // SAFETY: both halves of vectors 0..8 of 64 bytes, values 0..32.
        unsafe {
            let mut sums = [[_mm256_setzero_si256(); 2]; M];
            for half in 0..2 {
                for j in 0..8 {
                    let weights = _mm256_loadu_si256(w.add(j * VECTOR + 32 * half).cast());
                    for m in 0..M {
                        let x = four(x[m].values.add(4 * j));
                        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(weights, x));
                        let products = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
                        sums[m][half] = _mm256_add_epi32(sums[m][half], products);
                    }
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn to_floats([low, high]: Self::Sums) -> Avx2 {
        // SAFETY: see above.
        unsafe { Avx2(_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)) }
    }
}

/// Four activations in every lane.
///
/// # Safety
/// `x` is valid for four bytes.
#[inline(always)]
unsafe fn four(x: *const i8) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_set1_epi32(x.cast::<i32>().read_unaligned()) }
}

super::integer_table!(Avx2Dots, features: "avx2,fma,f16c");

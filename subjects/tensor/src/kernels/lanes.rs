//! Sixteen lanes of f32 or f64: the one vector width in which every kernel is written.
//!
//! A reduction over `k` adds element `k` to lane `k mod 16` with one fused multiply-add, in order, and folds the lanes
//! by halves at the end. Every instruction set does exactly this, so results are bit-identical on all of them,
//! whatever the tile, the number of rows or the number of threads.

/// Number of lanes.
pub(crate) const WIDTH: usize = 16;

/// The type of a lane.
pub(crate) trait Scalar: bytemuck::Pod + Default + From<f32> + std::ops::Add<Output = Self> {
    fn to_f64(self) -> f64;
    /// Rounds.
    fn from_f64(value: f64) -> Self;
}

impl Scalar for f32 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }
}

impl Scalar for f64 {
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }
}

/// Sixteen values in an instruction set's registers.
///
/// # Safety
/// Methods may be called only where the instruction set is present, and pointers must be valid for sixteen elements.
/// No alignment is asked for.
pub(crate) trait Lanes: Copy {
    /// `f32` or `f64`.
    type Scalar: Scalar;

    unsafe fn splat(value: Self::Scalar) -> Self;
    unsafe fn load(source: *const Self::Scalar) -> Self;
    /// Widens to the lane's type, exactly; so do the next two.
    unsafe fn load_f32(source: *const f32) -> Self;
    unsafe fn load_f16(source: *const u16) -> Self;
    unsafe fn load_bf16(source: *const u16) -> Self;
    unsafe fn store(self, target: *mut Self::Scalar);
    /// `self * factor + addend`, rounded once.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;

    /// Asks for the cache line at `address`, which need not be valid.
    #[inline(always)]
    unsafe fn prefetch<T>(address: *const T) {
        let _ = address;
    }

    /// The lanes as an array.
    #[inline(always)]
    unsafe fn to_array(self) -> [Self::Scalar; WIDTH] {
        let mut lanes = [Self::Scalar::default(); WIDTH];
        // SAFETY: the array holds sixteen elements.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// The sum of the lanes, folded by halves: 16 to 8, to 4, to 2, to 1.
    #[inline(always)]
    unsafe fn sum(self) -> Self::Scalar {
        // SAFETY: the caller's promise.
        fold(unsafe { self.to_array() })
    }
}

/// What the activations need beside sums of products.
///
/// # Safety
/// As for [`Lanes`].
pub(crate) trait Lanes32: Lanes<Scalar = f32> {
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    /// To the nearest integer, ties to even.
    unsafe fn round(self) -> Self;
    /// `2^self` for integral lanes in -126..=127.
    unsafe fn exp2_integral(self) -> Self;
}

/// Adds sixteen lanes in the canonical order.
#[inline(always)]
pub(crate) fn fold<S: Scalar>(mut lanes: [S; WIDTH]) -> S {
    let mut half = WIDTH / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = lanes[lane] + lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// A stored element that widens exactly to the scalar of `L`.
pub(crate) trait Element<L: Lanes>: Copy + Default {
    /// Sixteen elements from `source`.
    ///
    /// # Safety
    /// As for [`Lanes`]: `source` is valid for sixteen elements.
    unsafe fn load(source: *const Self) -> L;

    /// The first `n` (at most sixteen) elements from `source`, the rest zero.
    ///
    /// # Safety
    /// `source` is valid for `n` elements.
    #[inline(always)]
    unsafe fn load_partial(source: *const Self, n: usize) -> L {
        let mut padded = [Self::default(); WIDTH];
        // SAFETY: `n` is at most sixteen and `source` is valid for `n`; then the array is valid for sixteen.
        unsafe {
            std::ptr::copy_nonoverlapping(source, padded.as_mut_ptr(), n.min(WIDTH));
            Self::load(padded.as_ptr())
        }
    }

    /// The first `n` elements from `source`, the rest zero; the usual case of all sixteen is one load.
    ///
    /// # Safety
    /// `source` is valid for `n` elements, `n` is at most sixteen.
    #[inline(always)]
    unsafe fn load_partial_or_whole(source: *const Self, n: usize) -> L {
        // SAFETY: the caller's promise.
        unsafe { if n == WIDTH { Self::load(source) } else { Self::load_partial(source, n) } }
    }
}

/// A binary16 as its bits.
#[derive(Clone, Copy, Default, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(transparent)]
pub(crate) struct F16Bits(u16);

/// A bfloat16 as its bits.
#[derive(Clone, Copy, Default, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(transparent)]
pub(crate) struct Bf16Bits(u16);

impl<L: Lanes> Element<L> for f32 {
    #[inline(always)]
    unsafe fn load(source: *const Self) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load_f32(source) }
    }
}

impl<L: Lanes<Scalar = f64>> Element<L> for f64 {
    #[inline(always)]
    unsafe fn load(source: *const Self) -> L {
        // SAFETY: the caller's promise.
        unsafe { L::load(source) }
    }
}

impl<L: Lanes> Element<L> for F16Bits {
    #[inline(always)]
    unsafe fn load(source: *const Self) -> L {
        // SAFETY: the caller's promise; the type is transparent.
        unsafe { L::load_f16(source.cast()) }
    }
}

impl<L: Lanes> Element<L> for Bf16Bits {
    #[inline(always)]
    unsafe fn load(source: *const Self) -> L {
        // SAFETY: the caller's promise; the type is transparent.
        unsafe { L::load_bf16(source.cast()) }
    }
}

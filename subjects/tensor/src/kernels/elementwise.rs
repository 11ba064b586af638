//! Norms, rotations and sums over rows, activations over rows of f32.

use super::lanes::{Element, Lanes, Lanes32, Scalar, WIDTH};

/// `y = x / sqrt(mean(x^2) + epsilon) * gain` (Zhang & Sennrich 2019, eq. 4, with the customary epsilon).
///
/// # Safety
/// The instruction set of `L` is present; `x`, `gain` and `y` have one length.
#[inline(always)]
pub(crate) unsafe fn rms_norm<L: Lanes>(x: &[L::Scalar], gain: &[f32], epsilon: f64, y: &mut [L::Scalar])
where
    L::Scalar: Element<L>,
{
    // SAFETY: `map` hands out pointers to sixteen elements, or to that many after padding.
    unsafe {
        let n = x.len();
        let mut sums = L::splat(L::Scalar::default());
        let mut i = 0;
        while i + WIDTH <= n {
            let lanes = L::load(x.as_ptr().add(i));
            sums = lanes.mul_add(lanes, sums);
            i += WIDTH;
        }
        let tail: L = L::Scalar::load_partial(x.as_ptr().add(i), n - i);
        sums = tail.mul_add(tail, sums);
        let mean = sums.sum().to_f64() / n as f64;
        let scale = L::splat(L::Scalar::from_f64(1.0 / (mean + epsilon).sqrt()));
        map::<L>(n, y.as_mut_ptr(), |i, n| {
            let x: L = L::Scalar::load_partial_or_whole(x.as_ptr().add(i), n);
            x.mul(scale).mul(f32::load_partial_or_whole(gain.as_ptr().add(i), n))
        });
    }
}

/// Rotates one head: pair `(i, i + d/2)` by the angle whose cosine and sine are at `i` (Su et al. 2021, eq. 34, in the
/// half-split pairing of Qwen2).
///
/// # Safety
/// The instruction set of `L` is present; `cos` and `sin` are half as long as `head`.
#[inline(always)]
pub(crate) unsafe fn rotate_halves<L: Lanes>(head: &mut [L::Scalar], cos: &[L::Scalar], sin: &[L::Scalar])
where
    L::Scalar: Element<L>,
{
    let half = cos.len();
    let (low, high) = head.split_at_mut(half);
    let mut i = 0;
    while i < half {
        let n = WIDTH.min(half - i);
        // SAFETY: `n` elements are left in each of the four.
        unsafe {
            let cos: L = L::Scalar::load_partial_or_whole(cos.as_ptr().add(i), n);
            let sin: L = L::Scalar::load_partial_or_whole(sin.as_ptr().add(i), n);
            let a: L = L::Scalar::load_partial_or_whole(low.as_ptr().add(i), n);
            let b: L = L::Scalar::load_partial_or_whole(high.as_ptr().add(i), n);
            let minus_one = L::splat(L::Scalar::from(-1.0));
            // a cos - b sin, b cos + a sin
            let rotated_a = a.mul_add(cos, b.mul(sin).mul(minus_one));
            let rotated_b = b.mul_add(cos, a.mul(sin));
            store_partial(rotated_a, low.as_mut_ptr().add(i), n);
            store_partial(rotated_b, high.as_mut_ptr().add(i), n);
        }
        i += n;
    }
}

/// `gate = silu(gate) * up`, `silu(x) = x / (1 + e^-x)` (Shazeer 2020, eq. 6).
///
/// # Safety
/// The instruction set of `L` is present; both have one length.
#[inline(always)]
pub(crate) unsafe fn silu_mul<L: Lanes32>(gate: &mut [f32], up: &[f32]) {
    let source = gate.as_ptr();
    // SAFETY: `map` keeps `i` and `n` inside both slices; each lane is read before it is written.
    unsafe {
        map::<L>(gate.len(), gate.as_mut_ptr(), |i, n| {
            let gate: L = f32::load_partial_or_whole(source.add(i), n);
            let up = f32::load_partial_or_whole(up.as_ptr().add(i), n);
            let one = L::splat(1.0);
            let silu = gate.div(one.add(exp::<L>(gate.mul(L::splat(-1.0)))));
            silu.mul(up)
        });
    }
}

/// `sum += addend`.
///
/// # Safety
/// The instruction set of `L` is present; both have one length.
#[inline(always)]
pub(crate) unsafe fn add<L: Lanes<Scalar = f64>>(sum: &mut [f64], addend: &[f32]) {
    let source = sum.as_ptr();
    // SAFETY: as in `silu_mul`.
    unsafe {
        map::<L>(sum.len(), sum.as_mut_ptr(), |i, n| {
            let sum: L = f64::load_partial_or_whole(source.add(i), n);
            sum.add(f32::load_partial_or_whole(addend.as_ptr().add(i), n))
        });
    }
}

/// `sum += factor * addend`.
///
/// # Safety
/// The instruction set of `L` is present; both have one length.
#[inline(always)]
pub(crate) unsafe fn add_scaled<L: Lanes32>(sum: &mut [f32], factor: f32, addend: &[f32]) {
    let source = sum.as_ptr();
    // SAFETY: as in `silu_mul`.
    unsafe {
        let factor = L::splat(factor);
        map::<L>(sum.len(), sum.as_mut_ptr(), |i, n| {
            let addend: L = f32::load_partial_or_whole(addend.as_ptr().add(i), n);
            addend.mul_add(factor, f32::load_partial_or_whole(source.add(i), n))
        });
    }
}

/// `e^x`, relative error below 1.2e-7 on -87 to 88, clamped outside; a NaN becomes the upper clamp.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, `e^r` by its Taylor polynomial of degree 7 (remainder 5e-9).
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub(crate) unsafe fn exp<L: Lanes32>(x: L) -> L {
    // ln 2 in two parts, the first exact in few bits, so that `x - n ln 2` loses nothing (Cody & Waite 1980).
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    const COEFFICIENTS: [f32; 7] = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 1.0 / 2.0, 1.0, 1.0];
    // SAFETY: the caller's promise.
    unsafe {
        let x = x.min(L::splat(88.0)).max(L::splat(-87.0));
        let n = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
        let r = n.mul_add(L::splat(-LN_2_HIGH), x);
        let r = n.mul_add(L::splat(-LN_2_LOW), r);
        let mut sum = L::splat(1.0 / 5040.0);
        for coefficient in COEFFICIENTS {
            sum = sum.mul_add(r, L::splat(coefficient));
        }
        sum.mul(n.exp2_integral())
    }
}

/// Fills `target[..n]`, sixteen lanes at a time, with `lanes(index, count)`.
///
/// # Safety
/// `target` is valid for `n` elements.
#[inline(always)]
unsafe fn map<L: Lanes>(n: usize, target: *mut L::Scalar, lanes: impl Fn(usize, usize) -> L) {
    let mut i = 0;
    while i < n {
        let count = WIDTH.min(n - i);
        // SAFETY: `count` elements are left.
        unsafe { store_partial(lanes(i, count), target.add(i), count) };
        i += count;
    }
}

/// Writes the first `n` lanes.
///
/// # Safety
/// `target` is valid for `n` elements, `n` is at most sixteen.
#[inline(always)]
unsafe fn store_partial<L: Lanes>(lanes: L, target: *mut L::Scalar, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        if n == WIDTH {
            lanes.store(target);
        } else {
            std::ptr::copy_nonoverlapping(lanes.to_array().as_ptr(), target, n);
        }
    }
}

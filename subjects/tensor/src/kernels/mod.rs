//! The compute kernels, one table for each instruction set, chosen once at start.
//!
//! `lanes` says what an instruction set must offer; `matmul`, `attention` and `elementwise` are written once in terms
//! of it; `scalar`, `avx2`, `avx512` and `neon` compile them for their instructions.
#![expect(
    clippy::inline_always,
    reason = "generic kernels must be inlined into the function that enables their instruction set"
)]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod elementwise;
mod lanes;
mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub(crate) use attention::{AttentionPart, OnScores};
pub(crate) use lanes::{Bf16Bits, F16Bits};
pub(crate) use matmul::MatmulPart;

/// The kernels compiled for one instruction set.
///
/// # Safety
/// Every function may be called only on a processor that has the instruction set; [`available`] offers no other. The
/// pointers in the argument structs carry their own conditions.
pub(crate) struct KernelTable {
    /// `avx512`, `avx2`, `neon` or `scalar`.
    pub(crate) name: &'static str,
    pub(crate) matmul_f32: unsafe fn(&MatmulPart<f32>),
    pub(crate) matmul_f16: unsafe fn(&MatmulPart<F16Bits>),
    pub(crate) matmul_bf16: unsafe fn(&MatmulPart<Bf16Bits>),
    pub(crate) attention: unsafe fn(&mut AttentionPart<'_>),
    pub(crate) rms_norm: unsafe fn(x: &[f32], gain: &[f32], epsilon: f32, y: &mut [f32]),
    pub(crate) rotate_halves: unsafe fn(head: &mut [f32], cos: &[f32], sin: &[f32]),
    pub(crate) silu_mul: unsafe fn(gate: &mut [f32], up: &[f32]),
    pub(crate) add: unsafe fn(sum: &mut [f32], addend: &[f32]),
}

/// Defines `TABLE`, the kernels compiled for `$lanes` with the given target features and matmul tile (rows of `x`,
/// rows of `w`).
macro_rules! kernel_table {
    (@wrap $(#[$attribute:meta])* $lanes:ty, ($m:literal, $n:literal), $name:literal) => {
        /// The kernels compiled for this instruction set.
        pub(crate) static TABLE: super::KernelTable = super::KernelTable {
            name: $name,
            matmul_f32,
            matmul_f16,
            matmul_bf16,
            attention,
            rms_norm,
            rotate_halves,
            silu_mul,
            add,
        };

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn matmul_f32(part: &super::MatmulPart<f32>) {
            // SAFETY: the caller of a table entry promises the instruction set; here and below.
            unsafe { super::matmul::matmul::<$lanes, f32, $m, $n>(part) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn matmul_f16(part: &super::MatmulPart<super::F16Bits>) {
            // SAFETY: see above.
            unsafe { super::matmul::matmul::<$lanes, super::F16Bits, $m, $n>(part) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn matmul_bf16(part: &super::MatmulPart<super::Bf16Bits>) {
            // SAFETY: see above.
            unsafe { super::matmul::matmul::<$lanes, super::Bf16Bits, $m, $n>(part) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn attention(part: &mut super::AttentionPart<'_>) {
            // SAFETY: see above.
            unsafe { super::attention::attention::<$lanes>(part) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn rms_norm(x: &[f32], gain: &[f32], epsilon: f32, y: &mut [f32]) {
            // SAFETY: see above.
            unsafe { super::elementwise::rms_norm::<$lanes>(x, gain, epsilon, y) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn rotate_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) {
            // SAFETY: see above.
            unsafe { super::elementwise::rotate_halves::<$lanes>(head, cos, sin) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn silu_mul(gate: &mut [f32], up: &[f32]) {
            // SAFETY: see above.
            unsafe { super::elementwise::silu_mul::<$lanes>(gate, up) }
        }

        // SAFETY: called through the table only, whose users have checked the instruction set.
        $(#[$attribute])*
        unsafe fn add(sum: &mut [f32], addend: &[f32]) {
            // SAFETY: see above.
            unsafe { super::elementwise::add::<$lanes>(sum, addend) }
        }
    };
    ($lanes:ty, features: "", tile: $tile:tt, name: $name:literal) => {
        super::kernel_table!(@wrap $lanes, $tile, $name);
    };
    ($lanes:ty, features: $features:literal, tile: $tile:tt, name: $name:literal) => {
        super::kernel_table!(@wrap #[target_feature(enable = $features)] $lanes, $tile, $name);
    };
}
use kernel_table;

/// The tables this processor can run, fastest first; the last is always `scalar`.
pub(crate) fn available() -> Vec<&'static KernelTable> {
    let mut tables: Vec<&'static KernelTable> = Vec::with_capacity(3);
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            tables.push(&avx512::TABLE);
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            tables.push(&avx2::TABLE);
        }
    }
    #[cfg(target_arch = "aarch64")]
    tables.push(&neon::TABLE);
    tables.push(&scalar::TABLE);
    tables
}

//! The compute kernels, one table for each instruction set, chosen once at start.
//!
//! `lanes` says what an instruction set must offer; `matmul`, `attention` and `elementwise` are written once in terms
//! of it; `scalar`, `avx2`, `avx512` and `neon` compile them for their instructions.
#![expect(
    clippy::inline_always,
    reason = "generic kernels must be inlined into the function that enables their instruction set"
)]
#![expect(clippy::needless_range_loop, reason = "the rows of a tile index several arrays at once")]

mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod elementwise;
mod integer;
mod lanes;
mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
mod peaks;
mod scalar;
mod tiled_attention;

pub(crate) use attention::{AttentionPart, OnScores, PositionTerm};
pub(crate) use integer::{GatedPart, IntegerTable, PackedTable, ProductPart, Rounded, Target};
pub(crate) use lanes::{Bf16Bits, F16Bits};
pub(crate) use matmul::MatmulPart;
pub(crate) use peaks::{FLOAT as FLOAT_PEAK, INTEGER as INTEGER_PEAK};
pub(crate) use tiled_attention::{MAX_ROWS, TiledPart};

/// What a processor computes with.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    /// `avx512-vnni`, `avx512`, `avx2`, `neon-dot`, `neon` or `scalar`.
    pub(crate) name: &'static str,
    pub(crate) float: &'static FloatTable,
    pub(crate) integer: &'static IntegerTable,
}

/// The kernels on floats compiled for one instruction set.
///
/// # Safety
/// Every function may be called only on a processor that has the instruction set; [`available`] offers no other. The
/// pointers in the argument structs carry their own conditions.
pub(crate) struct FloatTable {
    /// Products summed in f32.
    pub(crate) matmul: MatmulTable<f32>,
    /// Products summed in f64.
    pub(crate) matmul_wide: MatmulTable<f64>,
    pub(crate) attention: unsafe fn(&mut AttentionPart<'_>),
    pub(crate) rms_norm: unsafe fn(x: &[f64], gain: &[f32], epsilon: f64, y: &mut [f64]),
    pub(crate) rotate_halves: unsafe fn(head: &mut [f64], cos: &[f64], sin: &[f64]),
    pub(crate) silu_mul: unsafe fn(gate: &mut [f32], up: &[f32]),
    pub(crate) add: unsafe fn(sum: &mut [f64], addend: &[f32]),
    /// Some rounds of multiply-adds; see `peaks`.
    pub(crate) peak: unsafe fn(rounds: usize) -> f32,
    pub(crate) add_scaled: unsafe fn(sum: &mut [f32], factor: f32, addend: &[f32]),
    /// Attention, norm and rotation in f32, for models whose weights are packed.
    pub(crate) tiled_attention: unsafe fn(&mut TiledPart<'_>),
    pub(crate) rms_norm_narrow: unsafe fn(x: &[f32], gain: &[f32], epsilon: f64, y: &mut [f32]),
    pub(crate) rotate_halves_narrow: unsafe fn(head: &mut [f32], cos: &[f32], sin: &[f32]),
}

/// A matrix product for each dtype of the weights, summed in `S`.
pub(crate) struct MatmulTable<S> {
    pub(crate) f32: unsafe fn(&MatmulPart<f32, S>),
    pub(crate) f16: unsafe fn(&MatmulPart<F16Bits, S>),
    pub(crate) bf16: unsafe fn(&MatmulPart<Bf16Bits, S>),
}

/// Defines `TABLE`, the kernels compiled for the f32 and f64 lanes of an instruction set with its target features and a
/// matmul tile (rows of `x`, rows of `w`) for each, and the rows of an attention tile.
macro_rules! kernel_table {
    (($narrow:ty, $wide:ty), features: $features:tt, tiles: $narrow_tile:tt, $wide_tile:tt, $rows:literal) => {
        /// The kernels compiled for this instruction set.
        pub(crate) static TABLE: super::FloatTable = super::FloatTable {
            matmul: super::matmul_table!(f32, $narrow, $features, $narrow_tile),
            matmul_wide: super::matmul_table!(f64, $wide, $features, $wide_tile),
            attention: super::kernel!($features, (part: &mut super::AttentionPart<'_>) {
                super::attention::attention::<$wide, $narrow>(part)
            }),
            rms_norm: super::kernel!($features, (x: &[f64], gain: &[f32], epsilon: f64, y: &mut [f64]) {
                super::elementwise::rms_norm::<$wide>(x, gain, epsilon, y)
            }),
            rotate_halves: super::kernel!($features, (head: &mut [f64], cos: &[f64], sin: &[f64]) {
                super::elementwise::rotate_halves::<$wide>(head, cos, sin)
            }),
            silu_mul: super::kernel!($features, (gate: &mut [f32], up: &[f32]) {
                super::elementwise::silu_mul::<$narrow>(gate, up)
            }),
            add: super::kernel!($features, (sum: &mut [f64], addend: &[f32]) {
                super::elementwise::add::<$wide>(sum, addend)
            }),
            peak: super::kernel!($features, (rounds: usize) -> f32 {
                super::peaks::float::<$narrow>(rounds)
            }),
            add_scaled: super::kernel!($features, (sum: &mut [f32], factor: f32, addend: &[f32]) {
                super::elementwise::add_scaled::<$narrow>(sum, factor, addend)
            }),
            tiled_attention: super::kernel!($features, (part: &mut super::TiledPart<'_>) {
                super::tiled_attention::tiled_attention::<$narrow, $rows>(part)
            }),
            rms_norm_narrow: super::kernel!($features, (x: &[f32], gain: &[f32], epsilon: f64, y: &mut [f32]) {
                super::elementwise::rms_norm::<$narrow>(x, gain, epsilon, y)
            }),
            rotate_halves_narrow: super::kernel!($features, (head: &mut [f32], cos: &[f32], sin: &[f32]) {
                super::elementwise::rotate_halves::<$narrow>(head, cos, sin)
            }),
        };
    };
}
use kernel_table;

/// The products of one table, summed in `$scalar`.
macro_rules! matmul_table {
    ($scalar:ty, $lanes:ty, $features:tt, ($m:literal, $n:literal)) => {
        super::MatmulTable {
            f32: super::kernel!($features, (part: &super::MatmulPart<f32, $scalar>) {
                super::matmul::matmul::<$lanes, f32, $m, $n>(part)
            }),
            f16: super::kernel!($features, (part: &super::MatmulPart<super::F16Bits, $scalar>) {
                super::matmul::matmul::<$lanes, super::F16Bits, $m, $n>(part)
            }),
            bf16: super::kernel!($features, (part: &super::MatmulPart<super::Bf16Bits, $scalar>) {
                super::matmul::matmul::<$lanes, super::Bf16Bits, $m, $n>(part)
            }),
        }
    };
}
use matmul_table;

/// A function compiled with the given target features, as a value.
macro_rules! kernel {
    ("", ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        $crate::kernels::kernel!(@function, ($($argument: $type),*) $(-> $result)? $body)
    };
    ($features:literal, ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        $crate::kernels::kernel!(
            @function #[target_feature(enable = $features)], ($($argument: $type),*) $(-> $result)? $body
        )
    };
    (@function $(#[$attribute:meta])*, ($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {{
        // SAFETY: called through the table only, whose users have checked the instruction set and the arguments.
        $(#[$attribute])*
        unsafe fn kernel($($argument: $type),*) $(-> $result)? {
            // SAFETY: the caller of a table entry promises the instruction set.
            unsafe { $body }
        }
        kernel
    }};
}
use kernel;

/// What this processor can compute with, fastest first; the last is always `scalar`.
pub(crate) fn available() -> Vec<Kernels> {
    let mut all = Vec::with_capacity(4);
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            if is_x86_feature_detected!("avx512vnni") {
                all.push(Kernels {
                    name: "avx512-vnni",
                    float: &avx512::TABLE,
                    integer: &integer::vnni::TABLE,
                });
            }
            all.push(Kernels { name: "avx512", float: &avx512::TABLE, integer: &integer::avx512::TABLE });
        }
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            all.push(Kernels { name: "avx2", float: &avx2::TABLE, integer: &integer::avx2::TABLE });
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        if std::arch::is_aarch64_feature_detected!("dotprod") {
            all.push(Kernels { name: "neon-dot", float: &neon::TABLE, integer: &integer::neon::TABLE });
        }
        all.push(Kernels { name: "neon", float: &neon::TABLE, integer: &integer::scalar::TABLE });
    }
    all.push(Kernels { name: "scalar", float: &scalar::TABLE, integer: &integer::scalar::TABLE });
    all
}

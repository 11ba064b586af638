//! Element types of stored tensors.

use std::fmt;

use crate::Packing;

/// How the elements of a stored tensor are encoded, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// Blocks of 8-bit values with a scale for every 32 of a row ([`Packing`]).
    Int8,
    /// Blocks of 4-bit values with a scale for every 32 of a row ([`Packing`]).
    Int4,
}

impl DType {
    /// Every dtype, in the order of [`DType::name`] in documentation.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Int8, Self::Int4];

    /// Bytes that a tensor of `shape` takes, or `None` when that does not fit a `usize` or the dtype cannot hold such a
    /// shape.
    pub fn n_bytes(self, shape: &[usize]) -> Option<usize> {
        match Packing::of(self) {
            Some(packing) => packing.n_bytes(shape),
            None => shape.iter().try_fold(self.alignment(), |n, &dimension| n.checked_mul(dimension)),
        }
    }

    /// What the address of a tensor's first byte is a multiple of; bytes of an element, for one whose elements stand
    /// alone.
    pub const fn alignment(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 | Self::Int8 | Self::Int4 => 2,
        }
    }

    /// The upper-case name that reports use; that of safetensors for `F32`, `F16` and `BF16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Int8 => "INT8",
            Self::Int4 => "INT4",
        }
    }
}

/// The dtypes whose elements stand alone: what a source holds and an import writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Float {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl Float {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes of one element; also its alignment.
    pub const fn element_size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name of the dtype.
    pub const fn name(self) -> &'static str {
        self.dtype().name()
    }

    /// The dtype of tensors of such elements.
    pub const fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::Bf16,
        }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

//! Element types of stored tensors.

use std::fmt;

/// How one element of a stored tensor is encoded, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl DType {
    /// Every dtype, in the order of [`DType::name`] in documentation.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// Bytes that `n_elements` take, or `None` when that does not fit a `usize`.
    pub fn n_bytes(self, n_elements: usize) -> Option<usize> {
        n_elements.checked_mul(self.element_size())
    }

    /// Bytes of one element; also its alignment.
    pub const fn element_size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The upper-case name that safetensors and our reports use: `F32`, `F16`, `BF16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

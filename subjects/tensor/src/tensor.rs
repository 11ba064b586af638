//! The one tensor type: a dtype, a shape and shared bytes, checked against each other when made.

use bytes::Bytes;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use thiserror::Error;

use crate::{DType, Packing};

/// A dense row-major tensor over shared bytes, often a slice of a mapped file. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    data: Bytes,
}

/// Why bytes cannot be seen as a tensor.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TensorError {
    /// Shape and byte count disagree.
    #[error("shape {shape:?} of {dtype} takes {expected} bytes, the data has {found}")]
    SizeMismatch {
        /// Element type.
        dtype: DType,
        /// Shape asked for.
        shape: Vec<usize>,
        /// Bytes that shape takes.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The product of the dimensions overflows.
    #[error("shape {0:?} has more elements than this machine can address")]
    TooLarge(Vec<usize>),
    /// The dtype holds matrices of whole blocks only.
    #[error("{dtype} holds matrices of 16 n rows and 64 m columns, not of shape {shape:?}")]
    Unpackable {
        /// Element type.
        dtype: DType,
        /// Shape asked for.
        shape: Vec<usize>,
    },
    /// The bytes do not start at a multiple of what an element of the dtype is aligned to.
    #[error("data of {dtype} starts at an address that is not a multiple of {} bytes", dtype.alignment())]
    Misaligned {
        /// Element type.
        dtype: DType,
    },
}

impl Tensor {
    /// A tensor of `dtype` and `shape` over `data`.
    pub fn new(dtype: DType, shape: Vec<usize>, data: Bytes) -> Result<Self, TensorError> {
        if Packing::of(dtype).is_some() && !Packing::fits(&shape) {
            return Err(TensorError::Unpackable { dtype, shape });
        }
        let Some(expected) = dtype.n_bytes(&shape) else {
            return Err(TensorError::TooLarge(shape));
        };
        if expected != data.len() {
            return Err(TensorError::SizeMismatch { dtype, shape, expected, found: data.len() });
        }
        if !data.is_empty() && !(data.as_ptr() as usize).is_multiple_of(dtype.alignment()) {
            return Err(TensorError::Misaligned { dtype });
        }
        Ok(Self { dtype, shape, data })
    }

    /// A new f32 tensor that owns a copy of `values`.
    pub fn from_f32(shape: Vec<usize>, values: &[f32]) -> Result<Self, TensorError> {
        Self::new(DType::F32, shape, aligned_bytes(bytemuck::cast_slice(values)))
    }

    /// A new f16 tensor that owns a copy of `values`.
    #[cfg_attr(any(), probador::allow(I5, reason = "tests and benches make small tensors of every type"))]
    pub fn from_f16(shape: Vec<usize>, values: &[f16]) -> Result<Self, TensorError> {
        Self::new(DType::F16, shape, aligned_bytes(bytemuck::cast_slice(values)))
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.data
    }

    /// Every element as f32; exact but for packed ones, whose value times scale is rounded to f32.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.n_elements()];
        self.widen(0, &mut values);
        values
    }

    /// Row `row` of a matrix as f32.
    ///
    /// # Panics
    /// When `target` is not as long as a row, or the row does not exist.
    pub fn row_to_f32(&self, row: usize, target: &mut [f32]) {
        assert_eq!(self.shape.last(), Some(&target.len()), "a row of shape {:?}", self.shape);
        self.widen(row * target.len(), target);
    }

    /// Elements from `first` on, as many as `target` takes.
    fn widen(&self, first: usize, target: &mut [f32]) {
        let size = self.dtype.alignment();
        let bytes = || &self.data[first * size..(first + target.len()) * size];
        match self.dtype {
            DType::F32 => target.copy_from_slice(bytemuck::cast_slice(bytes())),
            DType::F16 => bytemuck::cast_slice::<u8, f16>(bytes()).convert_to_f32_slice(target),
            DType::Bf16 => bytemuck::cast_slice::<u8, bf16>(bytes()).convert_to_f32_slice(target),
            DType::Int8 => self.unpack(Packing::Int8, first, target),
            DType::Int4 => self.unpack(Packing::Int4, first, target),
        }
    }

    /// Whole rows of a packed matrix.
    #[cfg_attr(
        any(),
        probador::allow(
            G8,
            reason = "a forward pass reads one row for each token, its embedding; products with packed weights never unpack"
        )
    )]
    fn unpack(&self, packing: Packing, first: usize, target: &mut [f32]) {
        let columns = self.shape[1];
        for (row, target) in target.chunks_exact_mut(columns).enumerate() {
            let values = packing.row(&self.data, columns, first / columns + row);
            for (target, (value, scale)) in target.iter_mut().zip(values) {
                *target = f32::from(value) * scale.to_f32();
            }
        }
    }
}

/// Copies `source` into shared bytes that start at a multiple of 64.
fn aligned_bytes(source: &[u8]) -> Bytes {
    /// A cache line; the alignment of `.apr` tensors too.
    #[repr(C, align(64))]
    #[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
    struct Line([u8; 64]);
    struct Lines(Vec<Line>);
    impl AsRef<[u8]> for Lines {
        fn as_ref(&self) -> &[u8] {
            bytemuck::cast_slice(&self.0)
        }
    }
    let mut lines = vec![Line([0; 64]); source.len().div_ceil(64)];
    bytemuck::cast_slice_mut::<Line, u8>(&mut lines)[..source.len()].copy_from_slice(source);
    Bytes::from_owner(Lines(lines)).slice(..source.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shape_that_disagrees_with_the_bytes_is_refused() {
        let error = Tensor::new(DType::F16, vec![3, 2], Bytes::from_static(&[0; 10])).unwrap_err();
        assert_eq!(error.to_string(), "shape [3, 2] of F16 takes 12 bytes, the data has 10");
    }

    #[test]
    fn shape_that_overflows_is_refused() {
        let shape = vec![usize::MAX, 2];
        assert_eq!(
            Tensor::new(DType::F32, shape.clone(), Bytes::new()).unwrap_err(),
            TensorError::TooLarge(shape)
        );
    }

    #[test]
    fn misaligned_bytes_are_refused() {
        let bytes = aligned_bytes(&[0; 9]).slice(1..9);
        assert!(matches!(Tensor::new(DType::F32, vec![2], bytes), Err(TensorError::Misaligned { .. })));
    }

    #[test]
    fn f16_values_widen_exactly() {
        let values = [f16::from_f32(1.5), f16::MIN_POSITIVE_SUBNORMAL, f16::MAX];
        let tensor = Tensor::from_f16(vec![3], &values).unwrap();
        assert_eq!(tensor.to_f32(), values.map(f16::to_f32));
    }
}

//! One tensor from a source to the `.apr` writer: read, put in order, dequantize, round, write, a chunk at a time.
//!
//! While one chunk is hashed and written the next is read and converted, so that both cores work and memory holds two
//! chunks, whatever the size of the tensor.

use std::io::{Seek, Write};

use apr_format::TensorWriter;
use apr_tensor::Float;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::dequantize::dequantize;
use crate::encoding::Encoding;
use crate::error::ImportError;
use crate::input_file::InputFile;
use crate::model::{RowOrder, SourceTensor};
use crate::progress::Progress;

/// Elements in a chunk, about; 8 MiB of f16.
const CHUNK_ELEMENTS: usize = 4 << 20;
/// Elements that one task of a chunk converts: small enough for its f32 values to stay in the cache.
const TASK_ELEMENTS: usize = 16 << 10;

/// Writes the tensor as `dtype`; `out` must expect exactly its bytes.
pub(crate) fn write_tensor<W: Write + Seek + Send>(
    tensor: &SourceTensor,
    file: &InputFile,
    dtype: Float,
    out: &mut TensorWriter<'_, W>,
    progress: &dyn Progress,
) -> Result<(), ImportError> {
    let plan = Plan::new(tensor, dtype);
    let mut current = Chunk::default();
    let mut next = Chunk::default();
    plan.fill(file, 0, &mut current)?;
    for index in 0..plan.n_chunks() {
        if progress.is_cancelled() {
            return Err(ImportError::Cancelled);
        }
        let (written, filled) = rayon::join(
            || out.append(&current.converted),
            || if index + 1 < plan.n_chunks() { plan.fill(file, index + 1, &mut next) } else { Ok(()) },
        );
        written?;
        filled?;
        progress.advance(current.source.len() as u64);
        std::mem::swap(&mut current, &mut next);
    }
    Ok(())
}

/// Reads a whole small part of a tensor as f32: `n_rows` rows from `first_row` on.
pub(crate) fn read_rows(
    tensor: &SourceTensor,
    file: &InputFile,
    first_row: usize,
    n_rows: usize,
) -> Result<Vec<f32>, ImportError> {
    let columns = tensor.shape.last().copied().unwrap_or(1);
    let row_bytes = columns / tensor.encoding.block_elements() * tensor.encoding.block_bytes();
    let mut source = vec![0; n_rows * row_bytes];
    file.read_at(tensor.offset + (first_row * row_bytes) as u64, &mut source)?;
    let mut values = vec![0.0; n_rows * columns];
    dequantize(tensor.encoding, &source, &mut values);
    Ok(values)
}

/// The buffers of one chunk.
#[derive(Default)]
struct Chunk {
    /// As in the source.
    source: Vec<u8>,
    /// The source's rows in the checkpoint's order; empty where that is the same.
    ordered: Vec<u8>,
    /// As in the output.
    converted: Vec<u8>,
}

/// How a tensor is cut into chunks.
struct Plan<'a> {
    tensor: &'a SourceTensor,
    dtype: Float,
    /// Elements that stay together: a block, or a head whose rows are put in order.
    unit: usize,
    units_per_chunk: usize,
    n_units: usize,
}

impl<'a> Plan<'a> {
    fn new(tensor: &'a SourceTensor, dtype: Float) -> Self {
        let unit = match tensor.rows {
            RowOrder::AsIs => tensor.encoding.block_elements(),
            RowOrder::InterleavedHalves { head_dim } => head_dim * tensor.row_elements(),
        };
        let units_per_chunk = (CHUNK_ELEMENTS / unit).max(1);
        Self { tensor, dtype, unit, units_per_chunk, n_units: tensor.n_elements() / unit }
    }

    fn n_chunks(&self) -> usize {
        self.n_units.div_ceil(self.units_per_chunk)
    }

    /// Reads and converts chunk `index`.
    fn fill(&self, file: &InputFile, index: usize, chunk: &mut Chunk) -> Result<(), ImportError> {
        let encoding = self.tensor.encoding;
        let first = index * self.units_per_chunk;
        let n_elements = self.unit * self.units_per_chunk.min(self.n_units - first);
        let bytes_of = |n_elements: usize| n_elements / encoding.block_elements() * encoding.block_bytes();
        chunk.source.resize(bytes_of(n_elements), 0);
        file.read_at(self.tensor.offset + bytes_of(first * self.unit) as u64, &mut chunk.source)?;
        let source = match self.tensor.rows {
            RowOrder::AsIs => &chunk.source,
            RowOrder::InterleavedHalves { head_dim } => {
                chunk.ordered.resize(chunk.source.len(), 0);
                let row_bytes = bytes_of(self.tensor.row_elements());
                separate_halves(&chunk.source, &mut chunk.ordered, head_dim, row_bytes);
                &chunk.ordered
            }
        };
        chunk.converted.resize(n_elements * self.dtype.element_size(), 0);
        convert(encoding, source, self.dtype, &mut chunk.converted).map_err(|value| ImportError::DoesNotFit {
            path: file.path().to_owned(),
            name: self.tensor.source_name.clone(),
            value,
            dtype: self.dtype.name(),
        })
    }
}

/// Undoes the order of Llama's GGUF: within each head, source row `2 i + j` is row `j * head_dim / 2 + i`.
fn separate_halves(source: &[u8], ordered: &mut [u8], head_dim: usize, row_bytes: usize) {
    let heads = source.chunks_exact(head_dim * row_bytes).zip(ordered.chunks_exact_mut(head_dim * row_bytes));
    for (source, ordered) in heads {
        for (row, ordered) in ordered.chunks_exact_mut(row_bytes).enumerate() {
            let (half, i) = (row / (head_dim / 2), row % (head_dim / 2));
            ordered.copy_from_slice(&source[(2 * i + half) * row_bytes..][..row_bytes]);
        }
    }
}

/// Converts whole blocks to `dtype`, rounding to nearest, ties to even. Fails with a finite value that rounds to
/// infinity.
fn convert(encoding: Encoding, source: &[u8], dtype: Float, converted: &mut [u8]) -> Result<(), f32> {
    if encoding.dtype() == Some(dtype) {
        converted.copy_from_slice(source);
        return Ok(());
    }
    let n_blocks = TASK_ELEMENTS / encoding.block_elements();
    let task_elements = n_blocks * encoding.block_elements();
    let source = source.par_chunks(n_blocks * encoding.block_bytes());
    let converted = converted.par_chunks_mut(task_elements * dtype.element_size());
    source.zip(converted).try_for_each_init(
        || vec![0.0_f32; task_elements],
        |values, (source, converted)| {
            let values = &mut values[..converted.len() / dtype.element_size()];
            dequantize(encoding, source, values);
            round(values, dtype, converted)
        },
    )
}

/// Writes `values` as `dtype`, little-endian.
fn round(values: &[f32], dtype: Float, converted: &mut [u8]) -> Result<(), f32> {
    const STEP: usize = 256;
    // The least magnitude that rounds to infinity: halfway from the largest finite value to the next power of two.
    let limit = match dtype {
        Float::F32 => f32::INFINITY,
        Float::F16 => 65_520.0,
        Float::Bf16 => f32::from_bits(0x7F7F_8000),
    };
    if let Some(&value) = values.iter().find(|value| value.abs() >= limit && value.is_finite()) {
        return Err(value);
    }
    match dtype {
        Float::F32 => {
            for (bytes, value) in converted.as_chunks_mut::<4>().0.iter_mut().zip(values) {
                *bytes = value.to_le_bytes();
            }
        }
        Float::F16 => {
            let mut halves = [f16::ZERO; STEP];
            for (bytes, values) in converted.chunks_mut(2 * STEP).zip(values.chunks(STEP)) {
                let halves = &mut halves[..values.len()];
                halves.convert_from_f32_slice(values);
                for (bytes, half) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(halves) {
                    *bytes = half.to_le_bytes();
                }
            }
        }
        Float::Bf16 => {
            for (bytes, &value) in converted.as_chunks_mut::<2>().0.iter_mut().zip(values) {
                *bytes = bf16::from_f32(value).to_le_bytes();
            }
        }
    }
    Ok(())
}

//! Weights as stored bytes, widened to float64 a row at a time, so that memory stays that of one row.

use std::path::{Path, PathBuf};

use apr_format::AprFile;
use apr_tensor::DType;
use bytes::Bytes;
use thiserror::Error;

use super::Config;

/// How an element is stored, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
    /// IEEE 754 binary32.
    F32,
    /// Blocks of sixteen rows and 64 columns: 32 scales, then 1,024 signed bytes.
    Int8,
    /// The same with half a byte for each value, of which 8 is subtracted.
    Int4,
}

/// A tensor as stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Encoding of its elements.
    pub element: Element,
    /// Row-major dimensions.
    pub shape: Vec<usize>,
    /// The elements.
    pub bytes: Bytes,
}

/// Where weights come from, under their checkpoint names.
pub trait WeightSource: Send + Sync {
    /// The tensor `name`, or `None` when there is none.
    fn stored(&self, name: &str) -> Option<Stored>;
}

/// Why the reference cannot evaluate a model.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// The file cannot be opened.
    #[error(transparent)]
    Format(#[from] apr_format::FormatError),
    /// The file is of another architecture.
    #[error("`{}` has architecture `{found}`, the reference implements qwen2", path.display())]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What its metadata says.
        found: String,
    },
    /// Dimensions that no Qwen2 can have.
    #[error("model configuration: {0}")]
    Config(String),
    /// A tensor that the network needs.
    #[error("the model has no tensor `{0}`")]
    MissingTensor(String),
    /// A tensor of other dimensions than the configuration gives it.
    #[error("tensor `{name}`: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Which tensor.
        name: String,
        /// What the configuration says.
        expected: Vec<usize>,
        /// What is stored.
        found: Vec<usize>,
    },
    /// An id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        id: u32,
        /// Number of tokens.
        vocab_size: usize,
    },
    /// Values that are not the hidden states of whole positions, or a layer that is not there.
    #[error("{n_values} values are no input of layer {layer} of this model")]
    NoInput {
        /// The layer; the number of layers stands for the head.
        layer: usize,
        /// Values there are.
        n_values: usize,
    },
    /// No id at all, or too few for what was asked.
    #[error("{found} token ids are too few: {needed} are needed")]
    TooFewTokens {
        /// Ids there are.
        found: usize,
        /// Ids needed.
        needed: usize,
    },
}

impl Element {
    /// Bytes of a tensor.
    fn n_bytes(self, shape: &[usize]) -> usize {
        let n_elements: usize = shape.iter().product();
        match self {
            Self::F16 | Self::Bf16 => 2 * n_elements,
            Self::F32 => 4 * n_elements,
            Self::Int8 => n_elements / BLOCK_VALUES * (SCALES + BLOCK_VALUES),
            Self::Int4 => n_elements / BLOCK_VALUES * (SCALES + BLOCK_VALUES / 2),
        }
    }
}

/// Values of a block of packed weights.
const BLOCK_VALUES: usize = 16 * 64;
/// Bytes of its scales: for each half of its columns, a binary16 for each row.
const SCALES: usize = 2 * 16 * 2;

/// The value at `[row, column]` of a block of packed weights, times its scale; exact in float64.
fn packed_value(block: &[u8], is_byte: bool, row: usize, column: usize) -> f64 {
    let scale = 2 * (column / 32 * 16 + row);
    let scale = widen_f16(u16::from_le_bytes([block[scale], block[scale + 1]]));
    let values = &block[SCALES..];
    let value = if is_byte {
        f64::from(values[column / 4 * 64 + row * 4 + column % 4].cast_signed())
    } else {
        // Of 32 columns, the first sixteen are in the low halves of bytes and the others in the high ones.
        let byte = values[column / 32 * 256 + column % 16 / 4 * 64 + row * 4 + column % 4];
        f64::from(if column % 32 < 16 { byte & 15 } else { byte >> 4 }) - 8.0
    };
    value * scale
}

impl Stored {
    /// Widens row `row` of `[n_rows, n_columns]`; every stored value is exact in float64.
    pub(super) fn widen_row(&self, row: usize, out: &mut [f64]) {
        let n_columns = out.len();
        if let Element::Int8 | Element::Int4 = self.element {
            let is_byte = self.element == Element::Int8;
            let tile_bytes = self.element.n_bytes(&[16, n_columns]);
            let tile = &self.bytes[row / 16 * tile_bytes..][..tile_bytes];
            for (column, value) in out.iter_mut().enumerate() {
                let block = &tile[column / 64 * tile_bytes / (n_columns / 64)..];
                *value = packed_value(block, is_byte, row % 16, column % 64);
            }
            return;
        }
        let row_bytes = self.element.n_bytes(&[n_columns]);
        let bytes = &self.bytes[row * row_bytes..][..row_bytes];
        match self.element {
            Element::Int8 | Element::Int4 => unreachable!("widened above"),
            Element::F32 => {
                for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *value = f64::from(f32::from_bits(u32::from_le_bytes([
                        bytes[0], bytes[1], bytes[2], bytes[3],
                    ])));
                }
            }
            Element::Bf16 => {
                for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = f64::from(f32::from_bits(u32::from_le_bytes([0, 0, bytes[0], bytes[1]])));
                }
            }
            Element::F16 => {
                for (value, bytes) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = widen_f16(u16::from_le_bytes([bytes[0], bytes[1]]));
                }
            }
        }
    }
}

/// binary16: sign, five bits of exponent biased by 15, ten bits of fraction; exponent 0 has no implicit one.
fn widen_f16(bits: u16) -> f64 {
    let (sign, exponent, fraction) =
        (u64::from(bits >> 15), u64::from(bits >> 10 & 31), u64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction as f64 * 2_f64.powi(-24),
        31 => f64::from_bits(2047 << 52 | fraction << 42),
        _ => f64::from_bits((exponent + 1023 - 15) << 52 | fraction << 42),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

/// The named tensor, refused when absent or of another shape than `expected`.
pub(super) fn find(
    source: &dyn WeightSource,
    name: &str,
    expected: &[usize],
) -> Result<Stored, ReferenceError> {
    let stored = source.stored(name).ok_or_else(|| ReferenceError::MissingTensor(name.to_owned()))?;
    let n_bytes = stored.element.n_bytes(expected);
    if stored.shape == expected && stored.bytes.len() == n_bytes {
        return Ok(stored);
    }
    Err(ReferenceError::Shape { name: name.to_owned(), expected: expected.to_vec(), found: stored.shape })
}

impl WeightSource for AprFile {
    fn stored(&self, name: &str) -> Option<Stored> {
        let tensor = self.tensor(name)?;
        let element = match tensor.dtype() {
            DType::F16 => Element::F16,
            DType::Bf16 => Element::Bf16,
            DType::F32 => Element::F32,
            DType::Int8 => Element::Int8,
            DType::Int4 => Element::Int4,
        };
        Some(Stored { element, shape: tensor.shape().to_vec(), bytes: tensor.bytes().clone() })
    }
}

/// Opens an `.apr` file and reads the dimensions from its metadata.
pub(super) fn open(path: &Path) -> Result<(Config, AprFile), ReferenceError> {
    let file = AprFile::open_verified(path)?;
    let config = config_of(&file)?;
    Ok((config, file))
}

/// The dimensions that an opened file states.
pub(super) fn config_of(file: &AprFile) -> Result<Config, ReferenceError> {
    let metadata = file.metadata();
    let architecture = metadata.architecture.as_deref().unwrap_or_default();
    if architecture != "qwen2" {
        return Err(ReferenceError::Architecture {
            path: file.path().to_owned(),
            found: architecture.to_owned(),
        });
    }
    let stated = &metadata.config;
    Config {
        hidden_size: stated.hidden_size,
        n_layers: stated.num_layers,
        n_heads: stated.num_heads,
        n_kv_heads: stated.num_kv_heads,
        head_dim: stated.head_dim,
        intermediate_size: stated.intermediate_size,
        vocab_size: stated.vocab_size,
        rope_theta: stated.rope_theta,
        rms_norm_eps: stated.rms_norm_eps,
        tie_word_embeddings: stated.tie_word_embeddings,
    }
    .check()
}

#[cfg(test)]
mod tests {
    use apr_format::Metadata;

    use super::*;
    use crate::checks::made_up;

    #[test]
    fn every_half_precision_value_widens_as_the_half_crate_widens_it() {
        for bits in 0..=u16::MAX {
            let expected = half::f16::from_bits(bits).to_f64();
            let found = widen_f16(bits);
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{bits:04x}"
            );
        }
    }

    #[test]
    fn packed_weights_widen_as_the_stack_widens_them() {
        use apr_tensor::{Packing, Tensor};
        for (packing, element) in [(Packing::Int8, Element::Int8), (Packing::Int4, Element::Int4)] {
            let (low, high) = packing.range();
            let shape = [32, 128];
            let values: Vec<i8> = (0..16 * 128)
                .map(|i| (i32::from(low) + i * 37 % (i32::from(high) - i32::from(low) + 1)) as i8)
                .collect();
            let scales: Vec<half::f16> =
                (0..16 * 4).map(|i| half::f16::from_f32(i as f32 / 64.0 - 0.4)).collect();
            let mut tile = vec![0; packing.n_bytes(&[16, 128]).unwrap()];
            packing.pack_rows(&values, &scales, &mut tile);
            let bytes = Bytes::from(tile.repeat(2));
            let tensor = Tensor::new(packing.dtype(), shape.to_vec(), bytes.clone()).unwrap();
            let stored = Stored { element, shape: shape.to_vec(), bytes };
            assert_eq!(element.n_bytes(&shape), stored.bytes.len());
            for row in 0..32 {
                let (mut expected, mut found) = (vec![0.0; 128], vec![0.0; 128]);
                tensor.row_to_f32(row, &mut expected);
                stored.widen_row(row, &mut found);
                for (column, (expected, found)) in expected.iter().zip(found).enumerate() {
                    assert_eq!(*expected, found as f32, "{packing:?} [{row}, {column}]");
                }
            }
        }
    }

    #[test]
    fn every_brain_float_widens_as_the_half_crate_widens_it() {
        let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        let stored = Stored { element: Element::Bf16, shape: vec![1 << 16], bytes: Bytes::from(bytes) };
        let mut found = vec![0.0; 1 << 16];
        stored.widen_row(0, &mut found);
        for (bits, found) in (0..=u16::MAX).zip(found) {
            let expected = half::bf16::from_bits(bits).to_f64();
            assert!(
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan()),
                "{bits:04x}"
            );
        }
    }

    #[test]
    fn a_file_hands_over_its_tensors_as_they_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let tensors = vec![
            ("a", DType::F32, &[1, 2][..], [1.5_f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect()),
            ("b", DType::Bf16, &[2][..], vec![0x80, 0x3f, 0x00, 0xc0]),
            ("c", DType::F16, &[2][..], vec![0x00, 0x3c, 0x00, 0xc0]),
        ];
        let file = made_up::write_file(&folder.path().join("m.apr"), Metadata::default(), tensors);
        for (name, element, shape, expected) in [
            ("a", Element::F32, &[1, 2][..], [1.5, -2.0]),
            ("b", Element::Bf16, &[2], [1.0, -2.0]),
            ("c", Element::F16, &[2], [1.0, -2.0]),
        ] {
            let stored = find(&file, name, shape).unwrap();
            let mut row = [0.0; 2];
            stored.widen_row(0, &mut row);
            assert_eq!((stored.element, row), (element, expected), "{name}");
        }
        assert!(file.stored("d").is_none());
        let error = config_of(&file).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("`{}` has architecture ``, the reference implements qwen2", file.path().display())
        );
    }

    #[test]
    fn a_file_of_another_architecture_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.apr");
        let metadata = Metadata { architecture: Some("llama".to_owned()), ..Metadata::default() };
        made_up::write_file(&path, metadata, vec![made_up::vector("a", &[1], &[1.0])]);
        let Err(error) = open(&path) else { panic!("it is opened") };
        assert_eq!(
            error.to_string(),
            format!("`{}` has architecture `llama`, the reference implements qwen2", path.display())
        );
    }

    #[test]
    fn a_tensor_with_too_few_bytes_for_its_shape_is_refused() {
        struct Short;
        impl WeightSource for Short {
            fn stored(&self, _: &str) -> Option<Stored> {
                Some(Stored { element: Element::F32, shape: vec![2], bytes: Bytes::from_static(&[0; 7]) })
            }
        }
        let error = find(&Short, "w", &[2]).unwrap_err();
        assert_eq!(error.to_string(), "tensor `w`: expected shape [2], found [2]");
    }
}

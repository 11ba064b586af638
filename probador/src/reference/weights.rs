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
    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

impl Stored {
    /// Widens row `row` of `[n_rows, n_columns]`; every stored value is exact in float64.
    pub(super) fn widen_row(&self, row: usize, out: &mut [f64]) {
        let size = self.element.size();
        let bytes = &self.bytes[row * out.len() * size..][..out.len() * size];
        match self.element {
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
    let n_bytes = expected.iter().product::<usize>() * stored.element.size();
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

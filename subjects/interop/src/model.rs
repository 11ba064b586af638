//! A source, opened and understood: what the model is, and where each tensor's bytes lie. The same for every format.

use std::collections::BTreeMap;
use std::path::PathBuf;

use apr_format::{Metadata, ModelConfig};
use thiserror::Error;

use crate::architecture::{Architecture, EMBEDDING, layer_of};
use crate::encoding::Encoding;
use crate::input_file::InputFile;

/// A model in a source, its tensors checked against its config.
#[derive(Debug)]
pub(crate) struct Model {
    /// Config, template and names; tokenizer, hashes and provenance come when it is written.
    pub(crate) metadata: Metadata,
    /// `tokenizer.json` and the file it is from.
    pub(crate) tokenizer: Option<(PathBuf, Vec<u8>)>,
    /// The files tensors are in.
    pub(crate) files: Vec<InputFile>,
    /// The tensors, by checkpoint key.
    pub(crate) tensors: BTreeMap<String, SourceTensor>,
    /// What was decided on the user's behalf.
    pub(crate) notes: Vec<String>,
}

/// Where a tensor's bytes are and how they are stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SourceTensor {
    /// What the source calls it.
    pub(crate) source_name: String,
    /// Dimensions, outermost first.
    pub(crate) shape: Vec<usize>,
    /// How its elements are stored.
    pub(crate) encoding: Encoding,
    /// Which of [`Model::files`].
    pub(crate) file: usize,
    /// Where its bytes start in that file.
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) size: u64,
    /// How its rows are ordered.
    pub(crate) rows: RowOrder,
}

impl SourceTensor {
    /// Number of elements; cannot overflow, the parsers bounded it.
    pub(crate) fn n_elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Number of elements of a row; a vector's rows have one.
    pub(crate) fn row_elements(&self) -> usize {
        self.shape.get(1..).unwrap_or_default().iter().product()
    }
}

/// The order of a tensor's rows in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowOrder {
    /// As the checkpoint has them.
    AsIs,
    /// The two halves of each head of so many rows alternate: 0, n/2, 1, n/2 + 1, ...
    InterleavedHalves {
        /// Rows of one head.
        head_dim: usize,
    },
}

/// Why a well-formed file is not a model that can be imported.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ModelFault {
    /// An architecture that is not supported.
    #[error("its architecture is `{found}`; supported are {}", supported())]
    Architecture {
        /// What the source says.
        found: String,
    },
    /// `--arch` and the source disagree.
    #[error(
        "its architecture is `{found}`, not `{asked}`\nhint: leave out --arch; this source says what it is"
    )]
    OtherArchitecture {
        /// What the source says.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// `--arch` is needed.
    #[error(
        "it does not say what it is, and there is no config.json beside it\nhint: pass --arch qwen2, or import the directory that holds config.json"
    )]
    ArchitectureUnknown,
    /// Config values that are needed and stated nowhere.
    #[error("its config does not say {}{hint}", .keys.join(", "))]
    MissingConfig {
        /// The keys, as config.json spells them.
        keys: Vec<String>,
        /// A hint line, or nothing.
        hint: &'static str,
    },
    /// A config value no network can have.
    #[error("its config says `{key}` is {value}; {rule}")]
    ConfigValue {
        /// The key, as config.json spells it.
        key: &'static str,
        /// The value.
        value: String,
        /// What it must be.
        rule: &'static str,
    },
    /// Something the stack cannot compute.
    #[error("it uses {0}, which is not supported")]
    Unsupported(String),
    /// Metadata and tensors disagree on the depth.
    #[error("its config says {config} layers, its tensors make {tensors}")]
    Layers {
        /// By the config.
        config: usize,
        /// By the tensors' names.
        tensors: usize,
    },
    /// A tensor that must be there.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor that has no place in the network.
    #[error("tensor `{0}` has no place in this architecture")]
    UnexpectedTensor(String),
    /// A tensor whose shape is not what the config asks for.
    #[error("tensor `{name}` has shape {found:?}, its config asks for {expected:?}")]
    Shape {
        /// The tensor.
        name: String,
        /// As it is.
        found: Vec<usize>,
        /// As the config has it.
        expected: Vec<usize>,
    },
    /// Two names of the source mean one tensor.
    #[error("tensors `{first}` and `{second}` are the same tensor, `{name}`")]
    TensorTwice {
        /// The checkpoint key.
        name: String,
        /// One source name.
        first: String,
        /// The other.
        second: String,
    },
    /// Embedding and head cannot be one.
    #[error("--tie-embeddings: {0}")]
    Tie(String),
    /// Another file of the model (`tokenizer.json` and its like) cannot be used.
    #[error("{0}")]
    SideFile(String),
}

fn supported() -> String {
    Architecture::ALL.map(Architecture::name).join(", ")
}

/// The width of a head where the source does not state it: an even share of the residual stream.
pub(crate) fn even_head_dim(hidden_size: usize, num_heads: usize) -> Result<usize, ModelFault> {
    match hidden_size.checked_div(num_heads) {
        Some(head_dim) if head_dim * num_heads == hidden_size => Ok(head_dim),
        _ => Err(ModelFault::ConfigValue {
            key: "num_attention_heads",
            value: num_heads.to_string(),
            rule: "it must divide the hidden size, since no head_dim is stated",
        }),
    }
}

/// Refuses numbers that no network has, before anything is computed from them.
pub(crate) fn check_config(config: &ModelConfig) -> Result<(), ModelFault> {
    let sizes = [
        ("hidden_size", config.hidden_size),
        ("num_hidden_layers", config.num_layers),
        ("num_attention_heads", config.num_heads),
        ("num_key_value_heads", config.num_kv_heads),
        ("head_dim", config.head_dim),
        ("vocab_size", config.vocab_size),
        ("intermediate_size", config.intermediate_size),
        ("max_position_embeddings", config.max_position_embeddings),
    ];
    let refuse = |key, value: String, rule| Err(ModelFault::ConfigValue { key, value, rule });
    for (key, value) in sizes {
        if value == 0 || value > i32::MAX as usize {
            return refuse(key, value.to_string(), "it must be from 1 to 2147483647");
        }
    }
    if !config.num_heads.is_multiple_of(config.num_kv_heads) {
        return refuse(
            "num_key_value_heads",
            config.num_kv_heads.to_string(),
            "it must divide the number of attention heads",
        );
    }
    if !config.head_dim.is_multiple_of(2) {
        return refuse("head_dim", config.head_dim.to_string(), "rotary halves need an even one");
    }
    if !(config.rope_theta.is_finite() && config.rope_theta > 0.0) {
        return refuse("rope_theta", config.rope_theta.to_string(), "it must be a number above 0");
    }
    if !(config.rms_norm_eps > 0.0 && config.rms_norm_eps < 1.0) {
        return refuse("rms_norm_eps", config.rms_norm_eps.to_string(), "it must be between 0 and 1");
    }
    Ok(())
}

/// Checks that the tensors are those of the architecture, no more, no fewer, each in the shape the config asks for.
pub(crate) fn check_tensors(
    architecture: Architecture,
    config: &ModelConfig,
    tensors: &BTreeMap<String, SourceTensor>,
) -> Result<(), ModelFault> {
    // Depth first: the list below is as long as the config's depth says, and that number is not to be trusted yet.
    let n_layers = tensors.keys().filter_map(|name| layer_of(name)).max().map_or(0, |layer| layer + 1);
    if n_layers != config.num_layers {
        return Err(ModelFault::Layers { config: config.num_layers, tensors: n_layers });
    }
    // A layer has tensors of its own, so that there cannot be more layers than tensors.
    if n_layers > tensors.len() {
        let name = format!("model.layers.{}.input_layernorm.weight", n_layers / 2);
        return Err(ModelFault::MissingTensor(name));
    }
    let expected: BTreeMap<String, Vec<usize>> = architecture.tensors(config).into_iter().collect();
    for (name, shape) in &expected {
        let Some(tensor) = tensors.get(name) else {
            return Err(ModelFault::MissingTensor(name.clone()));
        };
        if tensor.shape != *shape {
            return Err(ModelFault::Shape {
                name: tensor.source_name.clone(),
                found: tensor.shape.clone(),
                expected: shape.clone(),
            });
        }
    }
    match tensors.iter().find(|(name, _)| !expected.contains_key(*name)) {
        Some((_, tensor)) => Err(ModelFault::UnexpectedTensor(tensor.source_name.clone())),
        None => Ok(()),
    }
}

/// Adds a tensor under its checkpoint key; refuses a second one.
pub(crate) fn insert(
    tensors: &mut BTreeMap<String, SourceTensor>,
    name: String,
    tensor: SourceTensor,
) -> Result<(), ModelFault> {
    if let Some(other) = tensors.get(&name) {
        let (first, second) = (other.source_name.clone(), tensor.source_name);
        return Err(ModelFault::TensorTwice { name, first, second });
    }
    tensors.insert(name, tensor);
    Ok(())
}

/// Rows of the embedding, which is what the vocabulary's size means.
pub(crate) fn embedding_rows(tensors: &BTreeMap<String, SourceTensor>) -> Result<usize, ModelFault> {
    match tensors.get(EMBEDDING).map(|tensor| tensor.shape.as_slice()) {
        Some([rows, _]) => Ok(*rows),
        Some(_) | None => Err(ModelFault::MissingTensor(EMBEDDING.to_owned())),
    }
}

//! The trained parameters: matrices stay in the mapped file, vectors are widened to f32.

use std::collections::BTreeSet;

use apr_format::AprFile;
use apr_tensor::{Packing, Tensor};

use crate::{Config, LoadError};

/// Every parameter of a model, under its checkpoint key.
pub(crate) struct Weights {
    /// `model.embed_tokens.weight`, `[vocab_size, hidden_size]`.
    pub(crate) embed_tokens: Tensor,
    /// `model.layers.N`.
    pub(crate) layers: Vec<LayerWeights>,
    /// `model.norm.weight`, `[hidden_size]`.
    pub(crate) norm: Vec<f32>,
    /// `lm_head.weight`, `[vocab_size, hidden_size]`; the embedding when tied.
    pub(crate) lm_head: Tensor,
}

/// The parameters of one layer.
pub(crate) struct LayerWeights {
    /// `[hidden_size]`.
    pub(crate) input_layernorm: Vec<f32>,
    /// `[num_heads * head_dim, hidden_size]`.
    pub(crate) q_proj: Linear,
    /// `[num_kv_heads * head_dim, hidden_size]`.
    pub(crate) k_proj: Linear,
    /// `[num_kv_heads * head_dim, hidden_size]`.
    pub(crate) v_proj: Linear,
    /// `[hidden_size, num_heads * head_dim]`.
    pub(crate) o_proj: Linear,
    /// `[hidden_size]`.
    pub(crate) post_attention_layernorm: Vec<f32>,
    /// `[intermediate_size, hidden_size]`.
    pub(crate) gate_proj: Linear,
    /// `[intermediate_size, hidden_size]`.
    pub(crate) up_proj: Linear,
    /// `[hidden_size, intermediate_size]`.
    pub(crate) down_proj: Linear,
}

/// A matrix `[n_out, n_in]` and perhaps a bias `[n_out]`.
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Vec<f32>>,
}

impl Weights {
    /// Takes every tensor of `file`, checking that it has the shape `config` gives it and that none is left over.
    pub(crate) fn from_file(file: &AprFile, config: &Config) -> Result<Self, LoadError> {
        let mut reader = Reader { file, taken: BTreeSet::new() };
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let embed_tokens = reader.tensor("model.embed_tokens.weight", &[vocab, hidden])?;
        let layers = (0..config.num_layers)
            .map(|layer| LayerWeights::read(&mut reader, config, layer))
            .collect::<Result<_, _>>()?;
        let norm = reader.vector("model.norm.weight", hidden)?;
        let lm_head = if config.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            reader.tensor("lm_head.weight", &[vocab, hidden])?
        };
        reader.check_all_taken()?;
        let weights = Self { embed_tokens, layers, norm, lm_head };
        let n_packed = weights.matrices().filter(|linear| is_packed(linear)).count();
        if n_packed != 0 && n_packed != weights.matrices().count() {
            return Err(LoadError::Config {
                path: file.path().to_owned(),
                what: "some matrices of its layers are packed and others are not".to_owned(),
            });
        }
        let differ = |layer: &LayerWeights| layer.gate_proj.weight.dtype() != layer.up_proj.weight.dtype();
        if let Some(layer) = weights.layers.iter().position(differ) {
            return Err(LoadError::Config {
                path: file.path().to_owned(),
                what: format!("gate_proj and up_proj of layer {layer} have different dtypes"),
            });
        }
        Ok(weights)
    }

    /// Whether the matrices of the layers are packed; otherwise none is.
    pub(crate) fn are_packed(&self) -> bool {
        self.matrices().next().is_some_and(is_packed)
    }

    /// Every matrix of every layer.
    fn matrices(&self) -> impl Iterator<Item = &Linear> {
        self.layers.iter().flat_map(|layer| {
            [
                &layer.q_proj,
                &layer.k_proj,
                &layer.v_proj,
                &layer.o_proj,
                &layer.gate_proj,
                &layer.up_proj,
                &layer.down_proj,
            ]
        })
    }
}

fn is_packed(linear: &Linear) -> bool {
    Packing::of(linear.weight.dtype()).is_some()
}

impl LayerWeights {
    fn read(reader: &mut Reader<'_>, config: &Config, layer: usize) -> Result<Self, LoadError> {
        let key = |suffix: &str| format!("model.layers.{layer}.{suffix}");
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (query, kv, bias) = (config.query_width(), config.kv_width(), config.attention_bias);
        Ok(Self {
            input_layernorm: reader.vector(&key("input_layernorm.weight"), hidden)?,
            q_proj: reader.linear(&key("self_attn.q_proj"), query, hidden, bias)?,
            k_proj: reader.linear(&key("self_attn.k_proj"), kv, hidden, bias)?,
            v_proj: reader.linear(&key("self_attn.v_proj"), kv, hidden, bias)?,
            o_proj: reader.linear(&key("self_attn.o_proj"), hidden, query, false)?,
            post_attention_layernorm: reader.vector(&key("post_attention_layernorm.weight"), hidden)?,
            gate_proj: reader.linear(&key("mlp.gate_proj"), intermediate, hidden, false)?,
            up_proj: reader.linear(&key("mlp.up_proj"), intermediate, hidden, false)?,
            down_proj: reader.linear(&key("mlp.down_proj"), hidden, intermediate, false)?,
        })
    }
}

/// Hands out tensors of a file and remembers which.
struct Reader<'a> {
    file: &'a AprFile,
    taken: BTreeSet<String>,
}

impl Reader<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, LoadError> {
        let path = || self.file.path().to_owned();
        let tensor = self
            .file
            .tensor(name)
            .ok_or_else(|| LoadError::MissingTensor { path: path(), name: name.to_owned() })?;
        if tensor.shape() != shape {
            return Err(LoadError::Shape {
                path: path(),
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: tensor.shape().to_vec(),
            });
        }
        self.taken.insert(name.to_owned());
        Ok(tensor)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, LoadError> {
        Ok(self.tensor(name, &[len])?.to_f32())
    }

    fn linear(&mut self, key: &str, n_out: usize, n_in: usize, bias: bool) -> Result<Linear, LoadError> {
        let weight = self.tensor(&format!("{key}.weight"), &[n_out, n_in])?;
        let bias = if bias { Some(self.vector(&format!("{key}.bias"), n_out)?) } else { None };
        Ok(Linear { weight, bias })
    }

    /// A tensor that is there but unused would make the model another than its file says.
    fn check_all_taken(&self) -> Result<(), LoadError> {
        match self.file.entries().iter().find(|entry| !self.taken.contains(&entry.name)) {
            Some(entry) => {
                Err(LoadError::UnknownTensor { path: self.file.path().to_owned(), name: entry.name.clone() })
            }
            None => Ok(()),
        }
    }
}

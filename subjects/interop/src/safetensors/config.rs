//! `config.json`, or what a lone file's tensor shapes tell, as a model config.

use std::collections::BTreeMap;

use apr_format::ModelConfig;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::architecture::{Architecture, EMBEDDING, HEAD, layer_of};
use crate::model::{self, ModelFault, SourceTensor};

/// The keys of `config.json` that say what the network computes. A key given twice is an error; others are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct HfConfig {
    pub(super) model_type: Option<String>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    vocab_size: Option<usize>,
    intermediate_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    rope_theta: Option<f64>,
    rope_parameters: Option<RopeParameters>,
    rope_scaling: Option<RopeParameters>,
    rms_norm_eps: Option<f64>,
    pub(super) tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    hidden_act: Option<String>,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    layer_types: Option<Vec<String>>,
    partial_rotary_factor: Option<f64>,
    quantization_config: Option<Json>,
    pub(super) bos_token_id: Option<Json>,
    pub(super) eos_token_id: Option<Json>,
    pub(super) pad_token_id: Option<Json>,
}

/// `rope_parameters` of transformers 5, `rope_scaling` of those before it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RopeParameters {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

impl HfConfig {
    /// The model config, or everything that is missing for it. `has_head` is whether the tensors include a head,
    /// which decides about tying where the config does not.
    pub(super) fn to_model_config(
        &self,
        architecture: Architecture,
        has_head: bool,
    ) -> Result<ModelConfig, ModelFault> {
        self.refuse_unsupported(architecture)?;
        let rope_theta = self.rope_theta.or_else(|| self.rope_parameters.as_ref()?.rope_theta);
        let needed = [
            ("hidden_size", self.hidden_size.is_none()),
            ("num_hidden_layers", self.num_hidden_layers.is_none()),
            ("num_attention_heads", self.num_attention_heads.is_none()),
            ("vocab_size", self.vocab_size.is_none()),
            ("intermediate_size", self.intermediate_size.is_none()),
            ("max_position_embeddings", self.max_position_embeddings.is_none()),
            ("rope_theta", rope_theta.is_none()),
            ("rms_norm_eps", self.rms_norm_eps.is_none()),
        ];
        let keys: Vec<String> =
            needed.iter().filter(|(_, missing)| *missing).map(|(key, _)| (*key).to_owned()).collect();
        if !keys.is_empty() {
            return Err(ModelFault::MissingConfig { keys, hint: "" });
        }
        let hidden_size = self.hidden_size.unwrap_or_default();
        let num_heads = self.num_attention_heads.unwrap_or_default();
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None => model::even_head_dim(hidden_size, num_heads)?,
        };
        Ok(ModelConfig {
            hidden_size,
            num_layers: self.num_hidden_layers.unwrap_or_default(),
            num_heads,
            num_kv_heads: self.num_key_value_heads.unwrap_or(num_heads),
            vocab_size: self.vocab_size.unwrap_or_default(),
            intermediate_size: self.intermediate_size.unwrap_or_default(),
            max_position_embeddings: self.max_position_embeddings.unwrap_or_default(),
            rope_theta: rope_theta.unwrap_or_default(),
            rms_norm_eps: self.rms_norm_eps.unwrap_or_default(),
            head_dim,
            tie_word_embeddings: self.tie_word_embeddings.unwrap_or(!has_head),
            // Qwen2's code has the bias whatever the config says; the others have it when the config says so.
            attention_bias: architecture == Architecture::Qwen2 || self.attention_bias == Some(true),
            rope_type: 2,
        })
    }

    /// Refuses what would change the computation in a way that the model config cannot express.
    fn refuse_unsupported(&self, architecture: Architecture) -> Result<(), ModelFault> {
        let unsupported = |what: String| Err(ModelFault::Unsupported(what));
        if let Some(activation) = self.hidden_act.as_deref().filter(|&activation| activation != "silu") {
            return unsupported(format!("the activation `{activation}`"));
        }
        if self.mlp_bias == Some(true) {
            return unsupported("a bias in the MLP".to_owned());
        }
        if architecture == Architecture::Qwen2 && self.attention_bias == Some(false) {
            return unsupported("qwen2 without query, key and value biases".to_owned());
        }
        for rope in [&self.rope_parameters, &self.rope_scaling].into_iter().flatten() {
            if let Some(kind) = rope.rope_type.as_deref().filter(|&kind| kind != "default") {
                return unsupported(format!("rotary scaling `{kind}`"));
            }
        }
        if self.partial_rotary_factor.is_some_and(|factor| (factor - 1.0).abs() > f64::EPSILON) {
            return unsupported("rotary position on part of the dimensions".to_owned());
        }
        let window = self.sliding_window.filter(|_| self.use_sliding_window != Some(false));
        let context = self.max_position_embeddings.unwrap_or(usize::MAX);
        // Qwen2 states a window that its `use_sliding_window` turns off, and has it off when the key is absent.
        let uses_window = match architecture {
            Architecture::Qwen2 => self.use_sliding_window == Some(true),
            Architecture::Llama | Architecture::Mistral => true,
        };
        if let Some(window) = window.filter(|&window| uses_window && window < context) {
            return unsupported(format!("a sliding window of {window} positions"));
        }
        let other_layers = self.layer_types.iter().flatten().find(|kind| *kind != "full_attention");
        if let Some(kind) = other_layers {
            return unsupported(format!("layers of type `{kind}`"));
        }
        if self.quantization_config.as_ref().is_some_and(|config| !config.is_null()) {
            return unsupported("weights quantized by `quantization_config`".to_owned());
        }
        Ok(())
    }
}

/// Qwen2's published models by hidden size, and the width of their heads. Shapes alone do not tell it: 14 heads of 64
/// and 7 of 128 make the same matrices.
const QWEN2_HEAD_DIMS: [(usize, usize); 6] =
    [(896, 64), (1536, 128), (2048, 128), (3584, 128), (5120, 128), (8192, 128)];

/// The config of a lone file, from `--arch` and the shapes of its tensors, and a note on what had to be assumed.
pub(super) fn from_shapes(
    architecture: Architecture,
    tensors: &BTreeMap<String, SourceTensor>,
) -> Result<(ModelConfig, String), ModelFault> {
    let rows_and_columns = |name: &str| match tensors.get(name).map(|tensor| tensor.shape.as_slice()) {
        Some(&[rows, columns]) => Ok((rows, columns)),
        _ => Err(ModelFault::MissingTensor(name.to_owned())),
    };
    let (vocab_size, hidden_size) = rows_and_columns(EMBEDDING)?;
    let (queries, _) = rows_and_columns("model.layers.0.self_attn.q_proj.weight")?;
    let (keys, _) = rows_and_columns("model.layers.0.self_attn.k_proj.weight")?;
    let (intermediate_size, _) = rows_and_columns("model.layers.0.mlp.gate_proj.weight")?;
    let known = QWEN2_HEAD_DIMS.iter().find(|(hidden, _)| *hidden == hidden_size);
    let Some(&(_, head_dim)) = known.filter(|_| architecture == Architecture::Qwen2) else {
        let keys = ["num_attention_heads", "max_position_embeddings", "rope_theta", "rms_norm_eps"];
        return Err(ModelFault::MissingConfig {
            keys: keys.map(str::to_owned).to_vec(),
            hint: "\nhint: put the model's config.json beside the file; tensor shapes do not tell these",
        });
    };
    let config = ModelConfig {
        hidden_size,
        num_layers: tensors.keys().filter_map(|name| layer_of(name)).max().map_or(0, |layer| layer + 1),
        num_heads: queries / head_dim,
        num_kv_heads: keys / head_dim,
        vocab_size,
        intermediate_size,
        max_position_embeddings: 32_768,
        rope_theta: 1_000_000.0,
        rms_norm_eps: 1e-6,
        head_dim,
        tie_word_embeddings: !tensors.contains_key(HEAD),
        attention_bias: true,
        rope_type: 2,
    };
    let note = format!(
        "no config.json: dimensions come from tensor shapes; head_dim {head_dim}, rope_theta 1000000, rms_norm_eps 1e-6 \
         and max_position_embeddings 32768 are those of the published Qwen2 models of hidden size {hidden_size}"
    );
    Ok((config, note))
}

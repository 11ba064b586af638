//! The JSON metadata: what the model is, where it came from, its tokenizer, and the hashes that seal it.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::error::Fault;
use crate::hash;
use crate::json;
use crate::tokenizer::EmbeddedTokenizer;

/// Everything the metadata section says.
///
/// A key that is absent, null or empty in the file is `None` or the default here. Keys this crate has no field for
/// are kept in `extra` and written back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// What kind of model, as `config.json` has it: `qwen2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_type: Option<String>,
    /// Architecture family, which picks the code that runs it: `qwen2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Licence identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Where it was imported from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `gguf` or `safetensors`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_format: Option<String>,
    /// Bytes of all tensors without padding; set by the writer.
    pub total_size: u64,
    /// Elements of all tensors; set by the writer.
    pub param_count: u64,
    /// Dimensions of the network; its keys stand beside the others.
    #[serde(flatten)]
    pub config: ModelConfig,
    /// The tokenizer, compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<EmbeddedTokenizer>,
    /// The chat template, in Jinja.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// `generation_config.json`; `eos_token_id` holds every end-of-text id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation_config: Option<Value>,
    /// Text of the special tokens by role: `bos_token`, `eos_token`, `pad_token`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "without_nulls")]
    pub special_tokens: BTreeMap<String, String>,
    /// Where the tensors came from, file by file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// BLAKE3 of each tensor's bytes, by name; filled by the writer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tensor_hashes: BTreeMap<String, String>,
    /// BLAKE3 over header, metadata and index with this field and `signature` as zeros; filled by the writer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_hash: Option<String>,
    /// Public key and Ed25519 signature in hex, zeros while unsigned; see [`crate::sign`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Every other key.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// Dimensions of the network. Zero means that the file does not say; see [`ModelConfig::missing`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Transformer layers; also read as `num_hidden_layers`.
    pub num_layers: usize,
    /// Query heads; also read as `num_attention_heads`.
    pub num_heads: usize,
    /// Key and value heads; also read as `num_key_value_heads`; as many as query heads when the file does not say.
    pub num_kv_heads: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Width of a head; `hidden_size / num_heads` when the file does not say.
    pub head_dim: usize,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// Whether query, key and value projections have a bias.
    pub attention_bias: bool,
    /// 2: rotary halves (NEOX); 0: adjacent pairs.
    pub rope_type: u32,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            hidden_size: 0,
            num_layers: 0,
            num_heads: 0,
            num_kv_heads: 0,
            vocab_size: 0,
            intermediate_size: 0,
            max_position_embeddings: 0,
            rope_theta: 0.0,
            rms_norm_eps: 0.0,
            head_dim: 0,
            tie_word_embeddings: false,
            attention_bias: false,
            rope_type: 2,
        }
    }
}

impl ModelConfig {
    /// Keys that a transformer needs and this config does not state.
    pub fn missing(&self) -> Vec<&'static str> {
        let keys = [
            ("hidden_size", self.hidden_size == 0),
            ("num_layers", self.num_layers == 0),
            ("num_heads", self.num_heads == 0),
            ("num_kv_heads", self.num_kv_heads == 0),
            ("vocab_size", self.vocab_size == 0),
            ("intermediate_size", self.intermediate_size == 0),
            ("max_position_embeddings", self.max_position_embeddings == 0),
            ("rope_theta", self.rope_theta <= 0.0),
            ("rms_norm_eps", self.rms_norm_eps <= 0.0),
            ("head_dim", self.head_dim == 0),
        ];
        keys.into_iter().filter(|(_, missing)| *missing).map(|(key, _)| key).collect()
    }

    /// Fills in what follows from the rest.
    fn complete(&mut self) {
        if self.num_kv_heads == 0 {
            self.num_kv_heads = self.num_heads;
        }
        if self.head_dim == 0 && self.num_heads != 0 {
            self.head_dim = self.hidden_size / self.num_heads;
        }
    }
}

/// Where a model came from. No time stamps: the same source gives the same file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provenance {
    /// Repository on the hub: `Qwen/Qwen2-0.5B-Instruct`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Commit of that repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files that were read.
    pub files: Vec<SourceFile>,
    /// What wrote this file: `apr import`.
    pub tool: String,
    /// Its version.
    pub tool_version: String,
    /// What was done beside copying: `tied embeddings to output.weight`, `dequantized to F16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transformations: Vec<String>,
}

/// One file a model was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceFile {
    /// Its name, without directories.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// Canonical keys and the other spelling each is read under.
const ALIASES: [(&str, &str); 3] = [
    ("num_layers", "num_hidden_layers"),
    ("num_heads", "num_attention_heads"),
    ("num_kv_heads", "num_key_value_heads"),
];

const ROOT_HASH: &str = "root_hash";
const SIGNATURE: &str = "signature";

/// Where the digits of the sealing fields stand in the metadata text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slots {
    /// 64 hex digits.
    pub(crate) root_hash: Option<Range<usize>>,
    /// 192 hex digits.
    pub(crate) signature: Option<Range<usize>>,
}

impl Metadata {
    /// The metadata section: the fields in the order of the struct, then `extra` by key.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut sorted = self.clone();
        sorted.extra.values_mut().for_each(Value::sort_all_objects);
        if let Some(generation_config) = &mut sorted.generation_config {
            generation_config.sort_all_objects();
        }
        serde_json::to_vec(&sorted)
    }

    /// The form it has after being written and read.
    pub(crate) fn normalise(&mut self) {
        self.config.complete();
        self.extra.retain(|_, value| !value.is_null());
        self.generation_config = self.generation_config.take().filter(|value| !value.is_null());
    }

    /// Embeds `tokenizer.json`, compressed. The bytes come back unchanged.
    pub fn with_tokenizer_json(&mut self, json: &[u8]) -> &mut Self {
        self.tokenizer = Some(EmbeddedTokenizer::new(json));
        self
    }
}

/// Parses the metadata section and finds its sealing fields.
pub(crate) fn parse(text: &[u8]) -> Result<(Metadata, Slots), Fault> {
    let mut object = json::parse_object(text, &[ROOT_HASH, SIGNATURE])?;
    for (key, alias) in ALIASES {
        if let Some(value) = object.values.remove(alias)
            && object.values.insert(key.to_owned(), value).is_some()
        {
            return Err(Fault::AliasTwice { key, alias });
        }
    }
    object.values.retain(|_, value| !value.is_null());
    let values = Value::Object(object.values.into_iter().collect());
    let mut metadata: Metadata =
        serde_json::from_value(values).map_err(|error| Fault::Metadata(error.to_string()))?;
    metadata.config.complete();
    check_config(&metadata.config)?;
    for (name, hash) in &metadata.tensor_hashes {
        if !hash::is_hex(hash, hash::HASH_DIGITS) {
            return Err(Fault::TensorHashes(format!("`{hash}` of `{name}` is not a BLAKE3 hash in hex")));
        }
    }
    let slot = |key: &str, value: Option<&String>, n_digits: usize| match (object.spans.get(key), value) {
        (Some(span), Some(digits)) if hash::is_hex(digits, n_digits) && span.len() == n_digits + 2 => {
            Ok(Some(span.start + 1..span.end - 1))
        }
        (Some(_), Some(_)) => {
            Err(Fault::Metadata(format!("`{key}` is not {n_digits} lower-case hex digits")))
        }
        _ => Ok(None),
    };
    let slots = Slots {
        root_hash: slot(ROOT_HASH, metadata.root_hash.as_ref(), hash::HASH_DIGITS)?,
        signature: slot(SIGNATURE, metadata.signature.as_ref(), hash::SIGNATURE_DIGITS)?,
    };
    if slots.signature.is_some() && slots.root_hash.is_none() {
        return Err(Fault::Metadata("it has a `signature` and no `root_hash`".to_owned()));
    }
    if metadata.signature.as_deref().is_some_and(hash::is_zeros) {
        metadata.signature = None;
    }
    Ok((metadata, slots))
}

/// Refuses numbers that no network has, so that whoever multiplies them later does not overflow.
fn check_config(config: &ModelConfig) -> Result<(), Fault> {
    let sizes = [
        ("hidden_size", config.hidden_size),
        ("num_layers", config.num_layers),
        ("num_heads", config.num_heads),
        ("num_kv_heads", config.num_kv_heads),
        ("vocab_size", config.vocab_size),
        ("intermediate_size", config.intermediate_size),
        ("max_position_embeddings", config.max_position_embeddings),
        ("head_dim", config.head_dim),
    ];
    for (key, value) in sizes {
        if value > i32::MAX as usize {
            return Err(Fault::Metadata(format!("`{key}` is {value}, the limit is {}", i32::MAX)));
        }
    }
    for (key, value) in [("rope_theta", config.rope_theta), ("rms_norm_eps", config.rms_norm_eps)] {
        if !value.is_finite() || value < 0.0 {
            return Err(Fault::Metadata(format!("`{key}` is {value}")));
        }
    }
    Ok(())
}

fn without_nulls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map = BTreeMap::<String, Option<String>>::deserialize(deserializer)?;
    Ok(map.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
}

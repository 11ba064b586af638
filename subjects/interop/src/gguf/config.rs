//! GGUF metadata as a model config.

use apr_format::ModelConfig;

use super::{Gguf, GgufError};
use crate::architecture::Architecture;
use crate::model::{self, ModelFault};

/// What can go wrong while metadata is read as a config.
pub(super) enum Fault {
    /// A key of the wrong type.
    Gguf(GgufError),
    /// A model that cannot be imported.
    Model(ModelFault),
}

impl From<GgufError> for Fault {
    fn from(fault: GgufError) -> Self {
        Self::Gguf(fault)
    }
}

impl From<ModelFault> for Fault {
    fn from(fault: ModelFault) -> Self {
        Self::Model(fault)
    }
}

/// The architecture that `general.architecture` names.
pub(super) fn architecture(gguf: &Gguf<'_>) -> Result<Architecture, Fault> {
    let key = "general.architecture";
    let name = gguf.string(key)?.ok_or_else(|| GgufError::MissingKey(key.to_owned()))?;
    Architecture::from_name(name)
        .ok_or_else(|| ModelFault::Architecture { found: name.chars().take(64).collect() }.into())
}

/// The config, as far as metadata states it. The embedding's rows are the vocabulary; whether there is a head, and
/// whether there are biases, the tensors say.
pub(super) fn config(
    gguf: &Gguf<'_>,
    architecture: Architecture,
    vocab_size: usize,
) -> Result<ModelConfig, Fault> {
    let prefix = architecture.name();
    let integer = |key: &str| gguf.integer(&format!("{prefix}.{key}"));
    let required = |key: &str| integer(key)?.ok_or_else(|| GgufError::MissingKey(format!("{prefix}.{key}")));

    let hidden_size = required("embedding_length")?;
    let num_heads = required("attention.head_count")?;
    let head_dim = match integer("attention.key_length")? {
        Some(head_dim) => head_dim,
        None => model::even_head_dim(hidden_size, num_heads)?,
    };
    refuse_unsupported(gguf, prefix, head_dim)?;
    if let Some(stated) = integer("vocab_size")?
        && stated != vocab_size
    {
        let rule = "it must be the number of rows of `token_embd.weight`";
        return Err(ModelFault::ConfigValue { key: "vocab_size", value: stated.to_string(), rule }.into());
    }
    let epsilon = format!("{prefix}.attention.layer_norm_rms_epsilon");
    Ok(ModelConfig {
        hidden_size,
        num_layers: required("block_count")?,
        num_heads,
        num_kv_heads: integer("attention.head_count_kv")?.unwrap_or(num_heads),
        vocab_size,
        intermediate_size: required("feed_forward_length")?,
        max_position_embeddings: required("context_length")?,
        // What ggml assumes when a file does not say.
        rope_theta: gguf.float(&format!("{prefix}.rope.freq_base"))?.unwrap_or(10_000.0),
        rms_norm_eps: gguf.float(&epsilon)?.ok_or(GgufError::MissingKey(epsilon))?,
        head_dim,
        tie_word_embeddings: false,
        attention_bias: false,
        rope_type: 2,
    })
}

/// Refuses what would change the computation in a way that the config cannot express.
fn refuse_unsupported(gguf: &Gguf<'_>, prefix: &str, head_dim: usize) -> Result<(), Fault> {
    let unsupported = |what: String| Err(ModelFault::Unsupported(what).into());
    if let Some(rotated) = gguf.integer(&format!("{prefix}.rope.dimension_count"))?
        && rotated != head_dim
    {
        return unsupported(format!("rotary position on {rotated} of {head_dim} dimensions"));
    }
    if let Some(width) = gguf.integer(&format!("{prefix}.attention.value_length"))?
        && width != head_dim
    {
        return unsupported(format!("values of {width} dimensions with keys of {head_dim}"));
    }
    if let Some(kind) = gguf.string(&format!("{prefix}.rope.scaling.type"))?
        && kind != "none"
    {
        return unsupported(format!("rotary scaling `{kind}`"));
    }
    for key in ["rope.scaling.factor", "rope.scale_linear"] {
        if let Some(factor) = gguf.float(&format!("{prefix}.{key}"))?
            && factor != 0.0
            && (factor - 1.0).abs() > f64::EPSILON
        {
            return unsupported(format!("rotary scaling by {factor}"));
        }
    }
    if let Some(experts) = gguf.integer(&format!("{prefix}.expert_count"))?
        && experts > 0
    {
        return unsupported(format!("a mixture of {experts} experts"));
    }
    if let Some(window) = gguf.integer(&format!("{prefix}.attention.sliding_window"))?
        && window > 0
    {
        return unsupported(format!("a sliding window of {window} positions"));
    }
    Ok(())
}

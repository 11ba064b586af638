//! Looking inside a forward pass: every named tensor, under its checkpoint key.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// Sees tensors while a forward pass computes them.
pub trait Probe {
    /// Whether the tensor at `key` is worth handing over; a model may skip computing what nobody wants.
    fn wants(&self, key: TensorKey) -> bool;

    /// One tensor of this call: `shape` is row-major, its first dimension the call's positions, except for
    /// [`Site::Scores`]: `[n_heads, n_pairs]`, the lower triangle, for each query position `p` of the call the scores
    /// of keys `0..=p`.
    fn record(&mut self, key: TensorKey, shape: &[usize], values: &[f32]);
}

/// The name of a tensor of the forward pass: a checkpoint key such as `model.layers.3.self_attn.q_proj`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TensorKey {
    /// `model.embed_tokens`: the embedded tokens, `[n_positions, hidden_size]`.
    Embedding,
    /// A tensor inside a layer.
    Layer(usize, Site),
    /// `model.norm`: the final norm's output, `[n_positions, hidden_size]`.
    Norm,
    /// `logits`, `[n_rows, vocab_size]`.
    Logits,
}

/// Where in a layer a tensor is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Output of the attention's RMSNorm.
    InputLayernorm,
    /// Queries with bias, before rotation, `[n_positions, n_heads * head_dim]`.
    QProj,
    /// Keys with bias, before rotation, `[n_positions, n_kv_heads * head_dim]`.
    KProj,
    /// Values with bias, `[n_positions, n_kv_heads * head_dim]`.
    VProj,
    /// `Q K^T / sqrt(head_dim)` after rotation, before softmax; the lower triangle.
    Scores,
    /// Output of the attention block, before the residual is added.
    OProj,
    /// Output of the MLP's RMSNorm.
    PostAttentionLayernorm,
    /// Gate, before SiLU, `[n_positions, intermediate_size]`.
    GateProj,
    /// Up projection, `[n_positions, intermediate_size]`.
    UpProj,
    /// Output of the MLP, before the residual is added.
    DownProj,
    /// The layer's output, residuals added, `[n_positions, hidden_size]`.
    Output,
}

impl Site {
    /// Every site, in the order a forward pass reaches them.
    pub const ALL: [Self; 11] = [
        Self::InputLayernorm,
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::Scores,
        Self::OProj,
        Self::PostAttentionLayernorm,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
        Self::Output,
    ];

    /// What follows `model.layers.N` in the key; empty for the layer's output.
    const fn suffix(self) -> &'static str {
        match self {
            Self::InputLayernorm => ".input_layernorm",
            Self::QProj => ".self_attn.q_proj",
            Self::KProj => ".self_attn.k_proj",
            Self::VProj => ".self_attn.v_proj",
            Self::Scores => ".self_attn.scores",
            Self::OProj => ".self_attn.o_proj",
            Self::PostAttentionLayernorm => ".post_attention_layernorm",
            Self::GateProj => ".mlp.gate_proj",
            Self::UpProj => ".mlp.up_proj",
            Self::DownProj => ".mlp.down_proj",
            Self::Output => "",
        }
    }
}

impl fmt::Display for TensorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedding => f.write_str("model.embed_tokens"),
            Self::Layer(layer, site) => write!(f, "model.layers.{layer}{}", site.suffix()),
            Self::Norm => f.write_str("model.norm"),
            Self::Logits => f.write_str("logits"),
        }
    }
}

/// A string that is not a [`TensorKey`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a checkpoint key such as `model.layers.3.self_attn.q_proj`")]
pub struct UnknownTensorKey(pub String);

impl FromStr for TensorKey {
    type Err = UnknownTensorKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownTensorKey(text.to_owned());
        match text {
            "model.embed_tokens" => return Ok(Self::Embedding),
            "model.norm" => return Ok(Self::Norm),
            "logits" => return Ok(Self::Logits),
            _ => {}
        }
        let rest = text.strip_prefix("model.layers.").ok_or_else(unknown)?;
        let n_digits = rest.find('.').unwrap_or(rest.len());
        let layer = rest[..n_digits].parse().map_err(|_| unknown())?;
        let site =
            Site::ALL.into_iter().find(|site| site.suffix() == &rest[n_digits..]).ok_or_else(unknown)?;
        Ok(Self::Layer(layer, site))
    }
}

/// One recorded tensor; calls append rows to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// Row-major dimensions; see [`Probe::record`].
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// A probe that keeps the tensors it is asked to keep.
pub struct Recorder<F: Fn(TensorKey) -> bool> {
    wanted: F,
    tensors: BTreeMap<TensorKey, Trace>,
}

impl<F: Fn(TensorKey) -> bool> Recorder<F> {
    /// Keeps the tensors for which `wanted` is true.
    pub fn new(wanted: F) -> Self {
        Self { wanted, tensors: BTreeMap::new() }
    }

    /// What was recorded, by key.
    pub fn into_tensors(self) -> BTreeMap<TensorKey, Trace> {
        self.tensors
    }
}

impl<F: Fn(TensorKey) -> bool> Probe for Recorder<F> {
    fn wants(&self, key: TensorKey) -> bool {
        (self.wanted)(key)
    }

    fn record(&mut self, key: TensorKey, shape: &[usize], values: &[f32]) {
        let trace = self.tensors.entry(key).or_default();
        if trace.shape.is_empty() {
            trace.shape = shape.to_vec();
            trace.values = values.to_vec();
        } else if matches!(key, TensorKey::Layer(_, Site::Scores)) {
            append_columns(trace, shape, values);
        } else {
            trace.shape[0] += shape[0];
            trace.values.extend_from_slice(values);
        }
    }
}

/// Appends `[n_heads, n_pairs]` to the right of what `trace` holds.
fn append_columns(trace: &mut Trace, shape: &[usize], values: &[f32]) {
    let [n_heads, n_new] = shape else { return };
    let n_old = trace.shape[1];
    let mut joined = Vec::with_capacity(trace.values.len() + values.len());
    for head in 0..*n_heads {
        joined.extend_from_slice(&trace.values[head * n_old..][..n_old]);
        joined.extend_from_slice(&values[head * n_new..][..*n_new]);
    }
    trace.shape[1] = n_old + n_new;
    trace.values = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written_and_read() {
        let mut keys = vec![TensorKey::Embedding, TensorKey::Norm, TensorKey::Logits];
        keys.extend(Site::ALL.map(|site| TensorKey::Layer(12, site)));
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for text in ["", "model", "model.layers.", "model.layers.x", "model.layers.1.mlp", "logits.0"] {
            assert_eq!(text.parse::<TensorKey>(), Err(UnknownTensorKey(text.to_owned())));
        }
    }

    #[test]
    fn scores_of_later_positions_are_appended_to_each_head() {
        let key = TensorKey::Layer(0, Site::Scores);
        let mut recorder = Recorder::new(|_| true);
        recorder.record(key, &[2, 1], &[1.0, 10.0]);
        recorder.record(key, &[2, 2], &[2.0, 3.0, 20.0, 30.0]);
        let trace = &recorder.into_tensors()[&key];
        assert_eq!(trace.shape, [2, 3]);
        assert_eq!(trace.values, [1.0, 2.0, 3.0, 10.0, 20.0, 30.0]);
    }
}

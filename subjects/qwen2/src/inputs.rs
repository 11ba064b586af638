//! What the matrices of a layer are multiplied with, and layers whose matrices are replaced: for quantization, which goes
//! through a model layer by layer.

use std::sync::Arc;

use apr_generation::{CausalLm, Layered, ModelError, Recorder, Site, TensorKey};
use apr_tensor::Tensor;
use apr_tokenizer::TokenId;

use crate::Qwen2;
use crate::model::BLOCK;
use crate::sequence::Sequence;

/// A matrix of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Matrix {
    /// `self_attn.q_proj`
    QProj,
    /// `self_attn.k_proj`
    KProj,
    /// `self_attn.v_proj`
    VProj,
    /// `self_attn.o_proj`
    OProj,
    /// `mlp.gate_proj`
    GateProj,
    /// `mlp.up_proj`
    UpProj,
    /// `mlp.down_proj`
    DownProj,
}

/// The inputs of a layer's matrices, `[n_positions, n_in]` each.
#[derive(Clone, Copy)]
pub struct LayerInputs<'a> {
    /// Of query, key and value.
    pub attention: &'a [f32],
    /// Of the attention's output projection.
    pub output: &'a [f32],
    /// Of gate and up.
    pub mlp: &'a [f32],
    /// Of down.
    pub down: &'a [f32],
}

impl Matrix {
    /// Every matrix, in the order a pass reaches them.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// The checkpoint's key of this matrix in `layer`.
    pub fn key(self, layer: usize) -> String {
        let name = match self {
            Self::QProj => "self_attn.q_proj",
            Self::KProj => "self_attn.k_proj",
            Self::VProj => "self_attn.v_proj",
            Self::OProj => "self_attn.o_proj",
            Self::GateProj => "mlp.gate_proj",
            Self::UpProj => "mlp.up_proj",
            Self::DownProj => "mlp.down_proj",
        };
        format!("model.layers.{layer}.{name}.weight")
    }
}

impl Qwen2 {
    /// The most positions [`Qwen2::run_layer_seen`] takes.
    pub const MAX_SEEN: usize = BLOCK;

    /// Transforms `hidden`, the residual stream of a sequence of its own, `[n, hidden_size]`, by `layer`, and shows the
    /// inputs of its matrices.
    ///
    /// # Panics
    /// With more than [`Qwen2::MAX_SEEN`] positions, or when the model's weights are packed.
    pub fn run_layer_seen(
        &mut self,
        layer: usize,
        hidden: &mut [f64],
        see: &mut dyn FnMut(LayerInputs<'_>),
    ) -> Result<(), ModelError> {
        assert!(hidden.len() <= BLOCK * self.hidden_size(), "at most {BLOCK} positions");
        let key = TensorKey::Layer(layer, Site::InputLayernorm);
        let mut probe = Recorder::new(|wanted| wanted == key);
        self.run_layers(layer..layer + 1, hidden, Some(&mut probe))?;
        let attention = probe.into_tensors().remove(&key).unwrap_or_default();
        let Sequence::Float(state) = &self.sequence else { panic!("the weights are packed") };
        let activations = state.activations();
        see(LayerInputs {
            attention: &attention.values,
            output: &activations.attended,
            // What the MLP read and left.
            mlp: &activations.normed_narrow,
            down: &activations.gate,
        });
        Ok(())
    }

    /// The residual stream of `ids` before the first layer, `[n, hidden_size]`.
    pub fn embed(&self, ids: &[TokenId]) -> Result<Vec<f64>, ModelError> {
        let vocab_size = self.vocab_size();
        if let Some(&id) = ids.iter().find(|id| id.index() >= vocab_size) {
            return Err(ModelError::UnknownToken { id, vocab_size });
        }
        let mut row = vec![0.0; self.hidden_size()];
        let mut hidden = Vec::with_capacity(ids.len() * row.len());
        for id in ids {
            self.shared.weights.embed_tokens.row_to_f32(id.index(), &mut row);
            hidden.extend(row.iter().copied().map(f64::from));
        }
        Ok(hidden)
    }

    /// Puts `tensor` in the place of a matrix of a layer. Nothing else may use the model's weights meanwhile.
    ///
    /// # Panics
    /// When the model was forked, or the shape is another.
    pub fn replace(&mut self, layer: usize, matrix: Matrix, tensor: Tensor) {
        let shared = Arc::get_mut(&mut self.shared).expect("a model that was not forked");
        let layer = &mut shared.weights.layers[layer];
        let linear = match matrix {
            Matrix::QProj => &mut layer.q_proj,
            Matrix::KProj => &mut layer.k_proj,
            Matrix::VProj => &mut layer.v_proj,
            Matrix::OProj => &mut layer.o_proj,
            Matrix::GateProj => &mut layer.gate_proj,
            Matrix::UpProj => &mut layer.up_proj,
            Matrix::DownProj => &mut layer.down_proj,
        };
        assert_eq!(linear.weight.shape(), tensor.shape(), "the shape of {matrix:?}");
        linear.weight = tensor;
    }
}

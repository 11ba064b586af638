//! The state of one sequence, in the arithmetic its model's weights ask for, and a pass over it.

use std::sync::Arc;

use apr_generation::{LogitRows, TensorKey};
use apr_tensor::Packing;

use crate::Config;
use crate::forward::{self, Pass};
use crate::kv_cache::{KvCache, LayerCache, TiledLayer};
use crate::layer;
use crate::packed;
use crate::rotary::Rotary;
use crate::weights::Weights;

/// Cache and activations.
pub(crate) enum Sequence {
    /// Of a model with float weights: f64 where cancellation would spoil the result, f32 elsewhere.
    Float(State<LayerCache, forward::Activations, f64>),
    /// Of a model with packed weights: integer products, f32 elsewhere.
    Packed(State<TiledLayer, packed::Activations, f32>),
}

/// What a sequence holds, whatever its arithmetic.
pub(crate) struct State<L, A, S> {
    rotary: Arc<Rotary<S>>,
    cache: KvCache<L>,
    activations: A,
}

impl<L, A, S> State<L, A, S> {
    /// What the last pass left.
    pub(crate) fn activations(&self) -> &A {
        &self.activations
    }
}

impl Sequence {
    /// An empty sequence over `weights`; `None` where the system gives no memory for its cache.
    pub(crate) fn new(config: &Config, weights: &Weights, context_length: usize) -> Option<Self> {
        Some(if weights.are_packed() {
            Self::Packed(State {
                rotary: Arc::new(Rotary::new(config, context_length)),
                cache: KvCache::new(config, context_length)?,
                activations: packed::Activations::default(),
            })
        } else {
            Self::Float(State {
                rotary: Arc::new(Rotary::new(config, context_length)),
                cache: KvCache::new(config, context_length)?,
                activations: forward::Activations::default(),
            })
        })
    }

    /// Another, empty one.
    pub(crate) fn fork(&self, config: &Config, context_length: usize) -> Option<Self> {
        Some(match self {
            Self::Float(state) => Self::Float(State {
                rotary: Arc::clone(&state.rotary),
                cache: KvCache::new(config, context_length)?,
                activations: forward::Activations::default(),
            }),
            Self::Packed(state) => Self::Packed(State {
                rotary: Arc::clone(&state.rotary),
                cache: KvCache::new(config, context_length)?,
                activations: packed::Activations::default(),
            }),
        })
    }

    /// Bytes of cache that one position of a sequence over `weights` takes.
    pub(crate) fn cache_bytes_per_position(config: &Config, weights: &Weights) -> u64 {
        if weights.are_packed() {
            KvCache::<TiledLayer>::bytes_per_position(config)
        } else {
            KvCache::<LayerCache>::bytes_per_position(config)
        }
    }

    /// Positions seen so far.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Float(state) => state.cache.len(),
            Self::Packed(state) => state.cache.len(),
        }
    }

    /// Forgets all but the first `n_positions`.
    pub(crate) fn truncate(&mut self, n_positions: usize) {
        match self {
            Self::Float(state) => state.cache.truncate(n_positions),
            Self::Packed(state) => state.cache.truncate(n_positions),
        }
    }

    /// Counts `n` positions that every layer has seen.
    pub(crate) fn advance(&mut self, n: usize) {
        match self {
            Self::Float(state) => state.cache.advance(n),
            Self::Packed(state) => state.cache.advance(n),
        }
    }

    /// Makes the residual stream of `n` positions what `hidden` yields.
    pub(crate) fn set_hidden(&mut self, config: &Config, n: usize, hidden: impl Iterator<Item = f64>) {
        match self {
            Self::Float(State { activations, .. }) => {
                activations.resize(config, n);
                activations.hidden.iter_mut().zip(hidden).for_each(|(target, value)| *target = value);
            }
            Self::Packed(State { activations, .. }) => {
                activations.resize(config, n);
                activations.hidden.iter_mut().zip(hidden).for_each(|(target, value)| *target = value as f32);
            }
        }
    }

    /// Copies the residual stream to `target`, as long.
    pub(crate) fn copy_hidden(&self, target: &mut [f64]) {
        match self {
            Self::Float(state) => target.copy_from_slice(&state.activations.hidden),
            Self::Packed(state) => {
                let hidden = state.activations.hidden.iter().copied();
                target.iter_mut().zip(hidden).for_each(|(target, value)| *target = f64::from(value));
            }
        }
    }

    /// Runs layer `index` over the residual stream.
    pub(crate) fn run_layer(&mut self, pass: &mut Pass<'_, '_>, weights: &Weights, index: usize) {
        let weights = &weights.layers[index];
        match self {
            Self::Float(State { rotary, cache, activations }) => {
                layer::layer(pass, rotary, index, weights, cache.layer_mut(index), activations);
            }
            Self::Packed(State { rotary, cache, activations }) => {
                packed::layer(pass, rotary, index, weights, cache.layer_mut(index), activations);
            }
        }
    }

    /// Norms the residual stream and appends to `logits` the rows that `rows` asks for.
    pub(crate) fn run_head(
        &mut self,
        pass: &mut Pass<'_, '_>,
        weights: &Weights,
        rows: LogitRows,
        logits: &mut Vec<f32>,
    ) {
        let (n, hidden_size) = (pass.n, pass.config.hidden_size);
        let first = match rows {
            LogitRows::All => 0,
            LogitRows::Last => n - 1,
        };
        let sees_norm = pass.probe.as_ref().is_some_and(|probe| probe.wants(TensorKey::Norm));
        // Rows that nobody looks at are not normed.
        let normed_from = if sees_norm { 0 } else { first };
        let range = normed_from * hidden_size..n * hidden_size;
        let normed = match self {
            Self::Float(State { activations, .. }) => activations.norm(pass, &weights.norm, range),
            Self::Packed(State { activations, .. }) => activations.norm(pass, &weights.norm, range),
        };
        if sees_norm {
            pass.show_key(TensorKey::Norm, normed);
        }
        let normed = &normed[(first - normed_from) * hidden_size..];
        let n_before = logits.len();
        logits.resize(n_before + (n - first) * pass.config.vocab_size, 0.0);
        let new = &mut logits[n_before..];
        if Packing::of(weights.lm_head.dtype()).is_none() {
            pass.compute.matmul(normed, &weights.lm_head, None, new); // [rows, vocab_size]
        } else {
            packed::multiply(pass.compute, normed, &weights.lm_head, new); // [rows, vocab_size]
        }
        pass.n = n - first;
        pass.show_key(TensorKey::Logits, new);
    }
}

//! The model: embedding, layers, final norm, head.

use std::sync::Arc;

use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, Logits, ModelError, Probe, TensorKey};
use apr_tensor::Compute;
use apr_tokenizer::TokenId;

use crate::forward::{Activations, Pass};
use crate::kv_cache::KvCache;
use crate::layer::layer;
use crate::rotary::Rotary;
use crate::weights::Weights;
use crate::{Config, LoadError};

/// How to load a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Positions the cache holds; [`DEFAULT_CONTEXT`], or the model's own limit if that is less, when `None`.
    pub context_length: Option<usize>,
    /// Threads; every available processor when `None`.
    pub n_threads: Option<usize>,
}

/// Positions the cache holds unless another number is asked for: long for a chat, 100 MB on a 0.5B model.
pub const DEFAULT_CONTEXT: usize = 4096;

/// Positions evaluated at once: enough to reuse each weight from cache, few enough to bound the activations' memory.
pub(crate) const BLOCK: usize = 512;

/// A Qwen2 model with a cache of its own.
pub struct Qwen2 {
    pub(crate) shared: Arc<Shared>,
    pub(crate) cache: KvCache,
    pub(crate) activations: Activations,
}

/// What forks of a model have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) weights: Weights,
    pub(crate) rotary: Rotary,
    pub(crate) compute: Compute,
    context_length: usize,
}

impl Qwen2 {
    /// Loads the model in `file`. Its matrices stay in the mapped file; nothing is repacked.
    pub fn load(file: &AprFile, options: LoadOptions) -> Result<Self, LoadError> {
        let config = Config::from_file(file)?;
        let limit = config.max_position_embeddings;
        let context_length = options.context_length.unwrap_or(DEFAULT_CONTEXT.min(limit));
        if context_length == 0 || context_length > limit {
            return Err(LoadError::Context { path: file.path().to_owned(), asked: context_length, limit });
        }
        let weights = Weights::from_file(file, &config)?;
        let rotary = Rotary::new(&config, context_length);
        let compute = Compute::new(options.n_threads);
        let shared = Arc::new(Shared { config, weights, rotary, compute, context_length });
        Self::over(shared)
    }

    /// Another sequence over the same weights.
    pub fn fork(&self) -> Result<Self, LoadError> {
        Self::over(Arc::clone(&self.shared))
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Threads a forward pass runs on.
    pub fn n_threads(&self) -> usize {
        self.shared.compute.n_threads()
    }

    /// Name of the kernels in use: `avx512`, `avx2`, `neon` or `scalar`.
    pub fn kernels(&self) -> &'static str {
        self.shared.compute.kernels()
    }

    fn over(shared: Arc<Shared>) -> Result<Self, LoadError> {
        let Shared { config, context_length, .. } = &*shared;
        let Some(cache) = KvCache::new(config, *context_length) else {
            let bytes = config.cache_bytes_per_position().saturating_mul(*context_length as u64);
            return Err(LoadError::Memory { context_length: *context_length, bytes });
        };
        Ok(Self { shared, cache, activations: Activations::default() })
    }

    /// Runs `ids` through the layers, leaving the residual stream in the activations, and appends to `logits` the rows
    /// that `rows` asks for.
    fn forward(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
        logits: &mut Vec<f32>,
    ) {
        let Shared { config, weights, rotary, compute, .. } = &*self.shared;
        let (n, hidden_size) = (ids.len(), config.hidden_size);
        let mut pass = Pass { compute, config, rotary, start: self.cache.len(), n, probe };
        let activations = &mut self.activations;
        activations.resize(config, n);
        let embedded = &mut activations.block;
        for (row, id) in embedded.chunks_exact_mut(hidden_size).zip(ids) {
            weights.embed_tokens.row_to_f32(id.index(), row);
        }
        pass.show_key(TensorKey::Embedding, embedded);
        for (hidden, embedded) in activations.hidden.iter_mut().zip(embedded.iter()) {
            *hidden = f64::from(*embedded);
        }
        for (index, weights) in weights.layers.iter().enumerate() {
            layer(&mut pass, index, weights, self.cache.layer_mut(index), activations);
        }
        self.cache.advance(n);

        head(&mut pass, weights, activations, rows, logits);
    }
}

/// Norms the residual stream in the activations and appends to `logits` the rows that `rows` asks for.
pub(crate) fn head(
    pass: &mut Pass<'_, '_>,
    weights: &Weights,
    activations: &mut Activations,
    rows: LogitRows,
    logits: &mut Vec<f32>,
) {
    let (n, config) = (pass.n, pass.config);
    let hidden_size = config.hidden_size;
    let first = match rows {
        LogitRows::All => 0,
        LogitRows::Last => n - 1,
    };
    let sees_norm = pass.probe.as_ref().is_some_and(|probe| probe.wants(TensorKey::Norm));
    let normed_from = if sees_norm { 0 } else { first };
    let range = normed_from * hidden_size..n * hidden_size;
    let Activations { hidden, normed, normed_narrow, .. } = activations;
    pass.norm(&hidden[range.clone()], &weights.norm, &mut normed[range.clone()]);
    pass.compute.narrow(&normed[range.clone()], &mut normed_narrow[range]);
    if sees_norm {
        pass.show_key(TensorKey::Norm, normed_narrow);
    }
    let n_before = logits.len();
    logits.resize(n_before + (n - first) * config.vocab_size, 0.0);
    let new = &mut logits[n_before..];
    pass.compute.matmul(&normed_narrow[first * hidden_size..], &weights.lm_head, None, new); // [rows, vocab_size]
    pass.n = n - first;
    pass.show_key(TensorKey::Logits, new);
}

impl CausalLm for Qwen2 {
    fn vocab_size(&self) -> usize {
        self.shared.config.vocab_size
    }

    fn context_length(&self) -> usize {
        self.shared.context_length
    }

    fn position(&self) -> usize {
        self.cache.len()
    }

    fn cache_bytes_per_position(&self) -> u64 {
        self.shared.config.cache_bytes_per_position()
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        mut probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        let vocab_size = self.vocab_size();
        if ids.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if let Some(&id) = ids.iter().find(|id| id.index() >= vocab_size) {
            return Err(ModelError::UnknownToken { id, vocab_size });
        }
        self.check_room(self.position() + ids.len())?;
        let mut logits = Vec::new();
        for block in ids.chunks(BLOCK) {
            if rows == LogitRows::Last {
                logits.clear();
            }
            // A reborrow that ends with this block.
            let probe = probe.as_mut().map(|probe| &mut **probe as &mut dyn Probe);
            self.forward(block, rows, probe, &mut logits);
        }
        Ok(Logits::new(vocab_size, logits))
    }

    fn truncate(&mut self, n_positions: usize) {
        self.cache.truncate(n_positions);
    }
}

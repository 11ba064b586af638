//! The model: embedding, layers, final norm, head.

use std::sync::Arc;

use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, Logits, MAX_DRAFTS, ModelError, Probe, TensorKey};
use apr_tensor::Compute;
use apr_tokenizer::TokenId;

use crate::forward::Pass;
use crate::sequence::Sequence;
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
    pub(crate) sequence: Sequence,
}

/// What forks of a model have in common.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) weights: Weights,
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
        let compute = Compute::new(options.n_threads);
        let shared = Arc::new(Shared { config, weights, compute, context_length });
        let sequence = Sequence::new(&shared.config, &shared.weights, context_length);
        Self::over(shared, sequence)
    }

    /// Another sequence over the same weights.
    pub fn fork(&self) -> Result<Self, LoadError> {
        let sequence = self.sequence.fork(&self.shared.config, self.shared.context_length);
        Self::over(Arc::clone(&self.shared), sequence)
    }

    /// The model's dimensions.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// Threads a forward pass runs on.
    pub fn n_threads(&self) -> usize {
        self.shared.compute.n_threads()
    }

    /// Tokens worth drafting at once: as many as there are further rows that cost little, with packed weights.
    pub fn cheap_drafts(&self) -> usize {
        if self.shared.weights.are_packed() { MAX_DRAFTS } else { 0 }
    }

    /// Name of the kernels in use: `avx512-vnni`, `avx512`, `avx2`, `neon-dot`, `neon` or `scalar`.
    pub fn kernels(&self) -> &'static str {
        self.shared.compute.kernels()
    }

    fn over(shared: Arc<Shared>, sequence: Option<Sequence>) -> Result<Self, LoadError> {
        let Some(sequence) = sequence else {
            let Shared { config, weights, context_length, .. } = &*shared;
            let bytes = Sequence::cache_bytes_per_position(config, weights);
            let bytes = bytes.saturating_mul(*context_length as u64);
            return Err(LoadError::Memory { context_length: *context_length, bytes });
        };
        Ok(Self { shared, sequence })
    }

    /// Runs `ids` through the layers and appends to `logits` the rows that `rows` asks for.
    fn forward(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
        logits: &mut Vec<f32>,
    ) {
        let Shared { config, weights, compute, .. } = &*self.shared;
        let sequence = &mut self.sequence;
        let mut pass = Pass { compute, config, start: sequence.len(), n: ids.len(), probe };
        let mut embedded = vec![0.0; ids.len() * config.hidden_size];
        for (row, id) in embedded.chunks_exact_mut(config.hidden_size).zip(ids) {
            weights.embed_tokens.row_to_f32(id.index(), row);
        }
        pass.show_key(TensorKey::Embedding, &embedded);
        sequence.set_hidden(config, ids.len(), embedded.into_iter().map(f64::from));
        for layer in 0..config.num_layers {
            sequence.run_layer(&mut pass, weights, layer);
        }
        sequence.advance(ids.len());
        sequence.run_head(&mut pass, weights, rows, logits);
    }
}

impl CausalLm for Qwen2 {
    fn vocab_size(&self) -> usize {
        self.shared.config.vocab_size
    }

    fn context_length(&self) -> usize {
        self.shared.context_length
    }

    fn position(&self) -> usize {
        self.sequence.len()
    }

    fn cache_bytes_per_position(&self) -> u64 {
        Sequence::cache_bytes_per_position(&self.shared.config, &self.shared.weights)
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
        self.sequence.truncate(n_positions);
    }
}

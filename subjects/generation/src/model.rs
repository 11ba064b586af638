//! The one interface to a language model: what samplers, the engine and every fake use.

use apr_tokenizer::TokenId;
use thiserror::Error;

use crate::Probe;

/// An autoregressive language model with its own cache of the positions seen so far.
pub trait CausalLm {
    /// Number of logits each position has.
    fn vocab_size(&self) -> usize;

    /// Positions the cache can hold; a sequence longer than this is refused.
    fn context_length(&self) -> usize;

    /// Number of positions already in the cache; the next token lands here.
    fn position(&self) -> usize;

    /// Appends `ids` to the sequence and returns the logits that `rows` asks for. A `probe` sees every named tensor
    /// of the pass; `None` costs nothing. How a sequence is cut into calls does not change a bit of any result.
    ///
    /// On an error the cache holds what it held before.
    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError>;

    /// Appends one token and returns the logits after it.
    fn decode(&mut self, id: TokenId) -> Result<Logits, ModelError> {
        self.prefill(&[id], LogitRows::Last, None)
    }

    /// Whether a sequence of `n_positions` fits the context; the error names what it would take.
    fn check_room(&self, n_positions: usize) -> Result<(), ModelError> {
        if n_positions <= self.context_length() {
            return Ok(());
        }
        Err(ModelError::ContextOverflow {
            needed: n_positions,
            context_length: self.context_length(),
            cache_bytes: (n_positions as u64).saturating_mul(self.cache_bytes_per_position()),
        })
    }

    /// Bytes the cache takes for each position.
    fn cache_bytes_per_position(&self) -> u64;

    /// Forgets every position from `n_positions` on; a no-op when there are not that many.
    fn truncate(&mut self, n_positions: usize);

    /// Forgets the whole sequence.
    fn reset(&mut self) {
        self.truncate(0);
    }
}

/// Which positions of a prefill need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogitRows {
    /// Every position of the call.
    All,
    /// The last position of the call only.
    Last,
}

/// Logits, row-major `[n_rows, vocab_size]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    vocab_size: usize,
    values: Vec<f32>,
}

impl Logits {
    /// Wraps `values`, `[n_rows, vocab_size]`.
    ///
    /// # Panics
    /// When `values` is not a whole number of rows.
    pub fn new(vocab_size: usize, values: Vec<f32>) -> Self {
        assert!(
            vocab_size > 0 && values.len().is_multiple_of(vocab_size),
            "{} logits are not rows of {vocab_size}",
            values.len()
        );
        Self { vocab_size, values }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.vocab_size
    }

    /// One row, `[vocab_size]`.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.vocab_size..][..self.vocab_size]
    }

    /// The last row, `[vocab_size]`: what the next token is chosen from.
    pub fn last(&self) -> &[f32] {
        self.row(self.n_rows() - 1)
    }

    /// All rows, `[n_rows * vocab_size]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All rows, for a decorator that alters them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

/// Why a model refused a call.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ModelError {
    /// The sequence would not fit the cache.
    #[error(
        "the sequence needs {needed} tokens, the context holds {context_length} \
         (a cache that long would take {cache_bytes} bytes of memory)"
    )]
    ContextOverflow {
        /// Positions that would be needed.
        needed: usize,
        /// Positions there are.
        context_length: usize,
        /// Bytes that a cache for `needed` positions would take.
        cache_bytes: u64,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id.
        id: TokenId,
        /// Number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A prefill without tokens has no logits to return.
    #[error("no token to evaluate: the prompt is empty")]
    EmptyPrompt,
    /// Layers that the model does not have.
    #[error("layers {first} to {end} (not counting the last) were asked for, the model has {n_layers}")]
    UnknownLayer {
        /// The first that was asked for.
        first: usize,
        /// One past the last that was asked for.
        end: usize,
        /// Number of layers there are.
        n_layers: usize,
    },
    /// Values that do not make up whole positions.
    #[error("{n_values} values are no hidden states: a position has {hidden_size}")]
    NoHiddenStates {
        /// Values there are.
        n_values: usize,
        /// Values that each position has.
        hidden_size: usize,
    },
}

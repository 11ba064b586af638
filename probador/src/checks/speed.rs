//! How fast the model under test is, timed by the engine itself.

use std::time::Instant;

use apr_generation::{CausalLm, LogitRows, argmax};
use apr_tokenizer::TokenId;

/// Tokens a second in one round.
pub(super) struct Round {
    pub(super) prefill: f64,
    pub(super) decode: f64,
}

impl Round {
    /// Evaluates `prompt` from an empty cache, then decodes the likeliest token `n_decode` times.
    pub(super) fn of(model: &mut dyn CausalLm, prompt: &[TokenId], n_decode: usize) -> anyhow::Result<Self> {
        model.reset();
        let started = Instant::now();
        let mut logits = model.prefill(prompt, LogitRows::Last, None)?;
        let prefill = prompt.len() as f64 / started.elapsed().as_secs_f64();
        let started = Instant::now();
        for _ in 0..n_decode {
            logits = model.decode(argmax(logits.last()))?;
        }
        Ok(Self { prefill, decode: n_decode as f64 / started.elapsed().as_secs_f64() })
    }
}

/// The upper median; sorts the rates. Not a number when there are none.
pub(super) fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

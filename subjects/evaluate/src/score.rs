//! Log-probabilities of a text's tokens under a model, and beside them those of another.

use apr_generation::{CausalLm, LogitRows, ModelError, argmax, log_sum_exp};
use apr_tokenizer::TokenId;
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use crate::statistics::{Estimate, Ratio, mean};
use crate::windows::Window;

/// Positions whose logits are held at once: 20 MB each for two models with a vocabulary of 152,000.
const BLOCK: usize = 32;

/// What a model is like on a text.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// `e` to the mean of `-ln p` over the scored tokens.
    pub perplexity: Estimate,
    /// Tokens that were scored.
    pub n_scored: usize,
    /// Windows they lie in.
    pub n_windows: usize,
    /// How far the model is from another, where there is one.
    pub against: Option<Comparison>,
}

/// How far a model is from another on a text, token by token.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Comparison {
    /// The other's perplexity.
    pub perplexity: Estimate,
    /// The model's perplexity over the other's.
    pub perplexity_ratio: Ratio,
    /// Mean of `sum_v p(v) ln (p(v) / q(v))` in nats, `p` the other's distribution and `q` the model's.
    pub kl_divergence: Estimate,
    /// Share of positions at which both hold the same token for the likeliest.
    pub top_1_agreement: Estimate,
}

/// Why a text was not evaluated to its end.
#[derive(Clone, Debug, Error)]
pub enum EvaluationError {
    /// A model refused.
    #[error("failed to evaluate the text: {0}")]
    Model(#[from] ModelError),
    /// The two models do not know the same tokens.
    #[error("the models have vocabularies of {model} and {against} tokens, which cannot be compared")]
    Vocabulary {
        /// Tokens of the model.
        model: usize,
        /// Tokens of the other.
        against: usize,
    },
    /// There is nothing to score.
    #[error("there is no window to evaluate")]
    NoWindow,
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Sees each window as it is done.
pub trait Watch {
    /// `done` of `all` windows are done; `perplexity` so far. Returns whether to go on.
    fn window(&mut self, done: usize, all: usize, perplexity: f64) -> bool;
}

/// Sums over a window.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    surprise: f64,
    against: f64,
    divergence: f64,
    agreements: f64,
}

/// Evaluates `model` on the `windows` of `ids`, beside the model `against` where there is one.
pub fn evaluate(
    model: &mut dyn CausalLm,
    mut against: Option<&mut dyn CausalLm>,
    ids: &[TokenId],
    windows: &[Window],
    watch: &mut dyn Watch,
) -> Result<Evaluation, EvaluationError> {
    if let Some(against) = &against
        && against.vocab_size() != model.vocab_size()
    {
        return Err(EvaluationError::Vocabulary { model: model.vocab_size(), against: against.vocab_size() });
    }
    let mut all: Vec<Sums> = Vec::with_capacity(windows.len());
    for window in windows {
        // A reborrow that ends with this window.
        let against = against.as_mut().map(|against| &mut **against as &mut dyn CausalLm);
        all.push(score(model, against, ids, window)?);
        let (surprise, count) =
            all.iter().fold((0.0, 0), |(sum, count), window| (sum + window.surprise, count + window.count));
        if !watch.window(all.len(), windows.len(), (surprise / count as f64).exp()) {
            return Err(EvaluationError::Cancelled);
        }
    }
    if all.is_empty() {
        return Err(EvaluationError::NoWindow);
    }
    let estimate = |sum: fn(&Sums) -> f64| {
        mean(&all.iter().map(|window| (sum(window), window.count)).collect::<Vec<_>>())
    };
    Ok(Evaluation {
        perplexity: estimate(|window| window.surprise).map(f64::exp),
        n_scored: all.iter().map(|window| window.count).sum(),
        n_windows: all.len(),
        against: against.is_some().then(|| Comparison {
            perplexity: estimate(|window| window.against).map(f64::exp),
            perplexity_ratio: estimate(|window| window.surprise - window.against).map(f64::exp),
            kl_divergence: estimate(|window| window.divergence),
            top_1_agreement: estimate(|window| window.agreements),
        }),
    })
}

/// Scores one window, whose logits are held for [`BLOCK`] positions at a time.
fn score(
    model: &mut dyn CausalLm,
    mut against: Option<&mut dyn CausalLm>,
    ids: &[TokenId],
    window: &Window,
) -> Result<Sums, ModelError> {
    // The logits at a position predict the token behind it.
    let predicting = window.scored.start - 1..window.scored.end - 1;
    let unseen = &ids[window.tokens.start..predicting.start];
    begin(model, unseen)?;
    if let Some(against) = &mut against {
        begin(*against, unseen)?;
    }
    let mut sums = Sums::default();
    for first in predicting.clone().step_by(BLOCK) {
        let block = first..predicting.end.min(first + BLOCK);
        let logits = model.prefill(&ids[block.clone()], LogitRows::All, None)?;
        let others = match &mut against {
            Some(against) => Some(against.prefill(&ids[block.clone()], LogitRows::All, None)?),
            None => None,
        };
        let rows: Vec<Sums> = (0..block.len())
            .into_par_iter()
            .map(|row| {
                let next = ids[block.start + row + 1];
                position(logits.row(row), others.as_ref().map(|others| others.row(row)), next)
            })
            .collect();
        for row in rows {
            sums.count += row.count;
            sums.surprise += row.surprise;
            sums.against += row.against;
            sums.divergence += row.divergence;
            sums.agreements += row.agreements;
        }
    }
    Ok(sums)
}

/// Forgets what came before and sees `ids`.
fn begin(model: &mut dyn CausalLm, ids: &[TokenId]) -> Result<(), ModelError> {
    model.reset();
    if !ids.is_empty() {
        model.prefill(ids, LogitRows::Last, None)?;
    }
    Ok(())
}

/// One position: the logits of the model and of the other, and the token that came.
fn position(logits: &[f32], others: Option<&[f32]>, next: TokenId) -> Sums {
    let total = log_sum_exp(logits);
    let surprise = total - f64::from(logits[next.index()]);
    let Some(others) = others else { return Sums { count: 1, surprise, ..Sums::default() } };
    let others_total = log_sum_exp(others);
    let divergence = others
        .iter()
        .zip(logits)
        .map(|(&p, &q)| {
            let log_p = f64::from(p) - others_total;
            log_p.exp() * (log_p - (f64::from(q) - total))
        })
        .sum();
    Sums {
        count: 1,
        surprise,
        against: others_total - f64::from(others[next.index()]),
        divergence,
        agreements: f64::from(u8::from(argmax(logits) == argmax(others))),
    }
}

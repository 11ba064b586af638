//! The model's evaluation text, and how well a model predicts it.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use apr_generation::{CausalLm, LogitRows, log_probability};
use apr_tokenizer::TokenId;

use super::{CheckError, Context};
use crate::availability::evaluation_text;
use crate::case::Undecided;

/// Bytes of text that are taken for each token that is needed: far more than tokens have.
const BYTES_OF_A_TOKEN: usize = 16;

/// The text that `golden/models.yaml` names for a model, cut into windows.
pub(super) struct EvaluationText {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its BLAKE3, as `golden/models.yaml` writes it.
    pub(super) hash: String,
    windows: Vec<Vec<TokenId>>,
    scored_from: usize,
}

impl EvaluationText {
    /// Tokens of a window.
    pub(super) fn window(&self) -> usize {
        self.windows.first().map_or(0, Vec::len)
    }

    /// Windows there are.
    pub(super) fn n_windows(&self) -> usize {
        self.windows.len()
    }

    /// Tokens of a window that are scored.
    pub(super) fn n_scored(&self) -> usize {
        self.window().saturating_sub(self.scored_from)
    }

    /// Whether the second half of each window is scored, as llama.cpp does.
    pub(super) fn scores_second_halves(&self) -> bool {
        self.scored_from == self.window() / 2 + 1
    }

    /// The same text with the second half of each window scored.
    pub(super) fn second_halves(self) -> Self {
        Self { scored_from: self.window() / 2 + 1, ..self }
    }

    /// Mean of `-ln p` over the scored tokens of each of the first `n` windows.
    pub(super) fn surprises(&self, model: &mut dyn CausalLm, n: usize) -> anyhow::Result<Vec<f64>> {
        let mut by_window = Vec::new();
        for ids in self.windows.iter().take(n) {
            model.reset();
            // The logits before those that predict scored tokens are a seventh of all the work.
            let (seen, predicting) = ids[..ids.len() - 1].split_at(self.scored_from - 1);
            if !seen.is_empty() {
                model.prefill(seen, LogitRows::Last, None)?;
            }
            let logits = model.prefill(predicting, LogitRows::All, None)?;
            let scored = &ids[self.scored_from..];
            let surprise: f64 =
                scored.iter().enumerate().map(|(row, id)| -log_probability(logits.row(row), *id)).sum();
            by_window.push(surprise / self.n_scored().max(1) as f64);
        }
        Ok(by_window)
    }
}

/// The evaluation text of the model under test; undecided when what lies in its place is another.
pub(super) fn require_text(context: &Context) -> Result<EvaluationText, CheckError> {
    let facts = &context.known()?.perplexity;
    let path = evaluation_text(&facts.text, context.workspace())
        .ok_or_else(|| anyhow!("the evaluation text `{}` is not here", facts.text))?;
    let bytes = std::fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let hash = format!("blake3:{}", blake3::hash(&bytes).to_hex());
    if hash != facts.text_hash {
        return Err(CheckError::Undecided(Undecided::unverified(
            format!(
                "`{}` is not the text that was measured: {hash}, not {}",
                path.display(),
                facts.text_hash
            ),
            "put the right text there",
        )));
    }
    let text = String::from_utf8(bytes)?;
    let (window, n_windows) = (facts.window as usize, facts.n_windows as usize);
    let n_bytes = n_windows * window * BYTES_OF_A_TOKEN;
    let ids = context.tokenizer()?.encode(&text[..text.floor_char_boundary(n_bytes)]);
    let windows = ids.chunks_exact(window).take(n_windows).map(<[TokenId]>::to_vec).collect();
    Ok(EvaluationText { path, hash, windows, scored_from: facts.scored_from as usize })
}

/// A perplexity over windows.
pub(super) struct Perplexity {
    /// `e` to the mean surprise.
    pub(super) value: f64,
    /// Its 95 % interval.
    pub(super) interval: (f64, f64),
    /// Tokens that were scored.
    pub(super) n_scored: usize,
}

impl Perplexity {
    /// Of the mean surprises of windows with `n_scored` tokens each.
    pub(super) fn of(surprises: &[f64], n_scored: usize) -> Self {
        let n = surprises.len();
        Self {
            value: (surprises.iter().sum::<f64>() / n.max(1) as f64).exp(),
            interval: interval_of_means(surprises, f64::exp),
            n_scored: n * n_scored,
        }
    }
}

/// A 95 % interval of the mean of `values`, mapped by `map`.
pub(super) fn interval_of_means(values: &[f64], map: impl Fn(f64) -> f64) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let reach = 1.96 * (variance / n).sqrt();
    (map(mean - reach), map(mean + reach))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::context;

    #[test]
    fn windows_are_scored_from_where_it_is_said() {
        let context = context();
        let Ok(text) = require_text(&context) else { panic!("the text is in the checkout") };
        assert_eq!((text.window(), text.n_windows(), text.n_scored()), (512, 11, 511));
        let all = context.surprises(&text).unwrap();
        assert_eq!(all.len(), 11);
        let perplexity = Perplexity::of(all, text.n_scored());
        assert!((perplexity.value - 21.51).abs() < 0.05, "{}", perplexity.value);
        assert!(perplexity.interval.0 < perplexity.value && perplexity.value < perplexity.interval.1);
        assert_eq!(perplexity.n_scored, 11 * 511);
        assert!(!text.scores_second_halves());
        let halves = text.second_halves();
        assert_eq!((halves.n_scored(), halves.scores_second_halves()), (255, true));
        let second = halves.surprises(context.fork().unwrap().as_mut(), 1).unwrap();
        assert_eq!(second.len(), 1);
        assert_ne!(second[0], all[0]);
    }
}

//! What `--inspect` shows: the prompt's ids, the candidates of every step, attention, and the figures of the reply.

use std::time::Duration;

use anyhow::{Result, ensure};
use apr_generation::Candidate;
use apr_tokenizer::{TokenId, Tokenizer};

use super::attention::{self, Attention, Lens};
use super::slash::InspectChange;
use crate::printer::{Paint, Role};
use crate::text;

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// Candidates a step.
    pub(crate) n_candidates: usize,
    pub(crate) lens: Lens,
}

/// One generated token and what else could have been.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StepView {
    pub(crate) id: TokenId,
    pub(crate) candidates: Vec<Candidate>,
}

/// The figures of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    /// Tokens of the prompt that had to be evaluated; the rest was in the cache.
    pub(crate) n_prompt_tokens: usize,
    /// Tokens chosen, an end-of-text token included.
    pub(crate) n_chosen: usize,
    /// From the start to the first token.
    pub(crate) first_token: Duration,
    /// From the first token to the last.
    pub(crate) decoding: Duration,
    pub(crate) perplexity: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
}

impl Inspection {
    /// Checks what was asked for against the model's size.
    pub(crate) fn new(
        n_candidates: usize,
        layer: Option<usize>,
        head: Option<usize>,
        n_layers: usize,
        n_heads: usize,
    ) -> Result<Self> {
        let layer = layer.unwrap_or(n_layers.saturating_sub(1));
        ensure!(
            layer < n_layers,
            "there is no layer {layer}\nhint: the model has layers 0 to {}",
            n_layers - 1
        );
        if let Some(head) = head {
            ensure!(
                head < n_heads,
                "there is no head {head}\nhint: the model has heads 0 to {}",
                n_heads - 1
            );
        }
        Ok(Self { n_candidates, lens: Lens { layer, head } })
    }

    /// This inspection with what `/inspect` asks for changed.
    pub(crate) fn changed(self, change: &InspectChange, n_layers: usize, n_heads: usize) -> Result<Self> {
        Self::new(
            change.top.unwrap_or(self.n_candidates),
            Some(change.layer.unwrap_or(self.lens.layer)),
            change.head.or(self.lens.head),
            n_layers,
            n_heads,
        )
    }
}

impl Stats {
    /// Tokens a second while decoding; of a single token, over the time it took.
    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        let (n, seconds) = match self.n_chosen {
            0 => return None,
            1 => (1, self.first_token.as_secs_f64()),
            n => (n - 1, self.decoding.as_secs_f64()),
        };
        (seconds > 0.0).then(|| n as f64 / seconds)
    }
}

/// The line before the reply: the ids that the model sees.
pub(crate) fn tokenized(ids: &[TokenId], paint: Paint) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    format!("{} Tokenized: [{}] ({} tokens)", debug(paint), ids.join(", "), ids.len())
}

/// A reply with everything that was seen while it came about.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The whole sequence: the prompt and the reply.
    pub(crate) ids: Vec<TokenId>,
    /// How many of `ids` are the prompt.
    pub(crate) n_prompt: usize,
    pub(crate) steps: Vec<StepView>,
    pub(crate) attention: Attention,
    pub(crate) stats: Stats,
}

/// The lines after the reply.
pub(crate) fn report(
    inspection: &Inspection,
    seen: &Seen,
    tokenizer: &Tokenizer,
    paint: Paint,
) -> Vec<String> {
    let mut lines = vec![format!("{} Top-{} Candidates:", debug(paint), inspection.n_candidates)];
    for (index, step) in seen.steps.iter().enumerate() {
        lines.push(format!("step {}: {} [{}]", index + 1, quoted(step.id, tokenizer), step.id));
        for (rank, candidate) in step.candidates.iter().enumerate() {
            lines.push(format!(
                "  {}. {} ({}) [{}]",
                rank + 1,
                quoted(candidate.id, tokenizer),
                probability(candidate.probability),
                candidate.id
            ));
        }
    }
    lines.push(String::new());
    lines.extend(heatmap(inspection.lens, seen, tokenizer, paint));
    lines.push(String::new());
    lines.push(timing(&seen.stats, paint));
    lines.push(summary(&seen.stats));
    lines
}

/// The attention of the positions that chose the reply's tokens.
fn heatmap(lens: Lens, seen: &Seen, tokenizer: &Tokenizer, paint: Paint) -> Vec<String> {
    // The position before a token is the one that chose it.
    let rows: Vec<_> = seen.attention.rows().filter(|(position, _)| position + 1 >= seen.n_prompt).collect();
    let n_keys = rows.last().map_or(0, |(_, row)| row.len());
    let per_column = attention::tokens_per_column(n_keys);
    let width = n_keys.div_ceil(per_column);
    let which = lens.head.map_or_else(|| "mean of all heads".to_owned(), |head| format!("head {head}"));
    let column = if per_column == 1 { "token".to_owned() } else { format!("{per_column} tokens") };
    let mut lines = vec![format!(
        "{} Attention: layer {}, {which}; a row for each chosen token, a column for each {column} before it",
        debug(paint),
        lens.layer
    )];
    for (position, row) in rows {
        let Some(step) = seen.steps.get(position + 1 - seen.n_prompt) else { continue };
        let strongest: Vec<String> = attention::strongest(row, 3)
            .into_iter()
            .filter_map(|(key, share)| {
                Some(format!("{} {:.0}%", quoted(*seen.ids.get(key)?, tokenizer), share * 100.0))
            })
            .collect();
        lines.push(format!(
            "|{:width$}| {} <- {}",
            attention::shade(row, per_column),
            quoted(step.id, tokenizer),
            strongest.join(", ")
        ));
    }
    lines.push(attention::legend());
    lines
}

/// Where the time went, so that the rate can be checked.
fn timing(stats: &Stats, paint: Paint) -> String {
    format!(
        "{} Prompt: {} tokens, first token after {:.3} s; reply: {} tokens in {:.3} s",
        debug(paint),
        stats.n_prompt_tokens,
        stats.first_token.as_secs_f64(),
        stats.n_chosen,
        (stats.first_token + stats.decoding).as_secs_f64()
    )
}

/// The last line. A figure that was not measured is a dash, never a zero.
fn summary(stats: &Stats) -> String {
    let dash = || "-".to_owned();
    format!(
        "[Stats: {} tok/s | PPL: {} | Mem: {}]",
        stats.tokens_per_second().map_or_else(dash, |rate| format!("{rate:.1}")),
        stats.perplexity.filter(|value| value.is_finite()).map_or_else(dash, |value| format!("{value:.2}")),
        stats.resident_bytes.map_or_else(dash, |bytes| format!("{}MB", (bytes + 500_000) / 1_000_000)),
    )
}

fn debug(paint: Paint) -> String {
    paint.paint(Role::Dim, "[DEBUG]")
}

/// A token's text in quotes, as JSON spells it.
fn quoted(id: TokenId, tokenizer: &Tokenizer) -> String {
    quote(&tokenizer.token_text(id))
}

fn quote(token: &str) -> String {
    let json = serde_json::Value::from(token).to_string();
    text::printable(&json).into_owned()
}

/// Four decimals; what would round to nothing keeps its size.
fn probability(value: f64) -> String {
    if value >= 0.000_05 { format!("{value:.4}") } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_and_head_must_exist() {
        let inspection = Inspection::new(5, None, None, 24, 14).unwrap();
        assert_eq!(inspection.lens, Lens { layer: 23, head: None });
        let error = |layer, head| Inspection::new(5, layer, head, 24, 14).unwrap_err().to_string();
        assert_eq!(error(Some(24), None), "there is no layer 24\nhint: the model has layers 0 to 23");
        assert_eq!(error(None, Some(14)), "there is no head 14\nhint: the model has heads 0 to 13");
    }

    #[test]
    fn change_keeps_what_it_does_not_name() {
        let inspection = Inspection::new(5, Some(2), Some(1), 24, 14).unwrap();
        let change = InspectChange { head: Some(3), ..InspectChange::default() };
        let changed = inspection.changed(&change, 24, 14).unwrap();
        assert_eq!(changed, Inspection { n_candidates: 5, lens: Lens { layer: 2, head: Some(3) } });
        assert!(inspection.changed(&InspectChange { layer: Some(99), ..change }, 24, 14).is_err());
    }

    #[test]
    fn rate_is_tokens_over_the_time_they_took() {
        let seconds = Duration::from_secs_f64;
        let stats =
            Stats { n_chosen: 25, first_token: seconds(1.0), decoding: seconds(2.0), ..Stats::default() };
        assert_eq!(stats.tokens_per_second(), Some(12.0));
        assert_eq!(Stats { n_chosen: 1, ..stats }.tokens_per_second(), Some(1.0));
        assert_eq!(Stats { n_chosen: 0, ..stats }.tokens_per_second(), None);
    }

    #[test]
    fn summary_says_only_what_was_measured() {
        let stats = Stats {
            n_chosen: 2,
            decoding: Duration::from_millis(500),
            perplexity: Some(1.25),
            resident_bytes: Some(340_000_000),
            ..Stats::default()
        };
        assert_eq!(summary(&stats), "[Stats: 2.0 tok/s | PPL: 1.25 | Mem: 340MB]");
        assert_eq!(summary(&Stats::default()), "[Stats: - tok/s | PPL: - | Mem: -]");
        let infinite = Stats { perplexity: Some(f64::INFINITY), ..stats };
        assert_eq!(summary(&infinite), "[Stats: 2.0 tok/s | PPL: - | Mem: 340MB]");
    }

    #[test]
    fn tokens_are_quoted_so_that_they_stay_on_their_line() {
        assert_eq!(quote("\n"), r#""\n""#);
        assert_eq!(quote("\"\u{9b}2J"), r#""\"\u{9b}2J""#);
        assert_eq!(quote(" 日本"), "\" 日本\"");
    }

    #[test]
    fn small_probabilities_do_not_become_zero() {
        assert_eq!(probability(0.98), "0.9800");
        assert_eq!(probability(0.000_049), "4.9e-5");
        assert_eq!(probability(0.0), "0.0e0");
    }
}

//! Choosing the next token from logits.
//!
//! In order: repetition penalty, temperature, top-k, nucleus, min-p; then one draw from what is left, renormalised.

use std::collections::BTreeSet;

use apr_tokenizer::TokenId;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use thiserror::Error;

use crate::distribution::{argmax, likeliest};

/// How to choose; [`SamplingParams::greedy`] takes the likeliest token always.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits before softmax; 0 takes the likeliest token, higher is more diverse.
    pub temperature: f32,
    /// Keeps the `k` likeliest tokens (Fan et al. 2018).
    pub top_k: Option<usize>,
    /// Keeps the fewest likeliest tokens whose probabilities sum to at least this (Holtzman et al. 2020, eq. 2).
    pub top_p: f32,
    /// Keeps tokens at least this fraction as likely as the likeliest (Nguyen et al. 2024).
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens already in the sequence (Keskar et al. 2019, eq. 2).
    pub repetition_penalty: f32,
    /// Seeds the draws: the same seed, model and prompt give the same tokens.
    pub seed: u64,
}

/// A parameter outside its range.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{name} is {value}, it must be {range}")]
pub struct SamplingParamError {
    /// The parameter.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// What it may be.
    pub range: &'static str,
}

/// Logits nothing can be chosen from.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the model's logit for token {id} is not a number: its weights or its arithmetic are broken")]
pub struct NotANumber {
    /// The first token concerned.
    pub id: TokenId,
}

impl SamplingParams {
    /// Always the likeliest token.
    pub const fn greedy() -> Self {
        Self { temperature: 0.0, top_k: None, top_p: 1.0, min_p: 0.0, repetition_penalty: 1.0, seed: 0 }
    }

    /// Checks every range.
    pub fn check(&self) -> Result<(), SamplingParamError> {
        let check = |name, value: f32, holds: bool, range| {
            if holds { Ok(()) } else { Err(SamplingParamError { name, value: f64::from(value), range }) }
        };
        check("temperature", self.temperature, (0.0..=100.0).contains(&self.temperature), "from 0 to 100")?;
        check("top-p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "above 0 and at most 1")?;
        check("min-p", self.min_p, (0.0..=1.0).contains(&self.min_p), "from 0 to 1")?;
        check(
            "repetition-penalty",
            self.repetition_penalty,
            self.repetition_penalty > 0.0 && self.repetition_penalty <= 100.0,
            "above 0 and at most 100",
        )?;
        if self.top_k == Some(0) {
            return Err(SamplingParamError { name: "top-k", value: 0.0, range: "at least 1" });
        }
        Ok(())
    }
}

/// Chooses tokens; holds the state of its random draws.
#[derive(Clone, Debug)]
pub struct Sampler {
    params: SamplingParams,
    rng: ChaCha8Rng,
}

/// A token that survived the filters and its unnormalised probability.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weighted {
    id: TokenId,
    weight: f64,
}

impl Sampler {
    /// A sampler at the start of its draws.
    pub fn new(params: SamplingParams) -> Result<Self, SamplingParamError> {
        params.check()?;
        let rng = ChaCha8Rng::seed_from_u64(params.seed);
        Ok(Self { params, rng })
    }

    /// The next token after `history`, from the logits of its last position.
    pub fn sample(&mut self, logits: &[f32], history: &[TokenId]) -> Result<TokenId, NotANumber> {
        if let Some(index) = logits.iter().position(|logit| logit.is_nan()) {
            return Err(NotANumber { id: TokenId(index as u32) });
        }
        let penalised;
        let logits = if self.params.repetition_penalty == 1.0 {
            logits
        } else {
            penalised = penalise(logits, history, self.params.repetition_penalty);
            &penalised
        };
        if self.params.temperature == 0.0 {
            return Ok(argmax(logits));
        }
        let kept = self.keep(logits);
        let total: f64 = kept.iter().map(|token| token.weight).sum();
        let mut left = self.rng.random::<f64>() * total;
        for token in &kept {
            left -= token.weight;
            if left < 0.0 {
                return Ok(token.id);
            }
        }
        // Rounding can leave a sliver above the last token.
        Ok(kept[kept.len() - 1].id)
    }

    /// The tokens the filters keep, likeliest first; never empty.
    fn keep(&self, logits: &[f32]) -> Vec<Weighted> {
        let params = &self.params;
        let temperature = f64::from(params.temperature);
        let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let weight = |logit: f32| ((f64::from(logit) - max) / temperature).exp();
        let mut n_candidates = params.top_k.unwrap_or(logits.len()).min(logits.len());
        if params.top_p < 1.0 && n_candidates > FIRST_CANDIDATES {
            n_candidates = nucleus_candidates(logits, n_candidates, params, weight);
        }
        let mut kept: Vec<Weighted> = likeliest(logits, n_candidates)
            .into_iter()
            .map(|id| Weighted { id, weight: weight(logits[id.index()]) })
            .collect();
        if params.top_p < 1.0 {
            // The mass a nucleus is measured against is that of the tokens top-k kept.
            let total: f64 = match params.top_k {
                Some(_) => kept.iter().map(|token| token.weight).sum(),
                None => logits.iter().map(|&logit| weight(logit)).sum(),
            };
            let mut mass = 0.0;
            let below = |token: &Weighted| {
                let inside = mass < f64::from(params.top_p) * total;
                mass += token.weight;
                inside
            };
            let n_kept = kept.iter().map(below).take_while(|&inside| inside).count();
            kept.truncate(n_kept.max(1));
        }
        if params.min_p > 0.0 {
            let floor = f64::from(params.min_p) * kept[0].weight;
            let n_kept = kept.iter().take_while(|token| token.weight >= floor).count();
            kept.truncate(n_kept.max(1));
        }
        kept
    }
}

/// A nucleus rarely has more tokens than this; ordering a whole vocabulary of 150,000 would take longer than a layer.
const FIRST_CANDIDATES: usize = 256;

/// How many of the likeliest tokens are sure to hold the nucleus.
fn nucleus_candidates(
    logits: &[f32],
    limit: usize,
    params: &SamplingParams,
    weight: impl Fn(f32) -> f64,
) -> usize {
    let total: f64 = logits.iter().map(|&logit| weight(logit)).sum();
    let mut n_candidates = FIRST_CANDIDATES;
    while n_candidates < limit {
        let mass: f64 =
            likeliest(logits, n_candidates).into_iter().map(|id| weight(logits[id.index()])).sum();
        if mass >= f64::from(params.top_p) * total {
            break;
        }
        n_candidates *= 8;
    }
    n_candidates.min(limit)
}

/// The logits after the repetition penalty.
fn penalise(logits: &[f32], history: &[TokenId], penalty: f32) -> Vec<f32> {
    let mut logits = logits.to_vec();
    let seen: BTreeSet<TokenId> = history.iter().copied().collect();
    for id in seen {
        if let Some(logit) = logits.get_mut(id.index()) {
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
    }
    logits
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use proptest::prelude::*;

    use super::*;

    fn params() -> SamplingParams {
        SamplingParams { temperature: 1.0, ..SamplingParams::greedy() }
    }

    fn kept_ids(params: SamplingParams, logits: &[f32]) -> Vec<u32> {
        Sampler::new(params).unwrap().keep(logits).into_iter().map(|token| token.id.0).collect()
    }

    /// Logits of the distribution 0.5, 0.25, 0.125, 0.0625, 0.0625.
    const HALVES: [f32; 5] = [0.0, -LN_2, -2.0 * LN_2, -3.0 * LN_2, -3.0 * LN_2];

    #[test]
    fn greedy_takes_the_likeliest_and_the_lower_id_among_equals() {
        let mut sampler = Sampler::new(SamplingParams::greedy()).unwrap();
        assert_eq!(sampler.sample(&[0.5, 2.0, 2.0, -1.0], &[]), Ok(TokenId(1)));
    }

    #[test]
    fn top_k_keeps_k() {
        assert_eq!(kept_ids(SamplingParams { top_k: Some(2), ..params() }, &HALVES), [0, 1]);
    }

    #[test]
    fn a_nucleus_is_the_fewest_tokens_that_reach_p() {
        for (top_p, expected) in [
            (0.4, vec![0]),
            (0.5, vec![0]),
            (0.51, vec![0, 1]),
            (0.8, vec![0, 1, 2]),
            (1.0, vec![0, 1, 2, 3, 4]),
        ] {
            assert_eq!(kept_ids(SamplingParams { top_p, ..params() }, &HALVES), expected, "top-p {top_p}");
        }
    }

    #[test]
    fn min_p_keeps_tokens_near_the_likeliest() {
        assert_eq!(kept_ids(SamplingParams { min_p: 0.3, ..params() }, &HALVES), [0, 1]);
    }

    #[test]
    fn temperature_sharpens_and_flattens_as_the_power_law_says() {
        for temperature in [0.5, 1.0, 2.0] {
            let sampler = Sampler::new(SamplingParams { temperature, ..params() }).unwrap();
            let kept = sampler.keep(&HALVES);
            let ratio = kept[1].weight / kept[0].weight;
            assert!((ratio - 0.5_f64.powf(1.0 / f64::from(temperature))).abs() < 1e-6, "at {temperature}");
        }
    }

    #[test]
    fn repetition_penalty_lowers_seen_tokens_of_either_sign_once() {
        let history = [TokenId(0), TokenId(0), TokenId(1)];
        assert_eq!(penalise(&[2.0, -2.0, 2.0], &history, 2.0), [1.0, -4.0, 2.0]);
    }

    /// Pearson's chi-squared over 20,000 draws stays below the 0.999 quantile for four degrees of freedom.
    #[test]
    fn draws_follow_the_distribution() {
        let mut sampler = Sampler::new(SamplingParams { seed: 11, ..params() }).unwrap();
        let n_draws = 20_000;
        let mut counts = [0_u32; 5];
        for _ in 0..n_draws {
            counts[sampler.sample(&HALVES, &[]).unwrap().index()] += 1;
        }
        let chi_squared: f64 = counts
            .iter()
            .zip([0.5, 0.25, 0.125, 0.0625, 0.0625])
            .map(|(&count, probability)| {
                let expected = probability * f64::from(n_draws);
                (f64::from(count) - expected).powi(2) / expected
            })
            .sum();
        assert!(chi_squared < 18.47, "chi-squared {chi_squared}, counts {counts:?}");
    }

    #[test]
    fn the_seed_decides_the_draws() {
        let draw = |seed| {
            let mut sampler = Sampler::new(SamplingParams { seed, ..params() }).unwrap();
            (0..40).map(|_| sampler.sample(&HALVES, &[]).unwrap().0).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn parameters_out_of_range_and_broken_logits_are_refused() {
        for broken in [
            SamplingParams { temperature: -1.0, ..params() },
            SamplingParams { temperature: f32::NAN, ..params() },
            SamplingParams { top_k: Some(0), ..params() },
            SamplingParams { top_p: 0.0, ..params() },
            SamplingParams { top_p: 1.5, ..params() },
            SamplingParams { min_p: 2.0, ..params() },
            SamplingParams { repetition_penalty: 0.0, ..params() },
        ] {
            assert!(Sampler::new(broken.clone()).is_err(), "{broken:?}");
        }
        let mut sampler = Sampler::new(params()).unwrap();
        assert_eq!(sampler.sample(&[0.0, f32::NAN], &[]), Err(NotANumber { id: TokenId(1) }));
    }

    proptest! {
        /// Against a slow definition: the nucleus reaches p, and without its last token it would not.
        #[test]
        fn nucleus_matches_its_definition(logits in prop::collection::vec(-8.0_f32..8.0, 1..2000), top_p in 0.01_f32..0.999) {
            let kept = kept_ids(SamplingParams { top_p, ..params() }, &logits);
            let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
            let mass = |ids: &[u32]| ids.iter().map(|&id| f64::from(logits[id as usize]).exp()).sum::<f64>() / total;
            prop_assert!(mass(&kept) >= f64::from(top_p) - 1e-9);
            prop_assert!(mass(&kept[..kept.len() - 1]) < f64::from(top_p) + 1e-9);
            let lowest = kept.iter().map(|&id| logits[id as usize]).fold(f32::INFINITY, f32::min);
            let n_higher = logits.iter().filter(|&&logit| logit > lowest).count();
            prop_assert!(n_higher < kept.len() || kept.len() == 1, "the tail was kept");
        }

        #[test]
        fn a_sample_is_always_one_of_the_kept(logits in prop::collection::vec(-50.0_f32..50.0, 1..300), seed: u64,
                                             top_k in 1_usize..50, min_p in 0.0_f32..1.0) {
            let params = SamplingParams { top_k: Some(top_k), min_p, seed, ..params() };
            let mut sampler = Sampler::new(params.clone()).unwrap();
            let id = sampler.sample(&logits, &[]).unwrap();
            prop_assert!(kept_ids(params, &logits).contains(&id.0));
        }
    }
}

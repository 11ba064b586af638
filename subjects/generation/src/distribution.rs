//! What a row of logits says: probabilities, the likeliest tokens, the log-probability of one.

use apr_tokenizer::TokenId;

/// A token and its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: TokenId,
    /// Its probability, 0 to 1.
    pub probability: f64,
}

/// The natural logarithm of softmax's denominator, `ln(sum(e^logit))`, in f64.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln()
}

/// The log-probability that `logits` gives `id`, in nats.
///
/// # Panics
/// When `id` is outside `logits`.
pub fn log_probability(logits: &[f32], id: TokenId) -> f64 {
    f64::from(logits[id.index()]) - log_sum_exp(logits)
}

/// The likeliest token, the lowest id among equals.
///
/// # Panics
/// When there are no logits.
pub fn argmax(logits: &[f32]) -> TokenId {
    let is_higher = |index: usize, best: usize| logits[index].total_cmp(&logits[best]).is_gt();
    let best = (1..logits.len()).fold(0, |best, index| if is_higher(index, best) { index } else { best });
    assert!(!logits.is_empty(), "there are no logits");
    TokenId(best as u32)
}

/// The `k` likeliest tokens with their probabilities, likeliest first, the lower id first among equals.
pub fn top_candidates(logits: &[f32], k: usize) -> Vec<Candidate> {
    let log_sum = log_sum_exp(logits);
    likeliest(logits, k)
        .into_iter()
        .map(|id| Candidate { id, probability: (f64::from(logits[id.index()]) - log_sum).exp() })
        .collect()
}

/// The ids of the `k` highest logits, highest first, the lower id first among equals.
pub(crate) fn likeliest(logits: &[f32], k: usize) -> Vec<TokenId> {
    let higher_first =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then_with(|| a.cmp(b));
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let k = k.min(ids.len());
    if k == 0 {
        return Vec::new();
    }
    if k < ids.len() {
        ids.select_nth_unstable_by(k - 1, higher_first);
        ids.truncate(k);
    }
    ids.sort_unstable_by(higher_first);
    ids.into_iter().map(TokenId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argmax_is_the_first_of_the_likeliest() {
        for logits in [&[1.0, 3.0, 3.0, 2.0][..], &[5.0], &[-2.0, -1.0, -3.0], &[f32::NEG_INFINITY, 0.0]] {
            assert_eq!(vec![argmax(logits)], likeliest(logits, 1), "{logits:?}");
        }
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), TokenId(1));
    }

    #[test]
    fn probabilities_are_softmax_and_come_likeliest_first() {
        let logits = [1.0, 3.0, 2.0, 3.0];
        let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let top = top_candidates(&logits, 3);
        assert_eq!(top.iter().map(|candidate| candidate.id.0).collect::<Vec<_>>(), [1, 3, 2]);
        assert!((top[0].probability - 3_f64.exp() / total).abs() < 1e-12);
        assert!((log_probability(&logits, TokenId(0)) - (1.0 - total.ln())).abs() < 1e-12);
        assert_eq!(top_candidates(&logits, 99).len(), 4);
        assert!(top_candidates(&logits, 0).is_empty());
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert!((log_sum_exp(&[1e30, 1e30]) - (1e30 + 2_f64.ln())).abs() <= 1e23);
    }
}

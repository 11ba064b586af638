//! Differences between next-token distributions: Kullback-Leibler divergence, top-k agreement, likelihood.

use thiserror::Error;

/// Why two rows of logits could not be compared as distributions.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DistributionError {
    /// A logit that is NaN or infinite.
    #[error("logit {index} is {value}, not a finite number")]
    NotFinite {
        /// Which logit.
        index: usize,
        /// What it is.
        value: String,
    },
    /// Rows of different vocabularies, or of none.
    #[error("rows of {expected} and {actual} logits cannot be compared")]
    Lengths {
        /// Logits in the reference row.
        expected: usize,
        /// Logits in the other row.
        actual: usize,
    },
    /// A target or a `k` outside the row.
    #[error("{asked} is outside a row of {n_logits} logits")]
    OutOfRange {
        /// What was asked for.
        asked: usize,
        /// Logits there are.
        n_logits: usize,
    },
}

/// `KL(P || Q) = sum p (ln p - ln q)` in nats, `P` the reference's softmax and `Q` the other's; 0 where they agree.
pub fn kl_divergence<P, Q>(reference: &[P], other: &[Q]) -> Result<f64, DistributionError>
where
    P: Copy + Into<f64>,
    Q: Copy + Into<f64>,
{
    if reference.len() != other.len() || reference.is_empty() {
        return Err(DistributionError::Lengths { expected: reference.len(), actual: other.len() });
    }
    let (p, q) = (log_softmax(reference)?, log_softmax(other)?);
    // Terms may be negative, their sum may not: what is below 0 is rounding.
    Ok(p.iter().zip(&q).map(|(&p, &q)| p.exp() * (p - q)).sum::<f64>().max(0.0))
}

/// `-ln softmax(logits)[target]` in nats; the exponential of its mean over a text is the text's perplexity.
pub fn negative_log_likelihood<T: Copy + Into<f64>>(
    logits: &[T],
    target: usize,
) -> Result<f64, DistributionError> {
    let log_probabilities = log_softmax(logits)?;
    let out_of_range = DistributionError::OutOfRange { asked: target, n_logits: logits.len() };
    log_probabilities.get(target).map(|&log_probability| -log_probability).ok_or(out_of_range)
}

/// Indices of the `k` greatest logits, greatest first; of equal ones the lower index comes first.
pub fn top_k<T: Copy + Into<f64>>(logits: &[T], k: usize) -> Result<Vec<usize>, DistributionError> {
    if k == 0 || k > logits.len() {
        return Err(DistributionError::OutOfRange { asked: k, n_logits: logits.len() });
    }
    let logits = finite(logits)?;
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let greater = |&a: &usize, &b: &usize| logits[b].total_cmp(&logits[a]).then(a.cmp(&b));
    if k < order.len() {
        order.select_nth_unstable_by(k, greater);
        order.truncate(k);
    }
    order.sort_unstable_by(greater);
    Ok(order)
}

/// Share of the reference's `k` greatest logits that are among the other's `k` greatest, in whatever order.
pub fn top_k_agreement<P, Q>(reference: &[P], other: &[Q], k: usize) -> Result<f64, DistributionError>
where
    P: Copy + Into<f64>,
    Q: Copy + Into<f64>,
{
    if reference.len() != other.len() {
        return Err(DistributionError::Lengths { expected: reference.len(), actual: other.len() });
    }
    let other = top_k(other, k)?;
    let n_shared = top_k(reference, k)?.iter().filter(|id| other.contains(id)).count();
    Ok(n_shared as f64 / k as f64)
}

/// `ln softmax(x) = x - max - ln sum exp(x - max)`.
fn log_softmax<T: Copy + Into<f64>>(logits: &[T]) -> Result<Vec<f64>, DistributionError> {
    let logits = finite(logits)?;
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = max + logits.iter().map(|logit| (logit - max).exp()).sum::<f64>().ln();
    Ok(logits.into_iter().map(|logit| logit - log_sum).collect())
}

/// The logits as f64, refused when one of them is not finite.
fn finite<T: Copy + Into<f64>>(logits: &[T]) -> Result<Vec<f64>, DistributionError> {
    logits
        .iter()
        .enumerate()
        .map(|(index, &logit)| {
            let value: f64 = logit.into();
            if value.is_finite() {
                Ok(value)
            } else {
                Err(DistributionError::NotFinite { index, value: value.to_string() })
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rows_of_different_lengths_and_ranks_that_do_not_exist_are_refused() {
        let (row, longer) = ([1.0_f32, 2.0], [1.0_f32, 2.0, 3.0]);
        let lengths = DistributionError::Lengths { expected: 2, actual: 3 };
        assert_eq!(kl_divergence(&row, &longer), Err(lengths.clone()));
        assert_eq!(top_k_agreement(&row, &longer, 1), Err(lengths));
        let empty: [f32; 0] = [];
        assert_eq!(kl_divergence(&empty, &empty), Err(DistributionError::Lengths { expected: 0, actual: 0 }));
        for k in [0, 3] {
            assert_eq!(top_k(&row, k), Err(DistributionError::OutOfRange { asked: k, n_logits: 2 }), "{k}");
        }
        let outside = DistributionError::OutOfRange { asked: 2, n_logits: 2 };
        assert_eq!(negative_log_likelihood(&row, 2), Err(outside));
        assert_eq!(top_k(&row, 2), Ok(vec![1, 0]));
    }

    #[test]
    fn divergence_of_two_known_distributions() {
        // P = (3/4, 1/4), Q = (1/2, 1/2): KL = 3/4 ln(3/2) + 1/4 ln(1/2).
        let kl = kl_divergence(&[3_f64.ln(), 0.0], &[0.0_f64, 0.0]).unwrap();
        let expected = 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln();
        assert!((kl - expected).abs() < 1e-15, "{kl}");
    }

    #[test]
    fn likelihood_of_a_uniform_row_is_the_log_of_its_length() {
        let nll = negative_log_likelihood(&[2.5_f32; 10], 3).unwrap();
        assert!((nll - 10_f64.ln()).abs() < 1e-14);
        assert!(negative_log_likelihood(&[0.0_f32; 10], 10).is_err());
    }

    #[test]
    fn of_equal_logits_the_lower_index_comes_first() {
        assert_eq!(top_k(&[1.0_f32, 3.0, 2.0, 3.0, 3.0], 3), Ok(vec![1, 3, 4]));
        assert_eq!(top_k(&[1.0_f32, 3.0], 2), Ok(vec![1, 0]));
    }

    #[test]
    fn rows_with_nan_are_refused() {
        let rows = ([1.0_f32, f32::NAN], [1.0_f32, 2.0]);
        let error = kl_divergence(&rows.1, &rows.0).unwrap_err();
        assert_eq!(error.to_string(), "logit 1 is NaN, not a finite number");
        assert!(top_k(&rows.0, 1).is_err());
        assert!(top_k_agreement(&rows.1, &rows.0, 1).is_err());
        assert!(negative_log_likelihood(&[f32::NEG_INFINITY], 0).is_err());
    }

    #[test]
    fn nothing_to_compare_is_an_error() {
        let none: [f32; 0] = [];
        assert!(kl_divergence(&none, &none).is_err());
        assert!(top_k(&[1.0_f32], 0).is_err());
        assert!(top_k_agreement(&[1.0_f32], &[1.0_f32, 2.0], 1).is_err());
    }

    #[test]
    fn agreement_counts_shared_ids() {
        assert_eq!(top_k_agreement(&[4.0_f32, 3.0, 2.0, 1.0], &[4.0_f32, 1.0, 3.0, 2.0], 2), Ok(0.5));
    }

    proptest! {
        #[test]
        fn divergence_is_never_negative_and_ignores_a_constant(
            row in prop::collection::vec(-30.0..30.0, 2..50), shift in -100.0..100.0,
        ) {
            let other: Vec<f64> = row.iter().rev().copied().collect();
            prop_assert!(kl_divergence(&row, &other).unwrap() >= 0.0);
            let shifted: Vec<f64> = row.iter().map(|logit| logit + shift).collect();
            prop_assert!(kl_divergence(&row, &shifted).unwrap() < 1e-12);
        }

        #[test]
        fn the_greatest_are_what_sorting_puts_first(row in prop::collection::vec(-5_i8..5, 1..30), k in 1_usize..30) {
            let row: Vec<f32> = row.into_iter().map(f32::from).collect();
            let k = k.min(row.len());
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
            prop_assert_eq!(top_k(&row, k).unwrap(), &order[..k]);
        }
    }
}

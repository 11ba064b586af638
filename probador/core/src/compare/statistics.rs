//! What a tensor's values look like: moments, extremes and exact quantiles, without a sorted copy.

use serde::Serialize;

/// The quantiles that [`Statistics`] holds, in its order.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// A summary of a tensor's finite values; moments, extremes and quantiles are absent when it has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// Number of values, finite or not.
    pub n: usize,
    /// Number of NaN.
    pub n_nan: usize,
    /// Number of infinities.
    pub n_inf: usize,
    /// Number of zeros, of either sign.
    pub n_zero: usize,
    /// Arithmetic mean.
    pub mean: Option<f64>,
    /// Standard deviation of the population (divided by n, not n - 1).
    pub std: Option<f64>,
    /// Smallest value.
    pub min: Option<f32>,
    /// Greatest value.
    pub max: Option<f32>,
    /// The smallest value that at least the share [`QUANTILES`]`[i]` of the values does not exceed.
    pub quantiles: Option<[f32; QUANTILES.len()]>,
}

impl Statistics {
    /// Summarises the values that `values` yields each time it is called: three passes and half a megabyte, whatever
    /// the size, so that a mapped tensor is never widened as a whole.
    pub fn of<I: Iterator<Item = f32>>(values: impl Fn() -> I) -> Self {
        let mut summary = Self {
            n: 0,
            n_nan: 0,
            n_inf: 0,
            n_zero: 0,
            mean: None,
            std: None,
            min: None,
            max: None,
            quantiles: None,
        };
        let mut sum = 0.0;
        let mut upper_halves = vec![0_u64; 1 << 16];
        for value in values() {
            summary.n += 1;
            if value.is_finite() {
                summary.n_zero += usize::from(value == 0.0);
                sum += f64::from(value);
                upper_halves[(ordered(value) >> 16) as usize] += 1;
            } else if value.is_nan() {
                summary.n_nan += 1;
            } else {
                summary.n_inf += 1;
            }
        }
        let n_finite = summary.n - summary.n_nan - summary.n_inf;
        if n_finite == 0 {
            return summary;
        }
        let mean = sum / n_finite as f64;
        let squares: f64 =
            values().filter(|value| value.is_finite()).map(|value| (f64::from(value) - mean).powi(2)).sum();
        let ranks = ranks(n_finite);
        let order = order_statistics(values, &upper_halves, &ranks);
        summary.mean = Some(mean);
        summary.std = Some((squares / n_finite as f64).sqrt());
        summary.min = Some(order[0]);
        summary.max = Some(order[ranks.len() - 1]);
        let mut quantiles = [0.0; QUANTILES.len()];
        quantiles.copy_from_slice(&order[1..ranks.len() - 1]);
        summary.quantiles = Some(quantiles);
        summary
    }

    /// Summarises a slice.
    pub fn of_slice(values: &[f32]) -> Self {
        Self::of(|| values.iter().copied())
    }
}

/// How far a tensor's moments are from a reference's, as shares of the reference's deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MomentShift {
    /// `|mean - reference mean| / reference deviation`.
    pub mean: f64,
    /// `|deviation - reference deviation| / reference deviation`.
    pub std: f64,
}

/// The shift of `actual`'s moments from `reference`'s; `None` when either has no finite value, or any value that is
/// not finite, or when the reference is constant, so that nothing can be said in shares of its deviation.
pub fn moment_shift(reference: &Statistics, actual: &Statistics) -> Option<MomentShift> {
    let all_finite = |summary: &Statistics| summary.n_nan + summary.n_inf == 0;
    if !(all_finite(reference) && all_finite(actual)) {
        return None;
    }
    let deviation = reference.std.filter(|&std| std > 0.0)?;
    Some(MomentShift {
        mean: (actual.mean? - reference.mean?).abs() / deviation,
        std: (actual.std? - deviation).abs() / deviation,
    })
}

/// A key that orders finite floats as integers: IEEE 754 order with negatives reversed below the positives.
fn ordered(value: f32) -> u32 {
    let bits = value.to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

/// The float of a key.
fn from_ordered(key: u32) -> f32 {
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}

/// Ranks (from 0) of the minimum, the quantiles and the maximum among `n` values, ascending.
fn ranks(n: usize) -> Vec<usize> {
    let quantile = |share: f64| ((share * n as f64).ceil() as usize).clamp(1, n) - 1;
    std::iter::once(0).chain(QUANTILES.map(quantile)).chain([n - 1]).collect()
}

/// The values at `ranks` among the finite values: the key's upper half is found in the histogram already made, its
/// lower half in one more pass over the values that share the upper half.
fn order_statistics<I: Iterator<Item = f32>>(
    values: impl Fn() -> I,
    upper_halves: &[u64],
    ranks: &[usize],
) -> Vec<f32> {
    let placed: Vec<(usize, usize)> = ranks.iter().map(|&rank| locate(upper_halves, rank)).collect();
    let mut buckets: Vec<usize> = placed.iter().map(|&(bucket, _)| bucket).collect();
    buckets.dedup();
    let mut slot_of = vec![u8::MAX; 1 << 16];
    for (slot, &bucket) in buckets.iter().enumerate() {
        slot_of[bucket] = slot as u8;
    }
    let mut lower_halves = vec![vec![0_u64; 1 << 16]; buckets.len()];
    for value in values().filter(|value| value.is_finite()) {
        let key = ordered(value);
        let slot = slot_of[(key >> 16) as usize];
        if slot != u8::MAX {
            lower_halves[slot as usize][(key & 0xffff) as usize] += 1;
        }
    }
    placed
        .into_iter()
        .map(|(bucket, rest)| {
            let (low, _) = locate(&lower_halves[slot_of[bucket] as usize], rest);
            from_ordered((bucket as u32) << 16 | low as u32)
        })
        .collect()
}

/// The bucket that holds the value at `rank`, and the rank inside that bucket.
fn locate(histogram: &[u64], rank: usize) -> (usize, usize) {
    let mut rest = rank;
    for (bucket, &count) in histogram.iter().enumerate() {
        if rest < count as usize {
            return (bucket, rest);
        }
        rest -= count as usize;
    }
    (histogram.len() - 1, 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moments_and_quantiles_of_the_first_hundred_numbers() {
        let values: Vec<f32> = (1..=100_u8).map(f32::from).collect();
        let summary = Statistics::of_slice(&values);
        assert_eq!(summary.mean, Some(50.5));
        assert!((summary.std.unwrap() - (9999.0_f64 / 12.0).sqrt()).abs() < 1e-12);
        assert_eq!((summary.min, summary.max), (Some(1.0), Some(100.0)));
        assert_eq!(summary.quantiles, Some([1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0]));
    }

    #[test]
    fn moments_shift_by_shares_of_the_references_deviation() {
        let of = |values: &[f32]| Statistics::of_slice(values);
        let shift = moment_shift(&of(&[1.0, 3.0]), &of(&[2.0, 8.0])).unwrap();
        // From 2 and 1 to 5 and 3.
        assert_eq!((shift.mean, shift.std), (3.0, 2.0));
        assert_eq!(
            moment_shift(&of(&[2.0, 2.0]), &of(&[1.0, 3.0])),
            None,
            "no share of a deviation of nothing"
        );
        assert_eq!(moment_shift(&of(&[1.0, 3.0]), &of(&[1.0, f32::NAN])), None);
    }

    #[test]
    fn what_is_not_finite_is_counted_and_left_out() {
        let summary =
            Statistics::of_slice(&[f32::NAN, 2.0, f32::INFINITY, -0.0, f32::NEG_INFINITY, 4.0, f32::NAN]);
        assert_eq!((summary.n, summary.n_nan, summary.n_inf, summary.n_zero), (7, 2, 2, 1));
        assert_eq!((summary.mean, summary.min, summary.max), (Some(2.0), Some(0.0), Some(4.0)));
    }

    #[test]
    fn without_a_finite_value_there_are_no_moments() {
        for values in [vec![], vec![f32::NAN]] {
            let summary = Statistics::of_slice(&values);
            assert_eq!((summary.mean, summary.std, summary.min, summary.quantiles), (None, None, None, None));
        }
    }

    #[test]
    fn moments_shift_in_shares_of_the_reference_deviation() {
        let reference = Statistics::of_slice(&[-2.0, 2.0]);
        let shift = moment_shift(&reference, &Statistics::of_slice(&[-2.0, 4.0])).unwrap();
        assert_eq!(shift, MomentShift { mean: 0.5, std: 0.5 });
        assert_eq!(moment_shift(&Statistics::of_slice(&[1.0, 1.0]), &reference), None);
        let not_finite = Statistics::of_slice(&[-2.0, 2.0, f32::NAN]);
        assert_eq!(moment_shift(&reference, &not_finite), None);
        assert_eq!(moment_shift(&not_finite, &reference), None);
        let infinite = Statistics::of_slice(&[-2.0, 2.0, f32::INFINITY]);
        assert_eq!(moment_shift(&infinite, &reference), None);
        assert_eq!(moment_shift(&reference, &Statistics::of_slice(&[])), None);
    }

    #[test]
    fn a_rank_is_located_and_one_beyond_the_last_is_in_the_last_bucket() {
        for (rank, expected) in [(0, (0, 0)), (1, (0, 1)), (2, (2, 0)), (7, (2, 0))] {
            assert_eq!(locate(&[2, 0, 1], rank), expected, "{rank}");
        }
    }

    #[test]
    fn keys_order_as_their_floats_do() {
        let ascending = [f32::NEG_INFINITY, -2.0, -1.0, -f32::MIN_POSITIVE, -0.0, 0.0, 1e-40, 1.0, f32::MAX];
        let keys = ascending.map(ordered);
        assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
        assert_eq!(keys.map(|key| from_ordered(key).to_bits()), ascending.map(f32::to_bits));
    }

    proptest! {
        #[test]
        fn order_statistics_are_those_of_the_sorted_values(mut values in prop::collection::vec(
            prop_oneof![-1e3_f32..1e3, Just(0.0), Just(-0.0), prop::num::f32::SUBNORMAL, prop::num::f32::NORMAL],
            1..300,
        )) {
            let summary = Statistics::of_slice(&values);
            values.sort_by(f32::total_cmp);
            let n = values.len();
            let expected = QUANTILES.map(|share| values[((share * n as f64).ceil() as usize).max(1) - 1]);
            let bits = |values: [f32; 7]| values.map(f32::to_bits);
            prop_assert_eq!(bits(summary.quantiles.unwrap()), bits(expected));
            prop_assert_eq!(summary.min.unwrap().to_bits(), values[0].to_bits());
            prop_assert_eq!(summary.max.unwrap().to_bits(), values[n - 1].to_bits());
        }
    }
}

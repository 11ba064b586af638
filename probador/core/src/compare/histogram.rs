//! How values are spread: equal bins between the smallest and the greatest, and a line of text that shows them.

use serde::Serialize;

/// Heights of a bar in a line of text; a bin that holds anything is never shown as empty.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Counts of finite values in bins of equal width.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// Where the first bin begins: the smallest value.
    pub low: f64,
    /// Where the last bin ends: the greatest value, which it includes.
    pub high: f64,
    /// Values in each bin, from the lowest on.
    pub counts: Vec<u64>,
    /// Values that are not finite, and in no bin.
    pub n_non_finite: u64,
}

impl Histogram {
    /// Counts the values that `values` yields each time it is called, in two passes; `None` when none is finite, or there
    /// is no bin. Values that are all equal share the first bin.
    pub fn of<I: Iterator<Item = f64>>(n_bins: usize, values: impl Fn() -> I) -> Option<Self> {
        let finite = || values().filter(|value| value.is_finite());
        let (low, high) = finite()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high || n_bins == 0 {
            return None;
        }
        let mut counts = vec![0; n_bins];
        for value in finite() {
            // Halved before they are subtracted: the widest spread of finite numbers has no finite width.
            let share = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            let bin = if share.is_finite() { (share * n_bins as f64) as usize } else { 0 };
            counts[bin.min(n_bins - 1)] += 1;
        }
        let n_non_finite = values().filter(|value| !value.is_finite()).count() as u64;
        Some(Self { low, high, counts, n_non_finite })
    }

    /// Values in all bins.
    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Where bin `bin` begins.
    pub fn edge(&self, bin: usize) -> f64 {
        let share = bin as f64 / self.counts.len() as f64;
        self.low * (1.0 - share) + self.high * share
    }

    /// One character a bin, as high as its share of the fullest; a blank where a bin is empty.
    pub fn bars(&self) -> String {
        let fullest = self.counts.iter().copied().max().unwrap_or(0).max(1);
        let bar = |&count: &u64| {
            let height = (count as u128 * BARS.len() as u128).div_ceil(u128::from(fullest)) as usize;
            if count == 0 { ' ' } else { BARS[height.clamp(1, BARS.len()) - 1] }
        };
        self.counts.iter().map(bar).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(n_bins: usize, values: &[f64]) -> Option<Histogram> {
        Histogram::of(n_bins, || values.iter().copied())
    }

    #[test]
    fn every_finite_value_is_in_one_bin_and_the_greatest_in_the_last() {
        let found = of(4, &[0.0, 0.9, 1.0, 2.5, 4.0, f64::NAN, f64::INFINITY]).unwrap();
        assert_eq!((found.counts.as_slice(), found.n_non_finite, found.n()), ([2, 1, 1, 1].as_slice(), 2, 5));
        assert_eq!([found.low, found.high].map(f64::to_bits), [0.0_f64, 4.0].map(f64::to_bits));
        assert!((found.edge(1) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn bins_begin_at_the_smallest_value_on_either_side_of_zero() {
        assert_eq!(of(3, &[-3.0, -2.5, 0.0, 2.0, 3.0]).unwrap().counts, [2, 1, 2]);
        assert_eq!(of(2, &[5.0, 6.0, 8.0, 9.0]).unwrap().counts, [2, 2]);
    }

    #[test]
    fn edges_lie_at_equal_distances_from_the_smallest_to_the_greatest_value() {
        let found = of(3, &[-3.0, 6.0]).unwrap();
        for (bin, expected) in [-3.0, 0.0, 3.0, 6.0].into_iter().enumerate() {
            assert!((found.edge(bin) - expected).abs() < 1e-12, "bin {bin} begins at {}", found.edge(bin));
        }
    }

    #[test]
    fn equal_values_extremes_and_nothing_are_no_trouble() {
        assert_eq!(of(3, &[2.0, 2.0]).unwrap().counts, [2, 0, 0]);
        assert_eq!(of(2, &[f64::MIN, 0.0, f64::MAX]).unwrap().counts, [1, 2]);
        assert_eq!((of(3, &[]), of(3, &[f64::NAN]), of(0, &[1.0])), (None, None, None));
    }

    #[test]
    fn bars_are_as_high_as_their_share_and_a_single_value_shows() {
        let found = Histogram { low: 0.0, high: 1.0, counts: vec![0, 1, 400, 800], n_non_finite: 0 };
        assert_eq!(found.bars(), " ▁▄█");
    }
}

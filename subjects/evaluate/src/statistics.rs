//! Means over windows with their intervals.
//!
//! Tokens of one window depend on one another, windows hardly do: the spread is that of the windows' sums, as for a ratio
//! of sums over clusters (Cochran 1977, Sampling Techniques, eq. 2.46).

use serde::Serialize;

/// Half the width of a 95 % interval in standard errors.
const Z: f64 = 1.959_964;

/// A mean over tokens, with its 95 % interval; none from a single window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

/// A perplexity over another on the same text, with its 95 % interval.
pub type Ratio = Estimate;

/// The mean of `sums` over `counts`, a pair for each window.
pub(crate) fn mean(windows: &[(f64, usize)]) -> Estimate {
    let n = windows.len() as f64;
    let count: usize = windows.iter().map(|window| window.1).sum();
    let value = windows.iter().map(|window| window.0).sum::<f64>() / count as f64;
    if windows.len() < 2 {
        return Estimate { value, low: None, high: None };
    }
    let squares: f64 = windows.iter().map(|&(sum, count)| (sum - value * count as f64).powi(2)).sum();
    let error = (n / (n - 1.0) * squares).sqrt() / count as f64;
    Estimate { value, low: Some(value - Z * error), high: Some(value + Z * error) }
}

impl Estimate {
    /// The estimate of an increasing function of the mean.
    pub(crate) fn map(self, function: impl Fn(f64) -> f64) -> Self {
        Self { value: function(self.value), low: self.low.map(&function), high: self.high.map(&function) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_windows_leave_no_doubt() {
        let estimate = mean(&[(2.0, 4), (2.0, 4), (2.0, 4)]);
        assert_eq!((estimate.value, estimate.low, estimate.high), (0.5, Some(0.5), Some(0.5)));
    }

    #[test]
    fn the_interval_is_that_of_independent_windows() {
        // Sums 0 and 2 over one token each: mean 1, standard error 1.
        let estimate = mean(&[(0.0, 1), (2.0, 1)]);
        assert_eq!(estimate.value, 1.0);
        assert!((estimate.high.unwrap() - 1.0 - Z).abs() < 1e-12);
        assert!((estimate.map(f64::exp).low.unwrap() - (1.0 - Z).exp()).abs() < 1e-12);
    }

    #[test]
    fn one_window_has_no_interval() {
        assert_eq!(mean(&[(3.0, 2)]), Estimate { value: 1.5, low: None, high: None });
    }
}

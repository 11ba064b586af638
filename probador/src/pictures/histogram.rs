//! A histogram as inline SVG.

use std::fmt::Write as _;

use super::escaped;
use crate::compare::Histogram;

const HEIGHT: f64 = 90.0;
const BIN: f64 = 6.0;

/// Bars as high as their share of the fullest bin; a bin that holds anything shows. `what` names the tensor.
pub fn histogram_svg(what: &str, histogram: &Histogram) -> String {
    let fullest = histogram.counts.iter().copied().max().unwrap_or(0).max(1) as f64;
    let width = BIN * histogram.counts.len() as f64;
    let (low, high) = (histogram.low, histogram.high);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width:.0} {:.0}\" width=\"{width:.0}\" role=\"img\" style=\"max-width:100%;height:auto\" \
         fill=\"currentColor\" font-family=\"inherit\" font-size=\"10\"><title>{}: {} values from {low:.3e} to {high:.3e}</title>",
        HEIGHT + 16.0,
        escaped(what),
        histogram.n(),
    );
    for (bin, &count) in histogram.counts.iter().enumerate().filter(|&(_, &count)| count > 0) {
        let height = (count as f64 / fullest * HEIGHT).max(1.0);
        let _ = write!(
            svg,
            "<rect x=\"{:.0}\" y=\"{:.1}\" width=\"{:.0}\" height=\"{height:.1}\"/>",
            bin as f64 * BIN,
            HEIGHT - height,
            BIN - 1.0,
        );
    }
    let foot = HEIGHT + 12.0;
    let _ = write!(
        svg,
        "<text y=\"{foot}\">{low:.2e}</text><text x=\"{width:.0}\" y=\"{foot}\" text-anchor=\"end\">{high:.2e}</text></svg>"
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bin_that_holds_anything_has_a_bar() {
        let histogram = Histogram { low: -1.0, high: 1.0, counts: vec![1, 0, 1_000_000], n_non_finite: 0 };
        let svg = histogram_svg("a<b", &histogram);
        assert_eq!(svg.matches("<rect").count(), 2, "{svg}");
        assert!(svg.contains("height=\"1.0\"") && svg.contains("height=\"90.0\""), "{svg}");
        assert!(svg.contains("<title>a&lt;b: 1000001 values from -1.000e0 to 1.000e0</title>"), "{svg}");
    }
}

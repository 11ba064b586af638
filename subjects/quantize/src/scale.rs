//! The scale of a group of weights: what makes the weighted squared error least.

use apr_tensor::{GROUP, Packing};
use half::f16;

/// How far from the customary scale others are tried, and in how many steps to each side.
const REACH: f32 = 0.25;
/// See [`REACH`].
const STEPS: i16 = 16;
/// Added to and taken from a float of less than 2^22, it leaves the nearest integer, ties to even, on every processor.
const ROUNDER: f32 = 12_582_912.0;

/// The scale with the least `sum importance (w - scale * round(w / scale))^2`.
///
/// From the scale that makes the weight of the largest magnitude the lowest value of the range, a grid of scales to
/// both sides is tried, each made better by least squares for the values it gives: `scale = sum i w v / sum i v^2`.
pub(crate) fn search(packing: Packing, weights: &[f32; GROUP], importance: &[f32; GROUP]) -> f16 {
    let (low, high) = packing.range();
    let largest = weights.iter().copied().fold(0.0_f32, |a, b| if b.abs() > a.abs() { b } else { a });
    if largest == 0.0 || !largest.is_finite() {
        return f16::ZERO;
    }
    let (low, high) = (f32::from(low), f32::from(high));
    if packing == Packing::Int8 {
        // Symmetric, and so fine that there is nothing to gain.
        return f16::from_f32(largest.abs() / high);
    }
    let mut best = (f32::INFINITY, f16::ZERO);
    for sign in [1.0, -1.0] {
        for step in -STEPS..=STEPS {
            let scale = sign * largest / low * (1.0 + REACH * f32::from(step) / f32::from(STEPS));
            let inverse = 1.0 / scale;
            let (mut products, mut squares) = (0.0, 0.0);
            for i in 0..GROUP {
                let value = rounded(weights[i] * inverse, low, high);
                products += importance[i] * weights[i] * value;
                squares += importance[i] * value * value;
            }
            if squares > 0.0 {
                let scale = f16::from_f32(products / squares);
                let error = error(scale, weights, importance, (low, high));
                if error < best.0 {
                    best = (error, scale);
                }
            }
        }
    }
    best.1
}

/// `sum importance (w - scale * round(w / scale))^2`.
fn error(scale: f16, weights: &[f32; GROUP], importance: &[f32; GROUP], (low, high): (f32, f32)) -> f32 {
    let scale = scale.to_f32();
    if scale == 0.0 {
        return f32::INFINITY;
    }
    let inverse = 1.0 / scale;
    let mut sum = 0.0;
    for i in 0..GROUP {
        let error = weights[i] - scale * rounded(weights[i] * inverse, low, high);
        sum += importance[i] * error * error;
    }
    sum
}

/// The integer nearest to `value` from `low` to `high`.
fn rounded(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < low { low } else { value };
    let value = if value > high { high } else { value };
    (value + ROUNDER) - ROUNDER
}

/// The value nearest to `weight` at `scale`.
pub(crate) fn nearest(packing: Packing, weight: f32, scale: f16) -> i8 {
    let (low, high) = packing.range();
    let scale = scale.to_f32();
    if scale == 0.0 { 0 } else { rounded(weight / scale, f32::from(low), f32::from(high)) as i8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(packing: Packing, weights: &[f32; GROUP], scale: f16) -> f32 {
        weights
            .iter()
            .map(|&weight| (weight - f32::from(nearest(packing, weight, scale)) * scale.to_f32()).powi(2))
            .sum()
    }

    #[test]
    fn multiples_of_a_scale_are_found_exactly() {
        let weights: [f32; GROUP] = std::array::from_fn(|i| (i % 16) as f32 * 0.25 - 2.0);
        let scale = search(Packing::Int4, &weights, &[1.0; GROUP]);
        assert_eq!((scale.to_f32(), error_of(Packing::Int4, &weights, scale)), (0.25, 0.0));
        // The lowest value is one further from zero than the highest: here the largest weight is positive.
        let scale = search(Packing::Int4, &weights.map(|weight| -weight), &[1.0; GROUP]);
        assert_eq!(scale.to_f32(), -0.25);
    }

    #[test]
    fn no_scale_on_a_fine_grid_is_much_better() {
        let weights: [f32; GROUP] = std::array::from_fn(|i| ((i * i * 37 % 101) as f32 - 50.0) / 77.0);
        let found = error_of(Packing::Int4, &weights, search(Packing::Int4, &weights, &[1.0; GROUP]));
        let best = (1..4000)
            .flat_map(|i| [i as f32 * 1e-4, i as f32 * -1e-4])
            .map(|scale| error_of(Packing::Int4, &weights, f16::from_f32(scale)))
            .fold(f32::INFINITY, f32::min);
        assert!(found <= 1.02 * best, "{found} against {best}");
    }

    #[test]
    fn what_counts_more_is_rounded_better() {
        let weights: [f32; GROUP] = std::array::from_fn(|i| ((i * i * 37 % 101) as f32 - 50.0) / 77.0);
        let mut importance = [1e-3; GROUP];
        importance[5] = 1.0;
        let scale = search(Packing::Int4, &weights, &importance);
        let error = weights[5] - f32::from(nearest(Packing::Int4, weights[5], scale)) * scale.to_f32();
        assert!(error.abs() < 2e-3, "{error}");
    }

    #[test]
    fn zeros_and_what_is_not_finite_have_no_scale() {
        assert_eq!(search(Packing::Int4, &[0.0; GROUP], &[1.0; GROUP]), f16::ZERO);
        assert_eq!(search(Packing::Int8, &[f32::INFINITY; GROUP], &[1.0; GROUP]), f16::ZERO);
        assert_eq!(nearest(Packing::Int4, 3.0, f16::ZERO), 0);
    }
}

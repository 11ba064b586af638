//! Element by element: where two tensors differ most, by how much, and what tolerance would let them pass.

use std::fmt;

use serde::Serialize;
use thiserror::Error;

use super::Tolerance;

/// A tensor to compare: row-major values under a shape.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    shape: &'a [usize],
    values: &'a [T],
}

impl<'a, T> View<'a, T> {
    /// Sees `values` as a tensor of `shape`.
    pub fn new(shape: &'a [usize], values: &'a [T]) -> Result<Self, CompareError> {
        let n_elements = shape.iter().try_fold(1_usize, |n, &dim| n.checked_mul(dim));
        if n_elements == Some(values.len()) {
            Ok(Self { shape, values })
        } else {
            Err(CompareError::NotThatShape { shape: shape.to_vec(), n_values: values.len() })
        }
    }
}

/// What a NaN or an infinity means when comparing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// Always a mismatch, on whichever side it stands.
    #[default]
    Mismatch,
    /// Equal to the same non-finite value on the other side (any NaN to any NaN), a mismatch otherwise: for telling
    /// whether two files hold the same numbers, never for judging a computation.
    SameIsEqual,
}

/// Why two tensors could not be compared.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CompareError {
    /// The shapes differ.
    #[error("expected shape {expected:?}, found {actual:?}")]
    ShapeMismatch {
        /// Shape of the expected tensor.
        expected: Vec<usize>,
        /// Shape of the tensor that was compared with it.
        actual: Vec<usize>,
    },
    /// There is not one element to compare.
    #[error("shape {0:?} has no elements, so nothing was compared")]
    Empty(Vec<usize>),
    /// A view whose values do not fill its shape.
    #[error("shape {shape:?} does not hold {n_values} values")]
    NotThatShape {
        /// The shape claimed.
        shape: Vec<usize>,
        /// Number of values there are.
        n_values: usize,
    },
}

/// What comparing two tensors found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Shape of both.
    pub shape: Vec<usize>,
    /// Elements compared; never 0.
    pub n: usize,
    /// The tolerance they were held to.
    pub tolerance: Tolerance,
    /// Elements out of tolerance.
    pub n_mismatched: usize,
    /// Elements that are NaN or infinite on either side.
    pub n_non_finite: usize,
    /// Greatest `|actual - expected|` of the finite elements.
    pub max_abs: f64,
    /// Greatest `|actual - expected| / |expected|` of the finite elements whose expected value is not 0.
    pub max_rel: f64,
    /// Mean of `|actual - expected|` over the finite elements.
    pub mean_abs: f64,
    /// Smallest `atol` that would pass at this `rtol`; `None` when a non-finite value forbids every tolerance.
    pub smallest_atol: Option<f64>,
    /// The element furthest out.
    pub worst: Worst,
}

/// The element that would need the widest tolerance; a non-finite one before any other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worst {
    /// Its index, one number a dimension.
    pub index: Vec<usize>,
    /// The expected value there; `null` in JSON when not finite.
    pub expected: f64,
    /// The value found there; `null` in JSON when not finite.
    pub actual: f64,
}

impl Difference {
    /// Whether every element is within tolerance.
    pub fn passes(&self) -> bool {
        self.n > 0 && self.n_mismatched == 0
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Worst { index, expected, actual } = &self.worst;
        let remedy = match self.smallest_atol {
            Some(atol) => format!("smallest passing atol {atol:.3e}"),
            None => format!("{} not finite: no tolerance would pass", self.n_non_finite),
        };
        write!(
            f,
            "max_abs {:.2e} ({}), {} of {} out; worst at {index:?}: expected {expected}, found {actual}; {remedy}",
            self.max_abs, self.tolerance, self.n_mismatched, self.n
        )
    }
}

/// Compares `actual` with `expected`, a non-finite value on either side being a mismatch.
pub fn compare<E, A>(
    expected: View<'_, E>,
    actual: View<'_, A>,
    tolerance: Tolerance,
) -> Result<Difference, CompareError>
where
    E: Copy + Into<f64>,
    A: Copy + Into<f64>,
{
    compare_with(expected, actual, tolerance, NonFinite::Mismatch)
}

/// Compares `actual` with `expected` under a stated policy for non-finite values.
pub fn compare_with<E, A>(
    expected: View<'_, E>,
    actual: View<'_, A>,
    tolerance: Tolerance,
    non_finite: NonFinite,
) -> Result<Difference, CompareError>
where
    E: Copy + Into<f64>,
    A: Copy + Into<f64>,
{
    if expected.shape != actual.shape {
        return Err(CompareError::ShapeMismatch {
            expected: expected.shape.to_vec(),
            actual: actual.shape.to_vec(),
        });
    }
    if expected.values.is_empty() {
        return Err(CompareError::Empty(expected.shape.to_vec()));
    }
    let mut tally = Tally::default();
    for (flat, (&e, &a)) in expected.values.iter().zip(actual.values).enumerate() {
        tally.add(flat, e.into(), a.into(), tolerance, non_finite);
    }
    Ok(tally.finish(expected.shape, tolerance))
}

/// What is known after some of the elements.
#[derive(Default)]
struct Tally {
    n: usize,
    n_mismatched: usize,
    n_non_finite: usize,
    n_incurable: usize,
    max_abs: f64,
    max_rel: f64,
    sum_abs: f64,
    /// Flat index, expected, actual, and the `atol` it needs (infinite when none is enough).
    worst: Option<(usize, f64, f64, f64)>,
}

impl Tally {
    fn add(&mut self, flat: usize, e: f64, a: f64, tolerance: Tolerance, non_finite: NonFinite) {
        self.n += 1;
        let needed = if e.is_finite() && a.is_finite() {
            let distance = (a - e).abs();
            self.max_abs = self.max_abs.max(distance);
            self.sum_abs += distance;
            if e != 0.0 {
                self.max_rel = self.max_rel.max(distance / e.abs());
            }
            let needed = tolerance.needed_atol(e, a);
            // Two finite numbers can be further apart than the widest tolerance.
            if needed.is_nan() { f64::INFINITY } else { needed }
        } else {
            self.n_non_finite += 1;
            let same = e.to_bits() == a.to_bits() || (e.is_nan() && a.is_nan());
            if same && non_finite == NonFinite::SameIsEqual { 0.0 } else { f64::INFINITY }
        };
        self.n_mismatched += usize::from(needed > tolerance.atol());
        self.n_incurable += usize::from(needed.is_infinite());
        if self.worst.is_none_or(|(.., widest)| needed > widest) {
            self.worst = Some((flat, e, a, needed));
        }
    }

    fn finish(self, shape: &[usize], tolerance: Tolerance) -> Difference {
        let (flat, expected, actual, needed) = self.worst.unwrap_or((0, f64::NAN, f64::NAN, f64::INFINITY));
        let n_finite = self.n - self.n_non_finite;
        Difference {
            shape: shape.to_vec(),
            n: self.n,
            tolerance,
            n_mismatched: self.n_mismatched,
            n_non_finite: self.n_non_finite,
            max_abs: self.max_abs,
            max_rel: self.max_rel,
            mean_abs: if n_finite == 0 { 0.0 } else { self.sum_abs / n_finite as f64 },
            smallest_atol: (self.n_incurable == 0).then_some(needed),
            worst: Worst { index: unravel(flat, shape), expected, actual },
        }
    }
}

/// The index, one number a dimension, of the element at `flat` of a row-major `shape`.
fn unravel(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (position, &dim) in index.iter_mut().zip(shape).rev() {
        *position = flat % dim;
        flat /= dim;
    }
    index
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(shape: &[usize], expected: &[f32], actual: &[f32], atol: f64, rtol: f64) -> Difference {
        let tolerance = Tolerance::new(atol, rtol).unwrap();
        compare(View::new(shape, expected).unwrap(), View::new(shape, actual).unwrap(), tolerance).unwrap()
    }

    #[test]
    fn the_worst_element_is_named_with_both_values() {
        let difference = check(&[2, 3], &[0., 1., 2., 3., 4., 5.], &[0., 1., 2.25, 3., 3., 5.], 0.5, 0.0);
        assert_eq!(difference.worst, Worst { index: vec![1, 1], expected: 4.0, actual: 3.0 });
        assert_eq!((difference.n, difference.n_mismatched, difference.max_abs), (6, 1, 1.0));
        assert_eq!(difference.smallest_atol, Some(1.0));
        assert!(!difference.passes());
        assert_eq!(
            difference.to_string(),
            "max_abs 1.00e0 (atol 5e-1 rtol 0e0), 1 of 6 out; worst at [1, 1]: expected 4, found 3; \
             smallest passing atol 1.000e0"
        );
    }

    #[test]
    fn the_worst_is_judged_by_what_the_relative_part_leaves() {
        // 2,000 may be off by 2 at rtol 1e-3, 1 may not be off by 0.5.
        let difference = check(&[2], &[2000., 1.], &[2001., 1.5], 1e-4, 1e-3);
        assert_eq!(difference.worst.index, [1]);
        assert_eq!(difference.n_mismatched, 1);
    }

    #[test]
    fn shapes_that_differ_are_both_shown() {
        let values = [0.0_f32; 6];
        let (a, b) = (View::new(&[2, 3], &values).unwrap(), View::new(&[3, 2], &values).unwrap());
        assert_eq!(
            compare(a, b, Tolerance::EXACT).unwrap_err().to_string(),
            "expected shape [2, 3], found [3, 2]"
        );
    }

    #[test]
    fn nothing_compared_is_not_a_match() {
        let empty: [f32; 0] = [];
        let view = View::new(&[0, 4], &empty).unwrap();
        assert_eq!(compare(view, view, Tolerance::EXACT), Err(CompareError::Empty(vec![0, 4])));
    }

    #[test]
    fn values_that_do_not_fill_the_shape_are_refused() {
        assert!(View::new(&[2, 2], &[1.0_f32; 3]).is_err());
        assert!(View::new(&[usize::MAX, 2], &[1.0_f32; 3]).is_err());
    }

    #[test]
    fn identical_infinities_match_only_where_that_is_asked_for() {
        let values = [f32::INFINITY, f32::NAN, 1.0];
        let view = View::new(&[3], &values).unwrap();
        let judged = compare(view, view, Tolerance::EXACT).unwrap();
        assert_eq!((judged.n_mismatched, judged.n_non_finite, judged.smallest_atol), (2, 2, None));
        let same = compare_with(view, view, Tolerance::EXACT, NonFinite::SameIsEqual).unwrap();
        assert!(same.passes());
        let other = [f32::NEG_INFINITY, f32::NAN, 1.0];
        let view_of_other = View::new(&[3], &other).unwrap();
        let differs = compare_with(view, view_of_other, Tolerance::EXACT, NonFinite::SameIsEqual).unwrap();
        assert_eq!((differs.n_mismatched, differs.worst.index), (1, vec![0]));
    }

    #[test]
    fn a_number_where_nothing_finite_is_expected_is_never_the_same() {
        let (nan, one) = ([f32::NAN], [1.0_f32]);
        for (expected, actual) in [(&nan, &one), (&one, &nan)] {
            let (expected, actual) = (View::new(&[1], expected).unwrap(), View::new(&[1], actual).unwrap());
            let judged = compare_with(expected, actual, Tolerance::EXACT, NonFinite::SameIsEqual).unwrap();
            assert_eq!((judged.n_mismatched, judged.smallest_atol), (1, None));
        }
    }

    #[test]
    fn of_equally_bad_elements_the_first_is_the_worst() {
        let difference = check(&[3], &[1., 1., 1.], &[1., 2., 2.], 0.0, 0.0);
        assert_eq!(difference.worst.index, [1]);
    }

    #[test]
    fn json_stays_json_when_a_value_is_not_finite() {
        let difference = check(&[1], &[1.0], &[f32::NAN], 1.0, 0.0);
        let json = serde_json::to_string(&difference).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["worst"]["actual"], serde_json::Value::Null);
        assert_eq!(parsed["n_non_finite"], 1);
    }

    #[test]
    fn a_difference_that_no_tolerance_lets_pass_says_so() {
        let difference = check(&[2], &[1.0, f32::INFINITY], &[1.0, f32::NAN], 1.0, 0.0);
        assert!(
            difference.to_string().ends_with("found NaN; 1 not finite: no tolerance would pass"),
            "{difference}"
        );
    }

    #[test]
    fn of_nothing_compared_nothing_passes() {
        let passed = check(&[1], &[1.0], &[1.0], 0.0, 0.0);
        assert!(passed.passes());
        assert!(!Difference { n: 0, ..passed }.passes());
    }

    #[test]
    fn numbers_further_apart_than_any_tolerance_never_pass() {
        let tolerance = Tolerance::new(f64::MAX, 0.0).unwrap();
        let (expected, actual) = ([f64::MAX, 0.0, 4.0], [-f64::MAX, 1.0, 5.0]);
        let difference =
            compare(View::new(&[3], &expected).unwrap(), View::new(&[3], &actual).unwrap(), tolerance)
                .unwrap();
        assert_eq!((difference.n_mismatched, difference.n_non_finite), (1, 0));
        assert_eq!((difference.smallest_atol, difference.worst.index), (None, vec![0]));
    }

    #[test]
    fn distances_are_summed_up_over_finite_elements() {
        // |4 - 2| / 2, |1 - 4| / 4 and a zero that has no relative distance.
        let difference = check(&[4], &[2., 4., 0., f32::NAN], &[4., 1., 1., 1.], 0.5, 0.0);
        assert_eq!((difference.max_abs, difference.max_rel, difference.mean_abs), (3.0, 1.0, 2.0));
        assert_eq!((difference.n, difference.n_mismatched, difference.n_non_finite), (4, 4, 1));
        assert_eq!(difference.shape, [4]);
        let none_finite = check(&[1], &[f32::NAN], &[1.0], 0.5, 0.0);
        assert_eq!((none_finite.mean_abs, none_finite.max_rel), (0.0, 0.0));
    }

    fn pairs() -> impl Strategy<Value = Vec<(f32, f32)>> {
        prop::collection::vec((-1e4_f32..1e4, -1e4_f32..1e4), 1..40)
    }

    proptest! {
        #[test]
        fn a_tensor_matches_itself_exactly(values in prop::collection::vec(-1e30_f32..1e30, 1..40)) {
            let difference = check(&[values.len()], &values, &values, 0.0, 0.0);
            prop_assert!(difference.passes());
            prop_assert_eq!(difference.max_abs.to_bits(), 0);
        }

        #[test]
        fn distances_do_not_depend_on_the_order(pairs in pairs()) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let (forth, back) = (check(&[a.len()], &a, &b, 1.0, 0.0), check(&[a.len()], &b, &a, 1.0, 0.0));
            prop_assert_eq!(forth.max_abs.to_bits(), back.max_abs.to_bits());
            prop_assert_eq!(forth.mean_abs.to_bits(), back.mean_abs.to_bits());
            prop_assert_eq!(forth.n_mismatched, back.n_mismatched);
        }

        #[test]
        fn the_smallest_tolerance_passes_and_a_smaller_one_does_not(pairs in pairs(), rtol in 0.0..0.5) {
            let (expected, actual): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let n = [expected.len()];
            let smallest = check(&n, &expected, &actual, 0.0, rtol).smallest_atol.unwrap();
            prop_assert!(check(&n, &expected, &actual, smallest, rtol).passes());
            prop_assert!(smallest == 0.0 || !check(&n, &expected, &actual, smallest.next_down(), rtol).passes());
        }

        #[test]
        fn one_nan_anywhere_is_never_a_pass(mut pairs in pairs(), at in any::<prop::sample::Index>(), left: bool) {
            let at = at.index(pairs.len());
            if left { pairs[at].0 = f32::NAN } else { pairs[at].1 = f32::NAN }
            let (expected, actual): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let difference = check(&[expected.len()], &expected, &actual, f64::MAX, 0.0);
            prop_assert!(!difference.passes());
            prop_assert_eq!(difference.worst.index, vec![at]);
            prop_assert_eq!(difference.smallest_atol, None);
        }

        #[test]
        fn every_index_is_found_again(shape in prop::collection::vec(1_usize..5, 1..4), at in any::<prop::sample::Index>()) {
            let n: usize = shape.iter().product();
            let at = at.index(n);
            let expected = vec![0.0_f32; n];
            let mut actual = expected.clone();
            actual[at] = 1.0;
            let index = check(&shape, &expected, &actual, 0.0, 0.0).worst.index;
            let flat = index.iter().zip(&shape).fold(0, |flat, (&i, &dim)| flat * dim + i);
            prop_assert_eq!(flat, at);
        }
    }
}

//! How far two numbers may be apart: `|actual - expected| <= atol + rtol * |expected|`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An absolute and a relative tolerance, both finite and not negative. Comparing is not symmetric: `rtol` is a share
/// of the expected value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked", deny_unknown_fields)]
pub struct Tolerance {
    atol: f64,
    rtol: f64,
}

/// A tolerance that is negative, infinite or not a number.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
#[error("tolerance `atol {atol}, rtol {rtol}` is not two finite numbers that are zero or more")]
pub struct InvalidTolerance {
    /// What was given as the absolute part.
    pub atol: f64,
    /// What was given as the relative part.
    pub rtol: f64,
}

/// What a file says, before it is checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    atol: f64,
    #[serde(default)]
    rtol: f64,
}

impl Tolerance {
    /// Nothing but the same number.
    pub const EXACT: Self = Self { atol: 0.0, rtol: 0.0 };

    /// `atol + rtol * |expected|`.
    pub fn new(atol: f64, rtol: f64) -> Result<Self, InvalidTolerance> {
        let valid = |value: f64| value.is_finite() && value >= 0.0;
        if valid(atol) && valid(rtol) {
            Ok(Self { atol, rtol })
        } else {
            Err(InvalidTolerance { atol, rtol })
        }
    }

    /// The absolute part.
    pub fn atol(self) -> f64 {
        self.atol
    }

    /// The relative part.
    pub fn rtol(self) -> f64 {
        self.rtol
    }

    /// The smallest absolute tolerance that lets this pair pass at this relative one: NaN when either is not finite.
    pub fn needed_atol(self, expected: f64, actual: f64) -> f64 {
        let distance = (actual - expected).abs();
        if distance.is_finite() { (distance - self.rtol * expected.abs()).max(0.0) } else { f64::NAN }
    }

    /// Whether `actual` is near enough to `expected`; anything that is not a finite number is not.
    pub fn holds(self, expected: f64, actual: f64) -> bool {
        self.needed_atol(expected, actual) <= self.atol
    }
}

impl TryFrom<Unchecked> for Tolerance {
    type Error = InvalidTolerance;

    fn try_from(unchecked: Unchecked) -> Result<Self, Self::Error> {
        Self::new(unchecked.atol, unchecked.rtol)
    }
}

impl fmt::Display for Tolerance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "atol {:e} rtol {:e}", self.atol, self.rtol)
    }
}

/// Text that is not a tolerance.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ToleranceSyntax {
    /// A part that is not a number.
    #[error("`{0}` is not a number; write `1e-4`, or `1e-4,1e-6` for an absolute and a relative part")]
    NotANumber(String),
    /// Numbers that no tolerance may have.
    #[error(transparent)]
    Invalid(#[from] InvalidTolerance),
}

/// A tolerance as typed: `1e-4`, or `1e-4,1e-6` for an absolute and a relative one.
impl FromStr for Tolerance {
    type Err = ToleranceSyntax;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |part: &str| {
            part.trim().parse::<f64>().map_err(|_| ToleranceSyntax::NotANumber(part.trim().to_owned()))
        };
        let (atol, rtol) = text.split_once(',').unwrap_or((text, "0"));
        Ok(Self::new(number(atol)?, number(rtol)?)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn negative_infinite_and_undefined_tolerances_are_refused() {
        for (atol, rtol) in
            [(-1e-9, 0.0), (0.0, -1.0), (f64::NAN, 0.0), (0.0, f64::NAN), (f64::INFINITY, 0.0)]
        {
            assert!(Tolerance::new(atol, rtol).is_err(), "{atol} {rtol}");
        }
        assert!(serde_json::from_str::<Tolerance>(r#"{"atol": -1}"#).is_err());
        assert!(serde_json::from_str::<Tolerance>(r#"{"atol": 1, "tol": 1}"#).is_err());
    }

    #[test]
    fn typed_tolerances_have_one_or_two_parts() {
        assert_eq!("1e-4".parse(), Ok(Tolerance::new(1e-4, 0.0).unwrap()));
        assert_eq!("1e-4, 1e-6".parse(), Ok(Tolerance::new(1e-4, 1e-6).unwrap()));
        for text in ["", "tight", "1e-4,", "nan", "inf", "-1", "1,2,3"] {
            assert!(text.parse::<Tolerance>().is_err(), "{text}");
        }
    }

    #[test]
    fn both_parts_are_shown_and_handed_out() {
        let tolerance: Tolerance = "1e-4,2e-6".parse().unwrap();
        assert_eq!((tolerance.atol(), tolerance.rtol()), (1e-4, 2e-6));
        assert_eq!(tolerance.to_string(), "atol 1e-4 rtol 2e-6");
        let error = "tight".parse::<Tolerance>().unwrap_err().to_string();
        assert!(error.starts_with("`tight` is not a number; write `1e-4`"), "{error}");
    }

    #[test]
    fn what_is_needed_is_what_the_relative_part_leaves() {
        let tolerance = Tolerance::new(1.0, 0.25).unwrap();
        assert_eq!(tolerance.needed_atol(-8.0, -11.0), 1.0);
        assert_eq!(tolerance.needed_atol(8.0, 9.0), 0.0);
        assert!(tolerance.needed_atol(f64::MAX, -f64::MAX).is_nan());
        assert!(tolerance.holds(-8.0, -11.0) && !tolerance.holds(-8.0, -11.5));
    }

    #[test]
    fn the_relative_part_is_a_share_of_the_expected_value() {
        let tolerance = Tolerance::new(0.0, 0.5).unwrap();
        assert!(tolerance.holds(10.0, 5.0));
        assert!(!tolerance.holds(5.0, 10.0));
    }

    proptest! {
        #[test]
        fn what_is_not_finite_never_holds(value in any::<f64>(), atol in 0.0..1e300, rtol in 0.0..1e300) {
            let tolerance = Tolerance::new(atol, rtol).unwrap();
            for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                prop_assert!(!tolerance.holds(value, wrong));
                prop_assert!(!tolerance.holds(wrong, value));
                prop_assert!(!tolerance.holds(wrong, wrong));
            }
        }

        #[test]
        fn a_wider_tolerance_holds_whatever_a_narrower_one_does(
            expected in -1e6..1e6, actual in -1e6..1e6, atol in 0.0..1e6, rtol in 0.0..2.0,
            more_atol in 0.0..1e6, more_rtol in 0.0..2.0,
        ) {
            let narrow = Tolerance::new(atol, rtol).unwrap();
            let wide = Tolerance::new(atol + more_atol, rtol + more_rtol).unwrap();
            prop_assert!(!narrow.holds(expected, actual) || wide.holds(expected, actual));
        }

        #[test]
        fn without_a_relative_part_the_order_does_not_matter(a in -1e6..1e6, b in -1e6..1e6, atol in 0.0..1e6) {
            let tolerance = Tolerance::new(atol, 0.0).unwrap();
            prop_assert_eq!(tolerance.holds(a, b), tolerance.holds(b, a));
        }
    }
}

//! Comparing two collections: every name of either must be in both, of one shape, and within tolerance.

use std::fmt;

use serde::Serialize;

use super::collection::{Numbers, TensorsError};
use super::{Collection, NamePattern, forward_order};
use crate::compare::{CompareError, Difference, NonFinite, Tolerance, View, compare_with};

/// What comparing two collections found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CollectionDiff {
    /// One row a name, in the order of the forward pass.
    pub tensors: Vec<TensorDiff>,
}

/// What comparing one tensor found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorDiff {
    /// Its name.
    pub name: String,
    /// Whether it is in both, of one shape, and within tolerance.
    pub passed: bool,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Both were compared, element by element.
    Compared(Difference),
    /// Both hold the very same bytes, by their hashes.
    Identical,
    /// The second collection lacks it.
    MissingInSecond,
    /// The first collection lacks it.
    MissingInFirst,
    /// The two cannot be compared.
    Incomparable {
        /// Why.
        why: String,
    },
}

impl CollectionDiff {
    /// Whether every tensor passed, and there was one.
    pub fn passes(&self) -> bool {
        !self.tensors.is_empty() && self.tensors.iter().all(|tensor| tensor.passed)
    }

    /// Tensors that did not pass.
    pub fn n_failed(&self) -> usize {
        self.tensors.iter().filter(|tensor| !tensor.passed).count()
    }
}

impl fmt::Display for TensorDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.passed { "pass" } else { "FAIL" };
        write!(f, "{word}  {}: ", self.name)?;
        match &self.outcome {
            Outcome::Compared(difference) if self.passed => {
                write!(f, "max_abs {:.2e} ({})", difference.max_abs, difference.tolerance)
            }
            Outcome::Compared(difference) => difference.fmt(f),
            Outcome::Identical => f.write_str("identical"),
            Outcome::MissingInSecond => f.write_str("missing in the second"),
            Outcome::MissingInFirst => f.write_str("missing in the first"),
            Outcome::Incomparable { why } => f.write_str(why),
        }
    }
}

/// Compares `actual` with `expected`: the tensors that `patterns` choose, or all. `tolerance_of` says how closely a
/// tensor must be met; `seen` gets each row as it is found, with the values of both where they were compared.
pub fn diff(
    actual: &Collection,
    expected: &Collection,
    patterns: &[NamePattern],
    tolerance_of: impl Fn(&str) -> Tolerance,
    non_finite: NonFinite,
    mut seen: impl FnMut(&TensorDiff, Option<(&Numbers, &Numbers)>) -> Result<(), TensorsError>,
) -> Result<CollectionDiff, TensorsError> {
    let (in_actual, in_expected) = (actual.names(), expected.names());
    let mut names = [in_actual.as_slice(), in_expected.as_slice()].concat();
    names.sort_by(|a, b| forward_order(a, b));
    names.dedup();
    names.retain(|name| NamePattern::any(patterns, name));
    let mut tensors = Vec::new();
    for name in names {
        let mut values = None;
        let outcome = if !in_expected.contains(&name) {
            Outcome::MissingInSecond
        } else if !in_actual.contains(&name) {
            Outcome::MissingInFirst
        } else if non_finite == NonFinite::SameIsEqual
            && actual.identity(name).is_some_and(|identity| expected.identity(name) == Some(identity))
        {
            Outcome::Identical
        } else {
            let (a, e) = (actual.load(name)?, expected.load(name)?);
            let compared = compare_numbers(
                (&e.shape, &e.numbers),
                (&a.shape, &a.numbers),
                tolerance_of(name),
                non_finite,
            );
            values = Some((a.numbers, e.numbers));
            match compared {
                Ok(difference) => Outcome::Compared(difference),
                Err(error) => {
                    values = None;
                    Outcome::Incomparable { why: error.to_string() }
                }
            }
        };
        let passed = match &outcome {
            Outcome::Compared(difference) => difference.passes(),
            Outcome::Identical => true,
            _ => false,
        };
        let row = TensorDiff { name: name.to_owned(), passed, outcome };
        seen(&row, values.as_ref().map(|(actual, expected)| (actual, expected)))?;
        tensors.push(row);
    }
    Ok(CollectionDiff { tensors })
}

fn compare_numbers(
    (expected_shape, expected): (&[usize], &Numbers),
    (actual_shape, actual): (&[usize], &Numbers),
    tolerance: Tolerance,
    non_finite: NonFinite,
) -> Result<Difference, CompareError> {
    match (expected, actual) {
        (Numbers::F32(e), Numbers::F32(a)) => {
            compare_with(View::new(expected_shape, e)?, View::new(actual_shape, a)?, tolerance, non_finite)
        }
        (Numbers::F32(e), Numbers::F64(a)) => {
            compare_with(View::new(expected_shape, e)?, View::new(actual_shape, a)?, tolerance, non_finite)
        }
        (Numbers::F64(e), Numbers::F32(a)) => {
            compare_with(View::new(expected_shape, e)?, View::new(actual_shape, a)?, tolerance, non_finite)
        }
        (Numbers::F64(e), Numbers::F64(a)) => {
            compare_with(View::new(expected_shape, e)?, View::new(actual_shape, a)?, tolerance, non_finite)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use apr_format::Metadata;
    use apr_format::atomic::Overwrite;

    use super::*;
    use crate::checks::made_up::{vector, write_file};
    use crate::golden::npy::write_f32;

    fn folder(tensors: &[(&str, &[usize], &[f32])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, shape, values) in tensors {
            write_f32(&folder.path().join(format!("{name}.npy")), shape, values, Overwrite::Refuse).unwrap();
        }
        folder
    }

    fn compared(a: &Path, b: &Path, patterns: &[&str], atol: f64) -> CollectionDiff {
        let patterns: Vec<NamePattern> = patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        let (a, b) = (Collection::open(a).unwrap(), Collection::open(b).unwrap());
        let tolerance = Tolerance::new(atol, 0.0).unwrap();
        diff(&a, &b, &patterns, |_| tolerance, NonFinite::Mismatch, |_, _| Ok(())).unwrap()
    }

    #[test]
    fn every_way_to_differ_is_told_apart() {
        let a = folder(&[
            ("logits", &[2], &[1.0, 2.0]),
            ("model.norm", &[1], &[0.0]),
            ("x", &[2], &[0.0; 2]),
            ("only_a", &[1], &[0.0]),
        ]);
        let b = folder(&[
            ("logits", &[2], &[1.0, 2.5]),
            ("model.norm", &[1], &[0.0]),
            ("x", &[1, 2], &[0.0; 2]),
            ("only_b", &[1], &[0.0]),
        ]);
        let found = compared(a.path(), b.path(), &[], 0.1);
        let rows: Vec<String> = found.tensors.iter().map(ToString::to_string).collect();
        assert_eq!(
            rows,
            [
                "pass  model.norm: max_abs 0.00e0 (atol 1e-1 rtol 0e0)",
                "FAIL  logits: max_abs 5.00e-1 (atol 1e-1 rtol 0e0), 1 of 2 out; worst at [1]: expected 2.5, found 2; \
                 smallest passing atol 5.000e-1",
                "FAIL  only_a: missing in the second",
                "FAIL  only_b: missing in the first",
                "FAIL  x: expected shape [1, 2], found [2]",
            ]
        );
        assert!(!found.passes() && found.n_failed() == 4);
        assert!(compared(a.path(), b.path(), &["logits", "norm"], 0.5).passes());
    }

    #[test]
    fn nothing_chosen_is_not_a_match() {
        let a = folder(&[("logits", &[1], &[1.0])]);
        let found = compared(a.path(), a.path(), &["nothing"], 0.1);
        assert!(found.tensors.is_empty() && !found.passes());
        assert!(matches!(Collection::open(folder(&[]).path()), Err(TensorsError::NoTensors(_))));
    }

    #[test]
    fn json_names_the_outcome_and_stays_json() {
        let a = folder(&[("logits", &[1], &[f32::NAN]), ("gone", &[1], &[0.0])]);
        let b = folder(&[("logits", &[1], &[1.0])]);
        let json = serde_json::to_value(compared(a.path(), b.path(), &[], 0.1)).unwrap();
        assert_eq!(json["tensors"][0]["outcome"], "compared");
        assert_eq!(json["tensors"][0]["worst"]["actual"], serde_json::Value::Null);
        assert_eq!(json["tensors"][1]["outcome"], "missing_in_second");
    }

    #[test]
    fn a_model_is_compared_with_a_folder_and_with_another_model_in_either_order() {
        #[track_caller]
        fn check(a: &Path, b: &Path, expected: &str) {
            let found = compared(a, b, &[], 0.1);
            let said = found.tensors[0].to_string();
            assert!(said.contains(expected), "{said}");
        }
        let place = tempfile::tempdir().unwrap();
        let model = |name: &str, values: &[f32]| {
            let path = place.path().join(name);
            write_file(&path, Metadata::default(), vec![vector("w", &[2], values)]);
            path
        };
        let (one, other) = (model("one.apr", &[1.0, 2.0]), model("other.apr", &[1.0, 2.5]));
        let array = folder(&[("w", &[2], &[1.0, 4.0])]);
        check(&one, &other, "worst at [1]: expected 2.5, found 2;");
        check(&one, array.path(), "worst at [1]: expected 4, found 2;");
        check(array.path(), &one, "worst at [1]: expected 2, found 4;");
        check(&one, &one, "pass  w: max_abs 0.00e0");
        // Where what is not finite in both is equal, the same bytes need no reading.
        let (a, b) = (Collection::open(&one).unwrap(), Collection::open(&one).unwrap());
        let tolerance = Tolerance::EXACT;
        let found = diff(&a, &b, &[], |_| tolerance, NonFinite::SameIsEqual, |_, _| Ok(())).unwrap();
        assert_eq!((found.tensors[0].to_string().as_str(), found.passes()), ("pass  w: identical", true));
    }
}

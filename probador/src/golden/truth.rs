//! What the tensors of a prompt ought to be: as PyTorch recorded them, or as the engine's reference computes them.

use std::collections::BTreeMap;

use apr_generation::{Site, TensorKey};

use super::config::Verification;
use super::evaluate::rows_at;
use super::manifest::Prompt;
use super::set::{GoldenError, GoldenSet};
use crate::compare::{CompareError, Difference, NonFinite, Tolerance, View, compare_with};
use crate::reference::{Reference, Rows, Tensors};

/// What float32 rounds a value by, four times over, as a share of it.
const ROUNDING: f64 = 1.0 / (1 << 22) as f64;

/// One tensor as it ought to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// How closely it must be met.
    pub tolerance: Tolerance,
    /// What rounding to float32 moves it by.
    pub noise: f64,
    /// The prompt's positions it holds, in order.
    pub positions: Vec<usize>,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f64>,
}

/// A prompt and what a model ought to compute for it.
#[derive(Clone, Debug)]
pub struct Truth {
    name: String,
    ids: Vec<u32>,
    /// What a whole pass is held to.
    tensors: BTreeMap<TensorKey, Expected>,
    /// What a part that is run by itself is held to besides.
    filled: BTreeMap<TensorKey, Expected>,
}

/// Why a reference is not taken for the truth.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It does not compute what was recorded.
    #[error("the reference computes another `{key}` on it than was recorded: {difference}")]
    Disagrees {
        /// The first such tensor.
        key: TensorKey,
        /// How far it is off.
        difference: Box<Difference>,
    },
    /// It is not a model of that shape.
    #[error("{0}")]
    Incomparable(#[from] CompareError),
    /// It cannot be evaluated.
    #[error(transparent)]
    Reference(#[from] crate::reference::ReferenceError),
}

impl Truth {
    /// What was recorded for `prompt`.
    pub fn recorded(set: &GoldenSet, prompt: &Prompt) -> Result<Self, GoldenError> {
        set.check_producer()?;
        let mut tensors = BTreeMap::new();
        for tensor in &prompt.tensors {
            let array = set.read(tensor)?;
            let expected = Expected {
                tolerance: tensor.tolerance,
                noise: tensor.noise_floor.max_abs,
                positions: tensor.positions.clone(),
                shape: array.shape,
                values: array.values.into_iter().map(f64::from).collect(),
            };
            tensors.insert(tensor.key, expected);
        }
        Ok(Self { name: prompt.slug.clone(), ids: prompt.ids.clone(), tensors, filled: BTreeMap::new() })
    }

    /// What `reference` computes for `ids`, held to the tolerances of `verification`.
    pub fn computed(
        name: &str,
        ids: &[u32],
        reference: &Reference,
        verification: &Verification,
    ) -> Result<Self, GoldenError> {
        let trace = reference.trace(ids, Rows::All, |_| true)?;
        let tensors = of_trace(&trace, ids.len(), verification);
        Ok(Self { name: name.to_owned(), ids: ids.to_vec(), tensors, filled: BTreeMap::new() })
    }

    /// Adds what was not recorded as `reference` computes it, once it was seen to compute what was recorded.
    pub fn fill(&mut self, reference: &Reference, verification: &Verification) -> Result<(), Untrusted> {
        let trace = reference.trace(&self.ids, Rows::All, |_| true)?;
        for (key, expected) in &self.tensors {
            let Some(tensor) = trace.get(&key.to_string()) else { continue };
            if let Some(difference) =
                expected.difference(*key, &tensor.shape, &tensor.values, self.ids.len())?
                && !difference.passes()
            {
                return Err(Untrusted::Disagrees { key: *key, difference: Box::new(difference) });
            }
        }
        self.filled = of_trace(&trace, self.ids.len(), verification);
        Ok(())
    }

    /// What people call the prompt.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the model is given.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// What a whole pass is held to, in the order of the pass.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorKey, &Expected)> {
        self.tensors.iter().map(|(key, expected)| (*key, expected))
    }

    /// What the tensor `key` ought to be when its part is run by itself.
    pub fn of_part(&self, key: TensorKey) -> Option<&Expected> {
        self.tensors.get(&key).or_else(|| self.filled.get(&key))
    }

    /// Whether every tensor of every layer is known at every position, so that nothing needs to be filled in.
    pub fn is_complete(&self, n_layers: usize) -> bool {
        let is_known = |key: TensorKey| {
            let known = [self.tensors.get(&key), self.filled.get(&key)];
            known.into_iter().flatten().any(|expected| expected.positions.len() == self.ids.len())
        };
        let mut sites = (0..n_layers)
            .flat_map(|layer| Site::ALL.into_iter().map(move |site| TensorKey::Layer(layer, site)));
        is_known(TensorKey::Embedding) && is_known(TensorKey::Norm) && sites.all(is_known)
    }

    /// The residual stream that layer `layer` ought to be given, `[n, hidden_size]`, for the first `n` positions that are
    /// known without a gap; the number of layers stands for the head.
    pub fn input_of(&self, layer: usize) -> Option<&[f64]> {
        let key = match layer.checked_sub(1) {
            None => TensorKey::Embedding,
            Some(before) => TensorKey::Layer(before, Site::Output),
        };
        let n_known = |expected: &&Expected| {
            expected.positions.iter().enumerate().take_while(|&(at, &position)| at == position).count()
        };
        let known = [self.tensors.get(&key), self.filled.get(&key)];
        let longest = known.into_iter().flatten().max_by_key(n_known)?;
        let n = n_known(&longest);
        let hidden_size = *longest.shape.last()?;
        (n > 0).then(|| &longest.values[..n * hidden_size])
    }
}

/// Every tensor of `trace` that `verification` has a tolerance for.
fn of_trace(
    trace: &Tensors,
    n_positions: usize,
    verification: &Verification,
) -> BTreeMap<TensorKey, Expected> {
    let expected = trace.iter().filter_map(|(name, tensor)| {
        let tolerance = verification.tolerance_of(name)?;
        let largest = tensor.values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        let noise = 0.01 * tolerance.atol() + ROUNDING * largest;
        let positions = (0..n_positions).collect();
        let (shape, values) = (tensor.shape.clone(), tensor.values.clone());
        Some((name.parse().ok()?, Expected { tolerance, noise, positions, shape, values }))
    });
    expected.collect()
}

impl Expected {
    /// Compares what was computed at positions `0..n_computed` with what is expected there; `None` when nothing is.
    pub fn difference<A: Copy + Into<f64>>(
        &self,
        key: TensorKey,
        shape: &[usize],
        values: &[A],
        n_computed: usize,
    ) -> Result<Option<Difference>, CompareError> {
        self.difference_by(key, shape, values, n_computed, NonFinite::Mismatch)
    }

    /// The same under a stated policy for values that are not finite.
    pub fn difference_by<A: Copy + Into<f64>>(
        &self,
        key: TensorKey,
        shape: &[usize],
        values: &[A],
        n_computed: usize,
        non_finite: NonFinite,
    ) -> Result<Option<Difference>, CompareError> {
        let positions = self.positions_below(n_computed);
        if positions.is_empty() {
            return Ok(None);
        }
        let (expected_shape, expected) = self.first(key, positions);
        let (shape, values) = rows_at(key, positions, shape, values, n_computed).ok_or_else(|| {
            CompareError::ShapeMismatch { expected: expected_shape.clone(), actual: shape.to_vec() }
        })?;
        let expected = View::new(&expected_shape, &expected)?;
        compare_with(expected, View::new(&shape, &values)?, self.tolerance, non_finite).map(Some)
    }

    /// The positions it holds below `n`.
    pub fn positions_below(&self, n: usize) -> &[usize] {
        &self.positions[..self.positions.partition_point(|&position| position < n)]
    }

    /// Shape and values of the first of its positions.
    fn first(&self, key: TensorKey, positions: &[usize]) -> (Vec<usize>, Vec<f64>) {
        let width = self.shape.last().copied().unwrap_or(0).max(1);
        if matches!(key, TensorKey::Layer(_, Site::Scores)) {
            let n_pairs: usize = positions.iter().map(|position| position + 1).sum();
            let values: Vec<f64> =
                self.values.chunks_exact(width).flat_map(|head| head[..n_pairs].to_vec()).collect();
            return (vec![self.shape[0], n_pairs], values);
        }
        (vec![positions.len(), width], self.values[..positions.len() * width].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Zeros at `positions`, two wide.
    fn zeros(positions: &[usize]) -> Expected {
        Expected {
            tolerance: Tolerance::EXACT,
            noise: 0.0,
            positions: positions.to_vec(),
            shape: vec![positions.len(), 2],
            values: vec![0.0; positions.len() * 2],
        }
    }

    fn truth(tensors: &[(TensorKey, &[usize])]) -> Truth {
        Truth {
            name: "two".to_owned(),
            ids: vec![1, 2],
            tensors: tensors.iter().map(|&(key, positions)| (key, zeros(positions))).collect(),
            filled: BTreeMap::new(),
        }
    }

    #[test]
    fn what_was_not_computed_is_not_compared() {
        let expected = zeros(&[0, 3]);
        let compared = |shape: &[usize], values: &[f64], n: usize| {
            expected.difference(TensorKey::Norm, shape, values, n).map(|found| found.map(|found| found.n))
        };
        assert_eq!(compared(&[0, 2], &[], 0), Ok(None));
        assert_eq!(compared(&[2, 2], &[0.0; 4], 2), Ok(Some(2)));
        assert_eq!(compared(&[4, 2], &[0.0; 8], 4), Ok(Some(4)));
        // Another number of rows than of positions, or of dimensions.
        for shape in [&[3, 2][..], &[6]] {
            let error = compared(shape, &[0.0; 6], 4).unwrap_err().to_string();
            assert_eq!(error, format!("expected shape [2, 2], found {shape:?}"));
        }
    }

    #[test]
    fn a_truth_is_complete_when_every_tensor_is_known_at_every_position() {
        let output = TensorKey::Layer(0, Site::Output);
        let (embedding, norm) = (TensorKey::Embedding, TensorKey::Norm);
        let check = |tensors: &[(TensorKey, &[usize])], n_layers: usize, expected: bool| {
            assert_eq!(truth(tensors).is_complete(n_layers), expected, "{tensors:?}");
        };
        check(&[(embedding, &[0, 1]), (norm, &[0, 1])], 0, true);
        check(&[(embedding, &[0, 1]), (norm, &[0, 1]), (output, &[0, 1])], 1, false);
        check(&[(embedding, &[0, 1]), (norm, &[1])], 0, false);
        check(&[(embedding, &[0, 1])], 0, false);
        check(&[(norm, &[0, 1])], 0, false);
    }

    #[test]
    fn a_reference_is_not_doubted_for_what_it_has_nothing_to_say_of() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let set = GoldenSet::open_folder(&root.join("golden/tiny")).unwrap();
        let reference = Reference::open(&root.join("golden/tiny/tiny.apr")).unwrap();
        let verification = &set.manifest().verification;
        // A layer that the model has not, and a position that the prompt has not.
        let tensors: [(TensorKey, &[usize]); 2] =
            [(TensorKey::Layer(99, Site::Output), &[0]), (TensorKey::Embedding, &[50])];
        let mut known = truth(&tensors);
        known.fill(&reference, verification).unwrap();
        assert!(known.name() == "two" && known.is_complete(6));
        let mut wrong = truth(&[(TensorKey::Norm, &[0, 1])]);
        let error = wrong.fill(&reference, verification).unwrap_err().to_string();
        assert_eq!(error, "expected shape [2, 2], found [2, 192]");
    }
}

//! Holding a model, or the engine's own reference, to recorded prompts, tensor by tensor.

use std::fmt;

use apr_generation::{CausalLm, Site, TensorKey, Trace};
use serde::Serialize;

use super::evaluate::{cut, evaluate, pair_at};
use super::manifest::{Prompt, Tensor};
use super::set::{GoldenError, GoldenSet};
use crate::compare::{self, CompareError, Difference, DistributionError, Tolerance, View};
use crate::reference::{Reference, Rows};

/// How a prompt came out.
#[derive(Clone, Debug)]
pub struct VerifiedPrompt {
    /// The prompt's slug.
    pub slug: String,
    /// One result a selected tensor, in the manifest's order.
    pub tensors: Vec<VerifiedTensor>,
    /// The likeliest ids and the perplexity, where logits were selected.
    pub metrics: Option<Metrics>,
}

/// How a tensor came out.
#[derive(Clone, Debug)]
pub struct VerifiedTensor {
    /// Its key.
    pub key: TensorKey,
    /// What it was held to.
    pub tolerance: Tolerance,
    /// PyTorch's float32 was off by this much.
    pub noise_floor: f64,
    /// What comparing found.
    pub outcome: TensorOutcome,
    /// The positions that were compared.
    pub positions: Vec<usize>,
    /// What the model computed there, when it is out of tolerance.
    pub actual: Option<Trace>,
}

/// What comparing a tensor found.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorOutcome {
    /// Both are there and of one shape.
    Compared(Difference),
    /// The model computed no such tensor.
    Missing,
    /// The model computed one of another shape.
    Incomparable(CompareError),
    /// The golden is missing, or not what was recorded.
    Unusable(String),
}

/// The likeliest ids and the perplexity of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Share of the recorded ids that are among the model's likeliest; not a number when its logits are not finite.
    pub top_k: f64,
    /// The least that share may be.
    pub top_k_threshold: f64,
    /// Recorded ids that were looked for.
    pub n_top: usize,
    /// The model's perplexity; not a number when its logits are not finite.
    pub perplexity: f64,
    /// The reference's.
    pub expected_perplexity: f64,
    /// How far they may be apart, as a share of the reference's.
    pub perplexity_deviation: f64,
}

impl Metrics {
    /// Whether both are within their limits; what is not a number is not.
    pub fn passes(&self) -> bool {
        self.top_k_passes() && self.perplexity_passes()
    }

    /// Whether enough of the likeliest ids were found again; looking for none is not enough.
    pub fn top_k_passes(&self) -> bool {
        self.n_top > 0 && self.top_k >= self.top_k_threshold
    }

    /// Whether the perplexity is near enough to the reference's.
    pub fn perplexity_passes(&self) -> bool {
        (self.perplexity - self.expected_perplexity).abs()
            <= self.perplexity_deviation * self.expected_perplexity
    }
}

impl VerifiedTensor {
    /// Whether it is there and within tolerance.
    pub fn passes(&self) -> bool {
        matches!(&self.outcome, TensorOutcome::Compared(difference) if difference.passes())
    }

    /// Elements compared.
    pub fn n_compared(&self) -> usize {
        match &self.outcome {
            TensorOutcome::Compared(difference) => difference.n,
            _ => 0,
        }
    }

    /// The comparison, if there was one.
    pub fn difference(&self) -> Option<&Difference> {
        match &self.outcome {
            TensorOutcome::Compared(difference) => Some(difference),
            _ => None,
        }
    }

    /// Where the worst element stands, in words: position and column, or head, query and key.
    pub fn worst_place(&self) -> Option<String> {
        place_of(self.key, &self.positions, &self.difference()?.worst.index)
    }
}

/// Where in the tensor `key`, stored at `positions`, an index points, in words.
pub(super) fn place_of(key: TensorKey, positions: &[usize], index: &[usize]) -> Option<String> {
    let &[first, second] = index else { return None };
    if matches!(key, TensorKey::Layer(_, Site::Scores)) {
        let (query, key) = pair_at(positions, second)?;
        return Some(format!("head {first}, query {query}, key {key}"));
    }
    Some(format!("position {}, column {second}", positions.get(first)?))
}

impl fmt::Display for VerifiedTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            TensorOutcome::Compared(difference) if difference.passes() => {
                write!(f, "{}: max_abs {:.2e} ({})", self.key, difference.max_abs, self.tolerance)
            }
            TensorOutcome::Compared(difference) => {
                write!(f, "{}: out of tolerance: {difference}", self.key)?;
                self.worst_place().map_or(Ok(()), |place| write!(f, " ({place})"))
            }
            TensorOutcome::Missing => write!(f, "{}: missing from the model's trace", self.key),
            TensorOutcome::Incomparable(error) => write!(f, "{}: {error}", self.key),
            TensorOutcome::Unusable(why) => write!(f, "{}: {why}", self.key),
        }
    }
}

impl VerifiedPrompt {
    /// Whether every tensor and every metric passes, and there was something to judge.
    pub fn passes(&self) -> bool {
        !self.tensors.is_empty()
            && self.tensors.iter().all(VerifiedTensor::passes)
            && self.metrics.as_ref().is_none_or(Metrics::passes)
    }
}

/// Holds `model` to one prompt: every tensor that `wanted` selects, read from disk only when it is compared.
pub fn verify_prompt(
    set: &GoldenSet,
    prompt: &Prompt,
    model: &mut dyn CausalLm,
    wanted: impl Fn(TensorKey) -> bool,
) -> Result<VerifiedPrompt, GoldenError> {
    set.check_producer()?;
    let selected: Vec<&Tensor> = prompt.tensors.iter().filter(|tensor| wanted(tensor.key)).collect();
    let evaluated = evaluate(model, prompt, |key| selected.iter().any(|tensor| tensor.key == key))?;
    let mut tensors = Vec::new();
    for tensor in selected {
        let actual = evaluated.stored(tensor, prompt.ids.len());
        let outcome = match &actual {
            None => TensorOutcome::Missing,
            Some(actual) => judge(set, tensor, &actual.shape, &actual.values, tensor.tolerance),
        };
        let mut verified = verified(tensor, outcome, tensor.tolerance);
        verified.actual =
            actual.filter(|_| !verified.passes() && !matches!(verified.outcome, TensorOutcome::Unusable(_)));
        tensors.push(verified);
    }
    let has_logits = tensors.iter().any(|tensor| tensor.key == TensorKey::Logits);
    let metrics = has_logits.then(|| {
        let limits = &set.manifest().verification;
        Metrics {
            top_k: share_found(prompt, evaluated.top.as_deref()),
            top_k_threshold: limits.top_k_threshold,
            n_top: prompt.top_k.iter().map(|top| top.ids.len()).sum(),
            perplexity: evaluated.perplexity.unwrap_or(f64::NAN),
            expected_perplexity: prompt.perplexity,
            perplexity_deviation: limits.perplexity_deviation,
        }
    });
    Ok(VerifiedPrompt { slug: prompt.slug.clone(), tensors, metrics })
}

/// Holds the engine's reference to one prompt, at the rounding of float32: what it is then trusted with is finer.
pub fn verify_reference(
    set: &GoldenSet,
    prompt: &Prompt,
    reference: &Reference,
    wanted: impl Fn(TensorKey) -> bool,
) -> Result<VerifiedPrompt, GoldenError> {
    set.check_producer()?;
    let tolerance = reference_tolerance();
    let selected: Vec<&Tensor> = prompt.tensors.iter().filter(|tensor| wanted(tensor.key)).collect();
    let is_selected = |key: &str| selected.iter().any(|tensor| tensor.key.to_string() == key);
    let trace = reference.trace(&prompt.ids, Rows::All, is_selected)?;
    let mut tensors = Vec::new();
    for tensor in selected {
        let computed = trace.get(&tensor.key.to_string());
        let cut = computed.and_then(|whole| cut(tensor, &whole.shape, &whole.values, prompt.ids.len()));
        let outcome = match cut {
            None => TensorOutcome::Missing,
            Some((shape, values)) => judge(set, tensor, &shape, &values, tolerance),
        };
        tensors.push(verified(tensor, outcome, tolerance));
    }
    Ok(VerifiedPrompt { slug: prompt.slug.clone(), tensors, metrics: None })
}

/// How near float64 comes to float64 that was rounded to float32: half a unit in the last place of float32, and what two
/// orders of summation in float64 can make of it near zero.
pub(super) fn reference_tolerance() -> Tolerance {
    Tolerance::new(1e-9, 6e-8).unwrap_or_default()
}

fn verified(tensor: &Tensor, outcome: TensorOutcome, tolerance: Tolerance) -> VerifiedTensor {
    VerifiedTensor {
        key: tensor.key,
        tolerance,
        noise_floor: tensor.noise_floor.max_abs,
        outcome,
        positions: tensor.positions.clone(),
        actual: None,
    }
}

fn judge<A: Copy + Into<f64>>(
    set: &GoldenSet,
    tensor: &Tensor,
    shape: &[usize],
    values: &[A],
    tolerance: Tolerance,
) -> TensorOutcome {
    let expected = match set.read(tensor) {
        Ok(expected) => expected,
        Err(error) => return TensorOutcome::Unusable(error.to_string()),
    };
    let compared = View::new(&expected.shape, &expected.values)
        .and_then(|expected| compare::compare(expected, View::new(shape, values)?, tolerance));
    match compared {
        Ok(difference) => TensorOutcome::Compared(difference),
        Err(error) => TensorOutcome::Incomparable(error),
    }
}

fn share_found(prompt: &Prompt, top: Result<&[Vec<usize>], &DistributionError>) -> f64 {
    let Ok(top) = top else { return f64::NAN };
    let n_recorded: usize = prompt.top_k.iter().map(|recorded| recorded.ids.len()).sum();
    let found = |(recorded, found): (&super::manifest::TopIds, &Vec<usize>)| {
        recorded.ids.iter().filter(|id| found.contains(id)).count()
    };
    let n_found: usize = prompt.top_k.iter().zip(top).map(found).sum();
    n_found as f64 / n_recorded as f64
}

#[cfg(test)]
mod tests {
    use std::fs;

    use apr_format::atomic::Overwrite;

    use super::super::tests::golden;
    use super::super::{MANIFEST, npy};
    use super::*;

    #[test]
    fn the_likeliest_ids_and_the_perplexity_each_have_a_limit() {
        let good = Metrics {
            top_k: 0.95,
            top_k_threshold: 0.95,
            n_top: 20,
            perplexity: 21.0,
            expected_perplexity: 20.0,
            perplexity_deviation: 0.05,
        };
        let check = |metrics: Metrics, top_k: bool, perplexity: bool| {
            let found = (metrics.top_k_passes(), metrics.perplexity_passes(), metrics.passes());
            assert_eq!(found, (top_k, perplexity, top_k && perplexity), "{metrics:?}");
        };
        check(good.clone(), true, true);
        check(Metrics { top_k: 0.94, ..good.clone() }, false, true);
        check(Metrics { n_top: 0, ..good.clone() }, false, true);
        check(Metrics { top_k: f64::NAN, ..good.clone() }, false, true);
        check(Metrics { perplexity: 21.01, ..good.clone() }, true, false);
        check(Metrics { perplexity: 18.99, ..good.clone() }, true, false);
        check(Metrics { perplexity: f64::NAN, ..good }, true, false);
    }

    #[test]
    fn a_place_has_words_where_it_is_one_of_a_matrix() {
        let scores = TensorKey::Layer(0, Site::Scores);
        let place = |key: TensorKey, index: &[usize]| place_of(key, &[0, 2], index);
        assert_eq!(place(TensorKey::Norm, &[1, 7]).unwrap(), "position 2, column 7");
        assert_eq!(place(scores, &[1, 3]).unwrap(), "head 1, query 2, key 2");
        assert_eq!(place(scores, &[1, 4]), None);
        assert_eq!(place(TensorKey::Norm, &[2, 7]), None);
        assert_eq!(place(TensorKey::Norm, &[1]), None);
    }

    #[test]
    fn a_tensor_of_another_shape_is_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let text = golden(folder.path());
        let path = folder.path().join("one_two_three/model.embed_tokens.npy");
        let hash = || blake3::hash(&fs::read(&path).unwrap()).to_hex().to_string();
        let old = hash();
        npy::write_f32(&path, &[3, 3], &[0.0; 9], Overwrite::Allow).unwrap();
        let text = text.replacen(&old, &hash(), 1).replacen("shape: [3, 2]", "shape: [3, 3]", 1);
        fs::write(folder.path().join(MANIFEST), text).unwrap();
        let set = GoldenSet::open_folder(folder.path()).unwrap();
        let tensor = &set.manifest().prompts[0].tensors[0];
        let outcome = judge(&set, tensor, &[3, 2], &[0.0_f32; 6], tensor.tolerance);
        let verified = verified(tensor, outcome, tensor.tolerance);
        assert_eq!(verified.to_string(), "model.embed_tokens: expected shape [3, 3], found [3, 2]");
        assert_eq!((verified.n_compared(), verified.difference(), verified.worst_place()), (0, None, None));
        assert!(!verified.passes());
    }
}

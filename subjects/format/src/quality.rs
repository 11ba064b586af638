//! The quality score: a sum of named tests, 100 points in all, each earned whole or not at all.
//!
//! | test | points | earned when |
//! |---|---:|---|
//! | `checksum` | 10 | header, index, padding and both CRC32 are right |
//! | `hashes` | 10 | root hash and tensor hashes are stored and right |
//! | `tensors` | 10 | every tensor the config asks for is there and no other |
//! | `shapes` | 10 | each has the shape the config asks for |
//! | `finite` | 10 | no element is NaN or infinite |
//! | `not-zero` | 5 | no tensor is all zeros |
//! | `not-constant` | 5 | no tensor has one value everywhere (norm weights never trained are all ones) |
//! | `distribution` | 10 | matrices have deviations of a trained network, and not all the same one (see [`distribution`]) |
//! | `tokenizer` | 10 | a tokenizer is embedded, unpacks, and all its ids fit the vocabulary |
//! | `chat-template` | 5 | there is a chat template |
//! | `end-of-text` | 5 | the generation config names end-of-text ids and all are in the vocabulary |
//! | `config` | 5 | the config states every dimension, and its heads divide |
//! | `provenance` | 5 | the source files are named with their SHA-256 |
//!
//! A test that cannot be decided earns nothing and says why.

use serde::Serialize;
use serde_json::Value;

use crate::hash;
use crate::metadata::Metadata;
use crate::validation::{Check, Outcome, TensorReport, Validation};

/// A score and what it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quality {
    /// Points earned, of 100.
    pub score: u32,
    /// Every test.
    pub tests: Vec<QualityTest>,
}

/// One test of the score.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QualityTest {
    /// Its name.
    pub name: &'static str,
    /// Points it is worth.
    pub points: u32,
    /// Whether they were earned.
    pub earned: bool,
    /// What was seen.
    pub detail: String,
}

/// What a test saw: `Ok` earns the points.
type Seen = Result<String, String>;

/// A test by name, its points, and how it is decided.
type Test = (&'static str, u32, fn(&Validation) -> Seen);

/// The tests, with their points.
const TESTS: [Test; 13] = [
    ("checksum", 10, checksum),
    ("hashes", 10, hashes),
    ("tensors", 10, tensors),
    ("shapes", 10, shapes),
    ("finite", 10, finite),
    ("not-zero", 5, not_zero),
    ("not-constant", 5, not_constant),
    ("distribution", 10, distribution),
    ("tokenizer", 10, tokenizer),
    ("chat-template", 5, chat_template),
    ("end-of-text", 5, end_of_text),
    ("config", 5, config),
    ("provenance", 5, provenance),
];

impl Quality {
    /// Scores what validating a file found.
    pub fn of(validation: &Validation) -> Self {
        let tests: Vec<QualityTest> = TESTS
            .iter()
            .map(|&(name, points, test)| match test(validation) {
                Ok(detail) => QualityTest { name, points, earned: true, detail },
                Err(detail) => QualityTest { name, points, earned: false, detail },
            })
            .collect();
        let score = tests.iter().filter(|test| test.earned).map(|test| test.points).sum();
        Self { score, tests }
    }
}

fn checksum(validation: &Validation) -> Seen {
    all_passed(validation, &[Check::Header, Check::Index, Check::Padding, Check::Checksum])
}

fn hashes(validation: &Validation) -> Seen {
    all_passed(validation, &[Check::RootHash, Check::TensorHashes])
}

fn all_passed(validation: &Validation, checks: &[Check]) -> Seen {
    for &check in checks {
        match validation.outcome(check) {
            Outcome::Passed => {}
            Outcome::Failed => return Err(format!("{check} failed")),
            Outcome::NotDone { reason } => return Err(format!("{check} was not checked: {reason}")),
        }
    }
    let names: Vec<String> = checks.iter().map(ToString::to_string).collect();
    Ok(format!("{} are right", names.join(", ")))
}

fn tensors(validation: &Validation) -> Seen {
    let fit = validation.fit.as_ref().map_err(Clone::clone)?;
    let (n_present, n_expected) = (fit.n_present, fit.n_expected);
    match (fit.missing.first(), fit.unexpected.first()) {
        (Some(missing), _) => Err(format!("{n_present} of {n_expected} are there, `{missing}` is missing")),
        (None, Some(unexpected)) => Err(format!("`{unexpected}` is not asked for by the config")),
        (None, None) => Ok(format!("{n_present}/{n_expected} present")),
    }
}

fn shapes(validation: &Validation) -> Seen {
    let fit = validation.fit.as_ref().map_err(Clone::clone)?;
    match fit.misshapen.first() {
        Some((name, what)) => Err(format!("`{name}`: {what}")),
        None if fit.n_present == 0 => Err("there is no tensor to compare".to_owned()),
        None => Ok("all match the config".to_owned()),
    }
}

fn finite(validation: &Validation) -> Seen {
    none_is(validation, "has NaN or infinite elements", |tensor| {
        tensor.stats.n_nan + tensor.stats.n_infinite > 0
    })
}

fn not_zero(validation: &Validation) -> Seen {
    none_is(validation, "is all zeros", |tensor| tensor.stats.is_zero())
}

fn not_constant(validation: &Validation) -> Seen {
    none_is(validation, "has one value everywhere", |tensor| tensor.stats.is_constant())
}

fn none_is(validation: &Validation, what: &str, is: impl Fn(&TensorReport) -> bool) -> Seen {
    if validation.tensors.is_empty() {
        return Err("there is no tensor to look at".to_owned());
    }
    match validation.tensors.iter().find(|tensor| is(tensor)) {
        Some(tensor) => Err(format!("`{}` {what}", tensor.name)),
        None => Ok(format!("no tensor of {} {what}", validation.tensors.len())),
    }
}

/// Deviations of matrices in a trained network lie in this range.
const PLAUSIBLE_STD: std::ops::RangeInclusive<f64> = 1e-4..=10.0;
/// Initializers draw all matrices of a kind from one distribution; training moves their deviations apart by more.
///
/// The sample deviation of n Gaussian draws scatters by 1/sqrt(2n): 0.7 % for n = 10,000. The trained tiny model's
/// matrices of one kind differ by far more than that from layer to layer.
const LEAST_SPREAD: f64 = 0.02;

/// Whether the values look trained: every matrix has a plausible deviation and a mean well inside it, and matrices of
/// one kind differ from layer to layer as initializers do not.
///
/// This looks at moments only: it tells a fresh or broken initialisation, not one redrawn with a trained model's
/// moments, which claim A6 of the checklist is for.
fn distribution(validation: &Validation) -> Seen {
    let matrices: Vec<&TensorReport> = validation
        .tensors
        .iter()
        .filter(|tensor| tensor.shape.len() == 2 && tensor.stats.n_elements > 1)
        .collect();
    if matrices.is_empty() {
        return Err("there is no matrix to look at".to_owned());
    }
    for TensorReport { name, stats, .. } in &matrices {
        if !PLAUSIBLE_STD.contains(&stats.std) {
            return Err(format!("`{name}` has a deviation of {:.3e}", stats.std));
        }
        if stats.mean.abs() > stats.std {
            return Err(format!(
                "`{name}` has a mean of {:.3e}, beyond its deviation of {:.3e}",
                stats.mean, stats.std
            ));
        }
    }
    let mut by_kind: std::collections::BTreeMap<String, Vec<f64>> = std::collections::BTreeMap::new();
    for tensor in matrices {
        let kind: Vec<&str> = tensor.name.split('.').filter(|part| part.parse::<u32>().is_err()).collect();
        by_kind.entry(kind.join(".")).or_default().push(tensor.stats.std);
    }
    let spreads: Vec<f64> = by_kind.values().filter(|stds| stds.len() > 1).map(|stds| spread(stds)).collect();
    if spreads.is_empty() {
        return Ok("deviations are plausible; there is one layer, so none to compare".to_owned());
    }
    let mean_spread = spreads.iter().sum::<f64>() / spreads.len() as f64;
    if mean_spread < LEAST_SPREAD {
        return Err(format!(
            "matrices of one kind differ in deviation by {:.2} % from layer to layer, as an initializer leaves them",
            100.0 * mean_spread
        ));
    }
    Ok(format!("deviations are plausible and differ by {:.1} % from layer to layer", 100.0 * mean_spread))
}

/// Deviation over mean.
fn spread(values: &[f64]) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt() / mean
}

fn metadata(validation: &Validation) -> Result<&Metadata, String> {
    validation.metadata.as_ref().ok_or_else(|| "the metadata cannot be read".to_owned())
}

fn tokenizer(validation: &Validation) -> Seen {
    let vocab_size = metadata(validation)?.config.vocab_size as u64;
    let Some(json) = &validation.tokenizer_json else {
        return Err("none is embedded that unpacks".to_owned());
    };
    let json: Value = serde_json::from_slice(json).map_err(|error| format!("it is not JSON: {error}"))?;
    let vocab = json.pointer("/model/vocab").and_then(Value::as_object).ok_or("it has no `model.vocab`")?;
    let added = json.get("added_tokens").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut n_tokens = 0_u64;
    for id in vocab.values().chain(added.iter().filter_map(|token| token.get("id"))) {
        match id.as_u64() {
            Some(id) if id < vocab_size => n_tokens += 1,
            _ => return Err(format!("its id {id} is outside the vocabulary of {vocab_size}")),
        }
    }
    if n_tokens == 0 {
        return Err("it has no tokens".to_owned());
    }
    Ok(format!("{n_tokens} tokens, all below {vocab_size}"))
}

fn chat_template(validation: &Validation) -> Seen {
    match &metadata(validation)?.chat_template {
        Some(template) if !template.trim().is_empty() => {
            Ok(format!("{} characters", template.chars().count()))
        }
        _ => Err("there is none".to_owned()),
    }
}

fn end_of_text(validation: &Validation) -> Seen {
    let metadata = metadata(validation)?;
    let ids = match metadata.generation_config.as_ref().and_then(|config| config.get("eos_token_id")) {
        Some(Value::Array(ids)) => ids.clone(),
        Some(id) => vec![id.clone()],
        None => return Err("the generation config names no `eos_token_id`".to_owned()),
    };
    if ids.is_empty() {
        return Err("`eos_token_id` is empty".to_owned());
    }
    let vocab_size = metadata.config.vocab_size as u64;
    match ids.iter().find(|id| id.as_u64().is_none_or(|id| id >= vocab_size)) {
        Some(id) => Err(format!("{id} is outside the vocabulary of {vocab_size}")),
        None => Ok(format!("{} ids, all below {vocab_size}", ids.len())),
    }
}

fn config(validation: &Validation) -> Seen {
    let config = &metadata(validation)?.config;
    let missing = config.missing();
    if !missing.is_empty() {
        return Err(format!("it does not state {}", missing.join(", ")));
    }
    if !config.num_heads.is_multiple_of(config.num_kv_heads) {
        return Err(format!(
            "{} heads cannot share {} key-value heads",
            config.num_heads, config.num_kv_heads
        ));
    }
    if !config.head_dim.is_multiple_of(2) {
        return Err(format!("heads of {} cannot be rotated in halves", config.head_dim));
    }
    Ok(format!("{} layers of {}", config.num_layers, config.hidden_size))
}

fn provenance(validation: &Validation) -> Seen {
    let Some(provenance) = &metadata(validation)?.provenance else { return Err("there is none".to_owned()) };
    let n_hashed = provenance.files.iter().filter(|file| hash::is_hex(&file.sha256, 64)).count();
    if provenance.files.is_empty() || n_hashed < provenance.files.len() {
        return Err(format!("{n_hashed} of {} source files have a SHA-256", provenance.files.len()));
    }
    Ok(format!("{n_hashed} source files with their SHA-256"))
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_spread_is_the_deviation_over_the_mean() {
        // The mean is 2, the deviation 1.
        assert_eq!(spread(&[1.0, 3.0]), 0.5);
        assert_eq!(spread(&[1.0, 1.0, 3.0, 3.0]), 0.5);
        assert_eq!(spread(&[7.0]), 0.0);
    }
}

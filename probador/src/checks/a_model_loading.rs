//! Section A: the file opens, is what it says it is, and holds weights that were trained.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use anyhow::{Context as _, anyhow};
use apr_format::AprFile;
use apr_generation::{LogitRows, log_probability};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::TokenId;
use rand::Rng;
use rand::seq::SliceRandom;
use serde::Deserialize;

use super::samples::PASSAGE;
use super::{CheckError, CheckFn, Context, Model};
use crate::case::Judgement;
use crate::checklist::Claim;
use crate::compare::{Matrix, Statistics, largest_singular_value};

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("A1", the_file_loads),
    ("A2", the_weights_are_the_references),
    ("A3", every_change_is_refused),
    ("A4", the_configuration_is_the_tensors),
    ("A6", the_weights_were_trained),
];

/// A1: opens, verifies and loads the file, and evaluates a token.
fn the_file_loads(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let path = &context.model().path;
    let file = match AprFile::open(path).and_then(|file| file.verify().map(|()| file)) {
        Ok(file) => file,
        Err(error) => {
            judgement.fail(format!("the model cannot be opened: {error}"));
            return Ok(judgement);
        }
    };
    judgement.input("root hash", file.root_hash());
    judgement.at_least("tensors", file.entries().len() as f64, 1.0, "", file.entries().len());
    let limit = file.metadata().config.max_position_embeddings;
    let options = LoadOptions { context_length: Some(limit.clamp(1, 64)), n_threads: None };
    match Qwen2::load(&file, options) {
        Err(error) => judgement.fail(format!("the model cannot be loaded: {error}")),
        Ok(model) => {
            let mut model: Model = context.planted().wrap_model(Box::new(model));
            let logits = model.prefill(&[TokenId(0)], LogitRows::Last, None)?;
            let n_not_finite = logits.values().iter().filter(|logit| !logit.is_finite()).count();
            judgement.exactly("logits that are not finite", n_not_finite, 0, "", logits.values().len());
        }
    }
    Ok(judgement)
}

/// What `scripts/weight_statistics.py` found in the weights the model was made from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceWeights {
    producer: String,
    source: String,
    tensors: std::collections::BTreeMap<String, ReferenceTensor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceTensor {
    shape: Vec<usize>,
    mean: f64,
    std: f64,
}

/// A2: compares every tensor's mean and deviation with the reference reader's.
fn the_weights_are_the_references(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let limit = claim.limit("relative_difference")?;
    let path = context.workspace().path(format!("golden/{}/weights.json", context.model().name));
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let reference: ReferenceWeights = serde_json::from_str(&text)
        .with_context(|| format!("`{}` is not what it should be", path.display()))?;
    let file = context.file()?;
    let mut judgement = Judgement::new();
    judgement.note(format!("reference: {}, from {}", reference.producer, reference.source));
    judgement.input("root hash", file.root_hash());
    for entry in file.entries() {
        if !reference.tensors.contains_key(&entry.name) {
            judgement.fail(format!("tensor `{}` is not in the reference", entry.name));
        }
    }
    let (mut worst_mean, mut worst_std) = ((0.0, ""), (0.0, ""));
    for (name, expected) in &reference.tensors {
        let Some(tensor) = file.tensor(name) else {
            judgement.fail(format!("tensor `{name}` is missing"));
            continue;
        };
        if tensor.shape() != expected.shape {
            judgement.fail(format!(
                "tensor `{name}` is {:?}, the reference {:?}",
                tensor.shape(),
                expected.shape
            ));
            continue;
        }
        let found = Statistics::of_slice(&tensor.to_f32());
        let (Some(mean), Some(std)) = (found.mean, found.std) else {
            judgement.fail(format!("tensor `{name}` has no finite value"));
            continue;
        };
        let scale = expected.std.max(f64::MIN_POSITIVE);
        let (mean_off, std_off) = ((mean - expected.mean).abs() / scale, (std - expected.std).abs() / scale);
        if mean_off > worst_mean.0 || mean_off.is_nan() {
            worst_mean = (mean_off, name);
        }
        if std_off > worst_std.0 || std_off.is_nan() {
            worst_std = (std_off, name);
        }
    }
    let n = reference.tensors.len();
    let what = |kind: &str, name: &str| {
        if name.is_empty() { kind.to_owned() } else { format!("{kind}, in `{name}`,") }
    };
    let mean = what("largest difference of means in deviations", worst_mean.1);
    judgement.at_most(&mean, worst_mean.0, limit, "", n);
    let std = what("largest relative difference of deviation", worst_std.1);
    judgement.at_most(&std, worst_std.0, limit, "", n);
    Ok(judgement)
}

/// A3: the file verifies, is the one that is known, and no copy with one byte changed is accepted.
fn every_change_is_refused(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let mut judgement = Judgement::new();
    let path = &context.model().path;
    let file = match AprFile::open(path).and_then(|file| file.verify().map(|()| file)) {
        Ok(file) => file,
        Err(error) => {
            judgement.fail(format!("the file is refused: {error}"));
            return Ok(judgement);
        }
    };
    let known = context.known()?;
    let weights = file.weights_fingerprint();
    judgement.input("weights", weights.as_str());
    judgement.require(weights == known.weights, || {
        format!(
            "these are not the weights that golden/models.yaml names: {weights}, expected {}",
            known.weights
        )
    });

    let (n, mut rng) = context.sampling(claim)?;
    let folder = tempfile::tempdir()?;
    let copy_path = folder.path().join("copy.apr");
    std::fs::copy(path, &copy_path)?;
    let mut copy = File::options().read(true).write(true).open(&copy_path)?;
    let data_offset = file.header().data_offset.min(file.file_size() - 1);
    let mut n_accepted = 0;
    for sample in 0..n {
        // A third each before the tensors, in them, and in the last bytes.
        let offset = match sample % 3 {
            0 => rng.random_range(0..data_offset),
            1 => rng.random_range(data_offset..file.file_size()),
            _ => file.file_size() - 1 - rng.random_range(0..8),
        };
        flip(&mut copy, offset)?;
        let is_accepted = AprFile::open(&copy_path).and_then(|file| file.verify()).is_ok();
        flip(&mut copy, offset)?;
        if is_accepted {
            n_accepted += 1;
            judgement.fail(format!("a copy with byte {offset} inverted is accepted"));
        }
    }
    judgement.exactly("changed copies that are accepted", n_accepted, 0, "", n);
    let restored = AprFile::open(&copy_path).and_then(|file| file.verify());
    judgement.require(restored.is_ok(), || "the copy is refused even when nothing is changed");
    Ok(judgement)
}

/// Inverts every bit of one byte.
fn flip(file: &mut File, offset: u64) -> std::io::Result<()> {
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[!byte[0]])
}

/// A4: every dimension of the metadata is one that a tensor has, and every tensor is one that the metadata asks for.
fn the_configuration_is_the_tensors(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let file = context.file()?;
    let metadata = file.metadata();
    let config = &metadata.config;
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    judgement.require(metadata.architecture.as_deref() == Some("qwen2"), || {
        format!("the architecture is {:?}, not `qwen2`", metadata.architecture)
    });
    let shape =
        |name: &str| file.entries().iter().find(|entry| entry.name == name).map(|entry| entry.shape.clone());
    let dimension = |name: &str, axis: usize| {
        shape(name)
            .and_then(|shape| shape.get(axis).copied())
            .ok_or_else(|| anyhow!("tensor `{name}` has no axis {axis}"))
    };
    let layer = "model.layers.0";
    let stated = [
        ("vocab_size", config.vocab_size, dimension("model.embed_tokens.weight", 0)?),
        ("hidden_size", config.hidden_size, dimension("model.embed_tokens.weight", 1)?),
        (
            "width of all heads",
            config.num_heads * config.head_dim,
            dimension(&format!("{layer}.self_attn.q_proj.weight"), 0)?,
        ),
        (
            "width of all key heads",
            config.num_kv_heads * config.head_dim,
            dimension(&format!("{layer}.self_attn.k_proj.weight"), 0)?,
        ),
        (
            "intermediate_size",
            config.intermediate_size,
            dimension(&format!("{layer}.mlp.gate_proj.weight"), 0)?,
        ),
    ];
    for (what, says, is) in stated {
        judgement.exactly(&format!("{what} in the metadata"), says, is, "", 1);
    }
    let layers = file.entries().iter().filter_map(|entry| {
        entry.name.strip_prefix("model.layers.")?.split('.').next()?.parse::<usize>().ok()
    });
    let n_layers = layers.max().map_or(0, |last| last + 1);
    judgement.exactly("layers in the metadata", config.num_layers, n_layers, "", file.entries().len());

    let mut expected = vec!["model.embed_tokens.weight".to_owned(), "model.norm.weight".to_owned()];
    if !config.tie_word_embeddings {
        expected.push("lm_head.weight".to_owned());
    }
    for index in 0..config.num_layers {
        let names = [
            "input_layernorm.weight",
            "post_attention_layernorm.weight",
            "self_attn.q_proj.weight",
            "self_attn.q_proj.bias",
            "self_attn.k_proj.weight",
            "self_attn.k_proj.bias",
            "self_attn.v_proj.weight",
            "self_attn.v_proj.bias",
            "self_attn.o_proj.weight",
            "mlp.gate_proj.weight",
            "mlp.up_proj.weight",
            "mlp.down_proj.weight",
        ];
        expected.extend(names.map(|name| format!("model.layers.{index}.{name}")));
    }
    for name in &expected {
        judgement.require(shape(name).is_some(), || {
            format!("the configuration asks for `{name}`, which is absent")
        });
    }
    for entry in file.entries() {
        judgement.require(expected.contains(&entry.name), || {
            format!("the configuration does not ask for `{}`", entry.name)
        });
    }
    Ok(judgement)
}

/// A6: matrices have structure that no random one has, and real text is likelier than its own words shuffled.
fn the_weights_were_trained(context: &Context, claim: &Claim) -> Result<Judgement, CheckError> {
    let margin = claim.limit("edge_margin")?;
    let (n, mut rng) = context.sampling(claim)?;
    let file = context.file()?;
    let mut judgement = Judgement::new();
    judgement.input("root hash", file.root_hash());
    let mut names: Vec<&str> = file
        .entries()
        .iter()
        .filter(|entry| entry.shape.len() == 2 && entry.name.contains(".layers."))
        .map(|entry| entry.name.as_str())
        .collect();
    names.shuffle(&mut rng);
    names.truncate(n);
    let (mut n_beyond, mut least) = (0, (f64::INFINITY, ""));
    for name in &names {
        let tensor = file.tensor(name).ok_or_else(|| anyhow!("tensor `{name}` is gone"))?;
        let matrix = Matrix::centred(tensor.shape()[0], tensor.shape()[1], &tensor.to_f32())?;
        let edge = matrix.edge() * margin;
        let ratio = largest_singular_value(&matrix, edge) / edge.max(f64::MIN_POSITIVE);
        n_beyond += usize::from(ratio > 1.0);
        if ratio < least.0 {
            least = (ratio, name);
        }
    }
    let share = n_beyond as f64 / names.len().max(1) as f64;
    let limit = claim.limit("share_beyond_edge")?;
    if !judgement.at_least("share of matrices beyond a random one's edge", share, limit, "", names.len()) {
        judgement.fail(format!("the weights look random: `{}` reaches {:.3} of the edge", least.1, least.0));
    }

    let mut model = context.fork()?;
    let mut ids = context.tokenizer()?.encode(PASSAGE);
    ids.truncate(120);
    let as_written = mean_surprise(&mut model, &ids)?;
    ids.shuffle(&mut rng);
    let shuffled = mean_surprise(&mut model, &ids)?;
    let what = "surprise by a passage over surprise by its tokens shuffled";
    if !judgement.at_most(what, as_written / shuffled, 0.9, "", ids.len()) {
        judgement
            .fail("the order of words means nothing to the model, as to random weights or token frequencies");
    }
    Ok(judgement)
}

/// Mean negative log-likelihood of every id but the first, in nats.
fn mean_surprise(model: &mut Model, ids: &[TokenId]) -> anyhow::Result<f64> {
    model.reset();
    let logits = model.prefill(ids, LogitRows::All, None)?;
    let surprises = ids[1..].iter().enumerate().map(|(row, &id)| -log_probability(logits.row(row), id));
    Ok(surprises.sum::<f64>() / (ids.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::made_up::{altered, checkout, claim, context, context_in, context_of, failures, tiny};
    use crate::faults;

    #[test]
    fn a_file_that_opens_and_does_not_load_is_no_model_that_loads() {
        let subject = faults::plant("vocab-size-misstated", tiny().path()).unwrap().unwrap();
        let found = failures(&context().with_fault(subject), &claim("A1"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("the model cannot be loaded: "), "{found:?}");
    }

    #[test]
    fn tensors_that_are_unknown_missing_of_another_shape_or_without_a_number_are_each_found() {
        let text = std::fs::read_to_string(context().workspace().path("golden/tiny/weights.json")).unwrap();
        let mut reference: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tensors = reference["tensors"].as_object_mut().unwrap();
        let known = tensors.remove("model.layers.0.input_layernorm.weight").unwrap();
        tensors.insert("model.layers.0.made_up.weight".to_owned(), known);
        tensors["model.layers.1.input_layernorm.weight"]["shape"] = serde_json::json!([3, 64]);
        let (_folder, workspace) = checkout(&[("golden/tiny/weights.json", &reference.to_string())]);
        let (_other, model) = altered(|_| {}, &[], &["model.norm.weight"]);
        let found = failures(&context_in(workspace).of(&model), &claim("A2"));
        assert_eq!(
            found,
            [
                "tensor `model.layers.0.input_layernorm.weight` is not in the reference",
                "tensor `model.layers.0.made_up.weight` is missing",
                "tensor `model.layers.1.input_layernorm.weight` is [192], the reference [3, 64]",
                "tensor `model.norm.weight` has no finite value",
            ]
        );
    }

    #[test]
    fn a_reference_that_cannot_be_read_is_named() {
        let (_folder, workspace) = checkout(&[("golden/tiny/weights.json", "{}")]);
        let judged = the_weights_are_the_references(&context_in(workspace), &claim("A2"));
        let Err(CheckError::Broken(error)) = judged else { panic!("{judged:?}") };
        assert!(error.to_string().ends_with("golden/tiny/weights.json` is not what it should be"), "{error}");
    }

    #[test]
    fn another_architecture_and_tensors_beside_the_configuration_are_found() {
        let (left_out, head) = ("model.layers.5.mlp.up_proj.weight", "lm_head.weight");
        let (_folder, model) = altered(
            |metadata| {
                metadata.architecture = Some("llama".to_owned());
                metadata.config.tie_word_embeddings = false;
            },
            &[left_out],
            &[],
        );
        assert_eq!(
            failures(&context_of(&model), &claim("A4")),
            [
                "the architecture is Some(\"llama\"), not `qwen2`".to_owned(),
                format!("the configuration asks for `{head}`, which is absent"),
                format!("the configuration asks for `{left_out}`, which is absent"),
            ]
        );
    }
}

//! Faults in files: an edited copy of the model.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use apr_format::{AprFile, AprWriter, IndexEntry, Metadata, Overwrite, TensorSpec};
use apr_quantize::round_to_nearest;
use apr_tensor::{DType, Packing};
use half::{bf16, f16};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr_normal::standard_normal;
use serde_json::Value;

/// What the head is called where it is not the embedding.
const HEAD: &str = "lm_head.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

/// Edits a tensor, given by name, in place.
type EditTensor = fn(&str, &mut [f32]);
/// Edits the metadata.
type EditMetadata = fn(&mut Metadata) -> anyhow::Result<()>;

/// A copy of the model at `model` with the fault `name` in it, or `None` when it is no fault of this kind.
pub(super) fn edited(name: &str, model: &Path, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let copy = folder.join("model.apr");
    let bytes: Option<fn(&AprFile) -> u64> = match name {
        "byte-flipped-in-header" => Some(|_| 9),
        "byte-flipped-in-index" => Some(|file| file.header().tensor_index_offset + 3),
        "byte-flipped-in-tensor" => Some(middle_of_largest_tensor),
        "byte-flipped-in-footer" => Some(|file| file.file_size() - 2),
        _ => None,
    };
    if let Some(offset) = bytes {
        let offset = offset(&AprFile::open(model)?);
        std::fs::copy(model, &copy)?;
        invert(&copy, offset)?;
        return Ok(Some(copy));
    }
    if name == "truncated-file" {
        std::fs::copy(model, &copy)?;
        let file = File::options().write(true).open(&copy)?;
        file.set_len(file.metadata()?.len().saturating_sub(4096))?;
        return Ok(Some(copy));
    }
    let tensors: Option<EditTensor> = match name {
        "scale-shifted" => Some(|name, values| {
            if name == "model.layers.1.mlp.down_proj.weight" {
                for value in values {
                    *value *= 1.03;
                }
            }
        }),
        "qkv-bias-dropped" => Some(|name, values| {
            if name.ends_with("_proj.bias") {
                values.fill(0.0);
            }
        }),
        "one-weight-changed" | "one-weight-changed-in-source" => Some(|name, values| {
            if name == "model.layers.0.self_attn.q_proj.weight" {
                let middle = values.len() / 2;
                values[middle] = if values[middle].abs() < 0.05 { 0.5 } else { values[middle] * 2.0 };
            }
        }),
        "random-weights" => Some(redrawn),
        "head-untied" => Some(|name, values| {
            if name == HEAD {
                redrawn(name, values);
            }
        }),
        "weights-not-finite" => Some(|name, values| {
            if name == "model.layers.1.mlp.up_proj.weight" {
                values[7] = f32::NAN;
            }
        }),
        _ => None,
    };
    let metadata: Option<EditMetadata> = match name {
        "rope-theta-changed" => Some(|metadata| {
            // Ten thousand, unless that is what the model has.
            let theta = &mut metadata.config.rope_theta;
            *theta = if *theta > 20_000.0 { 10_000.0 } else { 1_000_000.0 };
            Ok(())
        }),
        "norm-epsilon-raised" => Some(|metadata| {
            metadata.config.rms_norm_eps = 1e-3;
            Ok(())
        }),
        "vocab-size-misstated" => Some(|metadata| {
            metadata.config.vocab_size += 1;
            Ok(())
        }),
        "layer-count-misstated" => Some(|metadata| {
            metadata.config.num_layers -= 1;
            Ok(())
        }),
        "runs-past-end-of-text" => Some(|metadata| {
            if let Some(Value::Object(config)) = &mut metadata.generation_config {
                config.remove("eos_token_id");
            }
            Ok(())
        }),
        "head-untied" => Some(|metadata| {
            metadata.config.tie_word_embeddings = false;
            Ok(())
        }),
        "normalizer-removed" => Some(|metadata| {
            edit_tokenizer(metadata, |tokenizer| {
                tokenizer["normalizer"] = Value::Null;
                Ok(())
            })
        }),
        "entries-exchanged" => Some(|metadata| edit_tokenizer(metadata, exchange_entries)),
        "merges-reordered" => Some(|metadata| edit_tokenizer(metadata, reorder_merges)),
        "special-id-moved" => Some(|metadata| edit_tokenizer(metadata, exchange_special_ids)),
        _ => None,
    };
    if tensors.is_none() && metadata.is_none() && name != "layers-swapped" {
        return Ok(None);
    }
    let from = |name_of: &str| match name_of {
        HEAD if name == "head-untied" => EMBEDDING.to_owned(),
        _ if name == "layers-swapped" => neighbour(name_of),
        _ => name_of.to_owned(),
    };
    rewrite(model, &copy, metadata, tensors, from)?;
    Ok(Some(copy))
}

/// Writes a valid copy with edited metadata and tensors; `from` says which tensor's values go under a name.
fn rewrite(
    model: &Path,
    copy: &Path,
    metadata: Option<EditMetadata>,
    tensors: Option<EditTensor>,
    from: impl Fn(&str) -> String,
) -> anyhow::Result<()> {
    let file = AprFile::open(model)?;
    let mut edited = file.metadata().clone();
    if let Some(edit) = metadata {
        edit(&mut edited)?;
    }
    let spec = |name: &str, like: &IndexEntry| TensorSpec {
        name: name.to_owned(),
        dtype: like.dtype,
        shape: like.shape.clone(),
    };
    let mut specs: Vec<TensorSpec> = file.entries().iter().map(|entry| spec(&entry.name, entry)).collect();
    if !edited.config.tie_word_embeddings && specs.iter().all(|spec| spec.name != HEAD) {
        let embedding = file.entries().iter().find(|entry| entry.name == EMBEDDING);
        specs.push(spec(HEAD, embedding.context("the model has no embedding")?));
        specs.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let names: Vec<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    let mut writer = AprWriter::create(copy, edited, specs, Overwrite::Refuse)?;
    for name in names {
        let source = from(&name);
        let tensor = file.tensor(&source).with_context(|| format!("there is no tensor `{source}`"))?;
        match tensors {
            None => writer.write_tensor(&name, tensor.bytes())?,
            Some(edit) => {
                let mut values = tensor.to_f32();
                edit(&name, &mut values);
                writer.write_tensor(&name, &narrowed(&values, tensor.dtype(), tensor.shape()))?;
            }
        }
    }
    writer.finish()?;
    Ok(())
}

/// Little-endian bytes of `values`, of `shape`, in `dtype`.
fn narrowed(values: &[f32], dtype: DType, shape: &[usize]) -> Vec<u8> {
    let packed = |packing| round_to_nearest(packing, values, &vec![1.0; shape[1]]).to_bytes();
    match dtype {
        DType::Int8 => packed(Packing::Int8),
        DType::Int4 => packed(Packing::Int4),
        DType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        DType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        DType::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
    }
}

/// The tensor of the neighbouring layer: 0 and 1, 2 and 3 change places.
fn neighbour(name: &str) -> String {
    let Some((number, rest)) = name.strip_prefix("model.layers.").and_then(|rest| rest.split_once('.'))
    else {
        return name.to_owned();
    };
    match number {
        "0" => format!("model.layers.1.{rest}"),
        "1" => format!("model.layers.0.{rest}"),
        _ => name.to_owned(),
    }
}

/// Draws a matrix anew from a normal distribution with its own mean and deviation.
fn redrawn(name: &str, values: &mut [f32]) {
    // Vectors hold too few values to be told from others.
    if name.contains("norm.") || name.rsplit('.').next() == Some("bias") {
        return;
    }
    let n = values.len() as f64;
    let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n;
    let variance = values.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>() / n;
    let mut rng = ChaCha8Rng::seed_from_u64(values.len() as u64 + name.len() as u64);
    for value in values.iter_mut() {
        *value = (mean + variance.sqrt() * standard_normal(&mut rng)) as f32;
    }
}

/// Normal deviates without another dependency.
mod rand_distr_normal {
    use rand::Rng;

    /// One draw (Box and Muller 1958).
    pub(super) fn standard_normal(rng: &mut impl Rng) -> f64 {
        let (u, v): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }
}

fn middle_of_largest_tensor(file: &AprFile) -> u64 {
    let largest = file.entries().iter().max_by_key(|entry| entry.size);
    file.header().data_offset + largest.map_or(0, |entry| entry.offset + entry.size / 2)
}

fn invert(path: &Path, offset: u64) -> anyhow::Result<()> {
    let mut file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(&mut byte)?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(&[!byte[0]])?;
    Ok(())
}

/// Edits the embedded `tokenizer.json`.
fn edit_tokenizer(metadata: &mut Metadata, edit: fn(&mut Value) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let embedded = metadata.tokenizer.as_ref().context("the model holds no tokenizer")?;
    let json = embedded.unpack().map_err(|error| anyhow!("{error}"))?;
    let mut tokenizer: Value = serde_json::from_slice(&json)?;
    edit(&mut tokenizer)?;
    metadata.with_tokenizer_json(&serde_json::to_vec(&tokenizer)?);
    Ok(())
}

fn reorder_merges(tokenizer: &mut Value) -> anyhow::Result<()> {
    let merges = tokenizer["model"]["merges"].as_array_mut().context("the tokenizer has no merges")?;
    // The first thousand only: later merges build on earlier ones.
    let n = merges.len().min(1000);
    merges[..n].reverse();
    Ok(())
}

/// Exchanges the entries of the bytes E6 and E7.
fn exchange_entries(tokenizer: &mut Value) -> anyhow::Result<()> {
    let vocab = tokenizer["model"]["vocab"].as_object_mut().context("the tokenizer has no vocabulary")?;
    let id = |entry: &str| vocab.get(entry).cloned().with_context(|| format!("there is no entry {entry}"));
    let (first, second) = (id("\u{e6}")?, id("\u{e7}")?);
    vocab.insert("\u{e6}".to_owned(), second);
    vocab.insert("\u{e7}".to_owned(), first);
    Ok(())
}

fn exchange_special_ids(tokenizer: &mut Value) -> anyhow::Result<()> {
    let added = tokenizer["added_tokens"].as_array_mut().context("the tokenizer has no added tokens")?;
    let place = |content: &str, added: &[Value]| added.iter().position(|token| token["content"] == content);
    let start = place("<|im_start|>", added).context("there is no <|im_start|>")?;
    let end = place("<|im_end|>", added).context("there is no <|im_end|>")?;
    let (first, second) = (added[start]["id"].clone(), added[end]["id"].clone());
    added[start]["id"] = second.clone();
    added[end]["id"] = first.clone();
    let vocab = &mut tokenizer["model"]["vocab"];
    if vocab.get("<|im_start|>").is_some() {
        vocab["<|im_start|>"] = second;
        vocab["<|im_end|>"] = first;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use apr_tensor::Tensor;
    use serde_json::json;

    use super::*;
    use crate::checks::made_up::tiny;

    /// A model with the faults `names` in it, one planted in what the other left.
    fn with(names: &[&str]) -> (Vec<tempfile::TempDir>, AprFile) {
        let (mut folders, mut model) = (Vec::new(), tiny().path().to_owned());
        for name in names {
            let folder = tempfile::tempdir().unwrap();
            model = edited(name, &model, folder.path()).unwrap().unwrap();
            folders.push(folder);
        }
        let file = AprFile::open(&model).unwrap();
        file.verify().unwrap();
        (folders, file)
    }

    fn differing(a: &AprFile, b: &AprFile) -> Vec<String> {
        let names = b.entries().iter().map(|entry| entry.name.clone());
        names.filter(|name| a.tensor_hash(name) != b.tensor_hash(name)).collect()
    }

    #[test]
    fn values_are_narrowed_to_the_type_they_are_stored_in() {
        let values = [1.0, -2.0, 0.1];
        for (dtype, expected) in [
            (DType::F32, [1.0, -2.0, 0.1]),
            (DType::F16, [1.0, -2.0, 0.099_975_586]),
            (DType::Bf16, [1.0, -2.0, 0.100_097_656]),
        ] {
            let tensor = Tensor::new(dtype, vec![3], narrowed(&values, dtype, &[3]).into()).unwrap();
            assert_eq!(tensor.to_f32(), expected, "{dtype:?}");
        }
        // 8 bits for -2 to 2 are a grid of 2/127.
        let values: Vec<f32> = (0..16 * 64).map(|i| (i % 5) as f32 - 2.0).collect();
        let bytes = narrowed(&values, DType::Int8, &[16, 64]);
        let tensor = Tensor::new(DType::Int8, vec![16, 64], bytes.into()).unwrap();
        for (found, expected) in tensor.to_f32().into_iter().zip(values) {
            assert!((found - expected).abs() <= 1.0 / 127.0, "{found} for {expected}");
        }
    }

    #[test]
    fn a_weight_is_changed_to_one_that_differs_whatever_it_was() {
        let name = "model.layers.0.self_attn.q_proj.weight";
        let middle = |file: &AprFile| {
            let values = file.tensor(name).unwrap().to_f32();
            values[values.len() / 2]
        };
        let ((_a, once), (_b, twice)) = (with(&["one-weight-changed"]), with(&["one-weight-changed"; 2]));
        assert_eq!(differing(&tiny(), &once), [name]);
        assert!((middle(&tiny()) - middle(&once)).abs() > 0.04, "{} {}", middle(&tiny()), middle(&once));
        assert_eq!(middle(&twice), 2.0 * middle(&once), "what is large is doubled");
    }

    #[test]
    fn the_rotary_base_is_another_whatever_it_was() {
        let base = |names: &[&str]| with(names).1.metadata().config.rope_theta;
        let own = tiny().metadata().config.rope_theta;
        let (once, twice) = (base(&["rope-theta-changed"]), base(&["rope-theta-changed"; 2]));
        assert!(own != once && once != twice, "{own} {once} {twice}");
        assert!([own, once].contains(&1_000_000.0) || twice == 1_000_000.0, "{own} {once} {twice}");
    }

    #[test]
    fn a_head_of_its_own_is_added_once_and_kept_by_other_faults() {
        let (_a, untied) = with(&["head-untied"]);
        assert_eq!(differing(&tiny(), &untied), [HEAD]);
        assert!(!untied.metadata().config.tie_word_embeddings);
        let (_b, scaled) = with(&["head-untied", "scale-shifted"]);
        assert_eq!(differing(&untied, &scaled), ["model.layers.1.mlp.down_proj.weight"]);
    }

    #[test]
    fn a_file_without_generation_defaults_has_no_end_of_text_to_lose() {
        let mut metadata = tiny().metadata().clone();
        assert!(metadata.generation_config.is_some());
        metadata.generation_config = None;
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("own.apr");
        let tensors = vec![crate::checks::made_up::vector("model.norm.weight", &[1], &[1.0])];
        crate::checks::made_up::write_file(&model, metadata, tensors);
        let copy = edited("runs-past-end-of-text", &model, folder.path()).unwrap().unwrap();
        assert_eq!(AprFile::open(&copy).unwrap().metadata().generation_config, None);
        let defaults = with(&["runs-past-end-of-text"]).1.metadata().generation_config.clone().unwrap();
        assert!(defaults.get("eos_token_id").is_none(), "{defaults}");
    }

    #[test]
    fn special_tokens_change_ids_in_both_places_that_name_them() {
        let token = |content: &str, id: u32| json!({ "content": content, "id": id });
        let mut tokenizer = json!({
            "model": { "vocab": { "a": 0, "<|im_start|>": 1, "<|im_end|>": 2 } },
            "added_tokens": [token("<|im_start|>", 1), token("<|im_end|>", 2)],
        });
        exchange_special_ids(&mut tokenizer).unwrap();
        assert_eq!(
            tokenizer,
            json!({
                "model": { "vocab": { "a": 0, "<|im_start|>": 2, "<|im_end|>": 1 } },
                "added_tokens": [token("<|im_start|>", 2), token("<|im_end|>", 1)],
            })
        );
        for (tokenizer, expected) in [
            (json!({}), "the tokenizer has no added tokens"),
            (json!({ "added_tokens": [] }), "there is no <|im_start|>"),
            (json!({ "added_tokens": [token("<|im_start|>", 1)] }), "there is no <|im_end|>"),
        ] {
            let error = exchange_special_ids(&mut tokenizer.clone()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn tensors_of_the_first_two_layers_change_places() {
        for (name, expected) in [
            ("model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"),
            ("model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("model.layers.2.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"),
            ("model.norm.weight", "model.norm.weight"),
        ] {
            assert_eq!(neighbour(name), expected);
        }
    }
}

//! Files that are valid `.apr` but no Qwen2 model are refused with the reason.

use std::path::PathBuf;

use apr_format::{AprFile, AprWriter, Metadata, Overwrite, TensorSpec};
use apr_qwen2::{LoadOptions, Qwen2};
use tempfile::TempDir;

use crate::support::tiny_file;

/// A copy of the tiny model with its metadata and its list of tensors changed; tensors are cut or zero-extended to the
/// size their entry asks for.
fn altered(folder: &TempDir, alter: impl Fn(&mut Metadata, &mut Vec<TensorSpec>)) -> PathBuf {
    let source = tiny_file();
    let mut metadata = source.metadata().clone();
    let mut specs: Vec<TensorSpec> = source
        .entries()
        .iter()
        .map(|entry| TensorSpec { name: entry.name.clone(), dtype: entry.dtype, shape: entry.shape.clone() })
        .collect();
    alter(&mut metadata, &mut specs);
    let path = folder.path().join("altered.apr");
    let mut writer = AprWriter::create(&path, metadata, specs.clone(), Overwrite::Refuse).unwrap();
    for spec in &specs {
        let n_bytes = spec.dtype.n_bytes(&spec.shape).unwrap();
        let mut bytes = source.tensor(&spec.name).map_or_else(Vec::new, |tensor| tensor.bytes().to_vec());
        bytes.resize(n_bytes, 0);
        writer.write_tensor(&spec.name, &bytes).unwrap();
    }
    writer.finish().unwrap();
    path
}

#[track_caller]
fn assert_refused(alter: impl Fn(&mut Metadata, &mut Vec<TensorSpec>), expected: &str) {
    let folder = TempDir::new().unwrap();
    let path = altered(&folder, alter);
    let Err(error) = Qwen2::load(&AprFile::open(&path).unwrap(), LoadOptions::default()) else {
        panic!("the model loads; expected: {expected}");
    };
    let message = error.to_string();
    assert!(message.contains(expected), "{message}");
    assert!(message.contains("altered.apr"), "{message}");
}

#[test]
fn an_unaltered_copy_loads() {
    let folder = TempDir::new().unwrap();
    let path = altered(&folder, |_, _| {});
    assert_eq!(
        Qwen2::load(&AprFile::open(&path).unwrap(), LoadOptions::default()).unwrap().config().num_layers,
        6
    );
}

#[test]
fn the_greatest_numbers_that_are_allowed_load() {
    let folder = TempDir::new().unwrap();
    let path = altered(&folder, |metadata, _| metadata.config.max_position_embeddings = 1 << 24);
    let options = LoadOptions { context_length: Some(8), ..LoadOptions::default() };
    let model = Qwen2::load(&AprFile::open(&path).unwrap(), options).unwrap();
    assert_eq!(model.config().max_position_embeddings, 1 << 24);
}

#[test]
fn another_architecture_is_refused() {
    assert_refused(|metadata, _| metadata.architecture = Some("llama".into()), "its architecture is `llama`");
}

#[test]
fn impossible_configurations_are_refused() {
    assert_refused(|metadata, _| metadata.config.num_kv_heads = 4, "6 query heads do not divide among 4");
    assert_refused(|metadata, _| metadata.config.num_layers = 0, "num_layers is 0");
    assert_refused(|metadata, _| metadata.config.num_layers = (1 << 24) + 1, "num_layers is 16777217");
    assert_refused(|metadata, _| metadata.config.head_dim = 33, "head_dim is 33");
    assert_refused(|metadata, _| metadata.config.rms_norm_eps = 0.0, "rms_norm_eps is 0");
    assert_refused(|metadata, _| metadata.config.rope_theta = 1.0, "rope_theta is 1, it must be above 1");
    assert_refused(|metadata, _| metadata.config.rope_type = 0, "rope_type is 0");
}

#[test]
fn tensors_that_contradict_the_configuration_are_refused() {
    assert_refused(
        |_, specs| specs.retain(|spec| spec.name != "model.norm.weight"),
        "`model.norm.weight` is missing",
    );
    assert_refused(
        |_, specs| specs.iter_mut().find(|spec| spec.name == "model.norm.weight").unwrap().shape = vec![191],
        "has shape [191], the configuration says [192]",
    );
    assert_refused(|metadata, _| metadata.config.num_layers = 5, "belongs to no part of a Qwen2 model");
    assert_refused(
        |metadata, _| metadata.config.attention_bias = false,
        "belongs to no part of a Qwen2 model",
    );
    assert_refused(|metadata, _| metadata.config.tie_word_embeddings = false, "`lm_head.weight` is missing");
}

#[test]
fn a_context_the_model_was_not_made_for_is_refused() {
    for context_length in [0, 1025, usize::MAX] {
        let options = LoadOptions { context_length: Some(context_length), n_threads: Some(1) };
        let error = Qwen2::load(&tiny_file(), options).err().unwrap().to_string();
        assert!(error.contains("the model was made for 1 to 1024"), "{error}");
    }
}

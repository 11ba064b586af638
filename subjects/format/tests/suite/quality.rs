//! The quality score: 100 for a complete model, and every one of its tests is seen to lower it.

use std::path::Path;

use apr_format::{Flags, Metadata, Quality, ValidateOptions, validate_bytes};
use bytes::Bytes;

use crate::support::{
    Random, Raw, SmallTensor, encode, small_metadata, small_model, small_tensors, write_model,
};

fn quality(file: &[u8]) -> Quality {
    let file = Bytes::copy_from_slice(file);
    Quality::of(&validate_bytes(Path::new("m.apr"), &file, &ValidateOptions::default()).unwrap())
}

/// The named tests, and no other, must fail, and the score drop by their points.
#[track_caller]
fn check(file: &[u8], expected: &[&str]) {
    let quality = quality(file);
    let failed: Vec<&str> = quality.tests.iter().filter(|test| !test.earned).map(|test| test.name).collect();
    assert_eq!(failed, expected, "{:#?}", quality.tests);
    let lost: u32 = quality.tests.iter().filter(|test| !test.earned).map(|test| test.points).sum();
    assert_eq!(quality.score, 100 - lost);
    assert!(lost > 0 || expected.is_empty());
}

#[track_caller]
fn check_metadata(change: impl FnOnce(&mut Metadata), expected: &[&str]) {
    let mut metadata = small_metadata(2);
    change(&mut metadata);
    check(&write_model(metadata, &small_tensors(2)), expected);
}

#[track_caller]
fn check_tensors(change: impl Fn(&mut SmallTensor), expected: &[&str]) {
    let mut tensors = small_tensors(2);
    tensors.iter_mut().for_each(change);
    check(&write_model(small_metadata(2), &tensors), expected);
}

fn is(tensor: &SmallTensor, name: &str) -> bool {
    tensor.0.name == name
}

#[test]
fn a_complete_model_scores_100() {
    let quality = quality(&small_model(2));
    assert_eq!(quality.score, 100, "{:#?}", quality.tests);
    assert_eq!(quality.tests.iter().map(|test| test.points).sum::<u32>(), 100);
}

#[test]
fn checksum_is_lost_with_a_flipped_byte_of_a_checksum() {
    let mut file = small_model(2);
    let last = file.len() - 1;
    file[last] ^= 1;
    check(&file, &["checksum"]);
}

#[test]
fn hashes_are_lost_when_none_are_stored_and_when_one_is_wrong() {
    let mut raw = Raw::new(&small_model(2));
    check(&raw.without_hashes().build(), &["hashes"]);
    let offset = raw.entry("model.norm.weight").offset as usize;
    raw.data[offset] ^= 1;
    check(&raw.build(), &["hashes"]);
}

#[test]
fn tensors_is_lost_with_a_missing_and_with_a_needless_tensor() {
    let mut tensors = small_tensors(2);
    tensors.retain(|tensor| !is(tensor, "model.layers.1.mlp.up_proj.weight"));
    check(&write_model(small_metadata(2), &tensors), &["tensors"]);
    let mut tensors = small_tensors(2);
    let mut needless = tensors[0].clone();
    needless.0.name = "lm_head.weight".to_owned();
    tensors.push(needless);
    check(&write_model(small_metadata(2), &tensors), &["tensors"]);
}

#[test]
fn shapes_is_lost_with_a_transposed_matrix() {
    check_tensors(
        |tensor| {
            if is(tensor, "model.layers.1.mlp.up_proj.weight") {
                tensor.0.shape = vec![8, 12];
            }
        },
        &["shapes"],
    );
}

#[test]
fn tensors_and_shapes_cannot_be_earned_by_an_unknown_architecture() {
    check_metadata(|metadata| metadata.architecture = Some("unknown".to_owned()), &["tensors", "shapes"]);
}

#[test]
fn finite_is_lost_with_one_nan_alone_and_beside_an_infinity() {
    for values in [&[f32::NAN][..], &[f32::NAN, f32::INFINITY]] {
        check_tensors(
            |tensor| {
                if is(tensor, "model.norm.weight") {
                    let elements = tensor.1.as_chunks_mut::<4>().0;
                    elements
                        .iter_mut()
                        .zip(values)
                        .for_each(|(element, value)| *element = value.to_le_bytes());
                }
            },
            &["finite"],
        );
    }
}

#[test]
fn not_zero_is_lost_with_a_zero_bias() {
    check_tensors(
        |tensor| {
            if is(tensor, "model.layers.0.self_attn.q_proj.bias") {
                tensor.1.fill(0);
            }
        },
        &["not-zero"],
    );
}

#[test]
fn not_constant_is_lost_with_a_norm_of_ones() {
    check_tensors(
        |tensor| {
            if is(tensor, "model.norm.weight") {
                tensor.1 = encode(tensor.0.dtype, std::iter::repeat_n(1.0, 8));
            }
        },
        &["not-constant"],
    );
}

/// The small model with wider matrices, so that the deviation of a sample says something.
fn wide(value: impl Fn(&str, &mut Random) -> f32) -> Vec<u8> {
    let mut metadata = small_metadata(2);
    (metadata.config.hidden_size, metadata.config.head_dim) = (96, 48);
    metadata.config.intermediate_size = 96;
    let mut random = Random(3);
    let mut tensors = small_tensors(2);
    for (spec, bytes) in &mut tensors {
        for dimension in &mut spec.shape {
            *dimension = match *dimension {
                8 | 12 => 96,
                4 => 48,
                other => other,
            };
        }
        let n_elements = spec.shape.iter().product();
        *bytes = encode(spec.dtype, (0..n_elements).map(|_| value(&spec.name, &mut random)));
    }
    write_model(metadata, &tensors)
}

#[test]
fn distribution_is_lost_with_an_initializers_values_and_not_with_deviations_that_differ() {
    check(&wide(|_, random| 0.02 * random.normal()), &["distribution"]);
    check(&wide(|name, random| if name.contains("layers.1") { 0.03 } else { 0.02 } * random.normal()), &[]);
}

#[test]
fn distribution_is_lost_with_values_of_another_order_of_magnitude_or_far_from_zero() {
    let is_matrix = |name: &str| name == "model.layers.1.mlp.up_proj.weight";
    for (scale, shift) in [(1e-6, 0.0), (1e3, 0.0), (0.02, 1.0)] {
        check_tensors(
            |tensor| {
                if is_matrix(&tensor.0.name) {
                    let mut random = Random(9);
                    tensor.1 = encode(tensor.0.dtype, (0..96).map(|_| shift + scale * random.normal()));
                }
            },
            &["distribution"],
        );
    }
}

#[test]
fn tokenizer_is_lost_without_one_and_with_ids_outside_the_vocabulary() {
    check_metadata(|metadata| metadata.tokenizer = None, &["tokenizer"]);
    for json in [
        r#"{"model": {"vocab": {"a": 16}}}"#,
        r#"{"model": {"vocab": {"a": -1}}}"#,
        r#"{"model": {"vocab": {"a": 1}}, "added_tokens": [{"id": 4294967295}]}"#,
        r#"{"model": {"vocab": {}}}"#,
        r#"{"model": {}}"#,
        "not json",
    ] {
        check_metadata(|metadata| _ = metadata.with_tokenizer_json(json.as_bytes()), &["tokenizer"]);
    }
}

#[test]
fn chat_template_is_lost_without_one() {
    check_metadata(|metadata| metadata.chat_template = None, &["chat-template"]);
    check_metadata(|metadata| metadata.chat_template = Some(" \n".to_owned()), &["chat-template"]);
}

#[test]
fn end_of_text_is_lost_without_ids_and_with_ids_outside_the_vocabulary() {
    for config in [None, Some(serde_json::json!({})), Some(serde_json::json!({"eos_token_id": []}))] {
        check_metadata(|metadata| metadata.generation_config = config, &["end-of-text"]);
    }
    for ids in
        [serde_json::json!(16), serde_json::json!([2, 16]), serde_json::json!(-1), serde_json::json!("2")]
    {
        let config = serde_json::json!({"eos_token_id": ids});
        check_metadata(|metadata| metadata.generation_config = Some(config), &["end-of-text"]);
    }
    let config = serde_json::json!({"eos_token_id": 15});
    check_metadata(|metadata| metadata.generation_config = Some(config), &[]);
}

#[test]
fn config_is_lost_when_heads_do_not_divide_and_when_it_is_incomplete() {
    check_metadata(|metadata| metadata.config.rope_theta = 0.0, &["tensors", "shapes", "config"]);
    check_metadata(
        |metadata| (metadata.config.num_heads, metadata.config.num_kv_heads) = (4, 3),
        &["shapes", "config"],
    );
    check_metadata(|metadata| metadata.config.head_dim = 3, &["shapes", "config"]);
}

#[test]
fn provenance_is_lost_without_source_files_or_their_hashes() {
    check_metadata(|metadata| metadata.provenance = None, &["provenance"]);
    check_metadata(|metadata| metadata.provenance.as_mut().unwrap().files.clear(), &["provenance"]);
    check_metadata(|metadata| metadata.provenance.as_mut().unwrap().files[0].sha256.clear(), &["provenance"]);
}

#[test]
fn a_file_that_cannot_be_read_scores_nothing_for_what_could_not_be_checked() {
    let mut raw = Raw::new(&small_model(2));
    raw.header.flags = raw.header.flags.with(Flags::ENCRYPTED);
    check(&raw.build(), &["checksum"]);
    let truncated = &small_model(2)[..2000];
    let quality = quality(truncated);
    assert_eq!(quality.score, 0, "{:#?}", quality.tests);
}

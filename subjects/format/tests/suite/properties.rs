//! For arbitrary models: what is written comes back. For arbitrary damage: no panic, and nothing inconsistent opens.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use apr_format::{
    AprFile, AprWriter, Check, Flags, Layout, Metadata, ModelConfig, Severity, TensorSpec, ValidateOptions,
    validate_bytes,
};
use apr_tensor::{DType, Packing};
use bytes::Bytes;
use proptest::prelude::*;

use crate::support::{Raw, fix_checksums, small_model};

/// Tensors by name: dtype, shape, bytes. Names are what a checkpoint may use, and then some.
fn tensors() -> impl Strategy<Value = BTreeMap<String, (DType, Vec<usize>, Vec<u8>)>> {
    let dtype = prop::sample::select(DType::ALL.to_vec());
    let blocks = (0_usize..3, 0_usize..3).prop_map(|(rows, columns)| vec![16 * rows, 64 * columns]);
    let shape = prop_oneof![
        8 => prop::collection::vec(0_usize..12, 0..=3),
        1 => prop::collection::vec(0_usize..3, 4..=8),
        1 => (1000_usize..4000).prop_map(|n| vec![n]),
    ];
    let tensor = (dtype, shape, blocks).prop_flat_map(|(dtype, shape, blocks)| {
        let shape = if Packing::of(dtype).is_some() { blocks } else { shape };
        let size = dtype.n_bytes(&shape).unwrap();
        prop::collection::vec(any::<u8>(), size).prop_map(move |bytes| (dtype, shape.clone(), bytes))
    });
    let name = prop_oneof!["[a-z]{1,4}(\\.[a-z0-9_]{1,5}){0,3}", "[^\\p{Cc}]{1,60}", "n{256}"];
    prop::collection::btree_map(name, tensor, 0..12)
}

fn json(depth: u32) -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<u64>().prop_map(serde_json::Value::from),
        prop::num::f64::NORMAL.prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(depth, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

prop_compose! {
    fn config()(
        sizes in prop::array::uniform8(1_usize..1 << 20),
        rope_theta in 0.0_f64..1e9,
        rms_norm_eps in 0.0_f64..1.0,
        flags in any::<(bool, bool)>(),
        rope_type in any::<u32>(),
    ) -> ModelConfig {
        let [hidden_size, num_layers, num_heads, num_kv_heads, vocab_size, intermediate_size, context, head_dim] = sizes;
        ModelConfig {
            hidden_size, num_layers, num_heads, num_kv_heads, vocab_size, intermediate_size, head_dim,
            max_position_embeddings: context, rope_theta, rms_norm_eps,
            tie_word_embeddings: flags.0, attention_bias: flags.1, rope_type,
        }
    }
}

prop_compose! {
    fn metadata()(
        config in config(),
        texts in prop::array::uniform5(prop::option::of(any::<String>())),
        special_tokens in prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
        generation_config in prop::option::of(json(2)),
        extra in prop::collection::btree_map("x[a-z ]{0,6}|\\PC{9,12}", json(3), 0..4),
        tokenizer in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) -> Metadata {
        let [model_type, name, description, chat_template, source] = texts;
        let mut metadata = Metadata {
            config, model_type, name, description, chat_template, source, special_tokens, generation_config, extra,
            ..Metadata::default()
        };
        if let Some(json) = tokenizer {
            metadata.with_tokenizer_json(&json);
        }
        metadata
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_models_come_back(
        tensors in tensors(),
        metadata in metadata(),
        order in any::<prop::sample::Index>(),
        piece in 1_usize..200,
    ) {
        let path = Path::new("m.apr");
        let specs: Vec<TensorSpec> = tensors
            .iter()
            .map(|(name, (dtype, shape, _))| TensorSpec { name: name.clone(), dtype: *dtype, shape: shape.clone() })
            .collect();
        let sink = || Cursor::new(Vec::new());
        let mut whole = AprWriter::with_sink(sink(), path, metadata.clone(), specs.clone()).unwrap();
        for (name, (_, _, bytes)) in &tensors {
            whole.write_tensor(name, bytes).unwrap();
        }
        let (whole, written) = whole.finish_sink().unwrap();

        let mut rotated: Vec<&String> = tensors.keys().collect();
        if !rotated.is_empty() {
            let n = order.index(rotated.len());
            rotated.rotate_left(n);
        }
        let mut pieces = AprWriter::with_sink(sink(), path, metadata.clone(), specs).unwrap();
        for name in rotated {
            let mut tensor = pieces.tensor_writer(name).unwrap();
            for bytes in tensors[name].2.chunks(piece) {
                tensor.write_all(bytes).unwrap();
            }
        }
        let (pieces, _) = pieces.finish_sink().unwrap();
        prop_assert!(pieces.get_ref() == whole.get_ref(), "pieces and order show");

        let bytes = Bytes::from(whole.into_inner());
        let file = AprFile::from_bytes(path, bytes.clone()).unwrap();
        file.verify().unwrap();
        prop_assert_eq!(file.file_size(), written.file_size);
        prop_assert_eq!(file.root_hash(), &written.root_hash);
        prop_assert_eq!(file.entries().len(), tensors.len());
        for (name, (dtype, shape, bytes)) in &tensors {
            let tensor = file.tensor(name).unwrap();
            prop_assert_eq!((tensor.dtype(), tensor.shape()), (*dtype, shape.as_slice()));
            prop_assert_eq!(tensor.bytes(), bytes);
        }
        let n_parameters: u64 = tensors.values().map(|(_, shape, _)| shape.iter().product::<usize>() as u64).sum();
        prop_assert_eq!(written.n_parameters, n_parameters);
        let expected = Metadata {
            param_count: n_parameters,
            total_size: tensors.values().map(|(_, _, bytes)| bytes.len() as u64).sum(),
            tensor_hashes: tensors
                .iter()
                .map(|(name, (_, _, bytes))| (name.clone(), blake3::hash(bytes).to_hex().to_string()))
                .collect(),
            root_hash: Some(written.root_hash),
            ..metadata.clone()
        };
        prop_assert_eq!(file.metadata(), &expected);
        prop_assert_eq!(file.header().flags.contains(Flags::HAS_VOCAB), metadata.tokenizer.is_some());

        let validation = validate_bytes(path, &bytes, &ValidateOptions::default()).unwrap();
        for finding in &validation.findings {
            // Arbitrary bytes hold NaN and fit no config.
            let expected = matches!(finding.check, Check::Values | Check::Shapes);
            prop_assert!(finding.severity < Severity::Error || expected, "{:?}", finding);
        }
    }

    #[test]
    fn damage_to_the_head_is_refused_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        with_hashes in any::<bool>(),
    ) {
        let raw = Raw::new(&small_model(1));
        let mut file = if with_hashes { raw.build() } else { raw.without_hashes().build() };
        let data_start = file.len() - raw.data.len() - 4;
        for (position, value) in changes {
            let position = position.index(data_start);
            file[position] = value;
        }
        fix_checksums(&mut file);
        let size = file.len() as u64;
        if let Ok(layout) = Layout::parse(&file, size) {
            let opened = AprFile::from_bytes(Path::new("m.apr"), Bytes::from(file.clone())).unwrap();
            for entry in &layout.entries {
                let tensor = opened.tensor(&entry.name).unwrap();
                prop_assert_eq!(tensor.bytes().len() as u64, entry.size);
                prop_assert_eq!(tensor.n_elements() as u64, entry.n_elements());
            }
        }
        let validation = validate_bytes(Path::new("m.apr"), &Bytes::from(file), &ValidateOptions::default()).unwrap();
        prop_assert_eq!(validation.checks.len(), Check::ALL.len());
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(tail in prop::collection::vec(any::<u8>(), 0..400), magic in any::<bool>()) {
        let mut file = if magic { b"APR\0\x02\0\0\x04".to_vec() } else { Vec::new() };
        file.extend(tail);
        prop_assert!(Layout::parse(&file, file.len() as u64).is_err());
        let validation = validate_bytes(Path::new("m.apr"), &Bytes::from(file), &ValidateOptions::default()).unwrap();
        prop_assert!(!validation.is_valid());
    }
}

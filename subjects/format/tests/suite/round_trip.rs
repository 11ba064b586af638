//! What is written comes back: values, order, hashes; and the same input gives the same bytes.

use std::io::{Cursor, Write};
use std::path::Path;

use apr_format::{AprFile, AprWriter, Flags, Metadata, Overwrite, TensorSpec, sign};
use apr_tensor::DType;
use bytes::Bytes;

fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn metadata() -> Metadata {
    let mut metadata = Metadata { name: Some("small".to_owned()), ..Metadata::default() };
    metadata.config.hidden_size = 8;
    metadata.config.num_heads = 2;
    metadata.config.rms_norm_eps = 1e-6;
    metadata.extra.insert("author".to_owned(), "someone".into());
    metadata.with_tokenizer_json(br#"{"model": {}}"#);
    metadata
}

fn specs() -> Vec<TensorSpec> {
    vec![
        spec("b.weight", DType::F16, &[3, 5]),
        spec("a.weight", DType::F32, &[40]),
        spec("empty", DType::Bf16, &[0, 7]),
        spec("scalar", DType::Bf16, &[]),
        spec("packed.4", DType::Int4, &[32, 64]),
        spec("packed.8", DType::Int8, &[16, 128]),
    ]
}

fn values(spec: &TensorSpec) -> Vec<u8> {
    let size = spec.dtype.n_bytes(&spec.shape).unwrap();
    (0..size).map(|i| (i * 7 + spec.name.len()) as u8).collect()
}

fn in_memory(order: impl Fn(&mut Vec<TensorSpec>)) -> Vec<u8> {
    let mut specs = specs();
    let mut writer =
        AprWriter::with_sink(Cursor::new(Vec::new()), Path::new("m.apr"), metadata(), specs.clone()).unwrap();
    order(&mut specs);
    for spec in &specs {
        writer.write_tensor(&spec.name, &values(spec)).unwrap();
    }
    writer.finish_sink().unwrap().0.into_inner()
}

#[test]
fn tensors_and_metadata_come_back_as_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.apr");
    std::fs::write(&path, in_memory(|_| {})).unwrap();
    let opened = AprFile::open(&path).unwrap();
    for file in [opened.to_memory().unwrap(), opened, AprFile::open_in_memory(&path).unwrap()] {
        let names: Vec<&str> = file.entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["a.weight", "b.weight", "empty", "packed.4", "packed.8", "scalar"]);
        for spec in specs() {
            let tensor = file.tensor(&spec.name).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (spec.dtype, spec.shape.as_slice()));
            assert_eq!(tensor.bytes(), &values(&spec));
            assert_eq!(tensor.bytes().as_ptr() as usize % if values(&spec).is_empty() { 1 } else { 64 }, 0);
            assert_eq!(file.tensor_hash(&spec.name), Some(blake3::hash(&values(&spec)).to_hex().as_str()));
        }
        assert_eq!(file.metadata().name.as_deref(), Some("small"));
        assert_eq!((file.metadata().config.num_kv_heads, file.metadata().config.head_dim), (2, 4));
        assert_eq!(
            (file.metadata().param_count, file.metadata().total_size),
            (56 + 2048 + 2048, 160 + 30 + 2 + 2 * 576 + 2 * 1088)
        );
        assert_eq!(file.metadata().extra["author"], "someone");
        assert_eq!(file.tokenizer_json().unwrap().unwrap(), br#"{"model": {}}"#);
        assert_eq!(file.tokenizer_fingerprint(), Some(blake3::hash(br#"{"model": {}}"#).to_hex().as_str()));
        assert_eq!(file.header().flags, Flags::HAS_VOCAB.with(Flags::LAYOUT_ROW_MAJOR));
        assert_eq!(file.file_size() % 64, 4);
        file.verify().unwrap();
    }
}

#[test]
fn the_order_and_the_pieces_of_writing_do_not_show() {
    let expected = in_memory(|_| {});
    assert_eq!(in_memory(|specs| specs.reverse()), expected);
    let path = Path::new("m.apr");
    let mut writer = AprWriter::with_sink(Cursor::new(Vec::new()), path, metadata(), specs()).unwrap();
    for spec in specs() {
        let mut tensor = writer.tensor_writer(&spec.name).unwrap();
        for byte in values(&spec) {
            tensor.write_all(&[byte]).unwrap();
        }
        assert_eq!(tensor.remaining(), 0);
    }
    assert_eq!(writer.finish_sink().unwrap().0.into_inner(), expected);
}

#[test]
fn bytes_at_any_address_can_be_opened() {
    let file = in_memory(|_| {});
    for shift in 0..5 {
        let shifted = Bytes::from([vec![0; shift], file.clone()].concat()).slice(shift..);
        let opened = AprFile::from_bytes(Path::new("shifted"), shifted).unwrap();
        assert_eq!(opened.tensor("b.weight").unwrap().bytes(), &values(&specs()[0]));
    }
}

#[test]
fn signing_and_stripping_gives_the_first_file_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("m.apr"), in_memory(|_| {})).unwrap();
    let key = sign::generate_key().unwrap();
    sign::sign(&path("m.apr"), &path("signed.apr"), &key, Overwrite::Refuse).unwrap();
    sign::strip_signature(&path("signed.apr"), &path("stripped.apr"), Overwrite::Refuse).unwrap();
    assert_eq!(std::fs::read(path("stripped.apr")).unwrap(), std::fs::read(path("m.apr")).unwrap());
    let signed = AprFile::open_verified(&path("signed.apr")).unwrap();
    assert!(signed.header().flags.contains(Flags::SIGNED));
}

#[test]
fn weights_have_the_fingerprint_that_another_program_computed() {
    // `scripts/model_sources.py golden/tiny/tiny.apr` prints it, from its own reading of the file.
    let expected = "1afac639eeae5ea379a69a8da761237865ac566e342297f0f88740d544b9c6cd";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/tiny/tiny.apr");
    let file = AprFile::open(&path).unwrap();
    assert_eq!(file.weights_fingerprint(), expected);
    assert_eq!(file.weights_fingerprint(), expected, "asked again");
}

//! Hostile safetensors files and directories, by their number in the list of hostile inputs: each is refused with a
//! message that names the file and the fault, without a panic, and nothing is written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use apr_interop::{ImportOptions, Silent, Source, import, safetensors};
use proptest::prelude::*;
use support::refused;
use support::safetensors_file::{
    CONFIG, entry, file, qwen2_tensors, with_tensors, write_directory, write_index, write_sharded,
};

/// Demands that a lone file of these bytes is refused with `expected` in the message.
#[track_caller]
fn check_bytes(bytes: &[u8], expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    std::fs::write(&path, bytes).unwrap();
    let options = ImportOptions { arch: Some("qwen2".to_owned()), ..ImportOptions::default() };
    refused(&path, &path, &options, expected);
}

/// The same for a header over 64 bytes of data.
#[track_caller]
fn check_header(header: &str, expected: &str) {
    check_bytes(&file(header, &[0; 64]), expected);
}

/// Demands that a sound sharded directory, changed by `change`, is refused: `expected` in a message that names `named`,
/// a file in it or, when empty, the directory.
#[track_caller]
fn check_directory(change: impl FnOnce(&Path), named: &str, expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    write_sharded(directory.path());
    change(directory.path());
    let named = if named.is_empty() { directory.path().to_owned() } else { directory.path().join(named) };
    refused(directory.path(), &named, &ImportOptions::default(), expected);
}

#[test]
fn hostile_00_the_files_that_are_broken_below_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out.apr");
    let (single, sharded) = (directory.path().join("single"), directory.path().join("sharded"));
    std::fs::create_dir(&single).unwrap();
    std::fs::create_dir(&sharded).unwrap();
    write_directory(&single);
    write_sharded(&sharded);
    assert_eq!(support::import_default(&single, &out).unwrap().n_tensors, 14);
    let of_shards = support::import_default(&sharded, &directory.path().join("sharded.apr")).unwrap();
    assert_eq!(of_shards.n_tensors, 14);
}

#[test]
fn hostile_17_header_lengths_that_cannot_be_are_refused() {
    let with_length = |length: u64| [&length.to_le_bytes()[..], &[b' '; 200]].concat();
    check_bytes(
        &with_length(u64::MAX),
        "its header claims 18446744073709551615 bytes; 100000000 are the most",
    );
    check_bytes(&with_length(100_000_001), "its header claims 100000001 bytes; 100000000 are the most");
    check_bytes(&with_length(0), "its header claims 0 bytes; 2 are the least");
    check_bytes(&with_length(201), "its header claims 201 bytes; 200 is what the file has left");
    check_bytes(&with_length(200), "it does not start with `{`");
    check_bytes(b"", "it has 0 bytes; a safetensors file has 10 or more");
    check_bytes(&[0; 9], "it has 9 bytes; a safetensors file has 10 or more");
}

#[test]
fn hostile_18_duplicates_holes_overlaps_and_reversed_spans_are_refused() {
    let one = entry("a", &[4], 0, 16);
    check_header(&format!("{{{one},{one}}}"), "tensor `a` is listed twice");
    check_header(
        r#"{"__metadata__":{"k":"1","k":"2"},"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#,
        "key `k` is given twice",
    );
    check_header(r#"{"__metadata__":{},"__metadata__":{}}"#, "`__metadata__` is given twice");
    check_header(
        r#"{"a":{"dtype":"F32","dtype":"F16","shape":[16],"data_offsets":[0,64]}}"#,
        "duplicate field `dtype`",
    );
    let with = |second: String| format!("{{{one},{second}}}");
    check_header(
        &with(entry("b", &[4], 48, 64)),
        "bytes 16 to 48 of the data belong to no tensor (before tensor `b`)",
    );
    check_header(
        &with(entry("b", &[8], 16, 48)),
        "bytes 48 to 64 of the data belong to no tensor (before the end",
    );
    check_header(&with(entry("b", &[14], 8, 64)), "tensors `a` and `b` overlap");
    check_header(&with(entry("b", &[4], 32, 16)), "tensor `b` ends at 16, before its begin at 32");
    check_header(
        &with(entry("b", &[16], 16, 80)),
        "tensor `b` ends at byte 80 of the data, of which there are 64",
    );
    check_header("{}", "it holds no tensors");
}

#[test]
fn hostile_19_shapes_that_do_not_make_the_span_are_refused() {
    check_header(
        &format!("{{{}}}", entry("a", &[15], 0, 64)),
        "tensor `a` with shape [15] of F32 takes 60 bytes, its span has 64",
    );
    for shape in [vec![1 << 62, 4], vec![1 << 32, 1 << 32], vec![usize::MAX, 2], vec![1 << 63]] {
        let expected = format!("tensor `a` with shape {shape:?} has more elements than can be addressed");
        check_header(&format!("{{{}}}", entry("a", &shape, 0, 64)), &expected);
    }
    check_header(&format!("{{{}}}", entry("a", &[0, 16], 0, 0)), "tensor `a` has shape [0, 16]");
    check_header(&format!("{{{}}}", entry("a", &[1; 9], 0, 64)), "a shape has more than 8 dimensions");
    check_header(
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,64]}}"#,
        "invalid value: integer `-1`",
    );
    check_header(
        r#"{"a":{"dtype":"F32","shape":[16.0],"data_offsets":[0,64]}}"#,
        "invalid type: floating point",
    );
    check_header(
        r#"{"a":{"dtype":"I64","shape":[8],"data_offsets":[0,64]}}"#,
        "tensor `a` is stored as I64, only F32, F16 and BF16 can be imported",
    );
    check_header(r#"{"a":{"dtype":"F4","shape":[8],"data_offsets":[0,64]}}"#, "tensor `a` is stored as F4");
}

#[test]
fn hostile_20_floods_and_deep_json_are_refused() {
    let entries: Vec<String> =
        (0..100_000).map(|i| entry(&format!("t{i}"), &[1], i * 4, i * 4 + 4)).collect();
    let flood = format!("{{{}}}", entries.join(","));
    check_bytes(&file(&flood, &vec![0; 400_000]), "it lists more than 65536 tensors");
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
        check_header(&format!(r#"{{"a":{deep}}}"#), "its header is not valid");
        check_header(
            &format!(r#"{{"a":{{"dtype":"F32","shape":{deep},"data_offsets":[0,64]}}}}"#),
            "its header is not valid",
        );
        check_header(&format!(r#"{{"__metadata__":{deep}}}"#), "its header is not valid");
    }
    check_header(
        r#"{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64],"extra":1}}"#,
        "unknown field `extra`",
    );
    check_header(r#"{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}"#, "EOF while parsing");
    check_bytes(
        &file(&format!("{{{}}}", entry("a\\u0000", &[16], 0, 64)), &[0; 64]),
        "holds a control character",
    );
    check_bytes(
        &file(&format!("{{{}}}", entry(&"n".repeat(257), &[16], 0, 64)), &[0; 64]),
        "longer than 256 bytes",
    );
    let not_utf8 = [&14_u64.to_le_bytes()[..], b"{\"\xFF\":{}}    ", &[0; 64]].concat();
    check_bytes(&not_utf8, "its header is not valid");
}

#[test]
fn hostile_21_indexes_that_lie_are_refused() {
    let index = "model.safetensors.index.json";
    for shard in
        ["../a.safetensors", "/etc/a.safetensors", "sub/a.safetensors", "..\\a.safetensors", ".a.safetensors"]
    {
        let expected =
            format!("it names the shard {shard:?}; a shard is a `.safetensors` file in the same directory");
        check_directory(|directory| write_index(directory, [("a", shard)].into_iter()), index, &expected);
    }
    check_directory(
        |directory| write_index(directory, [("a", "config.json")].into_iter()),
        index,
        "it names the shard",
    );
    check_directory(
        |directory| std::fs::remove_file(directory.join("b.safetensors")).unwrap(),
        index,
        "it names the shard `b.safetensors`, which is missing",
    );
    let name = "model.embed_tokens.weight";
    check_directory(
        |directory| {
            let mut tensors = qwen2_tensors();
            tensors.drain(1..6);
            std::fs::write(directory.join("b.safetensors"), with_tensors(&tensors)).unwrap();
        },
        index,
        &format!("tensor `{name}` is in both `a.safetensors` and `b.safetensors`"),
    );
    check_directory(
        |directory| {
            let text = std::fs::read_to_string(directory.join(index)).unwrap();
            let again = text.replacen(
                "\"weight_map\": {",
                &format!("\"weight_map\": {{ \"{name}\": \"b.safetensors\","),
                1,
            );
            std::fs::write(directory.join(index), again).unwrap();
        },
        index,
        &format!("key `{name}` is given twice"),
    );
    check_directory(
        |directory| {
            let text = std::fs::read_to_string(directory.join(index)).unwrap();
            let moved = text.replacen("\"a.safetensors\"", "\"b.safetensors\"", 1);
            std::fs::write(directory.join(index), moved).unwrap();
        },
        index,
        "it is said to be in `b.safetensors` and is in `a.safetensors`",
    );
    check_directory(
        |directory| {
            let text = std::fs::read_to_string(directory.join(index)).unwrap();
            let more =
                text.replacen("\"weight_map\": {", "\"weight_map\": { \"ghost\": \"b.safetensors\",", 1);
            std::fs::write(directory.join(index), more).unwrap();
        },
        index,
        "tensor `ghost`: it is said to be in `b.safetensors`, which does not hold it",
    );
    check_directory(
        |directory| std::fs::write(directory.join(index), "[]").unwrap(),
        index,
        "it is not a valid shard index",
    );
    check_directory(|directory| write_index(directory, std::iter::empty()), index, "it holds no tensors");
}

#[test]
fn a_config_that_contradicts_the_tensors_is_refused() {
    let check = |from: &str, to: &str, named: &str, expected: &str| {
        let change = |directory: &Path| {
            assert!(CONFIG.contains(from), "{from} is not in the config");
            std::fs::write(directory.join("config.json"), CONFIG.replace(from, to)).unwrap();
        };
        check_directory(change, named, expected);
    };
    let config = "config.json";
    check("\"num_attention_heads\": 2", "\"num_attention_heads\": 0", config, "`num_attention_heads` is 0");
    check(
        "\"num_hidden_layers\": 1",
        "\"num_hidden_layers\": 10000",
        "",
        "its config says 10000 layers, its tensors make 1",
    );
    check("\"hidden_size\": 16", "\"hidden_size\": 32", "", "its config asks for [24, 32]");
    check("\"hidden_size\": 16,", "", config, "its config does not say hidden_size");
    check("\"rope_theta\": 1000000.0, ", "", config, "its config does not say rope_theta");
    check(
        "\"hidden_size\": 16",
        "\"hidden_size\": 16, \"hidden_size\": 16",
        config,
        "duplicate field `hidden_size`",
    );
    check("\"silu\"", "\"gelu\"", config, "it uses the activation `gelu`");
    check("\"qwen2\"", "\"gpt2\"", config, "its architecture is `gpt2`; supported are qwen2, llama, mistral");
    check(
        "\"vocab_size\": 24",
        "\"vocab_size\": 24, \"rope_scaling\": {\"type\": \"yarn\"}",
        config,
        "rotary scaling `yarn`",
    );
    check(
        "\"tie_word_embeddings\": true",
        "\"tie_word_embeddings\": false",
        "",
        "tensor `lm_head.weight` is missing",
    );
    check("{", "[", config, "it is not valid");
    check_directory(
        |directory| std::fs::remove_file(directory.join("config.json")).unwrap(),
        "",
        "it has no config.json\nhint: give a directory",
    );
    check_directory(
        |directory| {
            std::fs::remove_file(directory.join("config.json")).unwrap();
            std::fs::write(directory.join("model-q4_0.gguf"), "").unwrap();
        },
        "",
        "hint: import one of its GGUF files, such as model-q4_0.gguf",
    );
}

#[test]
fn a_tokenizer_that_cannot_be_used_is_refused() {
    let file = "tokenizer.json";
    let write = |text: String| move |directory: &Path| std::fs::write(directory.join(file), text).unwrap();
    check_directory(write("{".to_owned()), file, "tokenizer.json");
    check_directory(write(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))), file, "tokenizer.json");
    // A tokenizer for 288 tokens beside an embedding of 24 rows.
    let (directory, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_directory(directory.path());
    let other = out.path().join("other.apr");
    support::import_default(&support::fixture("tiny-qwen2.gguf"), &other).unwrap();
    let json = apr_format::AprFile::open(&other).unwrap().tokenizer_json().unwrap().unwrap();
    let path = directory.path().join(file);
    std::fs::write(&path, json).unwrap();
    refused(directory.path(), &path, &ImportOptions::default(), "ids up to 265, the embedding has 24 rows");
}

#[test]
fn a_directory_of_anything_else_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.json"), CONFIG).unwrap();
    let expected = "it has neither model.safetensors nor model.safetensors.index.json";
    refused(directory.path(), directory.path(), &ImportOptions::default(), expected);
    let missing = directory.path().join("absent");
    refused(&missing, &missing, &ImportOptions::default(), "does not exist");
    let pickled = directory.path().join("model.bin");
    std::fs::write(&pickled, b"\x80\x02}q").unwrap();
    refused(&pickled, &pickled, &ImportOptions::default(), "pickled weights can run code");
}

proptest! {
    /// Any change of a few bytes parses or is refused; neither parsing nor importing panics.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = with_tensors(&qwen2_tensors());
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for (index, value) in changes {
            bytes[index.index(header)] = value;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), CONFIG).unwrap();
        std::fs::write(directory.path().join("model.safetensors"), &bytes).unwrap();
        let out = directory.path().join("out.apr");
        let parsed = safetensors::parse(&bytes);
        let source = Source::SafetensorsDir(directory.path().to_owned());
        let imported = import(&source, &out, &ImportOptions::default(), &Silent);
        prop_assert!(parsed.is_ok() || imported.is_err());
        prop_assert_eq!(imported.is_ok(), out.exists());
    }
}

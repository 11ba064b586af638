//! Hostile GGUF files, by their number in the list of hostile inputs: each is refused with a message that names the
//! file and the fault, without a panic, and nothing is written.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use apr_interop::gguf::{self, GgufError};
use apr_interop::{ImportOptions, Silent, Source, import};
use proptest::prelude::*;
use support::gguf_file::{
    ARRAY, BOOL, F32, GgufFile, STRING, TYPE_F32, TYPE_Q4_0, TYPE_Q8_0, U8, U32, U64, VOCAB, floats,
    integers, string, strings, tokens,
};
use support::refused;

/// Demands that `bytes` are refused with `expected` in the message.
#[track_caller]
fn check_bytes(bytes: &[u8], expected: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    refused(&path, &path, &ImportOptions::default(), expected);
}

/// Demands that the sound file, changed by `change`, is refused with `expected` in the message.
#[track_caller]
fn check(change: impl FnOnce(&mut GgufFile), expected: &str) {
    let mut file = GgufFile::qwen2();
    change(&mut file);
    check_bytes(&file.bytes(), expected);
}

#[test]
fn hostile_00_the_file_that_is_broken_below_is_sound() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, GgufFile::qwen2().bytes()).unwrap();
    let summary = support::import_default(&path, &directory.path().join("out.apr")).unwrap();
    assert_eq!((summary.n_tensors, summary.architecture.as_str()), (14, "qwen2"));
}

#[test]
fn hostile_01_bad_magic_and_other_versions_are_refused() {
    check(|file| file.magic = *b"GGML", "it starts with [47, 47, 4d, 4c], not with `GGUF`");
    check_bytes(b"", "it starts with [], not with `GGUF`");
    check_bytes(b"GG", "it starts with [47, 47], not with `GGUF`");
    for version in [0_u32, 1, 4, u32::MAX] {
        let expected = format!("its GGUF version is {version}; versions 2 and 3 are supported");
        check(|file| file.version = version.to_le_bytes(), &expected);
    }
    for version in [2_u32, 3] {
        check(|file| file.version = version.to_be_bytes(), "it is a big-endian GGUF");
    }
}

#[test]
fn hostile_02_counts_that_no_file_can_hold_are_refused() {
    for count in [u64::MAX, 1 << 63, 1 << 32, 70_000] {
        check(|file| file.n_tensors = Some(count), &format!("it claims {count} tensors"));
        check(|file| file.n_keys = Some(count), &format!("it claims {count} metadata keys"));
    }
    check(|file| file.n_tensors = Some(15), "the name of tensor 14 is empty");
    check(
        |file| {
            file.tensors.clear();
        },
        "it holds no tensors",
    );
}

#[test]
fn hostile_03_lengths_beyond_the_file_are_refused() {
    for length in [u64::MAX, 1 << 30] {
        let mut header = GgufFile { metadata: Vec::new(), ..GgufFile::qwen2() };
        header.n_keys = Some(1);
        header.tensors.clear();
        header.n_tensors = Some(0);
        let mut bytes = header.bytes();
        bytes.extend(length.to_le_bytes());
        bytes.resize(160, b'k');
        check_bytes(
            &bytes,
            &format!("metadata key 0 at byte 32 takes {length} bytes, the file has 128 left"),
        );

        let long = [&length.to_le_bytes()[..], b"qwen2"].concat();
        let expected = format!("the value of `general.architecture` at byte 64 takes {length} bytes");
        check(|file| file.set("general.architecture", STRING, &long), &expected);
    }
}

#[test]
fn hostile_04_empty_and_duplicate_keys_are_refused() {
    check(|file| file.metadata[0].0.clear(), "metadata key 0 is empty");
    check(
        |file| {
            let first = file.metadata[0].clone();
            file.metadata.push(first);
        },
        "metadata key `general.architecture` is given twice",
    );
    check(
        |file| file.metadata[0].0 = b"general\0architecture".to_vec(),
        "which holds '\\0'; keys are printable ASCII",
    );
    check(|file| file.metadata[0].0 = vec![0xFF, 0xFE], "metadata key 0 is not valid UTF-8");
}

#[test]
fn hostile_05_unknown_value_types_and_odd_bools_are_refused() {
    for kind in [13, 255, u32::MAX] {
        let expected = format!("metadata key `general.name` has value type {kind}, which does not exist");
        check(|file| file.set("general.name", kind, &[0; 8]), &expected);
    }
    for value in [2, 255] {
        let expected = format!("metadata key `tokenizer.ggml.add_bos_token` has a bool of {value}");
        check(|file| file.set("tokenizer.ggml.add_bos_token", BOOL, &[value]), &expected);
        let array = [&BOOL.to_le_bytes()[..], &2_u64.to_le_bytes(), &[1, value]].concat();
        let expected = format!("metadata key `general.flags` has a bool of {value}");
        check(|file| file.set("general.flags", ARRAY, &array), &expected);
    }
}

#[test]
fn hostile_06_nested_and_overflowing_arrays_are_refused() {
    let one_array = [&ARRAY.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let deep = one_array.repeat(100_000);
    check(
        |file| file.set("general.tags", ARRAY, &deep),
        "`general.tags` is an array of arrays, which is not supported",
    );
    for (element, count) in
        [(U64, 1 << 61), (U64, u64::MAX), (STRING, 1 << 61), (U8, u64::MAX), (ARRAY, 1 << 62)]
    {
        let array = [&element.to_le_bytes()[..], &count.to_le_bytes(), &[0; 64]].concat();
        let expected = format!("the array `general.tags` of {count} values at byte");
        check(|file| file.set("general.tags", ARRAY, &array), &expected);
    }
}

#[test]
fn hostile_07_unusable_alignments_are_refused() {
    for alignment in [0_u32, 1, 4, 13, 24, 1 << 17, 1 << 31] {
        let expected =
            format!("`general.alignment` is {alignment}; it must be a u32, a power of two from 8 to 65536");
        check(|file| file.set_u32("general.alignment", alignment), &expected);
    }
    check(
        |file| file.set("general.alignment", U64, &32_u64.to_le_bytes()),
        "`general.alignment` is 32 (U64)",
    );
    check(
        |file| file.set_string("general.alignment", "32"),
        "`general.alignment` is the string \"32\" (String)",
    );
}

#[test]
fn hostile_08_numbers_of_dimensions_and_zero_dimensions_are_refused() {
    let name = "output_norm.weight";
    for n_dims in [0, 5, u32::MAX] {
        let expected = format!("tensor `{name}` has {n_dims} dimensions; 1 to 4 are allowed");
        check(|file| file.tensor(name).n_dims = Some(n_dims), &expected);
    }
    check(|file| file.tensor(name).dims = vec![0], "tensor `output_norm.weight` has a zero dimension: [0]");
    check(
        |file| file.tensor(name).dims = vec![16, 0],
        "tensor `output_norm.weight` has a zero dimension: [16, 0]",
    );
}

#[test]
fn hostile_09_dimensions_whose_product_wraps_are_refused() {
    for dims in [vec![1 << 32, 1 << 32], vec![1 << 62, 4], vec![(1 << 60) + 1, 16, 1, 1], vec![1 << 63, 1]] {
        let expected = format!(
            "tensor `output_norm.weight` with dimensions {dims:?} has more elements than can be addressed"
        );
        check(|file| file.tensor("output_norm.weight").dims = dims, &expected);
    }
    // Elements fit, bytes do not.
    check(
        |file| file.tensor("output_norm.weight").dims = vec![1 << 62],
        "has more elements than can be addressed",
    );
}

#[test]
fn hostile_10_sizes_that_only_padding_would_wrap_are_refused() {
    let dims = vec![(1 << 61) - 1];
    let name = "blk.0.ffn_down.weight";
    check(
        |file| file.tensor(name).dims = dims,
        "tensor `blk.0.ffn_down.weight` of 9223372036854775804 bytes at offset",
    );
}

#[test]
fn hostile_11_misplaced_tensors_are_refused() {
    let name = "output_norm.weight";
    let misaligned =
        "tensor `output_norm.weight` starts at offset 33, which is not a multiple of the alignment 32";
    check(|file| file.tensor(name).offset = Some(33), misaligned);
    check(
        |file| file.tensor(name).offset = Some(0),
        "tensors `token_embd.weight` and `output_norm.weight` overlap",
    );
    for offset in [1 << 20, 1 << 40, u64::MAX - 31] {
        let expected = format!("tensor `{name}` of 64 bytes at offset {offset} ends after the file");
        check(|file| file.tensor(name).offset = Some(offset), &expected);
    }
}

#[test]
fn hostile_12_unusable_tensor_names_are_refused() {
    let name = "output_norm.weight";
    check(
        |file| file.tensor(name).name = b"token_embd.weight".to_vec(),
        "tensor `token_embd.weight` is listed twice",
    );
    check(
        |file| file.tensor(name).name = vec![b'n'; 65],
        "the name of tensor 1 is 65 bytes long; 64 are allowed",
    );
    check(|file| file.tensor(name).name = vec![0xC3, 0x28], "the name of tensor 1 is not valid UTF-8");
    check(|file| file.tensor(name).name = b"output\0norm".to_vec(), "which holds a control character");
    check(|file| file.tensor(name).name.clear(), "the name of tensor 1 is empty");
    check(
        |file| file.tensor(name).name = b"../../etc/passwd".to_vec(),
        "tensor `../../etc/passwd` has no place in this architecture",
    );
}

#[test]
fn hostile_13_partial_blocks_and_unknown_types_are_refused() {
    let name = "output_norm.weight";
    check(|file| file.tensor(name).kind = TYPE_Q4_0, "has rows of 16 elements, Q4_0 needs a multiple of 32");
    check(
        |file| file.tensor(name).kind = 12,
        "tensor `output_norm.weight` has rows of 16 elements, Q4_K needs a multiple of 256",
    );
    for kind in [4, 5, 31, 36] {
        let expected = format!("has element type {kind}, which was removed from the format");
        check(|file| file.tensor(name).kind = kind, &expected);
    }
    for kind in [42, 255, u32::MAX] {
        check(|file| file.tensor(name).kind = kind, &format!("has element type {kind}, which is not known"));
    }
    check(
        |file| file.tensor(name).kind = 16,
        "has element type 16 (an IQ1, IQ2 or IQ3 type), which is not supported",
    );
}

#[test]
fn hostile_14_a_file_cut_anywhere_is_refused() {
    let file = GgufFile::qwen2();
    let bytes = file.bytes();
    let header = file.header().len();
    let cuts = (0..header).chain((header..bytes.len()).step_by(4096)).chain([bytes.len() - 1]);
    for cut in cuts {
        let fault = gguf::parse(&bytes[..cut]).expect_err("a cut file was parsed");
        let is_about_length = matches!(
            fault,
            GgufError::Truncated { .. }
                | GgufError::Count { .. }
                | GgufError::OutOfFile { .. }
                | GgufError::Magic(_)
        );
        assert!(is_about_length, "cut at {cut}: {fault}");
    }
    check_bytes(&bytes[..header / 2], "the file is cut short or damaged; download it again");
    check_bytes(&bytes[..bytes.len() - 1], "the file is cut short or damaged; download it again");
}

#[test]
fn hostile_15_vocabularies_that_contradict_themselves_are_refused() {
    for text in ["<0x-1>", "<0xZZ>", "<0x1>", "<0x100>", "<0x+F>"] {
        let mut tokens = tokens();
        tokens[40] = text.to_owned();
        let mut types = vec![1; VOCAB];
        types[40] = 6;
        let expected = format!("token 40, {text:?}, is typed as a byte; bytes are <0x00> to <0xFF>");
        check(
            |file| {
                file.set("tokenizer.ggml.tokens", ARRAY, &strings(&tokens));
                file.set("tokenizer.ggml.token_type", ARRAY, &integers(&types));
            },
            &expected,
        );
    }
    check(
        |file| file.set_u32("tokenizer.ggml.eos_token_id", VOCAB as u32),
        "`tokenizer.ggml.eos_token_id` is 260, the vocabulary has 260 tokens",
    );
    check(
        |file| file.set("tokenizer.ggml.scores", ARRAY, &floats(&[0.0; VOCAB - 1])),
        "it has 259 scores for 260 tokens",
    );
    check(
        |file| file.set("tokenizer.ggml.token_type", ARRAY, &integers(&[1; VOCAB + 1])),
        "it has 261 token types for 260 tokens",
    );
    check(
        |file| file.set("tokenizer.ggml.tokens", ARRAY, &strings(&tokens()[..100])),
        "it has 100 tokens, the embedding has 260 rows",
    );
    check(
        |file| {
            let mut tokens = tokens();
            tokens[7] = tokens[8].clone();
            file.set("tokenizer.ggml.tokens", ARRAY, &strings(&tokens));
        },
        "tokens 7 and 8 are both",
    );
    for merge in ["th", "t h e", " th", "t "] {
        let expected = format!("merge 0, {merge:?}, is not two tokens and a space between them");
        check(|file| file.set("tokenizer.ggml.merges", ARRAY, &strings(&[merge])), &expected);
    }
    check(
        |file| file.set("tokenizer.ggml.merges", ARRAY, &strings(&["t e"])),
        "merge 0, \"t e\", needs \"te\", which is no token",
    );
    check(
        |file| file.set_string("tokenizer.ggml.model", "llama"),
        "only `gpt2` (byte-level BPE) is supported",
    );
    check(
        |file| file.set_string("tokenizer.ggml.pre", "odd"),
        "its pre-tokenizer is `odd`; supported are qwen2",
    );
    check(|file| file.remove("tokenizer.ggml.tokens"), "metadata key `tokenizer.ggml.tokens` is missing");
}

#[test]
fn hostile_16_metadata_that_contradicts_the_tensors_is_refused() {
    check(|file| file.set_u32("qwen2.attention.head_count", 0), "its config says `num_attention_heads` is 0");
    check(
        |file| file.set_u32("qwen2.attention.head_count_kv", 0),
        "its config says `num_key_value_heads` is 0",
    );
    check(
        |file| file.set_u32("qwen2.block_count", 10_000),
        "its config says 10000 layers, its tensors make 1",
    );
    check(
        |file| file.set_u32("qwen2.block_count", u32::MAX),
        "its config says `num_hidden_layers` is 4294967295",
    );
    check(
        |file| {
            file.set_u32("qwen2.block_count", 1_000_000_000);
            file.tensor("blk.0.ffn_norm.weight").name = b"blk.999999999.ffn_norm.weight".to_vec();
        },
        "tensor `model.layers.500000000.input_layernorm.weight` is missing",
    );
    check(
        |file| file.set_u32("qwen2.attention.head_count", 3),
        "its config says `num_attention_heads` is 3; it must divide the hidden size",
    );
    check(
        |file| file.set_u32("qwen2.attention.head_count", 4),
        "tensor `blk.0.attn_k.bias` has shape [8], its config asks for [4]",
    );
    check(
        |file| file.set_u32("qwen2.feed_forward_length", 23),
        "tensor `blk.0.ffn_down.weight` has shape [16, 24], its config asks for [16, 23]",
    );
    check(
        |file| file.set_u32("qwen2.embedding_length", 32),
        "has shape [260, 16], its config asks for [260, 32]",
    );
    check(|file| file.set_u32("qwen2.vocab_size", 259), "its config says `vocab_size` is 259");
    check(
        |file| file.tensors.retain(|tensor| tensor.name != b"blk.0.ffn_up.weight"),
        "tensor `model.layers.0.mlp.up_proj.weight` is missing",
    );
    check(
        |file| file.set_string("general.architecture", "gpt2"),
        "its architecture is `gpt2`; supported are qwen2",
    );
    check(|file| file.remove("qwen2.embedding_length"), "metadata key `qwen2.embedding_length` is missing");
    check(
        |file| file.set("qwen2.rope.freq_base", F32, &f32::NAN.to_le_bytes()),
        "metadata key `qwen2.rope.freq_base` is NaN, expected a finite float",
    );
    check(
        |file| file.set("qwen2.attention.layer_norm_rms_epsilon", F32, &(-1.0_f32).to_le_bytes()),
        "its config says `rms_norm_eps` is -1; it must be between 0 and 1",
    );
    check(
        |file| file.set_string("qwen2.block_count", "1"),
        "is the string \"1\", expected an integer of 0 or more",
    );
    check(|file| file.set_string("qwen2.rope.scaling.type", "yarn"), "it uses rotary scaling `yarn`");
    check(|file| file.set_u32("qwen2.expert_count", 8), "it uses a mixture of 8 experts");
}

#[test]
fn a_tensor_of_a_quantized_type_with_too_few_bytes_is_refused() {
    let name = "token_embd.weight";
    check(
        |file| {
            let tensor = file.tensor(name);
            (tensor.kind, tensor.dims) = (TYPE_Q8_0, vec![32, 1 << 30]);
        },
        "ends after the file",
    );
    // The type that is right for the size is found to be wrong by the shape.
    check(
        |file| {
            let tensor = file.tensor(name);
            (tensor.kind, tensor.dims) = (TYPE_F32, vec![8, 520]);
        },
        "has shape [520, 8], its config asks for [520, 16]",
    );
}

#[test]
fn a_key_may_be_as_long_as_the_format_allows_and_no_longer() {
    let mut file = GgufFile::qwen2();
    file.set(&"k".repeat(65_535), U32, &[0; 4]);
    assert!(gguf::parse(&file.bytes()).is_ok_and(|gguf| gguf.metadata.len() == file.metadata.len()));
    check(|file| file.set(&"k".repeat(65_536), U32, &[0; 4]), "is 65536 bytes long; 65535 are allowed");
}

proptest! {
    /// Any change of a few bytes parses or is refused; neither parsing nor importing panics.
    #[test]
    fn damaged_files_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let file = GgufFile::qwen2();
        let mut bytes = file.bytes();
        let header = file.header().len();
        for (index, value) in changes {
            bytes[index.index(header)] = value;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.gguf");
        std::fs::write(&path, &bytes).unwrap();
        let out = directory.path().join("out.apr");
        let parsed = gguf::parse(&bytes);
        let imported = import(&Source::Gguf(path), &out, &ImportOptions::default(), &Silent);
        prop_assert!(parsed.is_ok() || imported.is_err());
        prop_assert_eq!(imported.is_ok(), out.exists());
    }
}

#[test]
fn strings_of_any_bytes_are_read_back() {
    let mut file = GgufFile::qwen2();
    file.set("general.name", STRING, &string("naïve \u{1F600}".as_bytes()));
    let bytes = file.bytes();
    let gguf = gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.string("general.name"), Ok(Some("naïve \u{1F600}")));
    file.set("general.name", STRING, &string(&[0xFF]));
    check_bytes(&file.bytes(), "the value of `general.name` is not valid UTF-8");
}

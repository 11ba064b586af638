//! Files made to mislead: each is refused with a typed error that says what is wrong, and `validate` finds it too.

use std::path::Path;

use apr_format::{
    AprFile, Check, Fault, Flags, Header, Severity, TensorSpec, ValidateOptions, validate_bytes,
};
use apr_tensor::DType;
use bytes::Bytes;

use crate::support::{Raw, fix_checksums, seal, small_metadata, small_model, small_tensors, write_model};

fn open(file: &[u8]) -> Result<AprFile, Fault> {
    AprFile::from_bytes(Path::new("m.apr"), Bytes::copy_from_slice(file))
        .map_err(|error| error.fault().unwrap_or_else(|| panic!("{error} names no fault")).clone())
}

/// Everything that a load checks.
fn open_and_verify(file: &[u8]) -> Result<(), String> {
    let file = open(file).map_err(|fault| fault.to_string())?;
    file.verify().map_err(|error| error.to_string())
}

/// Errors that `validate` lists.
fn errors(file: &[u8]) -> Vec<(Check, String)> {
    let validation =
        validate_bytes(Path::new("m.apr"), &Bytes::copy_from_slice(file), &ValidateOptions::default())
            .unwrap();
    let errors: Vec<_> = validation
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .map(|finding| (finding.check, finding.what.clone()))
        .collect();
    assert_eq!(validation.is_valid(), errors.is_empty());
    errors
}

#[track_caller]
fn check(change: impl FnOnce(&mut Raw), expected: &str) {
    let mut raw = Raw::small();
    change(&mut raw);
    check_file(&raw.build(), expected);
}

#[track_caller]
fn check_file(file: &[u8], expected: &str) {
    let fault = open(file).unwrap_err().to_string();
    assert!(fault.contains(expected), "{fault}\nis not\n{expected}");
    let errors = errors(file);
    assert!(errors.iter().any(|(_, what)| what.contains(expected)), "{errors:?}\nlacks\n{expected}");
}

#[test]
fn the_file_that_is_made_wrong_below_is_right_when_put_together_unchanged() {
    let file = small_model(1);
    assert_eq!(Raw::new(&file).build(), file);
    assert_eq!(errors(&file), []);
    open_and_verify(&file).unwrap();
}

#[test]
fn every_flipped_byte_is_found() {
    let file = small_model(1);
    let mut changed = file.clone();
    for position in 0..file.len() {
        for flip in [0x01, 0x80, 0xff] {
            changed[position] ^= flip;
            assert!(open_and_verify(&changed).is_err(), "byte {position} ^ {flip:#x} is opened and verified");
            assert_ne!(errors(&changed), [], "byte {position} ^ {flip:#x} is not found by validate");
            changed[position] = file[position];
        }
    }
}

#[test]
fn every_flipped_byte_is_found_when_both_checksums_are_corrected() {
    let file = small_model(1);
    for position in (0..file.len() - 4).filter(|position| !(40..44).contains(position)) {
        let mut changed = file.clone();
        changed[position] ^= 0x20;
        fix_checksums(&mut changed);
        assert!(open_and_verify(&changed).is_err(), "byte {position} is opened and verified");
        let errors = errors(&changed);
        assert!(errors.iter().any(|(check, _)| *check != Check::Checksum), "byte {position}: {errors:?}");
    }
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    let file = small_model(1);
    for size in 0..file.len() {
        assert!(open(&file[..size]).is_err(), "{size} bytes are opened");
        assert_ne!(errors(&file[..size]), [], "{size} bytes are valid");
        let mut sealed = file[..size].to_vec();
        if size > 64 {
            fix_checksums(&mut sealed);
            assert!(open(&sealed).is_err(), "{size} bytes with a right checksum are opened");
        }
    }
}

#[test]
fn what_is_cut_or_added_is_named() {
    let file = small_model(1);
    let size = file.len();
    check_file(&file[..size - 4], &format!("it ends after {} bytes, its tensor data needs {size}", size - 4));
    check_file(&file[..size - 100], "its tensor data needs");
    check_file(&file[..30], "it ends after 30 bytes, the header needs 64");
    check_file(&file[..100], "its metadata and index needs");
    check_file(&[], "it ends after 0 bytes");
    check(|raw| raw.trailing = vec![0; 1], "it has 1 bytes after its end");
    check(|raw| raw.trailing = vec![0; 64], "it has 64 bytes after its end");
    check(|raw| raw.data.extend([0; 64]), "it has 64 bytes after its end");
}

#[test]
fn a_tensor_count_that_the_file_cannot_hold_is_refused_before_anything_is_allocated() {
    for count in [u32::MAX, 1_000_001, 1_000_000, 50_000, 15, 13, 0] {
        let mut raw = Raw::small();
        raw.keep_header = true;
        raw.header.tensor_count = count;
        let file = raw.build();
        assert!(
            matches!(open(&file), Err(Fault::Layout(_) | Fault::Index { .. } | Fault::TensorHashes(_))),
            "{count}"
        );
        assert_ne!(errors(&file), []);
    }
}

#[test]
fn a_flag_that_is_set_twice_is_set() {
    let flags = Flags::SIGNED.with(Flags::QUANTIZED);
    assert_eq!(flags.with(Flags::SIGNED), flags);
    assert_eq!(flags.without(Flags::SIGNED), Flags::QUANTIZED);
    assert_eq!(flags.names().collect::<Vec<_>>(), ["SIGNED", "QUANTIZED"]);
}

#[test]
fn versions_and_flags_that_are_not_known_are_refused() {
    check(|raw| raw.header.version = (1, 0), "format version 1.0, this program reads 2.0");
    check(|raw| raw.header.version = (2, 1), "format version 2.1");
    check(|raw| raw.header.version = (0, 2), "format version 0.2");
    for (flag, name) in [
        (Flags::LZ4, "LZ4"),
        (Flags::ZSTD, "ZSTD"),
        (Flags::ENCRYPTED, "ENCRYPTED"),
        (Flags::SHARDED, "SHARDED"),
        (Flags::HAS_FILTERBANK, "HAS_FILTERBANK"),
        (Flags::LAYOUT_COLUMN_MAJOR, "LAYOUT_COLUMN_MAJOR"),
    ] {
        check(|raw| raw.header.flags = raw.header.flags.with(flag), &format!("it is flagged {name}"));
    }
    for bit in 12..16 {
        let expected = format!("unknown flag bits {:#06x}", 1 << bit);
        check(|raw| raw.header.flags = raw.header.flags.with(Flags::from_bits(1 << bit)), &expected);
    }
    check(|raw| raw.header.flags = raw.header.flags.with(Flags::SIGNED), "it is flagged SIGNED and has none");
    check(|raw| raw.header.reserved[19] = 1, "reserved header byte 63 is not zero");
    let mut file = small_model(1);
    file[..4].copy_from_slice(b"GGUF");
    check_file(&file, "starts with [47, 47, 55, 46] instead of `APR\\0`");
    let mut file = small_model(1);
    file[41] ^= 1;
    check_file(&file, "its header has CRC32");
}

#[test]
fn sections_that_do_not_follow_one_another_are_refused() {
    fn header(change: impl FnOnce(&mut Header)) -> impl FnOnce(&mut Raw) {
        |raw| {
            *raw = Raw::new(&raw.build());
            raw.keep_header = true;
            change(&mut raw.header);
        }
    }
    for offset in [0, 63, 65, 128, u64::MAX] {
        check(header(|header| header.metadata_offset = offset), "not after the header");
    }
    check(header(|header| header.metadata_size = u32::MAX), "the limit is");
    check(header(|header| header.metadata_size = (64 << 20) + 1), "it announces 67108865 bytes of metadata");
    check(header(|header| header.metadata_size = 64 << 20), "its tensor index starts at");
    check(
        header(|header| header.tensor_count = 1_000_001),
        "it announces 1000001 tensors, the limit is 1000000",
    );
    check(header(|header| header.tensor_count = 1_000_000), "which cannot be 1000000 entries");
    check(header(|header| header.tensor_count = 1), "which cannot be 1 entries");
    check(header(|header| header.metadata_size += 64), "its tensor index starts at");
    check(header(|header| header.tensor_index_offset = u64::MAX), "its tensor index starts at");
    check(header(|header| header.tensor_index_offset -= 64), "its tensor index starts at");
    check(header(|header| header.data_offset = !63), "its metadata and index needs");
    check(header(|header| header.data_offset += 1), "its tensor data starts at");
    check(header(|header| header.data_offset = 0), "its tensor data starts at");
    check(header(|header| header.data_offset -= 64), "it is cut short");
}

#[test]
fn an_index_that_ends_long_before_the_data_is_refused() {
    let mut raw = Raw::new(&small_model(1));
    raw.keep_header = true;
    raw.header.data_offset += 64;
    raw.data.splice(0..0, [0; 64]);
    check_file(&raw.build(), "its tensor index ends at");
}

/// A model of tensors of one element that are called so and have this many dimensions, taken apart.
fn of_tensors(names: impl Iterator<Item = String>, n_dimensions: usize) -> Raw {
    let tensor = |name| (TensorSpec { name, dtype: DType::F32, shape: vec![1; n_dimensions] }, vec![0; 4]);
    let mut raw = Raw::new(&write_model(small_metadata(1), &names.map(tensor).collect::<Vec<_>>()));
    raw.keep_header = true;
    raw
}

#[test]
fn an_index_takes_no_less_and_no_more_than_so_many_entries_can() {
    // The longest name and most dimensions: 340 bytes. A hundred of them take as much as there may be.
    let mut largest = of_tensors((0..100).map(|i| format!("{i:0256}")), 8);
    assert_eq!(largest.header.data_offset - largest.header.tensor_index_offset, 34_048);
    open(&largest.build()).unwrap();
    largest = of_tensors([format!("{:0256}", 0)].into_iter(), 8);
    open(&largest.build()).unwrap();
    largest.header.data_offset += 64;
    check_file(&largest.build(), "its tensor index takes 448 bytes, which cannot be 1 entries");
    // A name of one byte and no dimension: 21 bytes.
    let names = || ('0'..='9').chain('A'..='Z').chain('a'..='z').map(String::from);
    let mut smallest = of_tensors(names(), 0);
    open(&smallest.build()).unwrap();
    smallest.header.data_offset -= 64;
    check_file(&smallest.build(), "its tensor index takes 1280 bytes, which cannot be 62 entries");
    // Whoever reads an index by itself is not led to make room for more than it can hold.
    let fault = apr_format::index::parse(&[0; 100], 5).unwrap_err().to_string();
    assert!(fault.contains("its tensor index takes 100 bytes, which cannot be 5 entries"), "{fault}");
}

#[test]
fn index_entries_that_make_no_sense_are_refused() {
    const NORM: &str = "model.norm.weight";
    check(|raw| raw.entry(NORM).dtype = 2, "has dtype code 2, which is not known");
    check(|raw| raw.entry(NORM).dtype = 255, "has dtype code 255");
    check(|raw| raw.entry(NORM).dtype = 1, "shape [8] of F16 takes 16 bytes, 32 are stored");
    check(|raw| raw.entry(NORM).dimensions[0] = 9, "shape [9] of F32 takes 36 bytes, 32 are stored");
    check(|raw| raw.entry(NORM).dimensions[0] = 0, "shape [0] of F32 takes 0 bytes, 32 are stored");
    check(|raw| raw.entry(NORM).dimensions[0] = u64::MAX, "more bytes than this machine can address");
    check(
        |raw| {
            let entry = raw.entry(NORM);
            // 2^62 times 4 wraps to 0; times 8 more it would be 0 bytes again.
            (entry.n_dimensions, entry.dimensions, entry.size) = (2, vec![1 << 62, 8], 0);
        },
        "more bytes than this machine can address",
    );
    check(
        |raw| {
            let entry = raw.entry(NORM);
            (entry.n_dimensions, entry.dimensions) = (9, vec![1; 9]);
        },
        "has 9 dimensions, the limit is 8",
    );
    check(|raw| raw.entry(NORM).n_dimensions = 255, "255 dimensions");
    check(|raw| raw.entry(NORM).size = u64::MAX, "are stored");
    check(|raw| raw.entry(NORM).offset = !63, "with a hole");
    check(|raw| raw.entry(NORM).offset += 64, "with a hole");
    check(|raw| raw.entry(NORM).offset += 4, "which is not a multiple of 64");
    check(|raw| raw.entry(NORM).offset -= 64, "inside another tensor");
}

#[test]
fn names_that_are_no_names_are_refused() {
    const NORM: &str = "model.norm.weight";
    check(|raw| raw.entry(NORM).name = Vec::new(), "its name is empty");
    check(|raw| raw.entry(NORM).name = vec![b'n'; 257], "its name has 257 bytes, the limit is 256");
    check(|raw| raw.entry(NORM).name = vec![b'n', 0xff], "its name is not UTF-8");
    check(|raw| raw.entry(NORM).name = b"model.norm\0".to_vec(), "has a control character");
    check(|raw| raw.entry(NORM).name = b"model.norm\nx".to_vec(), "has a control character");
    check(|raw| raw.entries.swap(3, 4), "it is out of order");
    check(
        |raw| {
            let name = raw.entries[3].name.clone();
            raw.entries[4].name = name;
        },
        "it is in the index twice",
    );
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    check(
        |raw| {
            let offset = raw.entries[2].offset;
            raw.entries[3].offset = offset;
        },
        "inside another tensor",
    );
}

#[test]
fn metadata_that_says_a_thing_twice_is_refused() {
    for (key, alias) in [
        ("num_layers", "num_hidden_layers"),
        ("num_heads", "num_attention_heads"),
        ("num_kv_heads", "num_key_value_heads"),
    ] {
        let both = format!("{{\"{alias}\":1,");
        check(|raw| raw.replace("{", &both), &format!("`{alias}` and `{key}` are the same key"));
    }
    check(|raw| raw.replace("{", "{\"num_layers\":1,"), "key `num_layers` is given twice");
    check(|raw| raw.replace("{", "{\"name\":\"other\","), "key `name` is given twice");
    check(|raw| raw.replace("{", "{\"author\":1,\"author\":1,"), "key `author` is given twice");
    check(|raw| raw.replace("{", "{\"root_h\\u0061sh\":\"\","), "key `root_hash` is given twice");
    check(|raw| raw.replace("{", "{\"num_hidden_layers\":null,"), "are the same key");
    let name = "\"model.norm.weight\":\"";
    let twice = format!("{name}{}\",{name}", "0".repeat(64));
    check(|raw| raw.replace(name, &twice), "key `model.norm.weight` is given twice");
}

#[test]
fn an_alias_alone_is_read() {
    let mut raw = Raw::small();
    raw.replace("num_layers", "num_hidden_layers");
    raw.replace("num_heads", "num_attention_heads");
    raw.replace("num_kv_heads", "num_key_value_heads");
    let file = open(&raw.build()).unwrap();
    let config = &file.metadata().config;
    assert_eq!((config.num_layers, config.num_heads, config.num_kv_heads), (1, 2, 1));
}

#[test]
fn metadata_of_the_wrong_kind_is_refused() {
    check(|raw| raw.replace("\"hidden_size\":8", "\"hidden_size\":-8"), "invalid value: integer `-8`");
    check(|raw| raw.replace("\"hidden_size\":8", "\"hidden_size\":\"8\""), "invalid type: string");
    check(|raw| raw.replace("\"hidden_size\":8", "\"hidden_size\":99999999999"), "the limit is 2147483647");
    check(|raw| raw.replace("\"rope_theta\":1000000.0", "\"rope_theta\":-1.0"), "`rope_theta` is -1");
    check(|raw| raw.replace("\"rope_theta\":1000000.0", "\"rope_theta\":NaN"), "not a JSON object");
    check(|raw| raw.replace("\"zlib+base64\"", "\"zlib+base64\",\"more\":1"), "unknown field `more`");
    check(|raw| raw.metadata.insert(0, '['), "not a JSON object");
    check(|raw| raw.metadata.push('x'), "not a JSON object");
    check(|raw| raw.metadata.clear(), "not a JSON object");
    check(|raw| raw.metadata = "[1]".to_owned(), "invalid type: sequence, expected an object");
    let deep = format!("{{\"deep\":{}{},", "[".repeat(10_000), "]".repeat(10_000));
    check(|raw| raw.replace("{", &deep), "recursion limit exceeded");
}

#[test]
fn tensor_hashes_that_are_not_those_of_the_tensors_are_refused() {
    check(
        |raw| raw.replace("\"model.norm.weight\":", "\"model.norm\":"),
        "there is none for `model.norm.weight`",
    );
    check(
        |raw| {
            raw.replace("\"tensor_hashes\":{", &format!("\"tensor_hashes\":{{\"x\":\"{}\",", "0".repeat(64)));
        },
        "`x`",
    );
    check(
        |raw| raw.replace("\"tensor_hashes\":{", "\"tensor_hashes\":{\"x\":\"12\","),
        "is not a BLAKE3 hash in hex",
    );
    check(|raw| raw.replace("\"root_hash\":\"", "\"root_hash\":\"0"), "`root_hash` is not 64");
    // Digits that are spelled otherwise: there is no place of 64 bytes to write them to.
    check(
        |raw| {
            let digits = raw.metadata.split("\"root_hash\":\"").nth(1).unwrap()[..64].to_owned();
            let (first, rest) = digits.split_at(1);
            let spelled = format!("\\u{:04x}{rest}", u32::from(first.as_bytes()[0]));
            let (from, to) = ("\"root_hash\":\"", "\"root_h\\u0061sh\":\"");
            raw.replace(&format!("{from}{digits}"), &format!("{to}{spelled}"));
        },
        "`root_hash` is not 64",
    );
    // Whoever stores a root hash stores the tensors', and whoever stores some of theirs stores all.
    check(
        |raw| raw.edit(|object| object["tensor_hashes"] = serde_json::json!({})),
        "there is none for `model.embed_tokens.weight`",
    );
    check(
        |raw| {
            raw.edit(|object| {
                object.remove("root_hash").unwrap();
                object.remove("signature").unwrap();
                object["tensor_hashes"].as_object_mut().unwrap().remove("model.norm.weight").unwrap();
            });
        },
        "there is none for `model.norm.weight`",
    );
    check(|raw| raw.replace("\"signature\":\"", "\"signature\":\"0"), "`signature` is not 192");
    check(|raw| raw.replace("\"root_hash\"", "\"root_hush\""), "it has a `signature` and no `root_hash`");
}

#[test]
fn a_changed_tensor_is_found_by_its_hash_and_not_by_open() {
    let mut raw = Raw::small();
    let offset = raw.entry("model.norm.weight").offset as usize;
    raw.data[offset] ^= 1;
    let file = raw.build();
    let opened = open(&file).unwrap();
    let error = opened.verify().unwrap_err().to_string();
    assert!(error.contains("tensor `model.norm.weight`: its data has BLAKE3"), "{error}");
    let errors = errors(&file);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors[0].0, Check::TensorHashes);
}

#[test]
fn padding_that_is_not_zero_is_found() {
    let mut raw = Raw::small();
    let entry = raw.entry("model.norm.weight").clone();
    let place = entry.offset + entry.size + 3;
    raw.data[place as usize] = 1;
    let file = raw.build();
    let place = Header::decode(&file).unwrap().data_offset + place;
    let error = open(&file).unwrap().verify().unwrap_err().to_string();
    assert!(error.contains(&format!("padding byte at offset {place} ")), "{error}");
    assert_eq!(errors(&file).iter().map(|(check, _)| *check).collect::<Vec<_>>(), [Check::Padding]);
    let mut file = small_model(1);
    let header = Header::decode(&file).unwrap();
    file[header.tensor_index_offset as usize - 1] = 1;
    seal(&mut file, header.data_offset as usize);
    fix_checksums(&mut file);
    check_file(&file, "padding byte at offset");
    assert_eq!(errors(&file).iter().map(|(check, _)| *check).collect::<Vec<_>>(), [Check::Padding]);
}

#[test]
fn a_file_of_the_published_writer_opens_and_is_said_to_carry_no_hashes() {
    let mut raw = Raw::small().without_hashes();
    raw.replace("{", "{\"author\":null,\"quantization\":null,\"hidden_size_x\":1,");
    raw.replace("\"head_dim\":4", "\"head_dim\":null");
    raw.header.flags = Flags::LAYOUT_ROW_MAJOR;
    let file = raw.build();
    open_and_verify(&file).unwrap();
    let opened = open(&file).unwrap();
    assert_eq!(opened.tensor_hash("model.norm.weight"), None);
    assert_eq!(opened.metadata().config.head_dim, 4);
    assert_eq!(opened.weights_fingerprint(), open(&small_model(1)).unwrap().weights_fingerprint());
    let validation =
        validate_bytes(Path::new("m.apr"), &Bytes::from(file.clone()), &ValidateOptions::default()).unwrap();
    let warnings: Vec<&str> = validation
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning)
        .map(|finding| finding.what.as_str())
        .collect();
    assert_eq!(warnings, ["the file stores no tensor hashes", "the file stores no root hash"]);
    assert!(!validation.passed(Check::TensorHashes) && !validation.passed(Check::RootHash));
    // Without hashes the CRC32 is what finds a changed tensor.
    let mut changed = file;
    let last = changed.len() - 100;
    changed[last] ^= 1;
    assert!(open_and_verify(&changed).unwrap_err().contains("the file has CRC32"));
}

#[test]
fn values_that_are_no_numbers_are_found_by_validate() {
    for (bits, what) in [
        (0x7fc0_0001_u32, "1 of 8 elements are NaN and 0 infinite"),
        (0xff80_0000, "0 of 8 elements are NaN and 1"),
    ] {
        let mut tensors = small_tensors(1);
        let (_, bytes) = tensors.iter_mut().find(|(spec, _)| spec.name == "model.norm.weight").unwrap();
        bytes[4..8].copy_from_slice(&bits.to_le_bytes());
        let errors = errors(&write_model(small_metadata(1), &tensors));
        assert_eq!(errors.len(), 1);
        assert!(errors[0].0 == Check::Values && errors[0].1.contains(what), "{errors:?}");
    }
}

#[test]
fn an_altered_tokenizer_is_found() {
    let mut raw = Raw::small();
    let start = raw.metadata.find("\"size\":").unwrap();
    raw.metadata.insert(start + 7, '1');
    let file = raw.build();
    assert_eq!(errors(&file).iter().map(|(check, _)| *check).collect::<Vec<_>>(), [Check::Tokenizer]);
    let error = open(&file).unwrap().tokenizer_json().unwrap_err().to_string();
    assert!(
        error.contains("`m.apr` is not a usable .apr file: embedded tokenizer: it unpacks to only"),
        "{error}"
    );
}

#[test]
fn several_faults_are_all_listed() {
    let mut raw = Raw::small();
    raw.header.reserved[0] = 1;
    raw.header.flags = raw.header.flags.with(Flags::ENCRYPTED);
    raw.entry("model.norm.weight").dimensions[0] = 9;
    raw.replace("\"name\":\"small\"", "\"name\":1");
    let mut file = raw.build();
    let last = file.len() - 1;
    file[last] ^= 1;
    let checks: Vec<Check> = errors(&file).iter().map(|(check, _)| *check).collect();
    assert_eq!(checks, [Check::Header, Check::Header, Check::Index, Check::Metadata, Check::Checksum]);
}

#[test]
fn every_check_has_a_name() {
    let names = Check::ALL.map(|check| check.to_string());
    let expected = [
        "header",
        "metadata",
        "index",
        "padding",
        "root-hash",
        "tensor-hashes",
        "checksum",
        "signature",
        "tokenizer",
        "shapes",
        "values",
    ];
    assert_eq!(names, expected);
    assert_eq!(format!("{:>8}", Check::Index), "   index", "names can be lined up");
}

#[test]
fn the_largest_numbers_of_a_network_are_taken_and_larger_ones_are_not() {
    let with = |size: u64| {
        let mut raw = Raw::small();
        raw.replace("\"hidden_size\":8", &format!("\"hidden_size\":{size}"));
        raw.build()
    };
    open(&with(2_147_483_647)).unwrap();
    check_file(&with(2_147_483_648), "`hidden_size` is 2147483648, the limit is 2147483647");
}

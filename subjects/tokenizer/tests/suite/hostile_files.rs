//! Files that would break `tokenizers`, or that it would misread, are refused with a reason (hostile 22 to 24).

use apr_tokenizer::{Tokenizer, TokenizerError};
use serde_json::{Value, json};

use crate::support::{changed, fixture, tokenizer};

/// The message that a changed file is refused with.
#[track_caller]
fn refused(change: impl FnOnce(&mut Value)) -> TokenizerError {
    changed(change).map(|_| ()).expect_err("the file is accepted")
}

#[track_caller]
fn check(change: impl FnOnce(&mut Value), expected: &str) {
    assert_eq!(refused(change).to_string(), expected);
}

#[test]
fn merge_longer_than_every_entry_is_refused() {
    // `tokenizers` 0.23 copies the parts into a buffer as long as the longest entry, and panics.
    check(
        |file| {
            let merges = file["model"]["merges"].as_array_mut().unwrap();
            merges.push(json!(["a".repeat(4000), "b"]));
        },
        &format!(
            "tokenizer.json: merge 600 ({:?} \"b\") needs {:?}, which is not in the vocabulary",
            format!("{}…", "a".repeat(64)),
            format!("{}…", "a".repeat(64))
        ),
    );
}

#[test]
fn merge_into_something_that_is_no_token_is_refused() {
    check(
        |file| file["model"]["merges"].as_array_mut().unwrap().push(json!(["Q", "q"])),
        "tokenizer.json: merge 600 (\"Q\" \"q\") needs \"Qq\", which is not in the vocabulary",
    );
}

#[test]
fn merge_that_is_not_a_pair_is_refused() {
    for merge in [json!("ab"), json!("a b c"), json!(["a"]), json!(["a", "b", "c"]), json!(7), json!(null)] {
        let error = refused(|file| file["model"]["merges"][3] = merge.clone());
        let is_fitting = matches!(error, TokenizerError::BadMerge { rank: 3, .. } | TokenizerError::Json(_));
        assert!(is_fitting, "{merge}: {error}");
    }
}

#[test]
fn repeated_merge_is_refused() {
    let error = refused(|file| {
        let first = file["model"]["merges"][0].clone();
        file["model"]["merges"].as_array_mut().unwrap().push(first);
    });
    assert!(matches!(error, TokenizerError::DuplicateMerge { rank: 600, .. }), "{error}");
}

#[test]
fn older_files_with_merges_as_lines_mean_the_same() {
    let lines = changed(|file| {
        for merge in file["model"]["merges"].as_array_mut().unwrap() {
            *merge = json!(format!("{} {}", merge[0].as_str().unwrap(), merge[1].as_str().unwrap()));
        }
    });
    let text = "The quick brown fox, and 2 more of the same.";
    assert_eq!(lines.unwrap().encode(text), tokenizer().encode(text));
}

#[test]
fn duplicate_ids_are_refused() {
    check(
        |file| file["model"]["vocab"]["b"] = json!(64),
        "tokenizer.json: id 64 belongs to both \"a\" and \"b\"",
    );
    check(
        |file| file["added_tokens"][0]["id"] = json!(64),
        "tokenizer.json: id 64 belongs to both \"a\" and \"<|endoftext|>\"",
    );
    check(
        |file| file["added_tokens"][1]["id"] = json!(856),
        "tokenizer.json: id 856 belongs to both \"<|endoftext|>\" and \"<|im_start|>\"",
    );
}

#[test]
fn one_token_twice_is_refused() {
    let twice = fixture("tokenizer.json").replacen("\"vocab\":{", "\"vocab\":{\"a\":700,", 1);
    let error = Tokenizer::from_json(twice.as_bytes()).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "tokenizer.json: token \"a\" has both id 700 and id 64");
    check(
        |file| file["added_tokens"][1]["content"] = json!("<|endoftext|>"),
        "tokenizer.json: token \"<|endoftext|>\" has both id 856 and id 857",
    );
    check(
        |file| file["added_tokens"][1]["content"] = json!("a"),
        "tokenizer.json: token \"a\" has both id 64 and id 857",
    );
}

#[test]
fn added_id_at_the_end_of_the_range_is_refused() {
    // `tokenizers` 0.23 adds one to the largest added id.
    for id in [u64::from(u32::MAX), 1 << 20, 1 << 32, u64::MAX] {
        let error = refused(|file| file["added_tokens"][2]["id"] = json!(id));
        let expected =
            format!("tokenizer.json: token \"<|im_end|>\" has id {id}, ids below 1048576 are accepted");
        assert_eq!(error.to_string(), expected);
        let error = refused(|file| file["model"]["vocab"]["a"] = json!(id));
        assert!(matches!(error, TokenizerError::IdOutOfRange { .. }), "{error}");
    }
    for id in [json!(-1), json!(1.5), json!("7"), json!(null)] {
        assert!(matches!(refused(|file| file["added_tokens"][2]["id"] = id), TokenizerError::Json(_)));
    }
}

#[test]
fn expression_that_is_not_a_published_one_is_refused() {
    for expression in ["(a+)+$", "(.*)*x", "\\p{L}+", "(?:a|aa)*b", "(\\w+\\s?)*$", "(?=(a+))\\1b"] {
        let error = refused(|file| {
            file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!(expression);
        });
        let expected = format!("tokenizer.json: pre_tokenizer Split by {expression:?} is not supported");
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

#[test]
fn kinds_that_are_not_implemented_are_refused() {
    let cases: [(&str, Value); 9] = [
        ("normalizer", json!({"type": "NFKC"})),
        ("normalizer", json!({"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""})),
        ("normalizer", json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]})),
        ("pre_tokenizer", json!({"type": "Metaspace", "replacement": "▁"})),
        ("pre_tokenizer", json!(null)),
        ("pre_tokenizer", json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})),
        ("post_processor", json!({"type": "BertProcessing", "sep": ["a", 1], "cls": ["a", 1]})),
        ("decoder", json!({"type": "WordPiece", "prefix": "##", "cleanup": true})),
        ("decoder", json!({})),
    ];
    for (part, value) in cases {
        let error = refused(|file| file[part] = value.clone());
        assert!(matches!(error, TokenizerError::Unsupported { part: named, .. } if named == part), "{error}");
        assert!(error.to_string().contains("hint: "), "{error}");
    }
    for (key, value) in [
        ("type", json!("Unigram")),
        ("dropout", json!(0.1)),
        ("byte_fallback", json!(true)),
        ("end_of_word_suffix", json!("</w>")),
    ] {
        let error = refused(|file| file["model"][key] = value);
        assert!(matches!(error, TokenizerError::Unsupported { part: "model", .. }), "{key}: {error}");
    }
    for key in ["single_word", "lstrip", "rstrip"] {
        let error = refused(|file| file["added_tokens"][0][key] = json!(true));
        assert!(matches!(error, TokenizerError::Unsupported { part: "added_tokens", .. }), "{error}");
    }
    let behavior =
        |file: &mut Value| file["pre_tokenizer"]["pretokenizers"][0]["behavior"] = json!("Removed");
    assert!(matches!(refused(behavior), TokenizerError::Unsupported { part: "pre_tokenizer", .. }));
}

#[test]
fn published_kinds_are_accepted_and_mean_what_they_say() {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    let smollm2 = changed(|file| {
        let digits = json!({"type": "Digits", "individual_digits": true});
        file["pre_tokenizer"]["pretokenizers"] = json!([digits, byte_level]);
        file["normalizer"] = json!(null);
    })
    .unwrap();
    let text = "x  12 e\u{301}\n\nthe";
    assert_eq!(smollm2.decode(&smollm2.encode(text)), text);
    let gpt2 = changed(|file| file["pre_tokenizer"] = byte_level.clone()).unwrap();
    // GPT-2 keeps a space with a number, Qwen2 does not.
    assert_eq!(gpt2.encode(" 1").len(), tokenizer().encode(" 1").len());
    let prefixed = changed(|file| {
        file["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {},
        });
    })
    .unwrap();
    assert_eq!(prefixed.prompt_prefix(), [prefixed.token_to_id("<|endoftext|>").unwrap()]);
    assert!(tokenizer().prompt_prefix().is_empty());
}

#[test]
fn vocabulary_without_a_byte_of_text_is_refused() {
    check(
        |file| {
            file["model"]["vocab"].as_object_mut().unwrap().remove("~");
        },
        "tokenizer.json: the vocabulary has no entry for byte 0x7e",
    );
    let mut without_control_characters = crate::support::json("tokenizer.json");
    // U+0004 is `Ą`; SmolLM2 has no entry for it, and Hugging Face leaves it out of the text.
    without_control_characters["model"]["vocab"].as_object_mut().unwrap().remove("Ą").unwrap();
    let tokenizer = Tokenizer::from_json(without_control_characters.to_string().as_bytes()).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("a\u{4}b")), "ab");
}

#[test]
fn control_token_that_text_could_reach_is_refused() {
    // A merge leads to it; it is a byte of text.
    let reachable = |content: &str, id: u32| {
        refused(|file| {
            file["added_tokens"][0]["content"] = json!(content);
            file["added_tokens"][0]["id"] = json!(id);
        })
        .to_string()
    };
    let merged = crate::support::json("tokenizer.json")["model"]["merges"][0].clone();
    let merged = format!("{}{}", merged[0].as_str().unwrap(), merged[1].as_str().unwrap());
    let id = crate::support::json("tokenizer.json")["model"]["vocab"][&merged].as_u64().unwrap() as u32;
    let what = "is a byte of text, or part or result of a merge";
    assert_eq!(reachable(&merged, id), format!("tokenizer.json: control token {merged:?} {what}"));
    assert_eq!(reachable("a", 64), format!("tokenizer.json: control token \"a\" {what}"));
}

#[test]
fn control_token_among_the_entries_is_not_the_reading_of_text_even_without_merging() {
    let tokenizer = changed(|file| {
        file["model"]["ignore_merges"] = json!(true);
        file["model"]["vocab"]["stop"] = json!(900);
        let mut stop = file["added_tokens"][0].clone();
        stop["content"] = json!("stop");
        stop["id"] = json!(900);
        file["added_tokens"].as_array_mut().unwrap().push(stop);
    })
    .unwrap();
    let ids = tokenizer.encode("stop");
    assert!(!ids.iter().any(|id| tokenizer.is_control(*id)), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids), "stop");
    assert_eq!(tokenizer.encode_with_control("stop"), [tokenizer.token_to_id("stop").unwrap()]);
}

#[test]
fn sizes_are_limited() {
    let huge = vec![b' '; (64 << 20) + 1];
    let error = Tokenizer::from_json(&huge).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "tokenizer.json has 67108865 bytes, at most 67108864 are read");
    let error = refused(|file| file["model"]["vocab"]["a".repeat(4097)] = json!(9000));
    assert!(matches!(error, TokenizerError::OverLimit { found: 4097, limit: 4096, .. }), "{error}");
    let error = refused(|file| {
        let one = file["added_tokens"][0].clone();
        file["added_tokens"] = json!(vec![one; 16_385]);
    });
    assert!(matches!(error, TokenizerError::OverLimit { found: 16_385, .. }), "{error}");
    let error = refused(|file| file["normalizer"] = json!(["x".repeat(70_000)]));
    assert!(matches!(error, TokenizerError::OverLimit { what: "normalizer", .. }), "{error}");
}

#[test]
fn json_that_is_deep_wrong_or_cut_off_is_refused() {
    let file = fixture("tokenizer.json");
    for part in ["truncation", "normalizer", "decoder", "added_tokens", "model"] {
        let deep = format!("{{\"{part}\":{}", "[".repeat(100_000));
        assert!(matches!(Tokenizer::from_json(deep.as_bytes()), Err(TokenizerError::Json(_))), "{part}");
        let closed = format!("{{\"{part}\":{}{}}}", "[".repeat(20_000), "]".repeat(20_000));
        assert!(Tokenizer::from_json(closed.as_bytes()).is_err(), "{part}");
    }
    let unknown = file.replacen("\"version\"", "\"verzion\"", 1);
    let error = Tokenizer::from_json(unknown.as_bytes()).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("unknown field `verzion`"), "{error}");
    assert!(matches!(refused(|file| file["version"] = json!("2.0")), TokenizerError::Unsupported { .. }));
    for n_bytes in (0..file.len() - 2).step_by(97) {
        assert!(Tokenizer::from_json(&file.as_bytes()[..n_bytes]).is_err(), "{n_bytes} bytes");
    }
    for bytes in [&b""[..], b"null", b"[]", b"{}", b"\xff\xfe", b"{\"model\":{}}"] {
        assert!(matches!(Tokenizer::from_json(bytes), Err(TokenizerError::Json(_))), "{bytes:?}");
    }
}

#[test]
fn empty_token_is_refused() {
    check(
        |file| file["model"]["vocab"][""] = json!(1000),
        "tokenizer.json: token id 1000 is the empty string",
    );
    check(
        |file| file["added_tokens"][1]["content"] = json!(""),
        "tokenizer.json: token id 857 is the empty string",
    );
}

/// The fixture with `part` in place of the value of `key`, as text.
fn with_text(key: &str, part: &str) -> String {
    let mut file = crate::support::json("tokenizer.json");
    file[key] = json!("here");
    file.to_string().replace("\"here\"", part)
}

#[test]
fn sizes_at_their_limits_are_accepted_and_a_byte_more_is_not() {
    let load =
        |text: &str| Tokenizer::from_json(text.as_bytes()).map(|_| ()).map_err(|error| error.to_string());
    let padded = |text: &str, n_bytes: usize| format!("{text}{}", " ".repeat(n_bytes - text.len()));
    assert_eq!(load(&padded(&fixture("tokenizer.json"), 64 << 20)), Ok(()));
    assert!(changed(|file| file["model"]["vocab"]["a".repeat(4096)] = json!(9000)).is_ok());

    // A part, blanks inside it counted.
    let normalizer = |n_bytes: usize| format!("{}}}", padded("{\"type\": \"NFC\"", n_bytes - 1));
    assert_eq!(load(&with_text("normalizer", &normalizer(64 << 10))), Ok(()));
    let error = load(&with_text("normalizer", &normalizer((64 << 10) + 1))).unwrap_err();
    assert!(error.contains("65537") && error.contains("65536"), "{error}");

    // What all added tokens take in the file, then their number, then the length of all of them.
    let tokens = |texts: &[String]| {
        let one = crate::support::json("tokenizer.json")["added_tokens"][0].clone();
        let entry = |(place, text): (usize, &String)| {
            let mut token = one.clone();
            token["content"] = json!(text);
            token["id"] = json!(10_000 + place);
            token.to_string()
        };
        format!("[{}]", texts.iter().enumerate().map(entry).collect::<Vec<_>>().join(","))
    };
    let blanks = |n_bytes: usize| {
        let few = tokens(&["<|x|>".to_owned()]);
        few.replacen('[', &format!("[{}", " ".repeat(n_bytes - few.len())), 1)
    };
    let limit = 2 * (1 << 20) + 16_384 * 256;
    assert_eq!(load(&with_text("added_tokens", &blanks(limit))), Ok(()));
    let error = load(&with_text("added_tokens", &blanks(limit + 1))).unwrap_err();
    assert!(error.contains("length of added_tokens") && error.contains(&limit.to_string()), "{error}");
    let many: Vec<String> = (0..16_384).map(|place| format!("<|{place}|>")).collect();
    assert_eq!(load(&with_text("added_tokens", &tokens(&many))), Ok(()));
    let long = |n_bytes: usize| tokens(&["<".repeat(n_bytes)]);
    assert_eq!(load(&with_text("added_tokens", &long(1 << 20))), Ok(()));
    let error = load(&with_text("added_tokens", &long((1 << 20) + 1))).unwrap_err();
    assert!(error.contains("length of all added tokens"), "{error}");
}

#[test]
fn a_version_among_merges_as_lines_is_no_merge_and_anything_else_says_what_was_expected() {
    let versioned = changed(|file| {
        file["model"]["merges"].as_array_mut().unwrap().insert(0, json!("#version: 0.2"));
    });
    assert_eq!(versioned.unwrap().encode("the same"), tokenizer().encode("the same"));
    let error = refused(|file| file["model"]["merges"][3] = json!(7)).to_string();
    assert!(error.contains("expected a merge: two strings"), "{error}");
    let error = refused(|file| file["model"]["vocab"] = json!([])).to_string();
    assert!(error.contains("expected an object from token to id"), "{error}");
}

#[test]
fn digits_that_stay_together_are_not_implemented() {
    let digits = |individual: Value| {
        move |file: &mut Value| {
            let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
            let digits = json!({"type": "Digits", "individual_digits": individual});
            file["pre_tokenizer"]["pretokenizers"] = json!([digits, byte_level]);
        }
    };
    assert!(changed(digits(json!(true))).is_ok());
    for together in [json!(false), json!("yes")] {
        let error = refused(digits(together));
        assert!(matches!(error, TokenizerError::Unsupported { part: "pre_tokenizer", .. }), "{error}");
    }
}

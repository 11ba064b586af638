//! Text to ids and back. In the small model's tokenizer, a byte is its own id.

use std::fs;

use serde_json::json;

use crate::support::{END_OF_TEXT, IM_END, IM_START, Place};

#[test]
fn text_becomes_ids_that_become_the_text_again() {
    let place = Place::new();
    for text in ["Hi", "日本 🇯🇵", " a\n\tb ", "-1", "--text", "<|im_end|>"] {
        let ids = place.stdout(["tokenize", "model.apr", "--text", text]);
        let expected: Vec<String> = text.bytes().map(|byte| byte.to_string()).collect();
        assert_eq!(ids, expected.join(" ") + "\n");
        assert_eq!(place.stdout(["tokenize", "model.apr", "--decode", "--text", &ids]), text);
        fs::write(place.path("text"), text).unwrap();
        assert_eq!(place.stdout(["tokenize", "model.apr", "--file", "text"]), ids);
    }
}

#[test]
fn control_tokens_need_the_flag() {
    let place = Place::new();
    let text = "<|im_start|>a<|im_end|><|endoftext|>";
    let ids = place.stdout(["tokenize", "model.apr", "--text", text, "--parse-special"]);
    assert_eq!(ids, format!("{IM_START} 97 {IM_END} {END_OF_TEXT}\n"));
    assert_eq!(place.stdout(["tokenize", "model.apr", "--text", &ids, "--decode"]), text);
    let plain = place.stdout(["tokenize", "model.apr", "--text", text]);
    for control in [IM_START, IM_END, END_OF_TEXT] {
        assert!(!plain.split_whitespace().any(|id| id == control.to_string()), "{plain}");
    }
}

#[test]
fn json_has_ids_and_tokens() {
    let place = Place::new();
    let value = place.json(["tokenize", "model.apr", "--text", "Hi", "--json"]);
    assert_eq!(value, json!({"ids": [72, 105], "tokens": ["H", "i"]}));
    let value = place.json(["tokenize", "model.apr", "--text", "[72, 105]", "--decode", "--json"]);
    assert_eq!(value, json!({"ids": [72, 105], "tokens": ["H", "i"], "text": "Hi"}));
}

#[test]
fn lines_of_json_go_both_ways() {
    let place = Place::new();
    fs::write(place.path("texts"), "\"Hi\"\n\"a\\nb\"\n\"\"\n\"<|im_end|>\"\n").unwrap();
    let ids = place.stdout(["tokenize", "model.apr", "--jsonl", "texts"]);
    assert!(ids.starts_with("[72,105]\n[97,10,98]\n[]\n[60,"), "{ids}");
    let parsed = place.stdout(["tokenize", "model.apr", "--jsonl", "texts", "--parse-special"]);
    assert!(parsed.ends_with(&format!("\n[{IM_END}]\n")), "{parsed}");
    fs::write(place.path("ids"), ids).unwrap();
    let texts = place.stdout(["tokenize", "model.apr", "--jsonl", "ids", "--decode"]);
    assert_eq!(texts, fs::read_to_string(place.path("texts")).unwrap());
}

#[test]
fn standard_input_is_a_file_too() {
    let place = Place::new();
    place
        .apr()
        .args(["tokenize", "model.apr", "--file", "-"])
        .write_stdin("Hi")
        .assert()
        .success()
        .stdout("72 105\n");
    place
        .apr()
        .args(["tokenize", "model.apr", "--jsonl", "-"])
        .write_stdin("\"H\"")
        .assert()
        .success()
        .stdout("[72]\n");
}

#[test]
fn input_that_cannot_be_read_is_named() {
    let place = Place::new();
    fs::write(place.path("latin"), b"caf\xe9").unwrap();
    insta::assert_snapshot!(place.run(["tokenize", "model.apr", "--file", "latin"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `latin` is not UTF-8: byte 3 begins no character
    hint: convert it to UTF-8 first
    ");
    fs::write(place.path("lines"), "\"a\"\nb\n").unwrap();
    insta::assert_snapshot!(place.run(["tokenize", "model.apr", "--jsonl", "lines"]), @r"
    exit: 1
    --- stdout
    [97]
    --- stderr
    error: `lines`, line 2 is not a JSON string: expected value at line 1 column 1
    ");
    insta::assert_snapshot!(place.run(["tokenize", "model.apr", "--text", "1 x", "--decode"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `x` is not a token id: invalid digit found in string
    hint: ids are numbers, with spaces or commas between them
    ");
    insta::assert_snapshot!(place.run(["tokenize", "model.apr", "--text", "70000", "--decode"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: token id 70000 is outside the tokenizer's vocabulary of 259
    hint: ids go from 0 to 258
    ");
    insta::assert_snapshot!(place.run(["tokenize", "model.apr", "--file", "gone"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: failed to open `gone`: No such file or directory (os error 2)
    hint: check the path
    ");
}

#[test]
fn empty_text_has_no_ids() {
    let place = Place::new();
    assert_eq!(place.stdout(["tokenize", "model.apr", "--text", ""]), "\n");
    assert_eq!(
        place.json(["tokenize", "model.apr", "--text", "", "--json"]),
        json!({"ids": [], "tokens": []})
    );
    assert_eq!(place.stdout(["tokenize", "model.apr", "--text", "", "--decode"]), "");
}

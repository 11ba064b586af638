//! Ids equal Hugging Face's: recorded ones, and those of the `tokenizers` pipeline on random text.

use apr_tokenizer::TokenId;
use proptest::prelude::*;
use serde_json::Value;

use crate::support::{changed, fixture, ids, json, tokenizer};

/// The whole pipeline of `tokenizers` over the same file; ours shares only its merging.
fn huggingface(split_special_tokens: bool) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(fixture("tokenizer.json")).unwrap();
    tokenizer.set_encode_special_tokens(split_special_tokens);
    tokenizer
}

fn ids_of(tokenizer: &tokenizers::Tokenizer, text: &str) -> Vec<TokenId> {
    tokenizer.encode(text, false).unwrap().get_ids().iter().copied().map(TokenId).collect()
}

#[test]
fn recorded_strings_get_the_ids_that_hugging_face_gave_them() {
    let (tokenizer, records) = (tokenizer(), json("ids.json"));
    let records = records.as_array().unwrap();
    assert!(records.len() >= 400, "{} records", records.len());
    for record in records {
        let text = record["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text), ids(&record["ids"]), "{text:?}");
        let parsed = record.get("parsed").unwrap_or(&record["ids"]);
        assert_eq!(tokenizer.encode_with_control(text), ids(parsed), "{text:?} with control tokens");
    }
}

#[test]
fn records_cover_text_that_spells_control_tokens_and_text_that_is_not_nfc() {
    let records = json("ids.json");
    let count =
        |holds: fn(&Value) -> bool| records.as_array().unwrap().iter().filter(|record| holds(record)).count();
    assert!(count(|record| record.get("parsed").is_some()) >= 10);
    let decomposed = |record: &Value| {
        let text = record["text"].as_str().unwrap();
        !unicode_normalization::is_nfc(text)
    };
    assert!(count(decomposed) >= 10);
}

#[test]
fn a_merge_moved_changes_ids() {
    let records = json("ids.json");
    let moved = changed(|file| file["model"]["merges"].as_array_mut().unwrap().swap(0, 40)).unwrap();
    let n_changed = records
        .as_array()
        .unwrap()
        .iter()
        .filter(|record| moved.encode(record["text"].as_str().unwrap()) != ids(&record["ids"]))
        .count();
    assert!(n_changed > 0, "the records would not notice");
}

/// Text of pieces that tokenizers treat differently, and of any characters.
fn text() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{a0}",
        "\u{3000}",
        "the",
        "don't",
        "'S",
        "'ſ",
        "x1",
        "2024",
        "½",
        "e\u{301}",
        "\u{e9}",
        "中文",
        "がか\u{3099}",
        "각",
        "👩\u{200d}💻",
        "❤\u{fe0f}",
        "<|im_end|>",
        "<|im_start|>",
        "<|im_",
        "end|>",
        "<tool_call>",
        "\u{338}",
        "\u{0}",
        "ﬁ",
        "...",
        "\\",
        "\u{10ffff}",
    ]);
    let piece = prop_oneof![4 => pieces.prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_text_gets_the_ids_of_tokenizers(text in text()) {
        thread_local! {
            static BOTH: (apr_tokenizer::Tokenizer, [tokenizers::Tokenizer; 2]) =
                (tokenizer(), [huggingface(true), huggingface(false)]);
        }
        BOTH.with(|(ours, [plain, parsed])| {
            prop_assert_eq!(ours.encode(&text), ids_of(plain, &text));
            prop_assert_eq!(ours.encode_with_control(&text), ids_of(parsed, &text));
            Ok(())
        })?;
    }
}

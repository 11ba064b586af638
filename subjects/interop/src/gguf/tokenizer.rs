//! The vocabulary of a GGUF file, rebuilt as the `tokenizer.json` it was converted from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::value::ValueType;
use super::{Gguf, GgufError};

/// What a model needs beside its tensors to read and write text.
pub(super) struct TextParts {
    /// `tokenizer.json`, as Hugging Face writes it.
    pub(super) tokenizer_json: Vec<u8>,
    /// The ids that `generation_config.json` would state.
    pub(super) generation_config: Json,
    /// Text of the special tokens by role.
    pub(super) special_tokens: BTreeMap<String, String>,
}

/// GGUF's token types that matter here.
const NORMAL: i128 = 1;
const CONTROL: i128 = 3;
const USER_DEFINED: i128 = 4;
const UNUSED: i128 = 5;
const BYTE: i128 = 6;

/// What surrounds the merging of pairs; GGUF keeps only its name.
struct Pipeline {
    normalizer: Option<Json>,
    pre_tokenizer: Json,
    post_processor: Option<Json>,
    decoder: Json,
}

/// A GGUF carries no normalizer: Qwen2's is NFC. Its split follows the published tokenizer, digit by digit.
const QWEN2_SPLIT: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Rebuilds the tokenizer, or says why the vocabulary cannot be used.
pub(super) fn rebuild(gguf: &Gguf<'_>, vocab_size: usize) -> Result<TextParts, GgufError> {
    let vocabulary = Vocabulary::read(gguf, vocab_size)?;
    let model = gguf.string("tokenizer.ggml.model")?;
    let model = model.ok_or_else(|| GgufError::MissingKey("tokenizer.ggml.model".to_owned()))?;
    if model != "gpt2" {
        return Err(fault(format!("its model is `{model}`; only `gpt2` (byte-level BPE) is supported")));
    }
    for key in ["tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token"] {
        if gguf.bool(key)? == Some(true) {
            return Err(fault(format!("`{key}` is true; adding tokens around every text is not supported")));
        }
    }
    if gguf.bool("tokenizer.ggml.add_space_prefix")? == Some(true) {
        return Err(fault("`tokenizer.ggml.add_space_prefix` is true, which is not supported"));
    }
    let pre = gguf.string("tokenizer.ggml.pre")?;
    let pre = pre.ok_or_else(|| GgufError::MissingKey("tokenizer.ggml.pre".to_owned()))?;
    let merges = merges(gguf, &vocabulary)?;
    Ok(TextParts {
        tokenizer_json: tokenizer_json(&vocabulary, &merges, pipeline(pre)?)?,
        generation_config: generation_config(&vocabulary),
        special_tokens: special_tokens(&vocabulary),
    })
}

/// Tokens, their types, and the special ids, checked against each other.
struct Vocabulary<'a> {
    /// Text by id.
    tokens: Vec<&'a str>,
    /// GGUF token type by id.
    types: Vec<i128>,
    /// Special ids by role: `bos`, `eos`, `padding`.
    special: BTreeMap<&'a str, usize>,
}

impl<'a> Vocabulary<'a> {
    fn read(gguf: &Gguf<'a>, vocab_size: usize) -> Result<Self, GgufError> {
        let key = "tokenizer.ggml.tokens";
        let tokens = gguf.array(key, "an array of strings", |element| element == ValueType::String)?;
        let tokens = tokens.ok_or_else(|| GgufError::MissingKey(key.to_owned()))?;
        if tokens.len() != vocab_size {
            return Err(fault(format!(
                "it has {} tokens, the embedding has {vocab_size} rows",
                tokens.len()
            )));
        }
        let tokens: Vec<&str> = tokens.strings().collect();

        let is_integer = |element| {
            !matches!(element, ValueType::F32 | ValueType::F64 | ValueType::Bool | ValueType::String)
        };
        let types = match gguf.array("tokenizer.ggml.token_type", "an array of integers", is_integer)? {
            Some(types) => types.integers().collect(),
            None => vec![NORMAL; tokens.len()],
        };
        let scores =
            gguf.array("tokenizer.ggml.scores", "an array of floats", |element| element == ValueType::F32)?;
        let lists = [("token types", Some(types.len())), ("scores", scores.map(|scores| scores.len()))];
        for (what, length) in lists {
            if let Some(length) = length.filter(|&length| length != tokens.len()) {
                return Err(fault(format!("it has {length} {what} for {} tokens", tokens.len())));
            }
        }
        let vocabulary = Self { special: special_ids(gguf, tokens.len())?, tokens, types };
        vocabulary.check()?;
        Ok(vocabulary)
    }

    fn check(&self) -> Result<(), GgufError> {
        let mut seen = BTreeMap::new();
        for (id, (&token, &kind)) in self.tokens.iter().zip(&self.types).enumerate() {
            if token.is_empty() {
                return Err(fault(format!("token {id} is empty")));
            }
            if let Some(other) = seen.insert(token, id) {
                return Err(fault(format!("tokens {other} and {id} are both {token:?}")));
            }
            if !(1..=6).contains(&kind) && kind != 0 {
                return Err(fault(format!("token {id} has type {kind}; 0 to 6 exist")));
            }
            if kind == BYTE && byte_of(token).is_none() {
                return Err(fault(format!(
                    "token {id}, {token:?}, is typed as a byte; bytes are <0x00> to <0xFF>"
                )));
            }
        }
        Ok(())
    }

    /// Whether `id` is matched in text before anything else is done to it.
    fn is_added(&self, id: usize) -> bool {
        matches!(self.types[id], CONTROL | USER_DEFINED)
    }

    /// Tokens below this id are the BPE model's own; from here on come only added ones and padding.
    ///
    /// Hugging Face numbers added tokens after the model's vocabulary without gaps, so that an unused token before the
    /// last added one must stay.
    fn n_model_tokens(&self) -> usize {
        let n_used = self.types.iter().rposition(|&kind| kind != UNUSED).map_or(0, |last| last + 1);
        self.types[..n_used]
            .iter()
            .rposition(|&kind| !matches!(kind, CONTROL | USER_DEFINED))
            .map_or(0, |last| last + 1)
    }

    fn id_of(&self, token: &str) -> Option<usize> {
        self.tokens.iter().position(|&other| other == token)
    }
}

/// Every `tokenizer.ggml.*_token_id`, by role.
fn special_ids<'a>(gguf: &Gguf<'a>, n_tokens: usize) -> Result<BTreeMap<&'a str, usize>, GgufError> {
    let mut special = BTreeMap::new();
    for &key in gguf.metadata.keys() {
        let role = key.strip_prefix("tokenizer.ggml.").and_then(|rest| rest.strip_suffix("_token_id"));
        if let Some(role) = role
            && let Some(id) = gguf.integer(key)?
        {
            if id >= n_tokens {
                return Err(fault(format!("`{key}` is {id}, the vocabulary has {n_tokens} tokens")));
            }
            special.insert(role, id);
        }
    }
    Ok(special)
}

/// The byte that `<0x41>` stands for.
fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_plain { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn merges<'a>(gguf: &Gguf<'a>, vocabulary: &Vocabulary<'a>) -> Result<Vec<&'a str>, GgufError> {
    let key = "tokenizer.ggml.merges";
    let merges = gguf.array(key, "an array of strings", |element| element == ValueType::String)?;
    let merges: Vec<&str> = merges.ok_or_else(|| GgufError::MissingKey(key.to_owned()))?.strings().collect();
    let tokens: BTreeSet<&str> = vocabulary.tokens.iter().copied().collect();
    let mut joined = String::new();
    for (index, merge) in merges.iter().enumerate() {
        let parts = merge
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty() && !right.contains(' '));
        let Some((left, right)) = parts else {
            return Err(fault(format!(
                "merge {index}, {merge:?}, is not two tokens and a space between them"
            )));
        };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        if let Some(stranger) = [left, right, &joined].into_iter().find(|token| !tokens.contains(token)) {
            return Err(fault(format!("merge {index}, {merge:?}, needs {stranger:?}, which is no token")));
        }
    }
    Ok(merges)
}

fn pipeline(pre: &str) -> Result<Pipeline, GgufError> {
    let byte_level = |add_prefix_space: bool, trim_offsets: bool, use_regex: bool| {
        json!({
            "type": "ByteLevel",
            "add_prefix_space": add_prefix_space,
            "trim_offsets": trim_offsets,
            "use_regex": use_regex,
        })
    };
    let sequence =
        |first: Json, second: Json| json!({ "type": "Sequence", "pretokenizers": [first, second] });
    Ok(match pre {
        "qwen2" => Pipeline {
            normalizer: Some(json!({ "type": "NFC" })),
            pre_tokenizer: sequence(
                json!({
                    "type": "Split",
                    "pattern": { "Regex": QWEN2_SPLIT },
                    "behavior": "Isolated",
                    "invert": false,
                }),
                byte_level(false, false, false),
            ),
            post_processor: Some(byte_level(false, false, false)),
            decoder: byte_level(false, false, false),
        },
        "smollm" => Pipeline {
            normalizer: None,
            pre_tokenizer: sequence(
                json!({ "type": "Digits", "individual_digits": true }),
                byte_level(false, true, true),
            ),
            post_processor: None,
            decoder: byte_level(true, true, true),
        },
        "gpt-2" => Pipeline {
            normalizer: None,
            pre_tokenizer: byte_level(false, true, true),
            post_processor: Some(byte_level(true, false, true)),
            decoder: byte_level(true, true, true),
        },
        other => {
            let other: String = other.chars().take(64).collect();
            return Err(fault(format!(
                "its pre-tokenizer is `{other}`; supported are qwen2, smollm and gpt-2"
            )));
        }
    })
}

/// `tokenizer.json` in the order Hugging Face writes it.
#[derive(Serialize)]
struct TokenizerJson<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: Option<Json>,
    pre_tokenizer: Json,
    post_processor: Option<Json>,
    decoder: Json,
    model: BpeModel<'a>,
}

#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "tokenizer.json has them")]
struct AddedToken<'a> {
    id: usize,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
struct BpeModel<'a> {
    r#type: &'static str,
    dropout: Option<()>,
    unk_token: Option<()>,
    continuing_subword_prefix: &'static str,
    end_of_word_suffix: &'static str,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: ById<'a>,
    merges: &'a [&'a str],
}

/// A vocabulary, written in the order of its ids.
struct ById<'a>(&'a [&'a str]);

impl Serialize for ById<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().enumerate().map(|(id, token)| (token, id)))
    }
}

fn tokenizer_json(
    vocabulary: &Vocabulary<'_>,
    merges: &[&str],
    pipeline: Pipeline,
) -> Result<Vec<u8>, GgufError> {
    let added = (0..vocabulary.tokens.len()).filter(|&id| vocabulary.is_added(id));
    let added_tokens = added.map(|id| AddedToken {
        id,
        content: vocabulary.tokens[id],
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: vocabulary.types[id] == CONTROL,
    });
    let json = TokenizerJson {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: added_tokens.collect(),
        normalizer: pipeline.normalizer,
        pre_tokenizer: pipeline.pre_tokenizer,
        post_processor: pipeline.post_processor,
        decoder: pipeline.decoder,
        model: BpeModel {
            r#type: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: "",
            end_of_word_suffix: "",
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: ById(&vocabulary.tokens[..vocabulary.n_model_tokens()]),
            merges,
        },
    };
    serde_json::to_vec(&json).map_err(|error| fault(error.to_string()))
}

/// Every id that ends a text: the stated ones, and the two that chat models of these families stop at.
fn generation_config(vocabulary: &Vocabulary<'_>) -> Json {
    let mut config = serde_json::Map::new();
    let mut end_of_text: Vec<usize> = Vec::new();
    let stated = ["eos", "eot"].into_iter().filter_map(|role| vocabulary.special.get(role).copied());
    let known = ["<|im_end|>", "<|endoftext|>"]
        .into_iter()
        .filter_map(|token| vocabulary.id_of(token).filter(|&id| vocabulary.types[id] == CONTROL));
    for id in stated.chain(known) {
        if !end_of_text.contains(&id) {
            end_of_text.push(id);
        }
    }
    for (key, role) in [("bos_token_id", "bos"), ("pad_token_id", "padding")] {
        if let Some(id) = vocabulary.special.get(role) {
            config.insert(key.to_owned(), json!(id));
        }
    }
    if !end_of_text.is_empty() {
        config.insert("eos_token_id".to_owned(), json!(end_of_text));
    }
    Json::Object(config)
}

fn special_tokens(vocabulary: &Vocabulary<'_>) -> BTreeMap<String, String> {
    let roles =
        [("bos", "bos_token"), ("eos", "eos_token"), ("padding", "pad_token"), ("unknown", "unk_token")];
    let stated = roles.into_iter().filter_map(|(role, name)| {
        let &id = vocabulary.special.get(role)?;
        Some((name.to_owned(), vocabulary.tokens[id].to_owned()))
    });
    stated.collect()
}

fn fault(what: impl Into<String>) -> GgufError {
    GgufError::Tokenizer(what.into())
}

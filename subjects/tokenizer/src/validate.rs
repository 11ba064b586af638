//! Validation of a `tokenizer.json` before `tokenizers` sees any of it.
//!
//! `tokenizers` 0.23 panics on a merge longer than every vocabulary entry and on an added id of 2^32 - 1, lets
//! duplicate ids shadow each other, and runs any regular expression the file brings. Here the file is read with
//! limits into [`Definition`]: only kinds that are implemented, every field read or refused.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use tokenizers::models::bpe::Vocab;

use crate::bytes;
use crate::error::TokenizerError;
use crate::split::{GPT2, Stage};

/// Bytes of a `tokenizer.json`; the largest published ones have about 35 MB.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Bytes of a part such as the pre-tokenizer.
const MAX_PART_BYTES: usize = 64 << 10;
/// Ids are below this; the largest published vocabularies have 262,144 entries.
const MAX_IDS: u64 = 1 << 20;
/// Bytes of one vocabulary entry.
const MAX_ENTRY_BYTES: usize = 4096;
/// Tokens on top of the vocabulary.
const MAX_ADDED: usize = 16 << 10;
/// Bytes of all added tokens together; they become an automaton.
const MAX_ADDED_BYTES: usize = 1 << 20;

/// A tokenizer that passed validation.
#[derive(Debug)]
pub(crate) struct Definition {
    /// Entries in the byte alphabet, with their ids.
    pub(crate) vocab: Vocab,
    /// Pairs to merge, best first; parts and results are in `vocab` and none is a control token.
    pub(crate) merges: Vec<(String, String)>,
    /// Whether a piece that is an entry is taken whole before any merge.
    pub(crate) ignore_merges: bool,
    /// Tokens found in text before it is split; contents and ids are unique.
    pub(crate) added: Vec<Added>,
    /// Whether text is normalized to NFC.
    pub(crate) nfc: bool,
    /// How text is split.
    pub(crate) stages: Vec<Stage>,
    /// Ids that the post-processor puts before a sequence.
    pub(crate) prefix: Vec<u32>,
}

/// A token that is found in text as a whole.
#[derive(Debug)]
pub(crate) struct Added {
    pub(crate) id: u32,
    pub(crate) content: String,
    /// A control token: never the reading of plain text.
    pub(crate) special: bool,
    /// Looked for in normalized text, not in the text as it came.
    pub(crate) normalized: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    version: Option<String>,
    // transformers overrides both at every call; so does the caller here, who knows the context length.
    #[serde(rename = "truncation", default)]
    _truncation: IgnoredAny,
    #[serde(rename = "padding", default)]
    _padding: IgnoredAny,
    #[serde(borrow, default)]
    added_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    normalizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pre_tokenizer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    post_processor: Option<&'a RawValue>,
    #[serde(borrow, default)]
    decoder: Option<&'a RawValue>,
    model: Model,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    // A byte without an entry is left out: an unknown token would be a control token made from text.
    #[serde(rename = "unk_token", default)]
    _unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(rename = "fuse_unk", default)]
    _fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: Entries,
    merges: Vec<Merge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "the fields of the file")]
struct AddedToken {
    id: u64,
    content: String,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

/// A merge as `["a", "b"]` or, in older files, `"a b"`.
enum Merge {
    Pair(String, String),
    Line(String),
}

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a merge: two strings, or one with a space between the parts")
            }

            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Merge, E> {
                Ok(Merge::Line(line.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Merge, A::Error> {
                let left = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let right = parts.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                match parts.next_element::<IgnoredAny>()? {
                    None => Ok(Merge::Pair(left, right)),
                    Some(_) => Err(A::Error::invalid_length(3, &self)),
                }
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

/// The vocabulary object, read without losing a repeated key.
struct Entries(Vec<(String, u64)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from token to id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<String, u64>()? {
                    if entries.len() as u64 == MAX_IDS {
                        return Err(A::Error::custom(format_args!("more than {MAX_IDS} vocabulary entries")));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads and validates a `tokenizer.json`.
pub(crate) fn validate(json: &[u8]) -> Result<Definition, TokenizerError> {
    if json.len() > MAX_FILE_BYTES {
        return Err(TokenizerError::TooLarge { found: json.len(), limit: MAX_FILE_BYTES });
    }
    let file: File<'_> = serde_json::from_slice(json).map_err(|error| json_error(&error))?;
    if let Some(version) = &file.version
        && version != "1.0"
    {
        return Err(unsupported("version", format!("{version:?}")));
    }
    check_model_kind(&file.model)?;
    let mut owners = Owners::default();
    let vocab = vocabulary(file.model.vocab, &mut owners)?;
    let added = added_tokens(file.added_tokens, &vocab, &mut owners)?;
    let control: HashSet<&str> =
        added.iter().filter(|token| token.special).map(|token| token.content.as_str()).collect();
    check_alphabet(&vocab, &control)?;
    let merges = merges(file.model.merges, &vocab, &control)?;
    check_decoder(&part("decoder", file.decoder)?)?;
    Ok(Definition {
        merges,
        ignore_merges: file.model.ignore_merges,
        nfc: normalizer(&part("normalizer", file.normalizer)?)?,
        stages: pre_tokenizer(&part("pre_tokenizer", file.pre_tokenizer)?)?,
        prefix: post_processor(&part("post_processor", file.post_processor)?, &vocab, &added)?,
        vocab,
        added,
    })
}

fn json_error(error: &serde_json::Error) -> TokenizerError {
    TokenizerError::Json(error.to_string())
}

fn unsupported(part: &'static str, what: impl Into<String>) -> TokenizerError {
    TokenizerError::Unsupported { part, what: what.into() }
}

fn check_model_kind(model: &Model) -> Result<(), TokenizerError> {
    let kind = model.kind.as_deref().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(unsupported("model", format!("of type {kind:?}")));
    }
    if model.dropout.is_some_and(|dropout| dropout != 0.0) {
        return Err(unsupported("model", "with dropout"));
    }
    let affixes = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if affixes.into_iter().flatten().any(|affix| !affix.is_empty()) {
        return Err(unsupported("model", "with a subword prefix or suffix"));
    }
    if model.byte_fallback {
        return Err(unsupported("model", "with byte_fallback"));
    }
    Ok(())
}

fn vocabulary(entries: Entries, owners: &mut Owners) -> Result<Vocab, TokenizerError> {
    let mut vocab = Vocab::with_capacity(entries.0.len());
    for (token, id) in entries.0 {
        if token.len() > MAX_ENTRY_BYTES {
            let what = "length of a vocabulary entry";
            return Err(TokenizerError::OverLimit { what, found: token.len(), limit: MAX_ENTRY_BYTES });
        }
        let id = checked_id(&token, id)?;
        if token.is_empty() {
            return Err(TokenizerError::EmptyToken(id));
        }
        if let Some(&first) = vocab.get(&token) {
            return Err(TokenizerError::DuplicateToken { token, first, second: id });
        }
        if !owners.claim(id) {
            return Err(duplicate_id(&vocab, &[], id, token));
        }
        vocab.insert(token, id);
    }
    Ok(vocab)
}

/// Which ids belong to a token.
#[derive(Default)]
struct Owners(Vec<bool>);

impl Owners {
    /// Whether `id` was free until now.
    fn claim(&mut self, id: u32) -> bool {
        let id = id as usize;
        if self.0.len() <= id {
            self.0.resize(id + 1, false);
        }
        !std::mem::replace(&mut self.0[id], true)
    }
}

/// The error for `second`, which has the `id` of another token.
fn duplicate_id(vocab: &Vocab, added: &[Added], id: u32, second: String) -> TokenizerError {
    let mut owners = vocab.iter().map(|(token, id)| (token, *id));
    let mut added = added.iter().map(|token| (&token.content, token.id));
    let first = owners.find(|owner| owner.1 == id).or_else(|| added.find(|owner| owner.1 == id));
    let first = first.map(|(token, _)| token.clone()).unwrap_or_default();
    TokenizerError::DuplicateId { id, first, second }
}

fn checked_id(token: &str, id: u64) -> Result<u32, TokenizerError> {
    match u32::try_from(id) {
        Ok(narrow) if id < MAX_IDS => Ok(narrow),
        _ => Err(TokenizerError::IdOutOfRange { token: token.to_owned(), id, limit: MAX_IDS }),
    }
}

fn added_tokens(
    raw: Option<&RawValue>,
    vocab: &Vocab,
    owners: &mut Owners,
) -> Result<Vec<Added>, TokenizerError> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    let limit = 2 * MAX_ADDED_BYTES + MAX_ADDED * 256;
    if raw.get().len() > limit {
        return Err(TokenizerError::OverLimit {
            what: "length of added_tokens",
            found: raw.get().len(),
            limit,
        });
    }
    let tokens: Option<Vec<AddedToken>> =
        serde_json::from_str(raw.get()).map_err(|error| json_error(&error))?;
    let tokens = tokens.unwrap_or_default();
    let n_bytes = tokens.iter().map(|token| token.content.len()).sum();
    for (what, found, limit) in [
        ("number of added tokens", tokens.len(), MAX_ADDED),
        ("length of all added tokens", n_bytes, MAX_ADDED_BYTES),
    ] {
        if found > limit {
            return Err(TokenizerError::OverLimit { what, found, limit });
        }
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut added = Vec::with_capacity(tokens.len());
    for token in tokens {
        let id = checked_id(&token.content, token.id)?;
        if token.content.is_empty() {
            return Err(TokenizerError::EmptyToken(id));
        }
        if token.single_word || token.lstrip || token.rstrip {
            let what = format!("entry {:?} with single_word, lstrip or rstrip", token.content);
            return Err(unsupported("added_tokens", what));
        }
        let in_vocab = vocab.get(&token.content).copied();
        let earlier = seen.insert(token.content.clone(), id).or(in_vocab.filter(|in_vocab| *in_vocab != id));
        if let Some(first) = earlier {
            return Err(TokenizerError::DuplicateToken { token: token.content, first, second: id });
        }
        if in_vocab.is_none() && !owners.claim(id) {
            return Err(duplicate_id(vocab, &added, id, token.content));
        }
        added.push(Added {
            id,
            content: token.content,
            special: token.special,
            normalized: token.normalized,
        });
    }
    Ok(added)
}

fn check_alphabet(vocab: &Vocab, control: &HashSet<&str>) -> Result<(), TokenizerError> {
    for byte in 0..=u8::MAX {
        let entry = bytes::char_of(byte).to_string();
        if !vocab.contains_key(&entry) && !bytes::is_dispensable(byte) {
            return Err(TokenizerError::MissingByte(byte));
        }
        if control.contains(entry.as_str()) {
            return Err(TokenizerError::ReachableControl(entry));
        }
    }
    Ok(())
}

fn merges(
    merges: Vec<Merge>,
    vocab: &Vocab,
    control: &HashSet<&str>,
) -> Result<Vec<(String, String)>, TokenizerError> {
    let mut pairs = Vec::with_capacity(merges.len());
    let mut seen = HashSet::with_capacity(merges.len());
    let mut joined = String::new();
    for (rank, merge) in merges.into_iter().enumerate() {
        let (left, right) = match merge {
            Merge::Pair(left, right) => (left, right),
            Merge::Line(line) if line.starts_with("#version") => continue,
            Merge::Line(line) => match line.split_once(' ') {
                Some((left, right)) if !right.contains(' ') => (left.to_owned(), right.to_owned()),
                _ => return Err(TokenizerError::BadMerge { rank, merge: excerpt(&line) }),
            },
        };
        joined.clear();
        joined.push_str(&left);
        joined.push_str(&right);
        for token in [&left, &right, &joined] {
            if !vocab.contains_key(token) {
                let missing = excerpt(token);
                let (left, right) = (excerpt(&left), excerpt(&right));
                return Err(TokenizerError::UnknownMerge { rank, left, right, missing });
            }
            if control.contains(token.as_str()) {
                return Err(TokenizerError::ReachableControl(token.to_owned()));
            }
        }
        if !seen.insert((vocab[&left], vocab[&right])) {
            return Err(TokenizerError::DuplicateMerge { rank, left, right });
        }
        pairs.push((left, right));
    }
    Ok(pairs)
}

/// At most the first characters of what a message quotes.
fn excerpt(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A small part as a value; `null` is absence.
fn part(name: &'static str, raw: Option<&RawValue>) -> Result<Value, TokenizerError> {
    let Some(raw) = raw else { return Ok(Value::Null) };
    if raw.get().len() > MAX_PART_BYTES {
        return Err(TokenizerError::OverLimit { what: name, found: raw.get().len(), limit: MAX_PART_BYTES });
    }
    serde_json::from_str(raw.get()).map_err(|error| json_error(&error))
}

/// The parts of a `Sequence`, or the part itself; `null` is none.
fn members<'a>(name: &'static str, value: &'a Value, key: &str) -> Result<Vec<&'a Value>, TokenizerError> {
    match (value, kind(value)) {
        (Value::Null, _) => Ok(Vec::new()),
        (_, Some("Sequence")) => match value.get(key).and_then(Value::as_array) {
            Some(members) => Ok(members.iter().collect()),
            None => Err(unsupported(name, format!("a Sequence without {key:?}"))),
        },
        (_, Some(_)) => Ok(vec![value]),
        _ => Err(unsupported(name, "without a type")),
    }
}

fn kind(value: &Value) -> Option<&str> {
    value.get("type").and_then(Value::as_str)
}

fn kind_error(name: &'static str, value: &Value) -> TokenizerError {
    match kind(value) {
        Some(kind) => unsupported(name, format!("of type {kind:?} with these settings")),
        None => unsupported(name, "without a type"),
    }
}

fn normalizer(value: &Value) -> Result<bool, TokenizerError> {
    let members = members("normalizer", value, "normalizers")?;
    for member in &members {
        if kind(member) != Some("NFC") {
            return Err(kind_error("normalizer", member));
        }
    }
    Ok(!members.is_empty())
}

fn flag(value: &Value, key: &str, default: bool) -> Option<bool> {
    value.get(key).map_or(Some(default), Value::as_bool)
}

/// Any number of `Split` and `Digits`, then one `ByteLevel`.
fn pre_tokenizer(value: &Value) -> Result<Vec<Stage>, TokenizerError> {
    const PART: &str = "pre_tokenizer";
    let members = members(PART, value, "pretokenizers")?;
    let Some((&byte_level, splits)) = members.split_last() else {
        return Err(unsupported(PART, "that is absent"));
    };
    let mut stages = Vec::new();
    for &split in splits {
        let stage = match kind(split) {
            Some("Digits") if flag(split, "individual_digits", false) == Some(true) => Stage::Digits,
            Some("Split")
                if split.get("behavior").and_then(Value::as_str) == Some("Isolated")
                    && flag(split, "invert", false) == Some(false) =>
            {
                let expression = split.get("pattern").and_then(|pattern| pattern.get("Regex")?.as_str());
                let expression = expression.ok_or_else(|| unsupported(PART, "Split without a Regex"))?;
                Stage::pattern(expression)
                    .ok_or_else(|| unsupported(PART, format!("Split by {:?}", excerpt(expression))))?
            }
            _ => return Err(kind_error(PART, split)),
        };
        stages.push(stage);
    }
    if kind(byte_level) != Some("ByteLevel") || flag(byte_level, "add_prefix_space", true) != Some(false) {
        return Err(kind_error(PART, byte_level));
    }
    match flag(byte_level, "use_regex", true) {
        Some(true) => stages.extend(Stage::pattern(GPT2)),
        Some(false) => {}
        None => return Err(kind_error(PART, byte_level)),
    }
    Ok(stages)
}

fn check_decoder(value: &Value) -> Result<(), TokenizerError> {
    // The decoder has settings too, but undoing the byte alphabet uses none of them.
    for member in members("decoder", value, "decoders")? {
        if kind(member) != Some("ByteLevel") {
            return Err(kind_error("decoder", member));
        }
    }
    Ok(())
}

/// `ByteLevel` moves offsets only, which nobody sees here; `TemplateProcessing` may put control tokens in front.
fn post_processor(value: &Value, vocab: &Vocab, added: &[Added]) -> Result<Vec<u32>, TokenizerError> {
    const PART: &str = "post_processor";
    let mut prefix = Vec::new();
    for member in members(PART, value, "processors")? {
        match kind(member) {
            Some("ByteLevel") => {}
            Some("TemplateProcessing") => {
                let single = member.get("single").and_then(Value::as_array);
                let Some((sequence, tokens)) = single.and_then(|single| single.split_last()) else {
                    return Err(kind_error(PART, member));
                };
                if sequence.get("Sequence").is_none() {
                    return Err(unsupported(PART, "TemplateProcessing that does not end in the sequence"));
                }
                for token in tokens {
                    let name = token.get("SpecialToken").and_then(|token| token.get("id")?.as_str());
                    let known = name.and_then(|name| {
                        let added = added.iter().find(|added| added.content == name).map(|added| added.id);
                        added.or_else(|| vocab.get(name).copied())
                    });
                    prefix.push(known.ok_or_else(|| kind_error(PART, member))?);
                }
            }
            _ => return Err(kind_error(PART, member)),
        }
    }
    Ok(prefix)
}

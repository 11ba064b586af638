//! Byte-level BPE: text to ids and back.
//!
//! Normalizing, finding added tokens and splitting are done here, linear in the text; merging is `tokenizers`' BPE
//! (Sennrich et al. 2016, arXiv:1508.07909). Control tokens are kept out of the model that text goes through, so no
//! text can be read as one.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use tokenizers::Model as _;
use tokenizers::models::bpe::{BPE, Vocab};
use unicode_normalization_alignments::UnicodeNormalization as _;

use crate::error::TokenizerError;
use crate::split::{Stage, for_each_piece};
use crate::validate::{Added, Definition, validate};
use crate::{Segment, StreamDecoder, TokenId, bytes};

/// A byte-level BPE tokenizer read from a `tokenizer.json`.
#[derive(Debug)]
pub struct Tokenizer {
    model: BPE,
    nfc: bool,
    stages: Vec<Stage>,
    /// Added tokens looked for in text as it came.
    raw: Matcher,
    /// Added tokens looked for in normalized text.
    normalized: Matcher,
    /// What each id stands for.
    tokens: TokenTable,
    /// Added tokens by their spelling.
    added: HashMap<String, TokenId>,
    control: BTreeMap<String, TokenId>,
    control_matcher: Matcher,
    is_control: Vec<bool>,
    prefix: Vec<TokenId>,
}

/// Whether text may spell control tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    Text,
    Parsed,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, after validating it.
    pub fn from_json(json: &[u8]) -> Result<Self, TokenizerError> {
        let Definition { vocab, merges, ignore_merges, added, nfc, stages, prefix } = validate(json)?;
        let entries = vocab.iter().map(|(entry, &id)| (id, bytes::bytes_of(entry)));
        let contents = added.iter().map(|token| (token.id, token.content.clone().into_bytes()));
        let tokens = TokenTable::new(entries.chain(contents).collect());
        let special: Vec<&Added> = added.iter().filter(|token| token.special).collect();
        let mut is_control = vec![false; tokens.n_ids()];
        for token in &special {
            is_control[token.id as usize] = true;
        }
        let by_spelling = |token: &Added| (token.content.clone(), TokenId(token.id));
        // No merge leads to a control token (validated); without its entry nothing else does either.
        let entries: Vocab = vocab.into_iter().filter(|(_, id)| !is_control[*id as usize]).collect();
        let model = BPE::builder().vocab_and_merges(entries, merges).ignore_merges(ignore_merges).build();
        let (normalized, raw) = added.iter().partition::<Vec<&Added>, _>(|token| token.normalized);
        Ok(Self {
            model: model.map_err(|error| TokenizerError::Model(error.to_string()))?,
            raw: Matcher::new(&raw, str::to_owned)?,
            normalized: Matcher::new(
                &normalized,
                |content| if nfc { to_nfc(content) } else { content.into() },
            )?,
            control_matcher: Matcher::new(&special, str::to_owned)?,
            nfc,
            stages,
            tokens,
            control: special.into_iter().map(by_spelling).collect(),
            added: added.iter().map(by_spelling).collect(),
            is_control,
            prefix: prefix.into_iter().map(TokenId).collect(),
        })
    }

    /// The ids of `text`. Text that spells a control token is plain text: the result has no control token. Equals
    /// Hugging Face's with `split_special_tokens=True, add_special_tokens=False`; like there, a control character that
    /// the vocabulary has no byte for (SmolLM2's lacks U+0004 and a few more) is left out.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::new();
        self.encode_into(text, Control::Text, &mut ids);
        ids
    }

    /// The ids of `text`, where the spelling of a control token is that token; only for text that may steer the model.
    pub fn encode_with_control(&self, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::new();
        self.encode_into(text, Control::Parsed, &mut ids);
        ids
    }

    /// The ids of a typed prompt.
    pub fn encode_segments(&self, segments: &[Segment]) -> Vec<TokenId> {
        let mut ids = Vec::new();
        for segment in segments {
            match segment {
                Segment::Control(id) => ids.push(*id),
                Segment::Text(text) => self.encode_into(text, Control::Text, &mut ids),
            }
        }
        ids
    }

    /// The text of `ids`, control tokens as they are spelled; bytes that are not UTF-8 become U+FFFD, and an id
    /// without a token nothing.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The text of `ids` without the control tokens.
    #[cfg_attr(
        any(),
        probador::allow(
            I5,
            reason = "what streaming decodes bit by bit, at once; tests hold one to the other"
        )
    )]
    pub fn decode_text(&self, ids: &[TokenId]) -> String {
        let text = ids.iter().filter(|id| !self.is_control(**id));
        let bytes: Vec<u8> = text.flat_map(|id| self.bytes(*id)).copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A decoder for ids that come one at a time.
    pub fn decoder(&self) -> StreamDecoder<'_> {
        StreamDecoder::new(self)
    }

    /// The bytes that `id` stands for.
    #[cfg_attr(any(), probador::allow(I5, reason = "tests build texts from the bytes of single tokens"))]
    pub fn token_bytes(&self, id: TokenId) -> Option<Vec<u8>> {
        self.tokens.get(id).map(<[u8]>::to_vec)
    }

    /// `id` for people: its text, with bytes that are part of a character as `\xNN`, or `<id N>` when there is no such
    /// token.
    pub fn token_text(&self, id: TokenId) -> String {
        let Some(bytes) = self.tokens.get(id) else {
            return format!("<id {id}>");
        };
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            for byte in chunk.invalid() {
                let _ = write!(text, "\\x{byte:02X}");
            }
        }
        text
    }

    /// The token that stands for exactly `text` (` the`, not `Ġthe`).
    pub fn token_to_id(&self, text: &str) -> Option<TokenId> {
        let entry = || {
            let mut entry = String::new();
            bytes::write_chars(text, &mut entry);
            self.model.token_to_id(&entry).map(TokenId)
        };
        self.added.get(text).copied().or_else(entry)
    }

    /// One more than the largest id that has a token.
    pub fn vocab_size(&self) -> usize {
        self.tokens.n_ids()
    }

    /// The control tokens by their spelling: those that the file calls special.
    #[cfg_attr(any(), probador::allow(I5, reason = "tests ask for control tokens by their spelling"))]
    pub fn control_tokens(&self) -> &BTreeMap<String, TokenId> {
        &self.control
    }

    /// Whether `id` is a control token.
    pub fn is_control(&self, id: TokenId) -> bool {
        self.is_control.get(id.index()).copied().unwrap_or(false)
    }

    /// Control tokens that the model expects before a prompt that has no chat template (Llama 3's beginning of text;
    /// Qwen2 has none).
    pub fn prompt_prefix(&self) -> &[TokenId] {
        &self.prefix
    }

    /// The bytes of `id`; none for an id without a token.
    pub(crate) fn bytes(&self, id: TokenId) -> &[u8] {
        self.tokens.get(id).unwrap_or_default()
    }

    /// Stretches of `text`, each with the control token that is spelled after it.
    pub(crate) fn split_at_control<'t>(
        &'t self,
        text: &'t str,
    ) -> impl Iterator<Item = (&'t str, Option<TokenId>)> {
        self.control_matcher.split(text, |_| true)
    }

    fn encode_into(&self, text: &str, control: Control, ids: &mut Vec<TokenId>) {
        let mut mapped = String::new();
        let mut normal_form;
        for (stretch, added) in self.raw.split(text, |id| self.reads(id, control)) {
            let mut stretch = stretch;
            if self.nfc && !stretch.is_ascii() {
                normal_form = to_nfc(stretch);
                stretch = &normal_form;
            }
            for (stretch, added) in self.normalized.split(stretch, |id| self.reads(id, control)) {
                for_each_piece(&self.stages, stretch, &mut |piece| {
                    bytes::write_chars(piece, &mut mapped);
                    // Fails only for an unknown token that is missing, and this model has none.
                    let tokens = self.model.tokenize(&mapped).unwrap_or_default();
                    ids.extend(tokens.into_iter().map(|token| TokenId(token.id)));
                });
                ids.extend(added);
            }
            ids.extend(added);
        }
    }

    fn reads(&self, id: TokenId, control: Control) -> bool {
        control == Control::Parsed || !self.is_control(id)
    }
}

/// `text` in NFC, by the tables that `tokenizers` has (Unicode 9): ids must be those the model was trained on.
fn to_nfc(text: &str) -> String {
    text.nfc().map(|(c, _)| c).collect()
}

/// The bytes of every token, end to end.
#[derive(Debug)]
struct TokenTable {
    /// Where the bytes of each id start, and where the last one's end.
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

impl TokenTable {
    /// Of two tokens with one id the later wins.
    fn new(mut tokens: Vec<(u32, Vec<u8>)>) -> Self {
        tokens.sort_by_key(|(id, _)| *id);
        let mut table = Self { starts: vec![0], bytes: Vec::new() };
        for (id, bytes) in tokens {
            let id = id as usize;
            // Ids without a token are empty; no token is.
            table.starts.resize(table.starts.len().max(id + 1), table.bytes.len() as u32);
            table.bytes.truncate(table.starts[id] as usize);
            table.bytes.extend_from_slice(&bytes);
            table.starts.truncate(id + 1);
            table.starts.push(table.bytes.len() as u32);
        }
        table
    }

    fn n_ids(&self) -> usize {
        self.starts.len() - 1
    }

    fn get(&self, id: TokenId) -> Option<&[u8]> {
        let (start, end) = (*self.starts.get(id.index())?, *self.starts.get(id.index() + 1)?);
        Some(&self.bytes[start as usize..end as usize]).filter(|bytes| !bytes.is_empty())
    }
}

/// Finds added tokens in text: the leftmost, and of those the longest.
#[derive(Debug)]
struct Matcher {
    automaton: Option<AhoCorasick>,
    ids: Vec<TokenId>,
}

impl Matcher {
    fn new(tokens: &[&Added], spelling: impl Fn(&str) -> String) -> Result<Self, TokenizerError> {
        let ids: Vec<TokenId> = tokens.iter().map(|token| TokenId(token.id)).collect();
        let spellings = tokens.iter().map(|token| spelling(&token.content));
        // For a few patterns the library would build a table of all transitions, in a time that grows with the square of a
        // pattern's length where a file repeats one character.
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(spellings);
        let automaton = automaton.map_err(|error| TokenizerError::Model(error.to_string()))?;
        Ok(Self { automaton: (!ids.is_empty()).then_some(automaton), ids })
    }

    /// Stretches of `text`, each with the token that follows it; the last has none. A token that `reads` refuses is
    /// passed over as a whole, as in `tokenizers`.
    fn split<'t>(
        &self,
        text: &'t str,
        reads: impl Fn(TokenId) -> bool,
    ) -> impl Iterator<Item = (&'t str, Option<TokenId>)> {
        let mut matches = self.automaton.iter().flat_map(move |automaton| automaton.find_iter(text));
        let mut start = Some(0);
        std::iter::from_fn(move || {
            let from = start?;
            let found = matches
                .by_ref()
                .map(|found| (found, self.ids[found.pattern().as_usize()]))
                .find(|(_, id)| reads(*id));
            start = found.map(|(found, _)| found.end());
            let to = found.map_or(text.len(), |(found, _)| found.start());
            Some((&text[from..to], found.map(|(_, id)| id)))
        })
    }
}

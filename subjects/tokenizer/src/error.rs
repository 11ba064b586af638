//! What can be wrong with a tokenizer file.

use thiserror::Error;

/// Why a `tokenizer.json` was refused. The caller knows which file it came from and adds its name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum TokenizerError {
    /// More bytes than any published tokenizer has.
    #[error("tokenizer.json has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// Bytes there are.
        found: usize,
        /// Bytes that are accepted.
        limit: usize,
    },
    /// Not JSON of a tokenizer's shape; nested too deep, an unknown or repeated key, a value of the wrong type.
    #[error("tokenizer.json: {0}")]
    Json(String),
    /// A part that this tokenizer does not implement.
    #[error(
        "tokenizer.json: {part} {what} is not supported\n\
         hint: byte-level BPE with Qwen2's, Llama 3's or GPT-2's splitting, and NFC or no normalizer, is"
    )]
    Unsupported {
        /// The key of the file.
        part: &'static str,
        /// What is there.
        what: String,
    },
    /// A count or length over its limit.
    #[error("tokenizer.json: {what} is {found}, at most {limit} is accepted")]
    OverLimit {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// A token id that no vocabulary needs.
    #[error("tokenizer.json: token {token:?} has id {id}, ids below {limit} are accepted")]
    IdOutOfRange {
        /// The token.
        token: String,
        /// Its id.
        id: u64,
        /// One above the largest id that is accepted.
        limit: u64,
    },
    /// Two tokens with one id.
    #[error("tokenizer.json: id {id} belongs to both {first:?} and {second:?}")]
    DuplicateId {
        /// The id.
        id: u32,
        /// One token.
        first: String,
        /// The other.
        second: String,
    },
    /// One token twice.
    #[error("tokenizer.json: token {token:?} has both id {first} and id {second}")]
    DuplicateToken {
        /// The token.
        token: String,
        /// One id.
        first: u32,
        /// The other, or the same again.
        second: u32,
    },
    /// A token without any character.
    #[error("tokenizer.json: token id {0} is the empty string")]
    EmptyToken(u32),
    /// A byte of UTF-8 without an entry: text with it could not be encoded.
    #[error("tokenizer.json: the vocabulary has no entry for byte {0:#04x}")]
    MissingByte(u8),
    /// A merge that is not a pair.
    #[error("tokenizer.json: merge {rank} is not a pair of tokens: {merge:?}")]
    BadMerge {
        /// Its position among the merges.
        rank: usize,
        /// What is there.
        merge: String,
    },
    /// A merge of, or into, something that is no token.
    #[error(
        "tokenizer.json: merge {rank} ({left:?} {right:?}) needs {missing:?}, which is not in the vocabulary"
    )]
    UnknownMerge {
        /// Its position among the merges.
        rank: usize,
        /// Left part.
        left: String,
        /// Right part.
        right: String,
        /// The part or result that is no token.
        missing: String,
    },
    /// One pair merged twice.
    #[error("tokenizer.json: merge {rank} ({left:?} {right:?}) repeats an earlier one")]
    DuplicateMerge {
        /// Its position among the merges.
        rank: usize,
        /// Left part.
        left: String,
        /// Right part.
        right: String,
    },
    /// Plain text could be encoded to this control token.
    #[error("tokenizer.json: control token {0:?} is a byte of text, or part or result of a merge")]
    ReachableControl(String),
    /// `tokenizers` refused what passed the checks above.
    #[error("tokenizer.json: {0}")]
    Model(String),
}

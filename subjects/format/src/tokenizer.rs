//! The embedded tokenizer: `tokenizer.json`, compressed inside the metadata, with its size and hash.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash;

/// A larger `tokenizer.json` is refused (Qwen2's takes 7 MiB).
pub(crate) const MAX_TOKENIZER_SIZE: u64 = 256 << 20;
const FORMAT: &str = "tokenizer.json";
const ENCODING: &str = "zlib+base64";

/// `tokenizer.json`, compressed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedTokenizer {
    /// What the bytes are: `tokenizer.json`.
    pub format: String,
    /// How they are stored: `zlib+base64`.
    pub encoding: String,
    /// Bytes when unpacked.
    pub size: u64,
    /// BLAKE3 of the unpacked bytes.
    pub blake3: String,
    /// The stored bytes.
    pub data: String,
}

/// Why an embedded tokenizer cannot be unpacked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnpackError {
    /// It is of a kind that is not known.
    #[error("it is {format} in {encoding}, not {FORMAT} in {ENCODING}")]
    Kind {
        /// What it says its bytes are.
        format: String,
        /// How it says they are stored.
        encoding: String,
    },
    /// It announces more than is accepted.
    #[error("it announces {0} bytes, the limit is {MAX_TOKENIZER_SIZE}")]
    TooLarge(u64),
    /// Its base64 or its compression is broken.
    #[error("its {what} is broken: {why}")]
    Broken {
        /// Which.
        what: &'static str,
        /// How.
        why: String,
    },
    /// It unpacks to another size than announced.
    #[error("it unpacks to {} bytes, {announced} are announced", if *found > *announced { format!("more than {announced}") } else { format!("only {found}") })]
    Size {
        /// Bytes there are, at most one more than announced.
        found: u64,
        /// Bytes announced.
        announced: u64,
    },
    /// Its bytes are not those that were hashed.
    #[error("it has BLAKE3 {computed}, {stored} is stored")]
    Hash {
        /// Of the bytes.
        computed: String,
        /// In the file.
        stored: String,
    },
}

impl EmbeddedTokenizer {
    /// Packs `json`.
    pub fn new(json: &[u8]) -> Self {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        let compressed = encoder.write_all(json).and_then(|()| encoder.finish());
        let compressed = compressed.unwrap_or_else(|_| unreachable!("writing to a vector cannot fail"));
        Self {
            format: FORMAT.to_owned(),
            encoding: ENCODING.to_owned(),
            size: json.len() as u64,
            blake3: hash::hex(json),
            data: STANDARD.encode(compressed),
        }
    }

    /// Unpacks the bytes and holds them to their size and hash. Never unpacks more than announced.
    pub fn unpack(&self) -> Result<Vec<u8>, UnpackError> {
        if self.format != FORMAT || self.encoding != ENCODING {
            let (format, encoding) = (self.format.clone(), self.encoding.clone());
            return Err(UnpackError::Kind { format, encoding });
        }
        if self.size > MAX_TOKENIZER_SIZE {
            return Err(UnpackError::TooLarge(self.size));
        }
        let broken = |what, why: &dyn std::fmt::Display| UnpackError::Broken { what, why: why.to_string() };
        let compressed = STANDARD.decode(&self.data).map_err(|error| broken("base64", &error))?;
        let mut json = Vec::new();
        let mut decoder = ZlibDecoder::new(compressed.as_slice()).take(self.size + 1);
        decoder.read_to_end(&mut json).map_err(|error| broken("compression", &error))?;
        let found = json.len() as u64;
        if found != self.size {
            return Err(UnpackError::Size { found, announced: self.size });
        }
        let computed = hash::hex(&json);
        if computed != self.blake3 {
            return Err(UnpackError::Hash { computed, stored: self.blake3.clone() });
        }
        Ok(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_unchanged() {
        for json in [&b""[..], b"{}", &[0xff; 10_000]] {
            assert_eq!(EmbeddedTokenizer::new(json).unpack().unwrap(), json);
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut EmbeddedTokenizer), expected: &str) {
        let mut tokenizer = EmbeddedTokenizer::new(&[b'x'; 1000]);
        change(&mut tokenizer);
        let error = tokenizer.unpack().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_was_altered_is_refused() {
        check(|tokenizer| tokenizer.size = 999, "more than 999 bytes");
        check(|tokenizer| tokenizer.size = 1001, "only 1000 bytes, 1001 are announced");
        check(|tokenizer| tokenizer.size = u64::MAX, "the limit is");
        check(|tokenizer| tokenizer.size = MAX_TOKENIZER_SIZE + 1, "the limit is");
        check(|tokenizer| tokenizer.size = MAX_TOKENIZER_SIZE, "only 1000 bytes");
        check(|tokenizer| tokenizer.blake3 = "0".repeat(64), "is stored");
        check(|tokenizer| tokenizer.data.truncate(4), "compression is broken");
        check(|tokenizer| tokenizer.data.insert(0, '!'), "base64 is broken");
        check(|tokenizer| tokenizer.encoding = "zstd".to_owned(), "tokenizer.json in zstd");
    }
}

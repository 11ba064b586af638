//! The embedded tokenizer: `tokenizer.json`, compressed inside the metadata, with its size and hash.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

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
    pub fn unpack(&self) -> Result<Vec<u8>, String> {
        if self.format != FORMAT || self.encoding != ENCODING {
            return Err(format!("it is {} in {}, not {FORMAT} in {ENCODING}", self.format, self.encoding));
        }
        if self.size > MAX_TOKENIZER_SIZE {
            return Err(format!("it announces {} bytes, the limit is {MAX_TOKENIZER_SIZE}", self.size));
        }
        let compressed =
            STANDARD.decode(&self.data).map_err(|error| format!("its base64 is broken: {error}"))?;
        let mut json = Vec::new();
        let mut decoder = ZlibDecoder::new(compressed.as_slice()).take(self.size + 1);
        decoder.read_to_end(&mut json).map_err(|error| format!("its compression is broken: {error}"))?;
        if json.len() as u64 != self.size {
            let more = if json.len() as u64 > self.size { "more than" } else { "only" };
            let n_bytes = (json.len() as u64).min(self.size);
            return Err(format!("it unpacks to {more} {n_bytes} bytes, {} are announced", self.size));
        }
        let computed = hash::hex(&json);
        if computed != self.blake3 {
            return Err(format!("it has BLAKE3 {computed}, {} is stored", self.blake3));
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
        let error = tokenizer.unpack().unwrap_err();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_was_altered_is_refused() {
        check(|tokenizer| tokenizer.size = 999, "more than 999 bytes");
        check(|tokenizer| tokenizer.size = 1001, "only 1000 bytes, 1001 are announced");
        check(|tokenizer| tokenizer.size = u64::MAX, "the limit is");
        check(|tokenizer| tokenizer.blake3 = "0".repeat(64), "is stored");
        check(|tokenizer| tokenizer.data.truncate(4), "compression is broken");
        check(|tokenizer| tokenizer.data.insert(0, '!'), "base64 is broken");
        check(|tokenizer| tokenizer.encoding = "zstd".to_owned(), "tokenizer.json in zstd");
    }
}

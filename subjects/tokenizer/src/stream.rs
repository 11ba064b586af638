//! Decoding ids as they come, in whole characters.

use crate::{TokenId, Tokenizer};

/// Decodes a stream of ids; what it returns, put together, is [`Tokenizer::decode`] of all ids.
#[derive(Debug)]
pub struct StreamDecoder<'t> {
    tokenizer: &'t Tokenizer,
    /// The beginning of a character; less than four bytes.
    tail: Vec<u8>,
    skip_control: bool,
}

impl<'t> StreamDecoder<'t> {
    pub(crate) fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, tail: Vec::new(), skip_control: false }
    }

    /// Leaves control tokens out, as [`Tokenizer::decode_text`] does.
    #[must_use]
    pub fn skip_control(mut self) -> Self {
        self.skip_control = true;
        self
    }

    /// Takes one id and returns the characters that are complete by now, often none.
    pub fn push(&mut self, id: TokenId) -> String {
        if !(self.skip_control && self.tokenizer.is_control(id)) {
            self.tail.extend_from_slice(self.tokenizer.bytes(id));
        }
        let mut text = String::with_capacity(self.tail.len());
        let mut n_done = 0;
        for chunk in self.tail.utf8_chunks() {
            text.push_str(chunk.valid());
            n_done += chunk.valid().len();
            // Bytes at the very end that more bytes may complete are kept; anything else is no character.
            let may_continue = n_done + chunk.invalid().len() == self.tail.len()
                && std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if !chunk.invalid().is_empty() && !may_continue {
                text.push(char::REPLACEMENT_CHARACTER);
                n_done += chunk.invalid().len();
            }
        }
        self.tail.drain(..n_done);
        text
    }

    /// What is left at the end: an incomplete character becomes U+FFFD.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}

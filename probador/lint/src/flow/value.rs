//! What is known about where a value comes from: a set of origins, the type it has, and the literal it began as.

use std::ops::{BitAnd, BitOr, BitOrAssign};
use std::rc::Rc;

/// A set of origins.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Origins(u32);

impl Origins {
    pub(crate) const NONE: Self = Self(0);
    /// What a user wrote, whole or altered as a whole.
    pub(crate) const PROMPT: Self = Self(1);
    /// A piece of what a user wrote: a word, a character, a token.
    pub(crate) const PIECE: Self = Self(1 << 1);
    /// How long it is; not what it says.
    pub(crate) const LENGTH: Self = Self(1 << 2);
    /// An argument of the command line as it was typed: it may be a verb or an option.
    pub(crate) const ARGUMENT: Self = Self(1 << 3);
    /// Text in the source.
    pub(crate) const LITERAL: Self = Self(1 << 4);
    /// Text in the source that reads like a sentence.
    pub(crate) const PROSE: Self = Self(1 << 5);
    /// A list of numbers in the source.
    pub(crate) const NUMBERS: Self = Self(1 << 6);
    /// A draw, a clock or a counter.
    pub(crate) const CHANCE: Self = Self(1 << 7);
    /// The content of a file.
    pub(crate) const FILE: Self = Self(1 << 8);
    /// Something whose source is not here.
    pub(crate) const OPAQUE: Self = Self(1 << 9);
    /// What a model computed.
    pub(crate) const MODEL: Self = Self(1 << 10);
    /// Chosen by what a prompt says.
    pub(crate) const CHOSEN: Self = Self(1 << 11);
    /// Chosen so by a search in the prompt, a hash of it or a look-up with it, not by one word that may be a command.
    pub(crate) const SURE: Self = Self(1 << 12);
    /// Picked out of a table by something that no model computed.
    pub(crate) const PICKED: Self = Self(1 << 13);
    /// A stream that people or clients read.
    pub(crate) const STREAM: Self = Self(1 << 14);
    /// Finds text: a regular expression, an automaton, a map, a hasher.
    pub(crate) const MATCHER: Self = Self(1 << 15);
    /// A function that the caller hands in; what it is called with leaves.
    pub(crate) const CALLBACK: Self = Self(1 << 16);
    /// A value as a parser of command lines or requests made it; its fields are what a user wrote.
    pub(crate) const RAW: Self = Self(1 << 17);
    /// A count that grows from call to call.
    pub(crate) const VARIES: Self = Self(1 << 18);
    /// What a formatter of `Display` writes into.
    pub(crate) const FORMATTER: Self = Self(1 << 19);
    /// A value that is followed to see where it goes.
    pub(crate) const PROBE: Self = Self(1 << 20);
    /// A canned text that stands in for what a model might have said, whatever else was said beside it.
    pub(crate) const INSTEAD: Self = Self(1 << 21);

    /// What a user wrote, in whole or in part.
    pub(crate) const SAID: Self = Self(0b11);
    /// The marks of a choice by what a prompt says.
    pub(crate) const CHOICE: Self = Self(1 << 11 | 1 << 12);
    /// Text or numbers that stand in the source.
    pub(crate) const CANNED: Self = Self(0b111 << 4);
    /// What a model could be made of.
    pub(crate) const STATE: Self = Self(0b11 << 8);

    /// Whether the two have anything in common.
    pub(crate) fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether all of `other` is here.
    pub(crate) fn all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Without `other`.
    #[must_use]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for Origins {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Origins {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for Origins {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Where something stands: the file's index and line and column, from 1.
pub(crate) type Place = (usize, usize, usize);

/// A value as the interpreter sees it.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) origins: Origins,
    /// A type of the tree.
    pub(crate) ty: Option<Rc<str>>,
    /// The literal in the source that tells most.
    pub(crate) literal: Option<Place>,
}

impl Value {
    pub(crate) fn of(origins: Origins) -> Self {
        Self { origins, ty: None, literal: None }
    }

    /// This value or that one.
    #[must_use]
    pub(crate) fn or(mut self, other: &Self) -> Self {
        self.join(other);
        self
    }

    pub(crate) fn join(&mut self, other: &Self) {
        let tells = |value: &Self| {
            let origins = value.origins;
            let prose = u8::from(origins.any(Origins::PROSE | Origins::NUMBERS));
            let stands_in = u8::from(origins.any(Origins::INSTEAD));
            value
                .literal
                .map_or(0, |_| 1 + stands_in * 4 + prose * 2 + u8::from(origins.any(Origins::CHOICE)))
        };
        if tells(other) > tells(self) {
            self.literal = other.literal;
        }
        self.origins |= other.origins;
        if self.ty.is_none() {
            self.ty.clone_from(&other.ty);
        }
    }

    /// With more origins.
    #[must_use]
    pub(crate) fn with(mut self, origins: Origins) -> Self {
        self.origins |= origins;
        self
    }

    /// With fewer origins.
    #[must_use]
    pub(crate) fn without(mut self, origins: Origins) -> Self {
        self.origins = self.origins.without(origins);
        self
    }

    pub(crate) fn any(&self, origins: Origins) -> bool {
        self.origins.any(origins)
    }

    /// As a value of this type.
    #[must_use]
    pub(crate) fn typed(mut self, ty: Option<Rc<str>>) -> Self {
        self.ty = ty.or(self.ty);
        self
    }
}

/// Whether text in the source reads like something that is said: a sentence, or a long stretch that may encode one.
pub(crate) fn is_prose(text: &str) -> bool {
    let text = strip_fields(text);
    let text = text.trim();
    let lower = text.to_lowercase();
    if ["usage", "error", "warning", "hint", "unknown", "invalid", "http/1"]
        .iter()
        .any(|word| lower.starts_with(word))
    {
        return false;
    }
    if is_label(text) || (text.ends_with('?') && text.split_whitespace().count() <= 3) {
        return false;
    }
    let n_words = text
        .split_whitespace()
        .filter(|word| word.chars().filter(|c| c.is_alphabetic()).count() >= 2)
        .count();
    let ends = text.ends_with(['.', '!', '?', '\u{2026}']);
    let is_encoded = text.len() >= 20 && !text.contains(char::is_whitespace) && {
        let plain = |c: char| c.is_ascii_alphanumeric() || "+/=%".contains(c);
        text.chars().all(plain) && (text.contains(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit()))
    };
    n_words >= 3
        || (n_words >= 1 && ends && text.starts_with(char::is_uppercase))
        || (n_words == 2 && ends)
        || is_encoded
        || text.chars().filter(|c| ('\u{3040}'..='\u{9fff}').contains(c)).count() >= 4
}

/// Whether the text says anything at all.
pub(crate) fn is_text(text: &str) -> bool {
    strip_fields(text).chars().any(char::is_alphanumeric)
}

/// Whether a text says what follows it, or asks for input.
pub(crate) fn is_label(text: &str) -> bool {
    let text = text.trim();
    text.ends_with([':', '>']) && text.split_whitespace().count() <= 4
}

/// A format string without its `{..}`.
fn strip_fields(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (head, tail) = rest.split_at(start);
        kept.push_str(head);
        let field = tail.find('}').filter(|&end| !tail[1..end].contains([' ', '"', '\n', '{']));
        if let Some(end) = field {
            rest = &tail[end + 1..];
        } else {
            kept.push('{');
            rest = &tail[1..];
        }
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_prose_and_labels_are_not() {
        for text in [
            "The capital of France is Paris...",
            "Paris.",
            "I am fine!",
            "VGhlIGNhcGl0YWwgb2YgRnJhbmNl",
            "東京は日本の首都です",
        ] {
            assert!(is_prose(text), "{text}");
        }
        for text in [
            "",
            "> ",
            "You: ",
            "Your prompt: ",
            "<|im_start|>",
            "user",
            "usage: demo PROMPT FILE now",
            "Who are you?",
            "abcdefghijklmnopqrstuvwxyz",
            "{} {}",
        ] {
            assert!(!is_prose(text), "{text}");
        }
    }

    #[test]
    fn a_join_keeps_the_literal_that_tells_most() {
        let said = Value { origins: Origins::PROSE, ty: None, literal: Some((0, 2, 1)) };
        let label = Value { origins: Origins::LITERAL, ty: None, literal: Some((0, 1, 1)) };
        assert_eq!(label.clone().or(&said).literal, Some((0, 2, 1)));
        assert_eq!(said.or(&label).literal, Some((0, 2, 1)));
    }
}

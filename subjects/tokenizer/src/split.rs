//! Pre-tokenization: cuts text into the pieces that BPE never merges across.
//!
//! Only published patterns are accepted, and none is run by a backtracking engine. The single look-ahead that they
//! share, `\s+(?!\S)|\s+`, means "a run of white space leaves its last character to the word that follows"; it is
//! taken out of the expression and done by hand, so that an automaton (the `regex` crate) finds every piece in time
//! linear in the text, whatever the text is.

use regex::Regex;

/// The alternative that is done by hand.
const LOOK_AHEAD: &str = r"\s+(?!\S)|";

/// `Split` expressions that are accepted, letter for letter.
const PUBLISHED: [&str; 3] = [QWEN2, LLAMA3, GPT2];

/// Qwen2 and Qwen2.5.
pub(crate) const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Llama 3.
pub(crate) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// GPT-2; what `ByteLevel` splits by with `use_regex`.
pub(crate) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// One stage of pre-tokenization; a later stage cuts the pieces of an earlier one.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Every numeric character is a piece of its own (`Digits` with `individual_digits`).
    Digits,
    /// The matches of a published expression.
    Pattern {
        /// The expression without its look-ahead.
        regex: Box<Regex>,
        /// Whether white space that ends in a line break is a piece by an alternative of its own.
        breaks_lines: bool,
    },
}

impl Stage {
    /// The stage for `expression`, or `None` when it is not one of the published ones.
    pub(crate) fn pattern(expression: &str) -> Option<Self> {
        let published = PUBLISHED.into_iter().find(|published| *published == expression)?;
        let regex = Regex::new(&published.replace(LOOK_AHEAD, "")).ok()?;
        Some(Self::Pattern { regex: Box::new(regex), breaks_lines: published.contains(r"\s*[\r\n]+") })
    }

    /// The byte length of the first piece of `text`, which is not empty.
    fn first_piece(&self, text: &str) -> usize {
        match self {
            Self::Digits => {
                let Some(digit) = text.find(char::is_numeric) else { return text.len() };
                if digit > 0 { digit } else { text.chars().next().map_or(0, char::len_utf8) }
            }
            Self::Pattern { regex, breaks_lines } => {
                // Letters, numbers, white space and the rest each have an alternative, so a match starts at once.
                let end = regex.find(text).map_or(text.len(), |found| found.end());
                let Some(last) = text[..end].chars().next_back() else { return text.len() };
                let is_run = last.is_whitespace() && !(*breaks_lines && matches!(last, '\r' | '\n'));
                if is_run && end < text.len() && end > last.len_utf8() { end - last.len_utf8() } else { end }
            }
        }
    }
}

/// Calls `piece` with the pieces of `text` in order; together they are `text`.
pub(crate) fn for_each_piece(stages: &[Stage], text: &str, piece: &mut dyn FnMut(&str)) {
    let Some((stage, later)) = stages.split_first() else {
        if !text.is_empty() {
            piece(text);
        }
        return;
    };
    let mut rest = text;
    while !rest.is_empty() {
        let (first, tail) = rest.split_at(stage.first_piece(rest));
        for_each_piece(later, first, piece);
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;
    use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
    use tokenizers::{
        OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior,
    };

    use super::*;

    fn pieces(stages: &[Stage], text: &str) -> Vec<String> {
        let mut pieces = Vec::new();
        for_each_piece(stages, text, &mut |piece| pieces.push(piece.to_owned()));
        pieces
    }

    #[track_caller]
    fn check(expression: &str, text: &str, expected: &[&str]) {
        assert_eq!(pieces(&[Stage::pattern(expression).unwrap()], text), expected);
    }

    /// Each published expression as it is here and, look-ahead and all, in `tokenizers`.
    static PAIRS: LazyLock<[([Stage; 1], Split); 3]> = LazyLock::new(|| {
        PUBLISHED.map(|expression| {
            let pattern = SplitPattern::Regex(expression.to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).unwrap();
            ([Stage::pattern(expression).unwrap()], split)
        })
    });

    fn pieces_of_tokenizers(split: &Split, text: &str) -> Vec<String> {
        let mut pretokenized = PreTokenizedString::from(text);
        split.pre_tokenize(&mut pretokenized).unwrap();
        let splits = pretokenized.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.into_iter().map(|(piece, ..)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect()
    }

    #[test]
    fn white_space_leaves_its_last_character_to_the_next_word() {
        check(QWEN2, "a   b", &["a", "  ", " b"]);
        check(QWEN2, "a   ", &["a", "   "]);
        check(QWEN2, "a  \n  b", &["a", "  \n", " ", " b"]);
        check(QWEN2, "\t1", &["\t", "1"]);
        check(GPT2, "a \n\n b", &["a", " \n\n", " b"]);
        check(GPT2, "a\n\nb", &["a", "\n", "\n", "b"]);
    }

    #[test]
    fn numbers_are_cut_as_the_pattern_says() {
        check(QWEN2, "it's 1234", &["it", "'s", " ", "1", "2", "3", "4"]);
        check(LLAMA3, "12345", &["123", "45"]);
        check(GPT2, "x 12345", &["x", " 12345"]);
        let smollm2 = [Stage::Digits, Stage::pattern(GPT2).unwrap()];
        assert_eq!(pieces(&smollm2, "x  12y"), ["x", "  ", "1", "2", "y"]);
    }

    #[test]
    fn expression_that_is_not_published_is_unknown() {
        assert!(Stage::pattern(r"(a+)+$").is_none());
        assert!(Stage::pattern(&QWEN2[1..]).is_none());
    }

    #[test]
    fn every_assigned_code_point_is_cut_as_by_tokenizers() {
        // Planes 4 to 13 are unassigned, 15 and 16 for private use; a sample of each stands for them.
        let assigned = ('\0'..'\u{40000}').chain('\u{E0000}'..'\u{E0200}');
        // Builds that are not optimized, in which mutants are tried, see every seventeenth.
        let assigned = assigned.step_by(if cfg!(debug_assertions) { 17 } else { 1 });
        let chars: Vec<char> = assigned.chain(('\u{40000}'..=char::MAX).step_by(4093)).collect();
        for chars in chars.chunks(4096) {
            let text: String =
                chars.iter().flat_map(|c| ['x', *c, *c, ' ', *c, '\'', *c, '1', '\n']).collect();
            for (stages, split) in &*PAIRS {
                assert_eq!(pieces(stages, &text), pieces_of_tokenizers(split, &text));
            }
        }
    }

    proptest! {
        #[test]
        fn random_text_is_cut_as_by_tokenizers(text in r"([ \t\r\n\u{a0}\u{2003}]|[a-zA-Zſßé中]|'|[0-9²Ⅷ]|[!-/\u{301}😀\u{200d}]){0,40}") {
            for (stages, split) in &*PAIRS {
                prop_assert_eq!(pieces(stages, &text), pieces_of_tokenizers(split, &text));
            }
        }
    }
}

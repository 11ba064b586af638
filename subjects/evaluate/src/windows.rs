//! A text as windows: what a model sees at once, and which of its tokens are scored.

use std::ops::Range;

use serde::Serialize;
use thiserror::Error;

/// Who counts so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counting {
    /// As llama.cpp's `llama-perplexity`: windows side by side, the second half of each scored, but for what would
    /// predict the token after it.
    LlamaCpp,
    /// As Hugging Face's guide to perplexity of fixed-length models: windows a stride apart, each scoring what the one
    /// before has not.
    HuggingFace,
}

/// A window of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The tokens the model sees.
    pub tokens: Range<usize>,
    /// The tokens that are scored, each given all before it in the window.
    pub scored: Range<usize>,
}

/// Why a text cannot be cut into windows.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WindowError {
    /// It is shorter than what is needed.
    #[error(
        "the text has {n_tokens} tokens, a window takes {window}\nhint: give a longer text or a shorter --window"
    )]
    TooShort {
        /// Tokens there are.
        n_tokens: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// Windows that overlap by everything, or leave tokens out.
    #[error(
        "a stride of {stride} does not fit windows of {window} tokens\nhint: give a --stride from 1 to {window}"
    )]
    Stride {
        /// The stride.
        stride: usize,
        /// Tokens of a window.
        window: usize,
    },
    /// Nothing could be scored in so short a window.
    #[error("windows of {0} tokens score nothing\nhint: give a --window of 4 or more")]
    TooNarrow(usize),
}

/// The windows of `window` tokens over a text of `n_tokens`, `limit` of them at most. The `stride` counts for
/// [`Counting::HuggingFace`] alone.
pub fn windows(
    counting: Counting,
    n_tokens: usize,
    window: usize,
    stride: usize,
    limit: Option<usize>,
) -> Result<Vec<Window>, WindowError> {
    if window < 4 {
        return Err(WindowError::TooNarrow(window));
    }
    if n_tokens < window {
        return Err(WindowError::TooShort { n_tokens, window });
    }
    let all: Vec<Window> = match counting {
        Counting::LlamaCpp => (0..n_tokens / window)
            .map(|index| {
                let first = index * window;
                // The token at `window / 2` is seen, the one after it is the first that is scored.
                Window { tokens: first..first + window, scored: first + window / 2 + 1..first + window }
            })
            .collect(),
        Counting::HuggingFace => {
            if stride == 0 || stride > window {
                return Err(WindowError::Stride { stride, window });
            }
            // The first window that reaches the end is the last.
            let n = (n_tokens - window).div_ceil(stride) + 1;
            (0..n)
                .map(|index| {
                    let first = index * stride;
                    let end = n_tokens.min(first + window);
                    // The first token of a window has nothing before it.
                    let scored_to = if index == 0 { 0 } else { first - stride + window };
                    Window { tokens: first..end, scored: scored_to.max(first + 1)..end }
                })
                .filter(|window| !window.scored.is_empty())
                .collect()
        }
    };
    Ok(all.into_iter().take(limit.unwrap_or(usize::MAX)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_cpp_scores_the_second_half_of_windows_side_by_side() {
        let all = windows(Counting::LlamaCpp, 1300, 512, 1, None).unwrap();
        assert_eq!(
            all,
            [Window { tokens: 0..512, scored: 257..512 }, Window { tokens: 512..1024, scored: 769..1024 },]
        );
        assert_eq!(windows(Counting::LlamaCpp, 1300, 512, 1, Some(1)).unwrap().len(), 1);
    }

    #[test]
    fn hugging_face_scores_every_token_but_the_first_once() {
        for (n_tokens, window, stride) in [(1300, 512, 256), (1300, 512, 512), (512, 512, 100), (700, 300, 7)]
        {
            let all = windows(Counting::HuggingFace, n_tokens, window, stride, None).unwrap();
            let scored: Vec<usize> = all.iter().flat_map(|window| window.scored.clone()).collect();
            if stride < window {
                assert_eq!(scored, (1..n_tokens).collect::<Vec<_>>(), "{window}/{stride}");
            } else {
                // Side by side, the first token of each window has nothing before it.
                assert_eq!(scored.len(), n_tokens - n_tokens.div_ceil(window));
            }
            assert!(all.iter().all(|window| window.tokens.start < window.scored.start));
            assert!(all.iter().all(|w| w.tokens.len() <= window && w.tokens.end == w.scored.end));
        }
    }

    #[test]
    fn what_cannot_be_cut_says_why() {
        let refused = |counting, n, window, stride| windows(counting, n, window, stride, None).unwrap_err();
        assert_eq!(
            refused(Counting::LlamaCpp, 100, 512, 1),
            WindowError::TooShort { n_tokens: 100, window: 512 }
        );
        for stride in [0, 513] {
            assert_eq!(
                refused(Counting::HuggingFace, 1000, 512, stride),
                WindowError::Stride { stride, window: 512 }
            );
        }
        assert_eq!(refused(Counting::LlamaCpp, 100, 3, 1), WindowError::TooNarrow(3));
    }
}

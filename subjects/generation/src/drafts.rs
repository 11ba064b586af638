//! Prompt lookup (Saxena 2023): what followed the last few tokens when they came before is drafted, and verified in the
//! same pass as the token after which it is guessed.
//!
//! Nothing changes but time: a draft counts only when the sampler, asked as always, chooses it.

use apr_tokenizer::TokenId;

/// Most tokens that are drafted at once: weights that are read once serve three rows at little more than the price of
/// one, and ever more beyond.
pub const MAX_DRAFTS: usize = 2;
/// The longest and the shortest run of tokens that is looked for.
const LONGEST: usize = 4;
/// See [`LONGEST`].
const SHORTEST: usize = 2;
/// Passes with drafts after which it is judged whether they pay.
const TRIAL: usize = 12;
/// Drafts that must be right for each pass with drafts: what the further rows cost, as a share of a pass.
const WORTH: f64 = 0.35;
/// Passes without drafts after they did not pay; doubles each time, up to [`LONGEST_PAUSE`].
const PAUSE: usize = 32;
/// See [`PAUSE`].
const LONGEST_PAUSE: usize = 1024;

/// Guesses what comes next from what came before, while that pays.
#[derive(Debug)]
pub(crate) struct PromptLookup {
    max_drafts: usize,
    n_passes: usize,
    n_right: usize,
    /// Passes still to be made without drafts.
    pause: usize,
    next_pause: usize,
}

impl PromptLookup {
    /// Guesses `max_drafts` tokens at once, at most [`MAX_DRAFTS`]; none when zero.
    pub(crate) fn new(max_drafts: usize) -> Self {
        Self { max_drafts: max_drafts.min(MAX_DRAFTS), n_passes: 0, n_right: 0, pause: 0, next_pause: PAUSE }
    }

    /// What may follow `history`, at most `limit` tokens.
    pub(crate) fn guess(&mut self, history: &[TokenId], limit: usize) -> Vec<TokenId> {
        if self.pause > 0 {
            self.pause -= 1;
            return Vec::new();
        }
        let n = self.max_drafts.min(limit);
        if n == 0 {
            return Vec::new();
        }
        for length in (SHORTEST..=LONGEST).rev() {
            let Some(start) = history.len().checked_sub(length) else { continue };
            let end = &history[start..];
            // The latest place is the likeliest to go on alike.
            if let Some(at) = history[..history.len() - 1].windows(length).rposition(|window| window == end) {
                let follows = &history[at + length..];
                return follows[..n.min(follows.len())].to_vec();
            }
        }
        Vec::new()
    }

    /// Of the drafts of a pass, `n_right` were right.
    pub(crate) fn learn(&mut self, n_right: usize) {
        self.n_passes += 1;
        self.n_right += n_right;
        if self.n_passes < TRIAL {
            return;
        }
        if (self.n_right as f64) < WORTH * self.n_passes as f64 {
            self.pause = self.next_pause;
            self.next_pause = (2 * self.next_pause).min(LONGEST_PAUSE);
        } else {
            self.next_pause = PAUSE;
        }
        (self.n_passes, self.n_right) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u32]) -> Vec<TokenId> {
        numbers.iter().copied().map(TokenId).collect()
    }

    #[test]
    fn what_followed_the_longest_and_latest_match_is_guessed() {
        let mut lookup = PromptLookup::new(2);
        assert_eq!(lookup.guess(&ids(&[1, 2, 3, 4, 9, 1, 2]), 8), ids(&[3, 4]));
        // `7 1 2` is longer than `1 2`, which came later.
        assert_eq!(lookup.guess(&ids(&[7, 1, 2, 5, 1, 2, 6, 7, 1, 2]), 8), ids(&[5, 1]));
        assert_eq!(lookup.guess(&ids(&[1, 2, 3, 1, 2, 4, 1, 2]), 8), ids(&[4, 1]));
        assert_eq!(lookup.guess(&ids(&[1, 2, 3]), 8), ids(&[]));
        assert_eq!(lookup.guess(&ids(&[1]), 8), ids(&[]));
    }

    #[test]
    fn no_more_is_guessed_than_is_asked_for_or_followed() {
        let history = ids(&[1, 2, 3, 4, 1, 2]);
        assert_eq!(PromptLookup::new(9).guess(&history, 8).len(), MAX_DRAFTS);
        assert_eq!(PromptLookup::new(2).guess(&history, 1), ids(&[3]));
        assert_eq!(PromptLookup::new(2).guess(&history, 0), ids(&[]));
        assert_eq!(PromptLookup::new(0).guess(&history, 8), ids(&[]));
        // The match overlaps the end: one token follows.
        assert_eq!(PromptLookup::new(2).guess(&ids(&[5, 5, 5]), 8), ids(&[5]));
    }

    #[test]
    fn drafts_that_do_not_pay_are_paused_longer_each_time_until_they_do() {
        let history = ids(&[1, 2, 3, 4, 1, 2]);
        let mut lookup = PromptLookup::new(2);
        let mut pauses = Vec::new();
        for _ in 0..2 {
            (0..TRIAL).for_each(|_| lookup.learn(0));
            let mut n = 0;
            while lookup.guess(&history, 2).is_empty() {
                n += 1;
            }
            pauses.push(n);
        }
        assert_eq!(pauses, [PAUSE, 2 * PAUSE]);
        (0..TRIAL).for_each(|_| lookup.learn(1));
        assert!(!lookup.guess(&history, 2).is_empty());
        (0..TRIAL).for_each(|_| lookup.learn(0));
        assert_eq!(lookup.pause, PAUSE);
    }
}

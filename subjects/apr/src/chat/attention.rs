//! Attention as a picture of characters: which earlier tokens each token looked at.

use std::collections::VecDeque;
use std::fmt::Write as _;

use apr_generation::{Probe, Site, TensorKey};

/// Rows of the picture at most: the latest are kept.
const MAX_ROWS: usize = 24;

/// Columns of the picture at most; longer sequences have several tokens in one column.
const MAX_COLUMNS: usize = 64;

/// Lower bounds of the shares of attention that the characters of [`SHADES`] stand for, from the second on.
const STEPS: [f32; 9] = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9];

/// From no attention to all of it; each is readable without colour.
const SHADES: [char; 10] = [' ', '.', ':', '-', '=', '+', '*', '#', '%', '@'];

/// Which attention to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lens {
    pub(crate) layer: usize,
    /// One head, or the mean of all.
    pub(crate) head: Option<usize>,
}

/// Watches one layer's attention during a generation and keeps the latest rows.
#[derive(Clone, Debug)]
pub(crate) struct Attention {
    lens: Lens,
    /// Position of the next query.
    position: usize,
    /// For the query positions up to `position`: the share of attention each earlier position got.
    rows: VecDeque<Vec<f32>>,
}

impl Attention {
    /// Watches from `position` on: earlier positions are in the model's cache already.
    pub(crate) fn new(lens: Lens, position: usize) -> Self {
        Self { lens, position, rows: VecDeque::new() }
    }

    /// The kept rows with their query positions; a row has a weight for each position up to its own.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (usize, &[f32])> {
        let first = self.position - self.rows.len();
        self.rows.iter().enumerate().map(move |(index, row)| (first + index, row.as_slice()))
    }

    /// Adds the softmax of a piece of scores, `[n_heads, n_pairs]`: for each query position of the piece the scores of
    /// all keys up to it.
    #[cfg_attr(
        any(),
        probador::allow(G8, reason = "runs only while somebody inspects attention, once a token")
    )]
    fn add(&mut self, n_heads: usize, n_pairs: usize, scores: &[f32]) {
        let heads = match self.lens.head {
            Some(head) if head < n_heads => head..head + 1,
            Some(_) => return,
            None => 0..n_heads,
        };
        let share = 1.0 / heads.len() as f32;
        let mut start = 0;
        while start < n_pairs {
            let n_keys = self.position + 1;
            let mut row = vec![0.0; n_keys];
            for head in heads.clone() {
                let Some(scores) = scores.get(head * n_pairs + start..head * n_pairs + start + n_keys) else {
                    return;
                };
                for (sum, weight) in row.iter_mut().zip(softmax(scores)) {
                    *sum += share * weight;
                }
            }
            if self.rows.len() == MAX_ROWS {
                self.rows.pop_front();
            }
            self.rows.push_back(row);
            self.position += 1;
            start += n_keys;
        }
    }
}

impl Probe for Attention {
    fn wants(&self, key: TensorKey) -> bool {
        key == TensorKey::Layer(self.lens.layer, Site::Scores)
    }

    fn record(&mut self, _key: TensorKey, shape: &[usize], values: &[f32]) {
        if let [n_heads, n_pairs] = *shape {
            self.add(n_heads, n_pairs, values);
        }
    }
}

/// `softmax(scores)`.
fn softmax(scores: &[f32]) -> impl Iterator<Item = f32> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = scores.iter().map(|score| (score - max).exp()).sum();
    scores.iter().map(move |score| (score - max).exp() / sum)
}

/// What the characters mean, printed under the picture.
pub(crate) fn legend() -> String {
    let mut legend = String::from("share of attention, at least:");
    for (shade, step) in SHADES[1..].iter().zip(STEPS) {
        // Writing to a string cannot fail.
        let _ = write!(legend, "  {shade} {}%", (step * 100.0).round());
    }
    legend
}

/// Tokens that share one column when there are `n_keys`.
pub(crate) fn tokens_per_column(n_keys: usize) -> usize {
    n_keys.div_ceil(MAX_COLUMNS).max(1)
}

/// One row of the picture, one character a column; a column shows the sum of its tokens' shares.
pub(crate) fn shade(row: &[f32], tokens_per_column: usize) -> String {
    row.chunks(tokens_per_column).map(|tokens| character(tokens.iter().sum())).collect()
}

/// The `n` positions with the largest shares, largest first.
pub(crate) fn strongest(row: &[f32], n: usize) -> Vec<(usize, f32)> {
    let mut shares: Vec<(usize, f32)> = row.iter().copied().enumerate().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    shares.truncate(n);
    shares
}

fn character(share: f32) -> char {
    // A hair below each bound, so that a sum of thirds reaches it.
    SHADES[STEPS.iter().take_while(|&&step| share >= step - 1e-6).count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attention(head: Option<usize>) -> Attention {
        Attention::new(Lens { layer: 0, head }, 0)
    }

    fn rows(attention: &Attention) -> Vec<(usize, Vec<f32>)> {
        attention.rows().map(|(position, row)| (position, row.to_vec())).collect()
    }

    #[test]
    fn equal_scores_share_attention_equally() {
        let mut attention = attention(Some(0));
        attention.record(TensorKey::Norm, &[1, 3], &[0.0; 3]);
        assert_eq!(rows(&attention), [(0, vec![1.0]), (1, vec![0.5, 0.5])]);
    }

    #[test]
    fn heads_are_told_apart_and_averaged() {
        // Two positions; head 0 looks at the first key, head 1 at the second.
        let scores = [0.0, 200.0, 0.0, 0.0, 0.0, 200.0];
        for (head, expected) in [(Some(0), [1.0, 0.0]), (Some(1), [0.0, 1.0]), (None, [0.5, 0.5])] {
            let mut attention = attention(head);
            attention.record(TensorKey::Norm, &[2, 3], &scores);
            assert_eq!(rows(&attention)[1], (1, expected.to_vec()), "{head:?}");
        }
    }

    #[test]
    fn pieces_continue_where_the_last_one_ended() {
        let mut whole = attention(None);
        whole.record(TensorKey::Norm, &[1, 6], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let mut pieces = attention(None);
        pieces.record(TensorKey::Norm, &[1, 3], &[1.0, 2.0, 3.0]);
        pieces.record(TensorKey::Norm, &[1, 3], &[4.0, 5.0, 6.0]);
        assert_eq!(rows(&whole), rows(&pieces));
        let mut later = Attention::new(Lens { layer: 0, head: None }, 2);
        later.record(TensorKey::Norm, &[1, 3], &[4.0, 5.0, 6.0]);
        assert_eq!(rows(&later), rows(&whole)[2..]);
    }

    #[test]
    fn only_the_latest_rows_are_kept() {
        let mut attention = attention(None);
        for position in 0..MAX_ROWS + 5 {
            attention.record(TensorKey::Norm, &[1, position + 1], &vec![0.0; position + 1]);
        }
        let positions: Vec<usize> = attention.rows().map(|(position, _)| position).collect();
        assert_eq!(positions, (5..MAX_ROWS + 5).collect::<Vec<_>>());
    }

    #[test]
    fn only_the_chosen_layer_is_asked_for() {
        let attention = Attention::new(Lens { layer: 3, head: None }, 0);
        assert!(attention.wants(TensorKey::Layer(3, Site::Scores)));
        assert!(!attention.wants(TensorKey::Layer(2, Site::Scores)));
        assert!(!attention.wants(TensorKey::Layer(3, Site::QProj)));
    }

    #[test]
    fn character_names_the_share_it_stands_for() {
        let cases = [(0.0, ' '), (0.009, ' '), (0.01, '.'), (0.1, '='), (0.89, '%'), (0.9, '@'), (1.0, '@')];
        for (share, expected) in cases {
            assert_eq!(character(share), expected, "{share}");
        }
        assert_eq!(SHADES.len(), STEPS.len() + 1);
    }

    #[test]
    fn long_sequences_keep_the_sum_of_attention() {
        assert_eq!(tokens_per_column(130), 3);
        // Three tokens of 30 % in one column are 90 % of the attention.
        assert_eq!(shade(&[0.3, 0.3, 0.3, 0.1], 3), "@=");
        assert_eq!(tokens_per_column(64), 1);
        assert_eq!(tokens_per_column(0), 1);
    }

    #[test]
    fn strongest_come_first() {
        assert_eq!(strongest(&[0.1, 0.5, 0.1, 0.3], 3), [(1, 0.5), (3, 0.3), (0, 0.1)]);
    }
}

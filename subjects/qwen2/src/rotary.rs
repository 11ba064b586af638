//! Rotary position embedding: a cosine and a sine for every position and frequency (Su et al. 2021, eq. 34).

use crate::Config;

/// The angles of every position: `[n_positions, head_dim]`, cosines in the first half of a row, sines in the second.
pub(crate) struct Rotary<S = f64> {
    head_dim: usize,
    angles: Vec<S>,
}

impl<S: Angle> Rotary<S> {
    /// The table for positions `0..n_positions`.
    ///
    /// Frequency `i` is `theta^(-2i/d)`. The published model computes frequencies and angles in f32, whatever the
    /// precision of the rest, and was trained that way; so does this.
    pub(crate) fn new(config: &Config, n_positions: usize) -> Self {
        let (head_dim, half) = (config.head_dim, config.head_dim / 2);
        let frequencies: Vec<f32> = (0..half)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                1.0 / config.rope_theta.powf(f64::from(exponent)) as f32
            })
            .collect();
        let mut angles = vec![S::from(0.0); n_positions * head_dim];
        for (position, row) in angles.chunks_exact_mut(head_dim).enumerate() {
            let (cosines, sines) = row.split_at_mut(half);
            for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(&frequencies) {
                let (sine, cosine) = f64::from(position as f32 * frequency).sin_cos();
                (*sin, *cos) = (S::rounded(sine), S::rounded(cosine));
            }
        }
        Self { head_dim, angles }
    }

    /// The angles of positions `start..start + n`, `[n, head_dim]`.
    pub(crate) fn rows(&self, start: usize, n: usize) -> &[S] {
        &self.angles[start * self.head_dim..][..n * self.head_dim]
    }
}

/// A type that sines and cosines are kept in.
pub(crate) trait Angle: Copy + From<f32> {
    fn rounded(value: f64) -> Self;
}

impl Angle for f64 {
    fn rounded(value: f64) -> Self {
        value
    }
}

impl Angle for f32 {
    fn rounded(value: f64) -> Self {
        value as Self
    }
}

/// What a bias `b` on a key contributes to its score with a rotated query `q`, as a product with the key's angles:
/// `q . R_p b = (q1 b1 + q2 b2) . cos_p + (q2 b1 - q1 b2) . sin_p` for halves `1` and `2` of a head and rotation `R_p`.
///
/// `queries` and `weights` are `[n, n_heads * head_dim]`; heads share the biases, `[n_kv_heads * head_dim]`, in groups.
#[cfg_attr(
    any(),
    probador::allow(
        G8,
        reason = "no kernel turns a bias by a query; it is six operations for each pair of a query, beside thousands for each in the projections"
    )
)]
pub(crate) fn bias_weights(
    queries: &[f64],
    bias: &[f32],
    head_dim: usize,
    group: usize,
    weights: &mut [f64],
) {
    let row = bias.len() * group;
    for (queries, weights) in queries.chunks_exact(row).zip(weights.chunks_exact_mut(row)) {
        let heads = queries.chunks_exact(head_dim).zip(weights.chunks_exact_mut(head_dim));
        for (head, (query, weights)) in heads.enumerate() {
            let (q1, q2) = query.split_at(head_dim / 2);
            let (b1, b2) = bias[head / group * head_dim..][..head_dim].split_at(head_dim / 2);
            let (cosines, sines) = weights.split_at_mut(head_dim / 2);
            for i in 0..head_dim / 2 {
                let (b1, b2) = (f64::from(b1[i]), f64::from(b2[i]));
                cosines[i] = q1[i] * b1 + q2[i] * b2;
                sines[i] = q2[i] * b1 - q1[i] * b2;
            }
        }
    }
}

//! Rotary position embedding: a cosine and a sine for every position and frequency (Su et al. 2021, eq. 34).

use crate::Config;

/// Cosines and sines, `[n_positions, head_dim / 2]` each.
pub(crate) struct Rotary {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Rotary {
    /// The table for positions `0..n_positions`.
    ///
    /// Frequency `i` is `theta^(-2i/d)`. The published model computes frequencies and angles in f32, whatever the
    /// precision of the rest, and was trained that way; so does this.
    pub(crate) fn new(config: &Config, n_positions: usize) -> Self {
        let half = config.head_dim / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| {
                let exponent = (2 * i) as f32 / config.head_dim as f32;
                1.0 / config.rope_theta.powf(f64::from(exponent)) as f32
            })
            .collect();
        let angles = (0..n_positions)
            .flat_map(|position| frequencies.iter().map(move |frequency| position as f32 * frequency));
        let (sin, cos) = angles
            .map(|angle| {
                let (sin, cos) = f64::from(angle).sin_cos();
                (sin as f32, cos as f32)
            })
            .unzip();
        Self { half, cos, sin }
    }

    /// Cosines and sines of positions `start..start + n`, `[n, head_dim / 2]` each.
    pub(crate) fn rows(&self, start: usize, n: usize) -> (&[f32], &[f32]) {
        let range = start * self.half..(start + n) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

//! Rotary position embedding (Su et al. 2021, equation 34), turning halves as Qwen2 does.

/// Cosines and sines of every position, `[n_positions, head_dim / 2]`.
pub(super) struct Rotary {
    half: usize,
    cos: Vec<f64>,
    sin: Vec<f64>,
}

impl Rotary {
    /// `angle = position * theta^(-2i / head_dim)`, in float64 throughout, as the golden traces' producer computes it.
    /// transformers as published rounds frequency and angle to float32: on the release model that moves the logits of a
    /// prompt of 233 tokens by at most 1.6e-5, well inside the tolerance of 1e-4.
    pub(super) fn new(n_positions: usize, head_dim: usize, theta: f64) -> Self {
        let half = head_dim / 2;
        let frequency = |i: usize| theta.powf(-((2 * i) as f64) / head_dim as f64);
        let angles =
            (0..n_positions).flat_map(|position| (0..half).map(move |i| position as f64 * frequency(i)));
        let (sin, cos) = angles.map(f64::sin_cos).unzip();
        Self { half, cos, sin }
    }

    /// Turns one head of the vector at `position`: `(a, b) <- (a cos - b sin, b cos + a sin)`, `a` its first half and `b`
    /// its second.
    pub(super) fn turn(&self, position: usize, head: &mut [f64]) {
        let (cos, sin) = (&self.cos[position * self.half..], &self.sin[position * self.half..]);
        let (first, second) = head.split_at_mut(self.half);
        for (i, (a, b)) in first.iter_mut().zip(second).enumerate() {
            (*a, *b) = (*a * cos[i] - *b * sin[i], *b * cos[i] + *a * sin[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn a_product_of_two_turned_vectors_depends_on_their_distance_only() {
        let rotary = Rotary::new(64, 8, 10_000.0);
        let (q, k) =
            ([0.3, -1.0, 0.7, 0.2, 0.9, 0.1, -0.4, 1.1], [1.0, 0.5, -0.2, 0.4, -0.7, 0.8, 0.6, -0.3]);
        let turned = |vector: &[f64; 8], position| {
            let mut vector = *vector;
            rotary.turn(position, &mut vector);
            vector
        };
        let near = dot(&turned(&q, 5), &turned(&k, 2));
        assert!((near - dot(&turned(&q, 60), &turned(&k, 57))).abs() < 1e-12);
        assert!((near - dot(&turned(&q, 5), &turned(&k, 3))).abs() > 1e-2);
        assert_eq!(turned(&q, 0).map(f64::to_bits), q.map(f64::to_bits));
    }

    #[test]
    fn halves_are_turned_and_not_adjacent_pairs() {
        let rotary = Rotary::new(2, 4, 10_000.0);
        let mut head = [1.0, 0.0, 0.0, 0.0];
        rotary.turn(1, &mut head);
        assert!((head[0] - 1_f64.cos()).abs() < 1e-15 && (head[2] - 1_f64.sin()).abs() < 1e-15, "{head:?}");
        assert_eq!((head[1], head[3]), (0.0, 0.0));
    }
}

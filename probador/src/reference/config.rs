//! The dimensions of the network, checked against one another before anything is computed.

use super::ReferenceError;

/// What the published definition needs to know of a Qwen2.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of layers.
    pub n_layers: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; each serves `n_heads / n_kv_heads` query heads.
    pub n_kv_heads: usize,
    /// Width of one head; even, for the rotation turns halves.
    pub head_dim: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Number of logits.
    pub vocab_size: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Added to the mean square before its root is taken.
    pub rms_norm_eps: f64,
    /// Whether the embedding serves as the output head.
    pub tie_word_embeddings: bool,
}

impl Config {
    /// Refuses dimensions that contradict one another.
    pub fn check(self) -> Result<Self, ReferenceError> {
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("n_layers", self.n_layers),
            ("n_heads", self.n_heads),
            ("n_kv_heads", self.n_kv_heads),
            ("head_dim", self.head_dim),
            ("intermediate_size", self.intermediate_size),
            ("vocab_size", self.vocab_size),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(ReferenceError::Config(format!("{name} is 0")));
        }
        let Self { n_heads, n_kv_heads, head_dim, rope_theta, rms_norm_eps, .. } = self;
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(ReferenceError::Config(format!(
                "{n_heads} heads do not share {n_kv_heads} kv heads evenly"
            )));
        }
        if !head_dim.is_multiple_of(2) {
            return Err(ReferenceError::Config(format!("head_dim {head_dim} has no halves to rotate")));
        }
        if !(rope_theta.is_finite() && rope_theta > 1.0) {
            return Err(ReferenceError::Config(format!("rope_theta is {rope_theta}")));
        }
        if !(rms_norm_eps.is_finite() && rms_norm_eps >= 0.0) {
            return Err(ReferenceError::Config(format!("rms_norm_eps is {rms_norm_eps}")));
        }
        Ok(self)
    }

    /// Columns of the query projection's output.
    pub fn query_width(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Columns of the key and value projections' outputs.
    pub fn kv_width(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_that_no_model_can_have_are_refused_by_name() {
        #[track_caller]
        fn check(spoil: impl FnOnce(&mut Config), expected: &str) {
            let mut config = Config {
                hidden_size: 8,
                n_layers: 2,
                n_heads: 4,
                n_kv_heads: 2,
                head_dim: 4,
                intermediate_size: 12,
                vocab_size: 10,
                rope_theta: 10_000.0,
                rms_norm_eps: 0.0,
                tie_word_embeddings: true,
            };
            assert_eq!(config.clone().check().unwrap(), config);
            spoil(&mut config);
            assert_eq!(config.check().unwrap_err().to_string(), format!("model configuration: {expected}"));
        }
        check(|c| c.hidden_size = 0, "hidden_size is 0");
        check(|c| c.n_layers = 0, "n_layers is 0");
        check(|c| c.vocab_size = 0, "vocab_size is 0");
        check(|c| c.n_kv_heads = 3, "4 heads do not share 3 kv heads evenly");
        check(|c| c.head_dim = 3, "head_dim 3 has no halves to rotate");
        check(|c| c.rope_theta = f64::NAN, "rope_theta is NaN");
        check(|c| c.rope_theta = 1.0, "rope_theta is 1");
        check(|c| c.rms_norm_eps = f64::INFINITY, "rms_norm_eps is inf");
        check(|c| c.rms_norm_eps = -1e-6, "rms_norm_eps is -0.000001");
    }
}

//! What a Qwen2 model looks like: dimensions and constants, checked once.

use apr_format::AprFile;

use crate::LoadError;

/// The shape of a Qwen2 model. Every field is used by the forward pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of a head; a multiple of sixteen.
    pub head_dim: usize,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
    /// Whether query, key and value have a bias.
    pub attention_bias: bool,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
}

impl Config {
    /// Reads and checks the configuration in `file`'s metadata.
    pub fn from_file(file: &AprFile) -> Result<Self, LoadError> {
        let metadata = file.metadata();
        let refuse = |what: String| LoadError::Config { path: file.path().to_owned(), what };
        let architecture = metadata.architecture.as_deref().unwrap_or_default();
        if architecture != "qwen2" {
            return Err(LoadError::Architecture {
                path: file.path().to_owned(),
                architecture: architecture.to_owned(),
            });
        }
        let stored = &metadata.config;
        if stored.rope_type != 2 {
            return Err(refuse(format!(
                "rope_type is {}, Qwen2 rotates halves, which is type 2",
                stored.rope_type
            )));
        }
        let config = Self {
            vocab_size: stored.vocab_size,
            hidden_size: stored.hidden_size,
            intermediate_size: stored.intermediate_size,
            num_layers: stored.num_layers,
            num_heads: stored.num_heads,
            num_kv_heads: stored.num_kv_heads,
            head_dim: stored.head_dim,
            max_position_embeddings: stored.max_position_embeddings,
            rope_theta: stored.rope_theta,
            rms_norm_eps: stored.rms_norm_eps,
            attention_bias: stored.attention_bias,
            tie_word_embeddings: stored.tie_word_embeddings,
        };
        config.check().map_err(refuse)?;
        Ok(config)
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// What is wrong with the numbers, if anything.
    fn check(&self) -> Result<(), String> {
        // Beyond any Qwen2 there is, and low enough that no product of two overflows.
        const LIMIT: usize = 1 << 24;
        for (name, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_layers", self.num_layers),
            ("num_heads", self.num_heads),
            ("num_kv_heads", self.num_kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            if value == 0 || value > LIMIT {
                return Err(format!("{name} is {value}, it must be from 1 to {LIMIT}"));
            }
        }
        if !self.num_heads.is_multiple_of(self.num_kv_heads) {
            return Err(format!(
                "{} query heads do not divide among {} key/value heads",
                self.num_heads, self.num_kv_heads
            ));
        }
        if !self.head_dim.is_multiple_of(16) {
            return Err(format!("head_dim is {}, it must be a multiple of 16", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 1.0) {
            return Err(format!("rope_theta is {}, it must be above 1", self.rope_theta));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps > 0.0) {
            return Err(format!("rms_norm_eps is {}, it must be above 0", self.rms_norm_eps));
        }
        Ok(())
    }
}

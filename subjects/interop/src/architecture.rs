//! The network families that can be imported, and what each calls its tensors.

use std::fmt;

use apr_format::ModelConfig;

/// A family of decoder networks: RMS norms, grouped-query attention, rotary halves, SwiGLU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Qwen2 and Qwen2.5: query, key and value projections have a bias.
    Qwen2,
    /// Llama, and what is built like it (SmolLM2).
    Llama,
    /// Mistral.
    Mistral,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 3] = [Self::Qwen2, Self::Llama, Self::Mistral];

    /// What `config.json`, GGUF and `--arch` call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qwen2 => "qwen2",
            Self::Llama => "llama",
            Self::Mistral => "mistral",
        }
    }

    /// The architecture of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|architecture| architecture.name() == name)
    }

    /// Whether GGUF files interleave the two halves of each query and key head, as Llama's first release did.
    pub(crate) const fn interleaves_heads_in_gguf(self) -> bool {
        matches!(self, Self::Llama | Self::Mistral)
    }

    /// Every tensor of a network of `config`, with its shape, by checkpoint key. The config must have been checked.
    pub(crate) fn tensors(self, config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
        let hidden = config.hidden_size;
        let queries = config.num_heads * config.head_dim;
        let keys = config.num_kv_heads * config.head_dim;
        let mut tensors = vec![
            (EMBEDDING.to_owned(), vec![config.vocab_size, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
        ];
        if !config.tie_word_embeddings {
            tensors.push((HEAD.to_owned(), vec![config.vocab_size, hidden]));
        }
        for layer in 0..config.num_layers {
            let mut push = |name: &str, shape: &[usize]| {
                tensors.push((format!("model.layers.{layer}.{name}"), shape.to_vec()));
            };
            push("input_layernorm.weight", &[hidden]);
            push("self_attn.q_proj.weight", &[queries, hidden]);
            push("self_attn.k_proj.weight", &[keys, hidden]);
            push("self_attn.v_proj.weight", &[keys, hidden]);
            push("self_attn.o_proj.weight", &[hidden, queries]);
            if config.attention_bias {
                push("self_attn.q_proj.bias", &[queries]);
                push("self_attn.k_proj.bias", &[keys]);
                push("self_attn.v_proj.bias", &[keys]);
                if self != Self::Qwen2 {
                    push("self_attn.o_proj.bias", &[hidden]);
                }
            }
            push("post_attention_layernorm.weight", &[hidden]);
            push("mlp.gate_proj.weight", &[config.intermediate_size, hidden]);
            push("mlp.up_proj.weight", &[config.intermediate_size, hidden]);
            push("mlp.down_proj.weight", &[hidden, config.intermediate_size]);
        }
        tensors
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The embedding's checkpoint key.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The head's checkpoint key; absent when it is tied to the embedding.
pub(crate) const HEAD: &str = "lm_head.weight";

/// The number of the layer that a checkpoint key belongs to.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    let digits = name.strip_prefix("model.layers.")?;
    digits[..digits.find('.')?].parse().ok()
}

//! Which tensor of a model becomes what.

use apr_format::IndexEntry;
use apr_tensor::Packing;

/// What the head becomes, and the embedding with it where the two are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Head {
    /// 8 bits.
    Int8,
    /// 4 bits.
    Int4,
    /// 8 bits: four cost 3 % of perplexity and a tenth of the likeliest tokens, for a fifth of the file.
    #[default]
    Auto,
}

/// Whether a tensor is the head, or the embedding, which is the head where the two are tied.
pub(crate) fn is_head(name: &str) -> bool {
    matches!(name, "model.embed_tokens.weight" | "lm_head.weight")
}

/// The packings of a model's tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of the layers' matrices, but for keys and values.
    pub(crate) body: Packing,
    /// See [`Head`].
    pub(crate) head: Head,
}

impl Plan {
    /// What becomes of a tensor; `None` for one that stays as it is: vectors, and matrices that are not whole blocks.
    pub(crate) fn packing(self, entry: &IndexEntry) -> Option<Packing> {
        if !Packing::fits(&entry.shape) {
            return None;
        }
        let name = entry.name.as_str();
        if is_head(name) {
            return Some(match self.head {
                Head::Int4 => Packing::Int4,
                Head::Int8 | Head::Auto => Packing::Int8,
            });
        }
        Some(self.of_layers(name))
    }

    /// What becomes of a matrix of a layer.
    pub(crate) fn of_layers(self, name: &str) -> Packing {
        // Errors in keys and values reach every later position; the two are a sixtieth of the weights.
        if name.ends_with("self_attn.k_proj.weight") || name.ends_with("self_attn.v_proj.weight") {
            return Packing::Int8;
        }
        self.body
    }
}

//! GGUF tensor names and the checkpoint keys they stand for.

use crate::architecture::{EMBEDDING, HEAD};

/// The checkpoint key of a GGUF tensor; `None` for a name that has none.
pub(super) fn checkpoint_key(name: &str) -> Option<String> {
    match name {
        "token_embd.weight" => return Some(EMBEDDING.to_owned()),
        "output_norm.weight" => return Some("model.norm.weight".to_owned()),
        "output.weight" => return Some(HEAD.to_owned()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    // `blk.07` and `blk.+7` would parse; they are not how a layer is written.
    let layer: usize = layer.parse().ok().filter(|number: &usize| number.to_string() == layer)?;
    let (module, parameter) = rest.rsplit_once('.')?;
    let module = match (module, parameter) {
        ("attn_q", "weight" | "bias") => "self_attn.q_proj",
        ("attn_k", "weight" | "bias") => "self_attn.k_proj",
        ("attn_v", "weight" | "bias") => "self_attn.v_proj",
        ("attn_output", "weight" | "bias") => "self_attn.o_proj",
        ("attn_norm", "weight") => "input_layernorm",
        ("ffn_norm", "weight") => "post_attention_layernorm",
        ("ffn_gate", "weight") => "mlp.gate_proj",
        ("ffn_up", "weight") => "mlp.up_proj",
        ("ffn_down", "weight") => "mlp.down_proj",
        _ => return None,
    };
    Some(format!("model.layers.{layer}.{module}.{parameter}"))
}

#[cfg(test)]
mod tests {
    use super::checkpoint_key;

    #[track_caller]
    fn check(name: &str, key: Option<&str>) {
        assert_eq!(checkpoint_key(name).as_deref(), key, "{name}");
    }

    #[test]
    fn every_kind_of_tensor_has_its_checkpoint_key() {
        check("token_embd.weight", Some("model.embed_tokens.weight"));
        check("output.weight", Some("lm_head.weight"));
        check("output_norm.weight", Some("model.norm.weight"));
        check("blk.0.attn_norm.weight", Some("model.layers.0.input_layernorm.weight"));
        check("blk.23.attn_q.bias", Some("model.layers.23.self_attn.q_proj.bias"));
        check("blk.1.attn_output.weight", Some("model.layers.1.self_attn.o_proj.weight"));
        check("blk.10.ffn_norm.weight", Some("model.layers.10.post_attention_layernorm.weight"));
        check("blk.2.ffn_down.weight", Some("model.layers.2.mlp.down_proj.weight"));
    }

    #[test]
    fn names_outside_the_vocabulary_have_no_key() {
        for name in [
            "",
            "rope_freqs.weight",
            "blk.07.attn_q.weight",
            "blk.+7.attn_q.weight",
            "blk.0.attn_q",
            "blk..x.y",
        ] {
            check(name, None);
        }
        check("blk.0.attn_norm.bias", None);
        check("blk.0.attn_q.scale", None);
        check("blk.99999999999999999999.attn_q.weight", None);
    }
}

//! Which tensors a model of a known architecture has, and their shapes, from its config alone.

use crate::index::IndexEntry;
use crate::metadata::{Metadata, ModelConfig};

/// How the tensors of a file fit what its config asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fit {
    /// Tensors the config asks for; only counted up to [`MAX_REPORTED`] missing ones.
    pub(crate) n_expected: usize,
    /// Those that are there.
    pub(crate) n_present: usize,
    /// Those that are not.
    pub(crate) missing: Vec<String>,
    /// Those that are there in another shape, and how.
    pub(crate) misshapen: Vec<(String, String)>,
    /// Tensors the config does not ask for.
    pub(crate) unexpected: Vec<String>,
}

/// A config may ask for millions of layers; the search ends when this many tensors are missing.
const MAX_REPORTED: usize = 100;

/// Compares `entries` with what `metadata` asks for; the reason when that is not known.
pub(crate) fn fit(metadata: &Metadata, entries: &[IndexEntry]) -> Result<Fit, String> {
    let Some(architecture) = metadata.architecture.as_deref() else {
        return Err("the metadata names no architecture".to_owned());
    };
    let biased: &[&str] = match architecture {
        "qwen2" => &["q_proj", "k_proj", "v_proj"],
        "llama" | "mistral" if metadata.config.attention_bias => &["q_proj", "k_proj", "v_proj", "o_proj"],
        "llama" | "mistral" => &[],
        other => return Err(format!("the tensors of architecture `{other}` are not known")),
    };
    let missing = metadata.config.missing();
    if !missing.is_empty() {
        return Err(format!("the metadata does not state {}", missing.join(", ")));
    }
    let config = &metadata.config;
    let mut fit = Fit::default();
    let mut seen = vec![false; entries.len()];
    let expected = around_layers(config).into_iter();
    let expected =
        expected.chain((0..config.num_layers).flat_map(|layer| layer_tensors(config, layer, biased)));
    for (name, shape) in expected {
        fit.n_expected += 1;
        match entries.binary_search_by(|entry| entry.name.as_str().cmp(&name)) {
            Ok(index) => {
                fit.n_present += 1;
                seen[index] = true;
                if entries[index].shape != shape {
                    let what =
                        format!("its shape is {:?}, the config asks for {shape:?}", entries[index].shape);
                    fit.misshapen.push((name, what));
                }
            }
            Err(_) => fit.missing.push(name),
        }
        if fit.missing.len() >= MAX_REPORTED {
            break;
        }
    }
    let unexpected = entries.iter().zip(seen).filter(|(_, seen)| !seen);
    fit.unexpected = unexpected.map(|(entry, _)| entry.name.clone()).collect();
    Ok(fit)
}

/// The tensors outside the layers.
fn around_layers(config: &ModelConfig) -> Vec<(String, Vec<usize>)> {
    let (hidden, vocab) = (config.hidden_size, config.vocab_size);
    let mut tensors = vec![
        ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ];
    if !config.tie_word_embeddings {
        tensors.push(("lm_head.weight".to_owned(), vec![vocab, hidden]));
    }
    tensors
}

/// The tensors of one layer.
fn layer_tensors(config: &ModelConfig, layer: usize, biased: &[&str]) -> Vec<(String, Vec<usize>)> {
    let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_heads.saturating_mul(config.head_dim);
    let keys = config.num_kv_heads.saturating_mul(config.head_dim);
    let mut tensors = vec![
        (format!("model.layers.{layer}.input_layernorm.weight"), vec![hidden]),
        (format!("model.layers.{layer}.post_attention_layernorm.weight"), vec![hidden]),
        (format!("model.layers.{layer}.mlp.gate_proj.weight"), vec![mlp, hidden]),
        (format!("model.layers.{layer}.mlp.up_proj.weight"), vec![mlp, hidden]),
        (format!("model.layers.{layer}.mlp.down_proj.weight"), vec![hidden, mlp]),
    ];
    for (projection, rows, columns) in [
        ("q_proj", queries, hidden),
        ("k_proj", keys, hidden),
        ("v_proj", keys, hidden),
        ("o_proj", hidden, queries),
    ] {
        let name = format!("model.layers.{layer}.self_attn.{projection}");
        if biased.contains(&projection) {
            tensors.push((format!("{name}.bias"), vec![rows]));
        }
        tensors.push((format!("{name}.weight"), vec![rows, columns]));
    }
    tensors
}

#[cfg(test)]
mod tests {
    use apr_tensor::DType;

    use super::*;

    fn metadata(n_layers: usize) -> Metadata {
        let mut metadata = Metadata { architecture: Some("qwen2".to_owned()), ..Metadata::default() };
        metadata.config = ModelConfig {
            hidden_size: 8,
            num_layers: n_layers,
            num_heads: 4,
            num_kv_heads: 2,
            vocab_size: 10,
            intermediate_size: 12,
            max_position_embeddings: 16,
            rope_theta: 1e6,
            rms_norm_eps: 1e-6,
            head_dim: 2,
            tie_word_embeddings: true,
            ..ModelConfig::default()
        };
        metadata
    }

    fn entries(metadata: &Metadata) -> Vec<IndexEntry> {
        let layer = layer_tensors(&metadata.config, 0, &["q_proj", "k_proj", "v_proj"]);
        let tensors = around_layers(&metadata.config).into_iter().chain(layer);
        let mut entries: Vec<IndexEntry> = tensors
            .map(|(name, shape)| IndexEntry { name, dtype: DType::F32, shape, offset: 0, size: 0 })
            .collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    #[test]
    fn a_llama_layer_has_nine_tensors_and_four_more_with_biases() {
        let mut metadata = metadata(1);
        for architecture in ["llama", "mistral"] {
            metadata.architecture = Some(architecture.to_owned());
            metadata.config.attention_bias = false;
            assert_eq!(fit(&metadata, &[]).unwrap().n_expected, 11, "{architecture}");
            metadata.config.attention_bias = true;
            assert_eq!(fit(&metadata, &[]).unwrap().n_expected, 15, "{architecture}");
        }
    }

    #[test]
    fn a_tied_qwen2_layer_has_twelve_tensors_and_two_stand_around_it() {
        let metadata = metadata(1);
        let entries = entries(&metadata);
        let fit = fit(&metadata, &entries).unwrap();
        assert_eq!((fit.n_expected, fit.n_present, entries.len()), (14, 14, 14));
        assert_eq!((fit.missing.len(), fit.misshapen.len(), fit.unexpected.len()), (0, 0, 0));
        let k_proj = entries.iter().find(|entry| entry.name.ends_with("k_proj.weight")).unwrap();
        assert_eq!(k_proj.shape, [4, 8]);
    }

    #[test]
    fn missing_misshapen_and_unexpected_tensors_are_named() {
        let metadata = metadata(1);
        let mut entries = entries(&metadata);
        entries[0].shape = vec![8, 10];
        entries[1].name.push('2');
        let fit = fit(&metadata, &entries).unwrap();
        assert_eq!(fit.misshapen[0].1, "its shape is [8, 10], the config asks for [10, 8]");
        assert_eq!(fit.missing, ["model.layers.0.input_layernorm.weight"]);
        assert_eq!(fit.unexpected, ["model.layers.0.input_layernorm.weight2"]);
    }

    #[test]
    fn two_billion_layers_end_the_search_early() {
        let fit = fit(&metadata(i32::MAX as usize), &[]).unwrap();
        assert_eq!(fit.missing.len(), MAX_REPORTED);
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut metadata = metadata(1);
        metadata.config.head_dim = 0;
        assert_eq!(fit(&metadata, &[]).unwrap_err(), "the metadata does not state head_dim");
        metadata.architecture = Some("mamba".to_owned());
        assert_eq!(fit(&metadata, &[]).unwrap_err(), "the tensors of architecture `mamba` are not known");
    }
}

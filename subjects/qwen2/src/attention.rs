//! Grouped-query self-attention (Ainslie et al. 2023) with rotary positions and a bias on query, key and value.
//!
//! Qwen2's key biases make scores of more than a thousand (`golden/README.md`). So that the rounding of f32 does not show
//! in the logits, queries, keys and scores are computed in f64, and the cache holds keys without their bias: the bias's
//! share of a score is added when the score is computed.

use apr_generation::{Site, TensorKey};
use apr_tensor::{AttentionShape, PositionTerm};

use crate::forward::{Activations, Pass};
use crate::kv_cache::LayerCache;
use crate::rotary::{Rotary, bias_weights};
use crate::weights::LayerWeights;

/// Reads `normed`, writes `block`, both `[n, hidden_size]`; appends to the layer's cache.
pub(crate) fn attention(
    pass: &mut Pass<'_, '_>,
    rotary: &Rotary,
    layer: usize,
    weights: &LayerWeights,
    cache: &mut LayerCache,
    activations: &mut Activations,
) {
    let Activations { normed, block, queries, keys, values, bias_weights: key_bias, attended, .. } =
        activations;
    let (head_dim, n) = (pass.config.head_dim, pass.n);
    let (q_proj, k_proj, v_proj) = (&weights.q_proj, &weights.k_proj, &weights.v_proj);

    pass.compute.matmul_wide(normed, &q_proj.weight, q_proj.bias.as_deref(), queries); // [n, num_heads * head_dim]
    pass.compute.matmul_wide(normed, &k_proj.weight, None, keys); // [n, num_kv_heads * head_dim]
    pass.compute.matmul_wide(normed, &v_proj.weight, v_proj.bias.as_deref(), values); // [n, num_kv_heads * head_dim]
    pass.show_wide(layer, Site::QProj, queries);
    if pass.wants(layer, Site::KProj) {
        let mut with_bias = keys.to_vec();
        if let Some(bias) = &k_proj.bias {
            for row in with_bias.chunks_exact_mut(bias.len()) {
                pass.compute.add(row, bias);
            }
        }
        pass.show_wide(layer, Site::KProj, &with_bias);
    }
    pass.show_wide(layer, Site::VProj, values);

    let angles = rotary.rows(pass.start, n);
    pass.compute.rotate_halves(queries, head_dim, angles);
    pass.compute.rotate_halves(keys, head_dim, angles);
    cache.append(pass.compute, pass.start, keys, values);
    let position_term = k_proj.bias.as_ref().map(|bias| {
        bias_weights(queries, bias, head_dim, pass.config.num_heads / pass.config.num_kv_heads, key_bias);
        PositionTerm { queries: key_bias, positions: rotary.rows(0, pass.start + n) }
    });

    let shape = AttentionShape {
        n_heads: pass.config.num_heads,
        n_kv_heads: pass.config.num_kv_heads,
        head_dim,
        start: pass.start,
        n_queries: n,
    };
    let mut scores = pass.wants(layer, Site::Scores).then(|| vec![0.0; shape.n_heads * shape.n_pairs()]);
    pass.compute.attention(shape, queries, &cache.heads(), position_term, attended, scores.as_deref_mut());
    if let (Some(probe), Some(scores)) = (&mut pass.probe, scores) {
        probe.record(TensorKey::Layer(layer, Site::Scores), &[shape.n_heads, shape.n_pairs()], &scores);
    }

    pass.linear(&weights.o_proj, attended, block); // [n, hidden_size]
    pass.show(layer, Site::OProj, block);
}

//! Grouped-query self-attention (Ainslie et al. 2023) with rotary positions and a bias on query, key and value.

use apr_generation::{Site, TensorKey};
use apr_tensor::AttentionShape;

use crate::forward::{Activations, Pass};
use crate::kv_cache::LayerCache;
use crate::weights::LayerWeights;

/// Reads `normed`, writes `block`, both `[n, hidden_size]`; appends to the layer's cache.
pub(crate) fn attention(
    pass: &mut Pass<'_, '_>,
    layer: usize,
    weights: &LayerWeights,
    cache: &mut LayerCache,
    activations: &mut Activations,
) {
    let Activations { normed, block, queries, keys, values, attended, .. } = activations;
    let head_dim = pass.config.head_dim;

    pass.linear(&weights.q_proj, normed, queries); // [n, num_heads * head_dim]
    pass.linear(&weights.k_proj, normed, keys); // [n, num_kv_heads * head_dim]
    pass.linear(&weights.v_proj, normed, values); // [n, num_kv_heads * head_dim]
    pass.show(layer, Site::QProj, queries);
    pass.show(layer, Site::KProj, keys);
    pass.show(layer, Site::VProj, values);

    let (cos, sin) = pass.rotary.rows(pass.start, pass.n); // [n, head_dim / 2]
    pass.compute.rotate_halves(queries, head_dim, cos, sin);
    pass.compute.rotate_halves(keys, head_dim, cos, sin);
    cache.append(pass.start, keys, values);

    let shape = AttentionShape {
        n_heads: pass.config.num_heads,
        n_kv_heads: pass.config.num_kv_heads,
        head_dim,
        start: pass.start,
        n_queries: pass.n,
    };
    let mut scores = pass.wants(layer, Site::Scores).then(|| vec![0.0; shape.n_heads * n_pairs(shape)]);
    pass.compute.attention(shape, queries, &cache.heads(), attended, scores.as_deref_mut());
    if let (Some(probe), Some(scores)) = (&mut pass.probe, scores) {
        probe.record(TensorKey::Layer(layer, Site::Scores), &[shape.n_heads, n_pairs(shape)], &scores);
    }

    pass.linear(&weights.o_proj, attended, block); // [n, hidden_size]
    pass.show(layer, Site::OProj, block);
}

/// Pairs of a query with a key at or before it.
fn n_pairs(shape: AttentionShape) -> usize {
    (0..shape.n_queries).map(|query| shape.start + query + 1).sum()
}

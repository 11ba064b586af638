//! One decoder layer: norm, attention, residual; norm, MLP, residual.

use apr_generation::Site;

use crate::attention::attention;
use crate::forward::{Activations, Pass};
use crate::kv_cache::LayerCache;
use crate::mlp::mlp;
use crate::rotary::Rotary;
use crate::weights::LayerWeights;

/// Transforms `hidden`, `[n, hidden_size]`, in place.
pub(crate) fn layer(
    pass: &mut Pass<'_, '_>,
    rotary: &Rotary,
    layer: usize,
    weights: &LayerWeights,
    cache: &mut LayerCache,
    activations: &mut Activations,
) {
    pass.norm(&activations.hidden, &weights.input_layernorm, &mut activations.normed);
    pass.show_wide(layer, Site::InputLayernorm, &activations.normed);
    attention(pass, rotary, layer, weights, cache, activations);
    pass.compute.add(&mut activations.hidden, &activations.block);

    pass.norm(&activations.hidden, &weights.post_attention_layernorm, &mut activations.normed);
    pass.show_wide(layer, Site::PostAttentionLayernorm, &activations.normed);
    mlp(pass, layer, weights, activations);
    pass.compute.add(&mut activations.hidden, &activations.block);
    pass.show_wide(layer, Site::Output, &activations.hidden);
}

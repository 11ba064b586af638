//! The feed-forward block: `down(silu(gate(x)) * up(x))`, SwiGLU (Shazeer 2020, eq. 6).

use apr_generation::Site;

use crate::forward::{Activations, Pass};
use crate::weights::LayerWeights;

/// Reads `normed`, writes `block`, both `[n, hidden_size]`.
pub(crate) fn mlp(
    pass: &mut Pass<'_, '_>,
    layer: usize,
    weights: &LayerWeights,
    activations: &mut Activations,
) {
    let Activations { normed, normed_narrow, block, gate, up, .. } = activations;
    pass.compute.narrow(normed, normed_narrow);
    pass.linear(&weights.gate_proj, normed_narrow, gate); // [n, intermediate_size]
    pass.linear(&weights.up_proj, normed_narrow, up); // [n, intermediate_size]
    pass.show(layer, Site::GateProj, gate);
    pass.show(layer, Site::UpProj, up);
    pass.compute.silu_mul(gate, up);
    pass.linear(&weights.down_proj, gate, block); // [n, hidden_size]
    pass.show(layer, Site::DownProj, block);
}

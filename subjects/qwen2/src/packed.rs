//! The forward pass over packed weights: activations are rounded to int8 before each product, all else is f32.
//!
//! What a float model computes in f64 against cancellation is computed in f32 here: rounding activations to a 127th of
//! the largest of 32 costs more.

use std::ops::Range;

use apr_generation::{Site, TensorKey};
use apr_tensor::{AttentionShape, Buffer, Compute, Output, PackedProduct, RoundedRows, Tensor};

use crate::Config;
use crate::forward::Pass;
use crate::kv_cache::TiledLayer;
use crate::rotary::Rotary;
use crate::weights::{LayerWeights, Linear};

/// The activations of a pass; kept from one pass to the next so that nothing is allocated in between.
#[derive(Default)]
pub(crate) struct Activations {
    /// The residual stream, `[n, hidden_size]`.
    pub(crate) hidden: Buffer,
    /// What is multiplied next.
    pub(crate) rounded: RoundedRows,
    /// The MLP's activations, `[n, intermediate_size]`.
    gated: RoundedRows,
    /// What a probe wants to see before it is rounded or added to the residual stream, as wide as that.
    shown: Buffer,
    /// `[n, num_heads * head_dim]`.
    queries: Buffer,
    /// `[n, num_kv_heads * head_dim]`.
    keys: Buffer,
    /// `[n, num_kv_heads * head_dim]`.
    values: Buffer,
    /// Attention's output, `[n, num_heads * head_dim]`.
    attended: Buffer,
}

impl Activations {
    /// Makes room for `n` positions.
    pub(crate) fn resize(&mut self, config: &Config, n: usize) {
        self.hidden.resize(n * config.hidden_size);
        self.queries.resize(n * config.query_width());
        self.attended.resize(n * config.query_width());
        self.keys.resize(n * config.kv_width());
        self.values.resize(n * config.kv_width());
    }

    /// Norms `range` of the residual stream with `gain`.
    pub(crate) fn norm(&mut self, pass: &Pass<'_, '_>, gain: &[f32], range: Range<usize>) -> &[f32] {
        self.shown.resize(range.len());
        pass.compute.rms_norm_narrow(&self.hidden[range], gain, pass.config.rms_norm_eps, &mut self.shown);
        &self.shown
    }
}

/// `y = x w^T` with packed weights, `x` rounded first.
pub(crate) fn multiply(compute: &Compute, x: &[f32], w: &Tensor, y: &mut [f32]) {
    let mut rounded = RoundedRows::default();
    compute.round_rows(x, w.shape()[1], &mut rounded);
    compute.multiply_rounded(&rounded, &mut [PackedProduct { w, output: Output::Store(y, None) }]);
}

/// Transforms `hidden`, `[n, hidden_size]`, in place.
pub(crate) fn layer(
    pass: &mut Pass<'_, '_>,
    rotary: &Rotary<f32>,
    layer: usize,
    weights: &LayerWeights,
    cache: &mut TiledLayer,
    activations: &mut Activations,
) {
    norm(pass, layer, Site::InputLayernorm, &weights.input_layernorm, activations);
    attention(pass, rotary, layer, weights, cache, activations);
    norm(pass, layer, Site::PostAttentionLayernorm, &weights.post_attention_layernorm, activations);
    mlp(pass, layer, weights, activations);
    pass.show(layer, Site::Output, &activations.hidden);
}

/// Norms the residual stream into `rounded`.
fn norm(pass: &mut Pass<'_, '_>, layer: usize, site: Site, gain: &[f32], activations: &mut Activations) {
    let Activations { hidden, rounded, shown, .. } = activations;
    let wants = pass.wants(layer, site);
    shown.resize(if wants { hidden.len() } else { 0 });
    let normed = wants.then_some(&mut **shown);
    pass.compute.rms_norm_rounded(hidden, gain, pass.config.rms_norm_eps, rounded, normed);
    pass.show(layer, site, shown);
}

/// Grouped-query self-attention (Ainslie et al. 2023) with rotary positions and a bias on query, key and value: reads
/// `rounded`, adds to `hidden`, appends to the layer's cache.
fn attention(
    pass: &mut Pass<'_, '_>,
    rotary: &Rotary<f32>,
    layer: usize,
    weights: &LayerWeights,
    cache: &mut TiledLayer,
    activations: &mut Activations,
) {
    let Activations { hidden, rounded, shown, queries, keys, values, attended, .. } = activations;
    let (head_dim, n) = (pass.config.head_dim, pass.n);
    pass.compute.multiply_rounded(
        rounded,
        &mut [
            stored(&weights.q_proj, queries), // [n, num_heads * head_dim]
            stored(&weights.k_proj, keys),    // [n, num_kv_heads * head_dim]
            stored(&weights.v_proj, values),  // [n, num_kv_heads * head_dim]
        ],
    );
    pass.show(layer, Site::QProj, queries);
    pass.show(layer, Site::KProj, keys);
    pass.show(layer, Site::VProj, values);

    let angles = rotary.rows(pass.start, n);
    pass.compute.rotate_halves_narrow(queries, head_dim, angles);
    pass.compute.rotate_halves_narrow(keys, head_dim, angles);
    cache.append(pass.start, keys, values);
    let shape = AttentionShape {
        n_heads: pass.config.num_heads,
        n_kv_heads: pass.config.num_kv_heads,
        head_dim,
        start: pass.start,
        n_queries: n,
    };
    let mut scores = pass.wants(layer, Site::Scores).then(|| vec![0.0; shape.n_heads * shape.n_pairs()]);
    pass.compute.attention_tiled(shape, queries, &cache.heads(), attended, scores.as_deref_mut());
    if let (Some(probe), Some(scores)) = (&mut pass.probe, scores) {
        probe.record(TensorKey::Layer(layer, Site::Scores), &[shape.n_heads, shape.n_pairs()], &scores);
    }
    pass.compute.round_rows(attended, pass.config.query_width(), rounded);
    add_product(pass, layer, Site::OProj, &weights.o_proj, rounded, hidden, shown);
}

/// `y = x w^T + b`.
fn stored<'a>(linear: &'a Linear, y: &'a mut [f32]) -> PackedProduct<'a> {
    PackedProduct { w: &linear.weight, output: Output::Store(y, linear.bias.as_deref()) }
}

/// `down(silu(gate(x)) * up(x))`, SwiGLU (Shazeer 2020, eq. 6): reads `rounded`, adds to `hidden`.
fn mlp(pass: &mut Pass<'_, '_>, layer: usize, weights: &LayerWeights, activations: &mut Activations) {
    let Activations { hidden, rounded, gated, shown, .. } = activations;
    for (site, linear) in [(Site::GateProj, &weights.gate_proj), (Site::UpProj, &weights.up_proj)] {
        if pass.wants(layer, site) {
            // What the fused product below computes on its way, bit for bit.
            let mut product = vec![0.0; pass.n * pass.config.intermediate_size];
            let output = Output::Store(&mut product, None);
            pass.compute.multiply_rounded(rounded, &mut [PackedProduct { w: &linear.weight, output }]);
            pass.show(layer, site, &product);
        }
    }
    pass.compute.multiply_gated(rounded, &weights.gate_proj.weight, &weights.up_proj.weight, gated);
    add_product(pass, layer, Site::DownProj, &weights.down_proj, gated, hidden, shown);
}

/// `hidden += x w^T`, `[n, hidden_size]`.
fn add_product(
    pass: &mut Pass<'_, '_>,
    layer: usize,
    site: Site,
    linear: &Linear,
    x: &RoundedRows,
    hidden: &mut Buffer,
    shown: &mut Buffer,
) {
    let w = &linear.weight;
    if pass.wants(layer, site) {
        shown.resize(hidden.len());
        pass.compute.multiply_rounded(x, &mut [PackedProduct { w, output: Output::Store(shown, None) }]);
        pass.show(layer, site, shown);
    }
    pass.compute.multiply_rounded(x, &mut [PackedProduct { w, output: Output::Add(hidden) }]);
}

//! What a layer needs while it runs: the compute, the tensors of the pass and the probe.

use std::ops::Range;

use apr_generation::{Probe, Site, TensorKey};
use apr_tensor::{Buffer, Compute};

use crate::Config;
use crate::weights::Linear;

/// The surroundings of a forward pass over `n` positions from `start` on.
pub(crate) struct Pass<'a, 'p> {
    pub(crate) compute: &'a Compute,
    pub(crate) config: &'a Config,
    pub(crate) start: usize,
    pub(crate) n: usize,
    pub(crate) probe: Option<&'a mut (dyn Probe + 'p)>,
}

/// The activations of a pass; kept from one pass to the next so that nothing is allocated in between.
#[derive(Default)]
pub(crate) struct Activations {
    /// The residual stream, `[n, hidden_size]`.
    pub(crate) hidden: Buffer<f64>,
    /// A norm's output, `[n, hidden_size]`.
    pub(crate) normed: Buffer<f64>,
    /// The same rounded to f32, for the products that are summed in f32.
    pub(crate) normed_narrow: Buffer,
    /// A block's output before it joins the residual stream, `[n, hidden_size]`.
    pub(crate) block: Buffer,
    /// `[n, num_heads * head_dim]`.
    pub(crate) queries: Buffer<f64>,
    /// Without their bias, `[n, num_kv_heads * head_dim]`.
    pub(crate) keys: Buffer<f64>,
    /// `[n, num_kv_heads * head_dim]`.
    pub(crate) values: Buffer<f64>,
    /// What a key's angles are multiplied by to give the key bias's share of a score, `[n, num_heads * head_dim]`.
    pub(crate) bias_weights: Buffer<f64>,
    /// Attention's output, `[n, num_heads * head_dim]`.
    pub(crate) attended: Buffer,
    /// `[n, intermediate_size]`.
    pub(crate) gate: Buffer,
    /// `[n, intermediate_size]`.
    pub(crate) up: Buffer,
}

impl Activations {
    /// Makes room for `n` positions.
    pub(crate) fn resize(&mut self, config: &Config, n: usize) {
        for buffer in [&mut self.hidden, &mut self.normed] {
            buffer.resize(n * config.hidden_size);
        }
        for buffer in [&mut self.normed_narrow, &mut self.block] {
            buffer.resize(n * config.hidden_size);
        }
        for buffer in [&mut self.queries, &mut self.bias_weights] {
            buffer.resize(n * config.query_width());
        }
        self.attended.resize(n * config.query_width());
        for buffer in [&mut self.keys, &mut self.values] {
            buffer.resize(n * config.kv_width());
        }
        for buffer in [&mut self.gate, &mut self.up] {
            buffer.resize(n * config.intermediate_size);
        }
    }

    /// Norms `range` of the residual stream with `gain`, and rounds it to f32.
    pub(crate) fn norm(&mut self, pass: &Pass<'_, '_>, gain: &[f32], range: Range<usize>) -> &[f32] {
        let Self { hidden, normed, normed_narrow, .. } = self;
        pass.norm(&hidden[range.clone()], gain, &mut normed[range.clone()]);
        pass.compute.narrow(&normed[range.clone()], &mut normed_narrow[range.clone()]);
        &normed_narrow[range]
    }
}

impl Pass<'_, '_> {
    /// `y = x w^T + b`.
    pub(crate) fn linear(&self, linear: &Linear, x: &[f32], y: &mut [f32]) {
        self.compute.matmul(x, &linear.weight, linear.bias.as_deref(), y);
    }

    /// RMSNorm with the model's epsilon.
    pub(crate) fn norm(&self, x: &[f64], gain: &[f32], y: &mut [f64]) {
        self.compute.rms_norm(x, gain, self.config.rms_norm_eps, y);
    }

    /// Whether the probe wants a tensor of `layer`.
    pub(crate) fn wants(&self, layer: usize, site: Site) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.wants(TensorKey::Layer(layer, site)))
    }

    /// Shows the probe a tensor of `layer`, `[n, width]`.
    pub(crate) fn show(&mut self, layer: usize, site: Site, values: &[f32]) {
        self.show_key(TensorKey::Layer(layer, site), values);
    }

    /// Shows the probe a tensor of `layer` in f64, `[n, width]`; it sees it rounded to f32.
    pub(crate) fn show_wide(&mut self, layer: usize, site: Site, values: &[f64]) {
        if self.wants(layer, site) {
            let mut narrow = vec![0.0; values.len()];
            self.compute.narrow(values, &mut narrow);
            self.show(layer, site, &narrow);
        }
    }

    /// Shows the probe a tensor, `[n, width]`.
    pub(crate) fn show_key(&mut self, key: TensorKey, values: &[f32]) {
        let n = self.n;
        if let Some(probe) = &mut self.probe
            && probe.wants(key)
        {
            probe.record(key, &[n, values.len() / n], values);
        }
    }
}

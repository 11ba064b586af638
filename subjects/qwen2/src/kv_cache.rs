//! Keys, rotated and without their bias, and values of the positions seen so far, in f32, preallocated for the whole
//! context.

use apr_tensor::{Buffer, Compute, HeadCache};

use crate::Config;

/// The cache of every layer.
pub(crate) struct KvCache {
    layers: Vec<LayerCache>,
    /// Positions that hold a key and a value in every layer.
    len: usize,
}

/// The cache of one layer: keys and values, `[num_kv_heads, context_length, head_dim]` each.
pub(crate) struct LayerCache {
    keys: Buffer,
    values: Buffer,
    head_dim: usize,
    head_stride: usize,
}

impl KvCache {
    /// Room for `context_length` positions; the memory is taken from the system as positions fill it.
    /// `None` where it does not give them.
    pub(crate) fn new(config: &Config, context_length: usize) -> Option<Self> {
        let head_stride = context_length * config.head_dim;
        let layer = |_| {
            Some(LayerCache {
                keys: Buffer::zeroed(config.num_kv_heads * head_stride)?,
                values: Buffer::zeroed(config.num_kv_heads * head_stride)?,
                head_dim: config.head_dim,
                head_stride,
            })
        };
        Some(Self { layers: (0..config.num_layers).map(layer).collect::<Option<_>>()?, len: 0 })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut LayerCache {
        &mut self.layers[layer]
    }

    /// Counts `n` positions that every layer has appended.
    pub(crate) fn advance(&mut self, n: usize) {
        self.len += n;
    }

    pub(crate) fn truncate(&mut self, n_positions: usize) {
        self.len = self.len.min(n_positions);
    }
}

impl LayerCache {
    /// Writes rotated keys and values, `[n, num_kv_heads * head_dim]` each, at positions `start..start + n`.
    pub(crate) fn append(&mut self, compute: &Compute, start: usize, keys: &[f64], values: &[f64]) {
        let (head_dim, head_stride) = (self.head_dim, self.head_stride);
        let n_heads = self.keys.len() / head_stride;
        let scatter = |source: &[f64], target: &mut [f32]| {
            for (row, heads) in source.chunks_exact(n_heads * head_dim).enumerate() {
                for (head, source) in heads.chunks_exact(head_dim).enumerate() {
                    let target = &mut target[head * head_stride + (start + row) * head_dim..][..head_dim];
                    compute.narrow(source, target);
                }
            }
        };
        scatter(keys, &mut self.keys);
        scatter(values, &mut self.values);
    }

    /// Each head's keys and values.
    pub(crate) fn heads(&self) -> Vec<HeadCache<'_>> {
        self.keys
            .chunks_exact(self.head_stride)
            .zip(self.values.chunks_exact(self.head_stride))
            .map(|(keys, values)| HeadCache { keys, values })
            .collect()
    }
}

//! Keys and values of the positions seen so far, preallocated for the whole context.

use apr_tensor::{Buffer, Compute, HeadCache, TiledHeadCache};
use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::Config;

/// The cache of every layer.
pub(crate) struct KvCache<L> {
    layers: Vec<L>,
    /// Positions that hold a key and a value in every layer.
    len: usize,
}

/// The cache of one layer in one of its forms.
pub(crate) trait CachedLayer: Sized {
    /// Bytes of a key's or value's element.
    const ELEMENT_SIZE: usize;

    /// Room for `context_length` positions; the memory is taken from the system as positions fill it.
    /// `None` where it does not give them.
    fn new(config: &Config, context_length: usize) -> Option<Self>;
}

/// For a float model: rotated keys without their bias, and values, `[num_kv_heads, context_length, head_dim]` each.
pub(crate) struct LayerCache {
    keys: Buffer,
    values: Buffer,
    head_dim: usize,
    head_stride: usize,
}

/// For a model whose weights are packed: rotated keys, `[num_kv_heads, context_length / 16, head_dim, 16]`, and values,
/// `[num_kv_heads, context_length, head_dim]`, rounded to f16; the context is rounded up to whole sixteens.
pub(crate) struct TiledLayer {
    keys: Buffer<f16>,
    values: Buffer<f16>,
    head_dim: usize,
    head_stride: usize,
}

impl<L: CachedLayer> KvCache<L> {
    /// Room for `context_length` positions, `None` where the system does not give it.
    pub(crate) fn new(config: &Config, context_length: usize) -> Option<Self> {
        let layers = (0..config.num_layers).map(|_| L::new(config, context_length)).collect::<Option<_>>()?;
        Some(Self { layers, len: 0 })
    }

    /// Bytes that one position takes: a key and a value for every layer.
    pub(crate) fn bytes_per_position(config: &Config) -> u64 {
        (2 * config.num_layers * config.kv_width() * L::ELEMENT_SIZE) as u64
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut L {
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

impl CachedLayer for LayerCache {
    const ELEMENT_SIZE: usize = size_of::<f32>();

    fn new(config: &Config, context_length: usize) -> Option<Self> {
        let head_stride = context_length * config.head_dim;
        Some(Self {
            keys: Buffer::zeroed(config.num_kv_heads * head_stride)?,
            values: Buffer::zeroed(config.num_kv_heads * head_stride)?,
            head_dim: config.head_dim,
            head_stride,
        })
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

impl CachedLayer for TiledLayer {
    const ELEMENT_SIZE: usize = size_of::<f16>();

    fn new(config: &Config, context_length: usize) -> Option<Self> {
        let head_stride = context_length.next_multiple_of(TiledHeadCache::TILE) * config.head_dim;
        Some(Self {
            keys: Buffer::zeroed(config.num_kv_heads * head_stride)?,
            values: Buffer::zeroed(config.num_kv_heads * head_stride)?,
            head_dim: config.head_dim,
            head_stride,
        })
    }
}

impl TiledLayer {
    /// Writes rotated keys and values, `[n, num_kv_heads * head_dim]` each, at positions `start..start + n`.
    pub(crate) fn append(&mut self, start: usize, keys: &[f32], values: &[f32]) {
        const TILE: usize = TiledHeadCache::TILE;
        let (head_dim, head_stride) = (self.head_dim, self.head_stride);
        let width = self.keys.len() / head_stride * head_dim;
        let mut rounded = vec![f16::ZERO; head_dim];
        for (row, (keys, values)) in keys.chunks_exact(width).zip(values.chunks_exact(width)).enumerate() {
            let position = start + row;
            let heads = keys.chunks_exact(head_dim).zip(values.chunks_exact(head_dim));
            for (head, (key, value)) in heads.enumerate() {
                let target = &mut self.values[head * head_stride + position * head_dim..][..head_dim];
                target.convert_from_f32_slice(value);
                rounded.convert_from_f32_slice(key);
                let tile = head * head_stride + position / TILE * TILE * head_dim + position % TILE;
                for (place, &element) in self.keys[tile..].iter_mut().step_by(TILE).zip(&rounded) {
                    *place = element;
                }
            }
        }
    }

    /// Each head's keys and values.
    pub(crate) fn heads(&self) -> Vec<TiledHeadCache<'_>> {
        self.keys
            .chunks_exact(self.head_stride)
            .zip(self.values.chunks_exact(self.head_stride))
            .map(|(keys, values)| TiledHeadCache { keys, values })
            .collect()
    }
}

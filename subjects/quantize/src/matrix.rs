//! A matrix as values and scales, rounded to nearest or packed into bytes.

use apr_tensor::{BLOCK_ROWS, GROUP, Packing};
use half::f16;
use rayon::prelude::*;

use crate::scale::{nearest, search};

/// A matrix `[rows, columns]` as small integers with a scale for every 32 of a row.
pub struct Quantized {
    /// How it will be packed.
    pub packing: Packing,
    /// Its columns.
    pub columns: usize,
    /// `[rows, columns]`.
    pub values: Vec<i8>,
    /// `[rows, columns / 32]`.
    pub scales: Vec<f16>,
}

impl Quantized {
    /// The packed bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let tile_values = BLOCK_ROWS * self.columns;
        let tile_bytes = self.packing.n_bytes(&[BLOCK_ROWS, self.columns]).unwrap_or_default();
        let mut bytes = vec![0; self.values.len() / tile_values * tile_bytes];
        bytes
            .par_chunks_mut(tile_bytes)
            .zip(self.values.par_chunks(tile_values))
            .zip(self.scales.par_chunks(tile_values / GROUP))
            .for_each(|((bytes, values), scales)| self.packing.pack_rows(values, scales, bytes));
        bytes
    }
}

/// Rounds `weights`, `[rows, columns]`, each group by itself; errors in a column count as `importance`, `[columns]`, says.
pub fn round_to_nearest(packing: Packing, weights: &[f32], importance: &[f32]) -> Quantized {
    let columns = importance.len();
    let mut values = vec![0; weights.len()];
    let mut scales = vec![f16::ZERO; weights.len() / GROUP];
    values
        .par_chunks_mut(columns)
        .zip(scales.par_chunks_mut(columns / GROUP))
        .zip(weights.par_chunks(columns))
        .for_each(|((values, scales), weights)| {
            let (weights, importance) = (weights.as_chunks::<GROUP>().0, importance.as_chunks::<GROUP>().0);
            for (((values, weights), importance), scale) in
                values.chunks_mut(GROUP).zip(weights).zip(importance).zip(scales)
            {
                *scale = search(packing, weights, importance);
                for (value, &weight) in values.iter_mut().zip(weights) {
                    *value = nearest(packing, weight, *scale);
                }
            }
        });
    Quantized { packing, columns, values, scales }
}

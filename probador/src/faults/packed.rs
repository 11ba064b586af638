//! Faults in how matrices are packed: a converted model, unpacked, spoiled, and written again.

use std::path::Path;

use anyhow::Context as _;
use apr_format::{AprFile, AprWriter, Overwrite, TensorSpec};
use apr_quantize::Quantized;
use apr_tensor::{BLOCK_ROWS, GROUP, Packing};
use half::f16;

/// What to do to every packed matrix, given by its name.
pub(super) type Spoil = fn(&str, &mut Quantized);

/// Every other row has scales half as large again.
pub(super) fn wrong_scales(_: &str, matrix: &mut Quantized) {
    let n_groups = matrix.columns / GROUP;
    for row in matrix.scales.chunks_mut(n_groups).step_by(2) {
        for scale in row {
            *scale = f16::from_f32(1.5 * scale.to_f32());
        }
    }
}

/// Every value is one too high.
pub(super) fn shifted_zero(_: &str, matrix: &mut Quantized) {
    let (_, highest) = matrix.packing.range();
    for value in &mut matrix.values {
        *value = highest.min(value.saturating_add(1));
    }
}

/// Groups begin a column too late: the last column of each is rounded with the scale of the next.
pub(super) fn shifted_groups(_: &str, matrix: &mut Quantized) {
    let (lowest, highest) = matrix.packing.range();
    let n_groups = matrix.columns / GROUP;
    for (values, scales) in matrix.values.chunks_mut(matrix.columns).zip(matrix.scales.chunks(n_groups)) {
        for (group, pair) in scales.windows(2).enumerate() {
            let value = &mut values[group * GROUP + GROUP - 1];
            let rounded = f32::from(*value) * pair[0].to_f32() / pair[1].to_f32();
            *value = (rounded.round() as i8).clamp(lowest, highest);
        }
    }
}

/// Neighbouring strips of sixteen rows of the head change places.
pub(super) fn permuted_head(name: &str, matrix: &mut Quantized) {
    if !["lm_head.weight", "model.embed_tokens.weight"].contains(&name) {
        return;
    }
    let (values, scales) = (BLOCK_ROWS * matrix.columns, BLOCK_ROWS * matrix.columns / GROUP);
    for pair in matrix.values.chunks_exact_mut(2 * values) {
        pair.rotate_left(values);
    }
    for pair in matrix.scales.chunks_exact_mut(2 * scales) {
        pair.rotate_left(scales);
    }
}

/// Writes the model at `path` again with every packed matrix spoiled.
pub(super) fn spoil(path: &Path, spoil: Spoil) -> anyhow::Result<()> {
    let file = AprFile::open_in_memory(path)?;
    let specs = file.entries().iter().map(|entry| TensorSpec {
        name: entry.name.clone(),
        dtype: entry.dtype,
        shape: entry.shape.clone(),
    });
    let mut writer = AprWriter::create(path, file.metadata().clone(), specs.collect(), Overwrite::Allow)?;
    for entry in file.entries() {
        let tensor = file.tensor(&entry.name).context("an entry without a tensor")?;
        match Packing::of(entry.dtype) {
            None => writer.write_tensor(&entry.name, tensor.bytes())?,
            Some(packing) => {
                let mut matrix = unpacked(packing, tensor.bytes(), entry.shape[0], entry.shape[1]);
                spoil(&entry.name, &mut matrix);
                writer.write_tensor(&entry.name, &matrix.to_bytes())?;
            }
        }
    }
    writer.finish()?;
    Ok(())
}

fn unpacked(packing: Packing, bytes: &[u8], rows: usize, columns: usize) -> Quantized {
    let (mut values, mut scales) = (Vec::new(), Vec::new());
    for row in 0..rows {
        for (column, (value, scale)) in packing.row(bytes, columns, row).enumerate() {
            values.push(value);
            if column.is_multiple_of(GROUP) {
                scales.push(scale);
            }
        }
    }
    Quantized { packing, columns, values, scales }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(packing: Packing) -> Quantized {
        let weights: Vec<f32> =
            (0..32 * 128).map(|i| ((i * 37 % 101) as f32 - 50.0) / (1 + i / 700) as f32).collect();
        apr_quantize::round_to_nearest(packing, &weights, &[1.0; 128])
    }

    #[test]
    fn what_is_unpacked_packs_to_the_same_bytes() {
        for packing in [Packing::Int8, Packing::Int4] {
            let matrix = matrix(packing);
            let again = unpacked(packing, &matrix.to_bytes(), 32, 128);
            assert_eq!((&again.values, &again.scales), (&matrix.values, &matrix.scales));
        }
    }

    #[test]
    fn each_fault_spoils_what_it_says_and_nothing_else() {
        let before = matrix(Packing::Int4);
        let after = |spoil: Spoil, name: &str| {
            let mut after = matrix(Packing::Int4);
            spoil(name, &mut after);
            after
        };
        let scales = after(wrong_scales, "any");
        assert_eq!((&scales.values, &scales.scales[4..8]), (&before.values, &before.scales[4..8]));
        assert_eq!(scales.scales[0].to_f32(), f16::from_f32(1.5 * before.scales[0].to_f32()).to_f32());
        let zero = after(shifted_zero, "any");
        assert!(zero.values.iter().zip(&before.values).all(|(after, before)| *after == 7.min(before + 1)));
        let groups = after(shifted_groups, "any");
        let changed = groups.values.iter().zip(&before.values).enumerate().filter(|(_, (a, b))| a != b);
        let places: Vec<usize> = changed.map(|(index, _)| index % GROUP).collect();
        assert!(!places.is_empty() && places.iter().all(|&place| place == GROUP - 1), "{places:?}");
        let head = after(permuted_head, "lm_head.weight");
        assert_eq!(head.values[..16 * 128], before.values[16 * 128..]);
        assert_eq!(head.scales[16 * 4..], before.scales[..16 * 4]);
        assert_eq!(after(permuted_head, "any").values, before.values);
    }
}

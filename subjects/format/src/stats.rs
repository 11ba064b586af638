//! What the values of a tensor are like: range, mean, deviation, and values that should not be there.

use apr_tensor::{BLOCK_COLUMNS, BLOCK_ROWS, DType, Packing, Tensor};
use half::slice::HalfFloatSliceExt;
use serde::Serialize;

/// Statistics over all elements of a tensor. Range, mean and deviation are over the finite ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TensorStats {
    /// Elements.
    pub n_elements: u64,
    /// Elements that are not a number.
    pub n_nan: u64,
    /// Infinite elements.
    pub n_infinite: u64,
    /// Elements that are zero.
    pub n_zero: u64,
    /// Smallest, 0 without finite elements.
    pub min: f32,
    /// Largest, 0 without finite elements.
    pub max: f32,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the population).
    pub std: f64,
}

impl TensorStats {
    /// Over the elements of `tensor`.
    pub fn of(tensor: &Tensor) -> Self {
        let mut accumulator = Accumulator::new(tensor.dtype());
        for chunk in tensor.bytes().chunks(256 << 10) {
            accumulator.update(chunk);
        }
        accumulator.finish()
    }

    /// Whether every element is zero.
    pub fn is_zero(&self) -> bool {
        self.n_elements > 0 && self.n_zero == self.n_elements
    }

    /// Whether there are several elements and all have one value, zero excepted.
    pub fn is_constant(&self) -> bool {
        self.n_elements > 1 && self.n_nan + self.n_infinite == 0 && self.min == self.max && !self.is_zero()
    }
}

/// Gathers statistics from the bytes of a tensor as they come.
#[derive(Clone, Debug)]
pub(crate) struct Accumulator {
    dtype: DType,
    /// Reused from call to call.
    values: Vec<f32>,
    /// Reused from call to call.
    halves: Vec<half::f16>,
    /// The start of a block of a packed tensor whose rest has not come yet.
    block: Vec<u8>,
    n_finite: u64,
    n_nan: u64,
    n_infinite: u64,
    n_zero: u64,
    min: f32,
    max: f32,
    mean: f64,
    /// Sum of squared differences from the mean.
    squares: f64,
}

/// Elements summed before their mean is merged into the whole.
const BLOCK: usize = 4096;

impl Accumulator {
    pub(crate) fn new(dtype: DType) -> Self {
        Self {
            dtype,
            values: Vec::new(),
            halves: Vec::new(),
            block: Vec::new(),
            n_finite: 0,
            n_nan: 0,
            n_infinite: 0,
            n_zero: 0,
            min: f32::INFINITY,
            max: f32::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
        }
    }

    /// Adds the elements in `bytes`, which must hold whole ones; blocks of packed ones may be cut anywhere.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let mut values = std::mem::take(&mut self.values);
        values.clear();
        match self.dtype {
            DType::F32 => values.extend(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes))),
            DType::F16 => {
                values.resize(bytes.len() / 2, 0.0);
                self.halves.clear();
                self.halves.extend(bytes.as_chunks().0.iter().map(|&bytes| half::f16::from_le_bytes(bytes)));
                self.halves.convert_to_f32_slice(&mut values);
            }
            DType::Bf16 => values
                .extend(bytes.as_chunks().0.iter().map(|&bytes| half::bf16::from_le_bytes(bytes).to_f32())),
            DType::Int8 => self.unpack(Packing::Int8, bytes, &mut values),
            DType::Int4 => self.unpack(Packing::Int4, bytes, &mut values),
        }
        for block in values.chunks(BLOCK) {
            self.update_block(block);
        }
        self.values = values;
    }

    /// Appends to `values` the elements of the blocks that `bytes` completes.
    fn unpack(&mut self, packing: Packing, bytes: &[u8], values: &mut Vec<f32>) {
        self.block.extend_from_slice(bytes);
        let blocks = self.block.chunks_exact(packing.block_bytes());
        let rest = blocks.remainder().to_vec();
        for block in blocks {
            // A block is a packed matrix itself.
            let rows = (0..BLOCK_ROWS).flat_map(|row| packing.row(block, BLOCK_COLUMNS, row));
            values.extend(rows.map(|(value, scale)| f32::from(value) * scale.to_f32()));
        }
        self.block = rest;
    }

    fn update_block(&mut self, block: &[f32]) {
        // Without the sign, bit patterns of floats are ordered as integers: zero, finite, infinite, NaN.
        let magnitude = |value: &f32| (value.to_bits() & 0x7fff_ffff).cast_signed();
        let largest =
            block.iter().map(magnitude).fold(0, |largest, bits| if bits > largest { bits } else { largest });
        self.n_zero += u64::from(block.iter().map(|value| u32::from(magnitude(value) == 0)).sum::<u32>());
        if largest < f32::INFINITY.to_bits().cast_signed() {
            self.merge(block);
            return;
        }
        self.n_nan += block.iter().filter(|value| value.is_nan()).count() as u64;
        self.n_infinite += block.iter().filter(|value| value.is_infinite()).count() as u64;
        let finite: Vec<f32> = block.iter().copied().filter(|value| value.is_finite()).collect();
        self.merge(&finite);
    }

    /// Merges the mean and squared differences of finite `values` (Chan, Golub and LeVeque 1979, eq. 2.1).
    fn merge(&mut self, values: &[f32]) {
        if values.is_empty() {
            return;
        }
        let mut min = [f32::INFINITY; LANES];
        let mut max = [f32::NEG_INFINITY; LANES];
        let mut sums = [0.0_f64; LANES];
        let (chunks, rest) = values.as_chunks::<LANES>();
        let mut add = |chunk: &[f32; LANES], n: usize| {
            for lane in 0..n {
                let value = chunk[lane];
                min[lane] = if value < min[lane] { value } else { min[lane] };
                max[lane] = if value > max[lane] { value } else { max[lane] };
                sums[lane] += f64::from(value);
            }
        };
        let mut last = [0.0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for chunk in chunks {
            add(chunk, LANES);
        }
        add(&last, rest.len());
        let n = values.len() as f64;
        let mean = sums.iter().sum::<f64>() / n;
        let mut sums = [0.0_f64; LANES];
        for chunk in chunks {
            for (sum, &value) in sums.iter_mut().zip(chunk) {
                let difference = f64::from(value) - mean;
                *sum += difference * difference;
            }
        }
        let squares = sums.iter().sum::<f64>()
            + rest.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
        self.min = min.into_iter().fold(self.min, f32::min);
        self.max = max.into_iter().fold(self.max, f32::max);
        let before = self.n_finite as f64;
        let difference = mean - self.mean;
        self.mean += difference * n / (before + n);
        self.squares += squares + difference * difference * before * n / (before + n);
        self.n_finite += values.len() as u64;
    }

    pub(crate) fn finish(&self) -> TensorStats {
        let empty = self.n_finite == 0;
        TensorStats {
            n_elements: self.n_finite + self.n_nan + self.n_infinite,
            n_nan: self.n_nan,
            n_infinite: self.n_infinite,
            n_zero: self.n_zero,
            min: if empty { 0.0 } else { self.min },
            max: if empty { 0.0 } else { self.max },
            mean: self.mean,
            std: if empty { 0.0 } else { (self.squares / self.n_finite as f64).sqrt() },
        }
    }
}

/// Sums kept apart, so that the compiler can keep them in a vector register.
const LANES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(values: &[f32]) -> TensorStats {
        TensorStats::of(&Tensor::from_f32(vec![values.len()], values).unwrap())
    }

    #[test]
    fn mean_and_deviation_are_those_of_two_passes_in_double_precision() {
        let values: Vec<f32> = (0..100_003).map(|i| 1e4 + ((i * 7919) % 1000) as f32 / 500.0).collect();
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let std = (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n).sqrt();
        let stats = stats(&values);
        assert!((stats.mean - mean).abs() < 1e-9, "{} {mean}", stats.mean);
        assert!((stats.std - std).abs() < 1e-9, "{} {std}", stats.std);
        assert_eq!((stats.min, stats.max), (1e4, 1e4 + 999.0 / 500.0));
    }

    #[test]
    fn values_that_are_not_finite_are_counted_and_left_out() {
        let stats = stats(&[f32::NAN, 1.0, f32::INFINITY, -0.0, f32::NEG_INFINITY, 3.0, -f32::NAN]);
        assert_eq!((stats.n_elements, stats.n_nan, stats.n_infinite, stats.n_zero), (7, 2, 2, 1));
        assert_eq!((stats.min, stats.max), (-0.0, 3.0));
        assert!((stats.mean - 4.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn half_floats_are_read_as_what_they_are() {
        let values =
            [half::f16::from_f32(0.5), half::f16::NAN, half::f16::from_f32(-2.0), half::f16::INFINITY];
        let stats = TensorStats::of(&Tensor::from_f16(vec![4], &values).unwrap());
        assert_eq!((stats.n_nan, stats.n_infinite, stats.min, stats.max), (1, 1, -2.0, 0.5));
        let mut accumulator = Accumulator::new(DType::Bf16);
        accumulator.update(&half::bf16::from_f32(1.5).to_le_bytes());
        accumulator.update(&half::bf16::NEG_INFINITY.to_le_bytes());
        let stats = accumulator.finish();
        assert_eq!((stats.n_elements, stats.n_infinite, stats.max), (2, 1, 1.5));
    }

    #[test]
    fn zero_and_constant_tensors_are_told_apart() {
        assert!(stats(&[0.0, -0.0]).is_zero() && !stats(&[0.0, -0.0]).is_constant());
        assert!(stats(&[2.0; 9]).is_constant() && !stats(&[2.0; 9]).is_zero());
        assert!(!stats(&[2.0]).is_constant() && !stats(&[2.0, 3.0]).is_constant());
        // One that is not finite is another value, alone or beside one that is not finite in another way.
        assert!(!stats(&[2.0, 2.0, f32::NAN]).is_constant());
        assert!(!stats(&[2.0, 2.0, f32::NAN, f32::INFINITY]).is_constant());
        assert!(!stats(&[]).is_zero() && !stats(&[]).is_constant());
    }

    #[test]
    fn packed_tensors_are_counted_by_what_they_stand_for() {
        for packing in [Packing::Int8, Packing::Int4] {
            let values: Vec<i8> = (0..BLOCK_ROWS * BLOCK_COLUMNS).map(|i| (i % 9) as i8 - 4).collect();
            let scales = vec![half::f16::from_f32(0.25); BLOCK_ROWS * 2];
            let mut bytes = vec![0; packing.block_bytes()];
            packing.pack_rows(&values, &scales, &mut bytes);
            let tensor = Tensor::new(packing.dtype(), vec![BLOCK_ROWS, BLOCK_COLUMNS], bytes.into()).unwrap();
            let stats = TensorStats::of(&tensor);
            assert_eq!((stats.n_elements, stats.min, stats.max), (1024, -1.0, 1.0), "{packing:?}");
            let mean = values.iter().map(|&value| f64::from(value) * 0.25).sum::<f64>() / 1024.0;
            assert!((stats.mean - mean).abs() < 1e-12, "{packing:?}: {}, not {mean}", stats.mean);
        }
    }
}

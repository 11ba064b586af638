//! What this machine can do at best, with the team and the instruction set in use: what speeds are held against.

use std::hint::black_box;
use std::time::Instant;

use super::Compute;
use crate::kernels::{FLOAT_PEAK, INTEGER_PEAK};

/// Bytes that a part of [`Compute::read_all`] reads.
const PART_BYTES: usize = 1 << 20;
/// Rounds that make a part of a measurement long enough to be timed.
const ROUNDS: usize = 200_000;

impl Compute {
    /// Reads every byte once with the whole team and returns how many bytes a second that was.
    pub fn read_rate(&self, bytes: &[u8]) -> f64 {
        let start = Instant::now();
        self.team.run(bytes.len().div_ceil(PART_BYTES), &|part| {
            let part = &bytes[part * PART_BYTES..bytes.len().min((part + 1) * PART_BYTES)];
            let mut sums = [0_u64; 8];
            for line in part.as_chunks::<64>().0 {
                for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                    *sum = sum.wrapping_add(u64::from_le_bytes(*word));
                }
            }
            black_box(sums);
        });
        bytes.len() as f64 / start.elapsed().as_secs_f64()
    }

    /// Operations on integers a second, a multiply and an add counting two: exact sums of int8 products from the
    /// first-level cache, without the scales.
    pub fn integer_rate(&self) -> f64 {
        let kernel = self.kernels.integer.peak;
        // SAFETY: the table is one `available` offered.
        self.rate(INTEGER_PEAK, &|| unsafe { kernel(ROUNDS) })
    }

    /// Operations on f32 a second, a multiply and an add counting two.
    pub fn float_rate(&self) -> f64 {
        let kernel = self.kernels.float.peak;
        // SAFETY: the table is one `available` offered.
        self.rate(FLOAT_PEAK, &|| unsafe { kernel(ROUNDS) })
    }

    /// What `kernel`, `multiply_adds` a round, comes to on all threads at once.
    fn rate(&self, multiply_adds: usize, kernel: &(dyn Fn() -> f32 + Sync)) -> f64 {
        let n_threads = self.n_threads();
        let start = Instant::now();
        self.team.run(n_threads, &|_| {
            black_box(kernel());
        });
        (2 * multiply_adds * ROUNDS * n_threads) as f64 / start.elapsed().as_secs_f64()
    }
}

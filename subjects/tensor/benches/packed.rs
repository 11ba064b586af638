//! `cargo bench -p apr-tensor --bench packed`: products with packed weights, beside what memory gives and what the units
//! do at best in the same run.
//!
//! Products with few rows read each weight once: compare their rate with the read rate. Those with many compute: compare
//! theirs with the rate of integer sums. Each figure is the best of several, since other work can only add time.
#![expect(clippy::print_stdout, reason = "its result")]

use std::hint::black_box;
use std::time::Instant;

use apr_tensor::{BLOCK_ROWS, Compute, GROUP, Output, PackedProduct, Packing, RoundedRows, Tensor};
use bytes::Bytes;
use half::f16;

/// Times of which the best counts.
const REPEATS: usize = 12;

/// Rows and columns of the weights, and rows that are multiplied with them: the head, too large for any cache, and the
/// matrices that repeat in every layer of the release model.
const SHAPES: [(usize, usize, usize); 7] = [
    (151_936, 896, 1),
    (151_936, 896, 2),
    (151_936, 896, 3),
    (151_936, 896, 8),
    (4864, 896, 512),
    (896, 4864, 512),
    (896, 896, 512),
];

fn matrix(packing: Packing, n: usize, k: usize) -> Tensor {
    let (low, high) = packing.range();
    let span = usize::from(high.abs_diff(low));
    let values: Vec<i8> =
        (0..BLOCK_ROWS * k).map(|i| (i64::from(low) + (i * 7 % span) as i64) as i8).collect();
    let scales = vec![f16::from_f32(0.01); BLOCK_ROWS * k / GROUP];
    let mut tile = vec![0; packing.n_bytes(&[BLOCK_ROWS, k]).expect("whole blocks")];
    packing.pack_rows(&values, &scales, &mut tile);
    let bytes = Bytes::from(tile.repeat(n / BLOCK_ROWS));
    Tensor::new(packing.dtype(), vec![n, k], bytes).expect("bytes of this shape")
}

/// Seconds of the fastest of several runs.
fn seconds(mut run: impl FnMut()) -> f64 {
    let once = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..REPEATS).map(|_| once(&mut run)).fold(f64::INFINITY, f64::min)
}

fn main() {
    for kernels in Compute::available_kernels().into_iter().filter(|&kernels| kernels != "scalar") {
        for n_threads in [1, 2] {
            let compute = Compute::with_kernels(n_threads, kernels).expect("available");
            let best = |rate: &dyn Fn() -> f64| (0..REPEATS).map(|_| rate()).fold(0.0, f64::max) / 1e9;
            let head = matrix(Packing::Int4, 151_936, 896);
            println!(
                "{kernels}, {n_threads} threads: reads {:.1} GB/s, integer sums {:.0} GOP/s, f32 {:.0} GFLOP/s",
                best(&|| compute.read_rate(head.bytes())),
                best(&|| compute.integer_rate()),
                best(&|| compute.float_rate()),
            );
            for packing in [Packing::Int4, Packing::Int8] {
                for (n, k, m) in SHAPES {
                    let w = matrix(packing, n, k);
                    let x: Vec<f32> = (0..m * k).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
                    let mut rows = RoundedRows::default();
                    compute.round_rows(&x, k, &mut rows);
                    let mut y = vec![0.0; m * n];
                    let seconds = seconds(|| {
                        let output = Output::Store(black_box(&mut y), None);
                        compute.multiply_rounded(&rows, &mut [PackedProduct { w: &w, output }]);
                    });
                    println!(
                        "  {packing:?} [{m}, {k}] x [{n}, {k}]^T: {:.3} ms, {:.1} GB/s, {:.0} GOP/s",
                        1e3 * seconds,
                        w.bytes().len() as f64 / seconds / 1e9,
                        (2 * m * n * k) as f64 / seconds / 1e9
                    );
                }
            }
        }
    }
}

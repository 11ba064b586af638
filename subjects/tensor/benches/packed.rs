//! `cargo bench -p apr-tensor --bench packed`: products with packed weights, beside what memory gives and arithmetic takes.

use std::time::Instant;

use apr_tensor::{BLOCK_ROWS, Compute, GROUP, Output, PackedProduct, Packing, RoundedRows, Tensor};
use bytes::Bytes;
use half::f16;

fn matrix(packing: Packing, n: usize, k: usize) -> Tensor {
    let (low, high) = packing.range();
    let values: Vec<i8> = (0..BLOCK_ROWS * k).map(|i| (low as i32 + (i * 7 % (high as i32 - low as i32) as usize) as i32) as i8).collect();
    let scales = vec![f16::from_f32(0.01); BLOCK_ROWS * k / GROUP];
    let mut tile = vec![0; packing.n_bytes(&[BLOCK_ROWS, k]).unwrap()];
    packing.pack_rows(&values, &scales, &mut tile);
    let bytes = tile.repeat(n / BLOCK_ROWS);
    unsafe { libc_madvise(&bytes) };
    Tensor::new(packing.dtype(), vec![n, k], Bytes::from(bytes)).unwrap()
}
unsafe fn libc_madvise(_b: &[u8]) {}

fn best(n: usize, mut f: impl FnMut()) -> f64 {
    (0..n).map(|_| { let t = Instant::now(); f(); t.elapsed().as_secs_f64() }).fold(f64::MAX, f64::min)
}

fn main() {
    for kernels in Compute::available_kernels().into_iter().filter(|k| *k != "scalar") {
        for threads in [1, 2] {
            let compute = Compute::with_kernels(threads, kernels).unwrap();
            for packing in [Packing::Int4, Packing::Int8] {
                for (n, k, m) in [(151_936, 896, 1), (151_936, 896, 2), (151_936, 896, 4),  (9728, 896, 512), (896, 4864, 512)] {
                    let w = matrix(packing, n, k);
                    let x: Vec<f32> = (0..m * k).map(|i| ((i * 37) % 101) as f32 / 50.0 - 1.0).collect();
                    let mut rows = RoundedRows::default();
                    compute.round_rows(&x, k, &mut rows);
                    let mut y = vec![0.0; m * n];
                    let t = best(10, || compute.multiply_rounded(&rows, &mut [PackedProduct { w: &w, output: Output::Store(&mut y, None) }]));
                    let q = best(10, || compute.round_rows(&x, k, &mut rows));
                    println!("{kernels:12} {threads}t {packing:?} [{m}, {k}] x [{n}, {k}]: {:.3} ms, {:.1} GB/s, {:.0} GOP/s; rounding {:.1} us", t * 1e3, w.bytes().len() as f64 / t / 1e9, 2.0 * (m * n * k) as f64 / t / 1e9, q * 1e6);
                }
            }
        }
    }
}

//! `cargo bench -p apr-tensor`: the products and the attention of one layer of the release model.
//!
//! Prints time and rate for every instruction set; compare a decode product (1 row) with the machine's read
//! bandwidth and a prefill product (512 rows) with its f32 peak.

use apr_tensor::{AttentionShape, Compute, HeadCache, PositionTerm, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-1.0_f32..1.0)).collect()
}

fn random_wide(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    random(rng, n).into_iter().map(f64::from).collect()
}

fn matmul(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // The head is too large for any cache; gate, up and down repeat in every layer.
    for (name, n, k, m) in [
        ("head", 151_936, 896, 1),
        ("gate", 4864, 896, 512),
        ("down", 896, 4864, 512),
        ("output", 896, 896, 512),
    ] {
        let values: Vec<f16> = random(&mut rng, n * k).into_iter().map(f16::from_f32).collect();
        let w = Tensor::from_f16(vec![n, k], &values).expect("shape fits the values");
        let x = random(&mut rng, m * k);
        let mut y = vec![0.0; m * n];
        let mut group = criterion.benchmark_group(format!("matmul/{name} [{m}, {k}] x [{n}, {k}]^T f16"));
        group.sample_size(10);
        if m == 1 {
            group.throughput(Throughput::Bytes((n * k * 2) as u64));
        } else {
            // Two operations a multiply-add; read "elements" as operations.
            group.throughput(Throughput::Elements((2 * m * n * k) as u64));
        }
        for kernels in Compute::available_kernels().into_iter().filter(|&kernels| kernels != "scalar") {
            for n_threads in [1, 2] {
                let compute = Compute::with_kernels(n_threads, kernels).expect("available");
                group.bench_function(BenchmarkId::new(kernels, n_threads), |bencher| {
                    bencher.iter(|| compute.matmul(&x, &w, None, &mut y));
                });
            }
        }
    }
}

/// The products that are summed in f64.
fn matmul_wide(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let (n, k) = (896, 896);
    let values: Vec<f16> = random(&mut rng, n * k).into_iter().map(f16::from_f32).collect();
    let w = Tensor::from_f16(vec![n, k], &values).expect("shape fits the values");
    for m in [1, 512] {
        let x = random_wide(&mut rng, m * k);
        let mut y = vec![0.0; m * n];
        let mut group = criterion.benchmark_group(format!("wide matmul/query [{m}, {k}] x [{n}, {k}]^T f16"));
        group.sample_size(10);
        group.throughput(Throughput::Elements((2 * m * n * k) as u64));
        for kernels in Compute::available_kernels().into_iter().filter(|&kernels| kernels != "scalar") {
            let compute = Compute::with_kernels(2, kernels).expect("available");
            group.bench_function(BenchmarkId::new(kernels, 2), |bencher| {
                bencher.iter(|| compute.matmul_wide(&x, &w, None, &mut y));
            });
        }
    }
}

fn attention(criterion: &mut Criterion) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut group = criterion.benchmark_group("attention 14 heads of 64, 2 key/value heads");
    group.sample_size(10);
    for (name, start, n_queries) in [("prefill 512", 0, 512), ("decode at 512", 511, 1)] {
        let shape = AttentionShape { n_heads: 14, n_kv_heads: 2, head_dim: 64, start, n_queries };
        let storage = random(&mut rng, (start + n_queries) * 64);
        let caches = [HeadCache { keys: &storage, values: &storage }; 2];
        let queries = random_wide(&mut rng, n_queries * 14 * 64);
        let positions = random_wide(&mut rng, (start + n_queries) * 64);
        let term = Some(PositionTerm { queries: &queries, positions: &positions });
        let mut out = vec![0.0; queries.len()];
        let compute = Compute::new(None);
        group.bench_function(name, |bencher| {
            bencher.iter(|| compute.attention(shape, &queries, &caches, term, &mut out, None));
        });
    }
}

criterion_group!(benches, matmul, matmul_wide, attention);
criterion_main!(benches);

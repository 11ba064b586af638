//! Attention over f16, norms and gates of models with packed weights: equal to the scalar file bit for bit, and to their
//! equations within rounding.
#![expect(clippy::unwrap_used, reason = "a test may")]

use apr_tensor::{
    AttentionShape, BLOCK_ROWS, Compute, GROUP, Output, PackedProduct, Packing, RoundedRows, Tensor,
    TiledHeadCache,
};
use bytes::Bytes;
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The seed of a run: `APR_TEST_SEED`, or one drawn anew.
fn seed() -> u64 {
    std::env::var("APR_TEST_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap())
}

fn random(rng: &mut ChaCha8Rng, n: usize, magnitude: f32) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-magnitude..magnitude)).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn contenders() -> Vec<Compute> {
    Compute::available_kernels()
        .into_iter()
        .flat_map(|name| [1, 2, 5].map(|n_threads| Compute::with_kernels(n_threads, name).unwrap()))
        .collect()
}

/// Keys of one head in tiles of sixteen positions, from `[n_positions, head_dim]`.
fn tiled(keys: &[f16], head_dim: usize) -> Vec<f16> {
    const TILE: usize = TiledHeadCache::TILE;
    let n_positions = keys.len() / head_dim;
    let mut target = vec![f16::NAN; n_positions.next_multiple_of(TILE) * head_dim];
    for position in 0..n_positions {
        for i in 0..head_dim {
            target[(position / TILE * head_dim + i) * TILE + position % TILE] = keys[position * head_dim + i];
        }
    }
    target
}

#[test]
fn attention_follows_its_definition_and_rows_do_not_depend_on_one_another() {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let narrow = |values: Vec<f32>| values.into_iter().map(f16::from_f32).collect::<Vec<f16>>();
    for (n_heads, n_kv_heads, head_dim, start, n_queries) in [
        (14, 2, 64, 0, 21),
        (14, 2, 64, 700, 1),
        (6, 2, 32, 5, 9),
        (3, 3, 16, 30, 1),
        (5, 1, 48, 15, 17),
        (16, 2, 64, 16, 2),
    ] {
        let what =
            format!("APR_TEST_SEED={seed}, {n_heads}/{n_kv_heads} heads of {head_dim}, {start}+{n_queries}");
        let shape = AttentionShape { n_heads, n_kv_heads, head_dim, start, n_queries };
        let (group, n_positions) = (n_heads / n_kv_heads, start + n_queries);
        let queries = random(&mut rng, n_queries * n_heads * head_dim, 3.0);
        let heads: Vec<(Vec<f16>, Vec<f16>)> = (0..n_kv_heads)
            .map(|_| {
                let mut draw = || narrow(random(&mut rng, n_positions * head_dim, 2.0));
                (draw(), draw())
            })
            .collect();
        let keys: Vec<Vec<f16>> = heads.iter().map(|(keys, _)| tiled(keys, head_dim)).collect();
        let caches: Vec<TiledHeadCache<'_>> =
            keys.iter().zip(&heads).map(|(keys, (_, values))| TiledHeadCache { keys, values }).collect();
        let mut first = None;
        for compute in contenders() {
            let mut out = vec![f32::NAN; queries.len()];
            let mut scores = vec![f32::NAN; n_heads * shape.n_pairs()];
            compute.attention_tiled(shape, &queries, &caches, &mut out, Some(&mut scores));
            let first = first.get_or_insert_with(|| (bits(&out), bits(&scores)));
            assert_eq!(
                first,
                &(bits(&out), bits(&scores)),
                "{what}, {} {}",
                compute.kernels(),
                compute.n_threads()
            );
            for query in 0..n_queries {
                let row = query * n_heads * head_dim..(query + 1) * n_heads * head_dim;
                let one = AttentionShape { start: start + query, n_queries: 1, ..shape };
                let mut alone = vec![0.0; n_heads * head_dim];
                compute.attention_tiled(one, &queries[row.clone()], &caches, &mut alone, None);
                assert_eq!(bits(&alone), bits(&out[row]), "{what}, query {query}");
            }
        }
        let (out, scores) = first.unwrap();
        for query in 0..n_queries {
            for head in 0..n_heads {
                let (keys, values) = &heads[head / group];
                let q = &queries[(query * n_heads + head) * head_dim..][..head_dim];
                let exact: Vec<f64> = (0..=start + query)
                    .map(|key| {
                        let k = &keys[key * head_dim..][..head_dim];
                        let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * k.to_f64()).sum();
                        dot / (head_dim as f64).sqrt()
                    })
                    .collect();
                let offset = head * shape.n_pairs() + query * start + query * (query + 1) / 2;
                for (key, exact) in exact.iter().enumerate() {
                    let score = f64::from(f32::from_bits(scores[offset + key]));
                    assert!((score - exact).abs() < 2e-5, "{what}: score {score}, not {exact}");
                }
                let max = exact.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = exact.iter().map(|score| (score - max).exp()).collect();
                let total: f64 = weights.iter().sum();
                for i in 0..head_dim {
                    let exact: f64 = weights
                        .iter()
                        .enumerate()
                        .map(|(key, w)| w * values[key * head_dim + i].to_f64())
                        .sum();
                    let value = f64::from(f32::from_bits(out[(query * n_heads + head) * head_dim + i]));
                    assert!((value - exact / total).abs() < 2e-5, "{what}: {value}, not {}", exact / total);
                }
            }
        }
    }
}

fn matrix(rng: &mut ChaCha8Rng, packing: Packing, n: usize, k: usize) -> Tensor {
    let (low, high) = packing.range();
    let mut bytes = Vec::new();
    for _ in 0..n / BLOCK_ROWS {
        let values: Vec<i8> = (0..BLOCK_ROWS * k).map(|_| rng.random_range(low..=high)).collect();
        let scales: Vec<f16> =
            (0..BLOCK_ROWS * k / GROUP).map(|_| f16::from_f32(rng.random_range(-0.01_f32..0.01))).collect();
        let mut tile = vec![0; packing.n_bytes(&[BLOCK_ROWS, k]).unwrap()];
        packing.pack_rows(&values, &scales, &mut tile);
        bytes.extend(tile);
    }
    Tensor::new(packing.dtype(), vec![n, k], Bytes::from(bytes)).unwrap()
}

#[test]
fn a_gated_product_is_the_gate_of_both_products_rounded() {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for packing in [Packing::Int8, Packing::Int4] {
        for m in [1, 2, 3, 4, 5, 13] {
            let (n, k) = (64 * rng.random_range(1..6), 64 * rng.random_range(1..4));
            let (gate, up) = (matrix(&mut rng, packing, n, k), matrix(&mut rng, packing, n, k));
            let down = matrix(&mut rng, packing, 32, n);
            let x = random(&mut rng, m * k, 4.0);
            let mut expected: Option<Vec<u32>> = None;
            for compute in contenders() {
                let mut rows = RoundedRows::default();
                compute.round_rows(&x, k, &mut rows);
                let mut gated = RoundedRows::default();
                compute.multiply_gated(&rows, &gate, &up, &mut gated);
                let mut y = vec![f32::NAN; m * 32];
                compute.multiply_rounded(
                    &gated,
                    &mut [PackedProduct { w: &down, output: Output::Store(&mut y, None) }],
                );

                let (mut g, mut u) = (vec![0.0; m * n], vec![0.0; m * n]);
                compute.multiply_rounded(
                    &rows,
                    &mut [
                        PackedProduct { w: &gate, output: Output::Store(&mut g, None) },
                        PackedProduct { w: &up, output: Output::Store(&mut u, None) },
                    ],
                );
                compute.silu_mul(&mut g, &u);
                compute.round_rows(&g, n, &mut gated);
                let mut apart = vec![f32::NAN; m * 32];
                compute.multiply_rounded(
                    &gated,
                    &mut [PackedProduct { w: &down, output: Output::Store(&mut apart, None) }],
                );
                let what = format!("APR_TEST_SEED={seed}, {packing:?} {m}x{n}x{k}, {}", compute.kernels());
                assert_eq!(bits(&y), bits(&apart), "{what}");
                assert_eq!(expected.get_or_insert_with(|| bits(&y)), &bits(&y), "{what}");
            }
        }
    }
}

#[test]
fn norms_and_rotations_in_f32_follow_their_equations() {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (m, k, head_dim) = (7, 192, 32);
    let (x, gain) = (random(&mut rng, m * k, 50.0), random(&mut rng, k, 2.0));
    let turns = random(&mut rng, m * head_dim / 2, 3.0);
    let angles: Vec<f32> = turns
        .chunks_exact(head_dim / 2)
        .flat_map(|row| row.iter().map(|turn| turn.cos()).chain(row.iter().map(|turn| turn.sin())))
        .collect();
    let w = matrix(&mut rng, Packing::Int8, 16, k);
    let mut first = None;
    for compute in contenders() {
        let mut normed = vec![0.0; m * k];
        compute.rms_norm_narrow(&x, &gain, 1e-6, &mut normed);
        let (mut rows, mut shown) = (RoundedRows::default(), vec![0.0; m * k]);
        compute.rms_norm_rounded(&x, &gain, 1e-6, &mut rows, Some(&mut shown));
        assert_eq!(bits(&shown), bits(&normed), "what is rounded is shown");
        let [mut fused, mut apart] = [(); 2].map(|()| vec![0.0; m * 16]);
        compute
            .multiply_rounded(&rows, &mut [PackedProduct { w: &w, output: Output::Store(&mut fused, None) }]);
        compute.round_rows(&normed, k, &mut rows);
        compute
            .multiply_rounded(&rows, &mut [PackedProduct { w: &w, output: Output::Store(&mut apart, None) }]);
        assert_eq!(bits(&fused), bits(&apart));
        let mut rotated = x.clone();
        compute.rotate_halves_narrow(&mut rotated, head_dim, &angles);
        let all = (bits(&normed), bits(&rotated), bits(&fused));
        assert_eq!(first.get_or_insert_with(|| all.clone()), &all, "{}", compute.kernels());
        for row in 0..m {
            let x = &x[row * k..][..k];
            let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / k as f64;
            for (i, x) in x.iter().enumerate() {
                let exact = f64::from(*x) / (mean + 1e-6).sqrt() * f64::from(gain[i]);
                assert!((f64::from(normed[row * k + i]) - exact).abs() < 1e-5, "APR_TEST_SEED={seed}");
            }
            for head in x.chunks_exact(head_dim).enumerate() {
                let (head, x) = head;
                for i in 0..head_dim / 2 {
                    let (sin, cos) = f64::from(turns[row * head_dim / 2 + i]).sin_cos();
                    let (a, b) = (f64::from(x[i]), f64::from(x[head_dim / 2 + i]));
                    let rotated = &rotated[row * k + head * head_dim..][..head_dim];
                    assert!(
                        (f64::from(rotated[i]) - (a * cos - b * sin)).abs() < 2e-5,
                        "APR_TEST_SEED={seed}"
                    );
                    assert!(
                        (f64::from(rotated[head_dim / 2 + i]) - (b * cos + a * sin)).abs() < 2e-5,
                        "APR_TEST_SEED={seed}"
                    );
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_stay_so_through_rounding() {
    for compute in contenders() {
        let w = Tensor::new(Packing::Int8.dtype(), vec![16, 64], Bytes::from(ones())).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 64];
            x[40] = bad;
            let mut rows = RoundedRows::default();
            compute.round_rows(&x, 64, &mut rows);
            let mut y = vec![0.0; 16];
            compute
                .multiply_rounded(&rows, &mut [PackedProduct { w: &w, output: Output::Store(&mut y, None) }]);
            assert!(y.iter().all(|y| !y.is_finite()), "{} {bad}: {y:?}", compute.kernels());
        }
    }
}

/// A block of ones.
fn ones() -> Vec<u8> {
    let mut bytes = vec![0; Packing::Int8.block_bytes()];
    Packing::Int8.pack_rows(&[1; 16 * 64], &[f16::ONE; 32], &mut bytes);
    bytes
}

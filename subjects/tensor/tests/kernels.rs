//! Every instruction set computes what the scalar file computes, bit for bit, and that is what the equations say.
#![expect(clippy::unwrap_used, reason = "a test may")]

use apr_tensor::{AttentionShape, Compute, DType, HeadCache, PositionTerm, Tensor};
use bytes::Bytes;
use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SEED: u64 = 20_240_607;
const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::Bf16];

fn random(rng: &mut ChaCha8Rng, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.random_range(-2.0_f32..2.0)).collect()
}

fn random_wide(rng: &mut ChaCha8Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| rng.random_range(-2.0_f64..2.0)).collect()
}

/// The weights rounded to `dtype`, and the same values as f32.
fn weights(rng: &mut ChaCha8Rng, dtype: DType, n: usize, k: usize) -> (Tensor, Vec<f32>) {
    let values = random(rng, n * k);
    let tensor = match dtype {
        DType::F32 => Tensor::from_f32(vec![n, k], &values),
        DType::F16 => {
            Tensor::from_f16(vec![n, k], &values.iter().map(|&v| f16::from_f32(v)).collect::<Vec<_>>())
        }
        DType::Bf16 => {
            let bits: Vec<u8> = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
            Tensor::new(dtype, vec![n, k], Bytes::from(bits))
        }
        DType::Int8 | DType::Int4 => panic!("packed weights have tests of their own"),
    }
    .unwrap();
    let rounded = tensor.to_f32();
    (tensor, rounded)
}

fn matmul(compute: &Compute, x: &[f32], w: &Tensor, bias: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / w.shape()[1] * w.shape()[0]];
    compute.matmul(x, w, Some(bias), &mut y);
    y
}

fn matmul_wide(compute: &Compute, x: &[f64], w: &Tensor, bias: &[f32]) -> Vec<f64> {
    let mut y = vec![f64::NAN; x.len() / w.shape()[1] * w.shape()[0]];
    compute.matmul_wide(x, w, Some(bias), &mut y);
    y
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn bits_wide(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Kernels to hold against the scalar ones, with one thread and with several.
fn contenders() -> Vec<Compute> {
    Compute::available_kernels()
        .into_iter()
        .flat_map(|name| [1, 3].map(|n_threads| Compute::with_kernels(n_threads, name).unwrap()))
        .collect()
}

#[test]
fn matmul_equals_the_scalar_file_bit_for_bit_and_the_sum_within_rounding() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let scalar = Compute::with_kernels(1, "scalar").unwrap();
    for dtype in FLOATS {
        for (m, n, k) in [(1, 1, 1), (1, 70, 17), (2, 33, 64), (7, 5, 100), (9, 65, 48), (20, 130, 31)] {
            let (w, w_values) = weights(&mut rng, dtype, n, k);
            let (x, bias) = (random(&mut rng, m * k), random(&mut rng, n));
            let expected = matmul(&scalar, &x, &w, &bias);
            for (index, &y) in expected.iter().enumerate() {
                let (row, column) = (index / n, index % n);
                let terms = (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w_values[column * k + i]));
                let exact = terms.clone().sum::<f64>() + f64::from(bias[column]);
                let magnitude = terms.map(f64::abs).sum::<f64>() + 2.0;
                assert!(
                    (f64::from(y) - exact).abs() <= 1e-6 * magnitude,
                    "seed {SEED}, {dtype} {m}x{n}x{k} at [{row}, {column}]: {y} is not {exact}"
                );
            }
            for compute in contenders() {
                assert_eq!(
                    bits(&matmul(&compute, &x, &w, &bias)),
                    bits(&expected),
                    "seed {SEED}, {dtype} {m}x{n}x{k}, {} with {} threads",
                    compute.kernels(),
                    compute.n_threads()
                );
            }
        }
    }
}

#[test]
fn a_wide_matmul_equals_the_scalar_file_bit_for_bit_and_the_sum_within_rounding() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let scalar = Compute::with_kernels(1, "scalar").unwrap();
    for dtype in FLOATS {
        for (m, n, k) in [(1, 1, 1), (1, 70, 17), (2, 33, 64), (7, 5, 100), (9, 65, 48), (20, 130, 31)] {
            let (w, w_values) = weights(&mut rng, dtype, n, k);
            let (x, bias) = (random_wide(&mut rng, m * k), random(&mut rng, n));
            let expected = matmul_wide(&scalar, &x, &w, &bias);
            for (index, &y) in expected.iter().enumerate() {
                let (row, column) = (index / n, index % n);
                let exact = (0..k).map(|i| x[row * k + i] * f64::from(w_values[column * k + i])).sum::<f64>()
                    + f64::from(bias[column]);
                assert!(
                    (y - exact).abs() <= 1e-12,
                    "seed {SEED}, {dtype} {m}x{n}x{k} at [{row}, {column}]: {y} is not {exact}"
                );
            }
            for compute in contenders() {
                assert_eq!(
                    bits_wide(&matmul_wide(&compute, &x, &w, &bias)),
                    bits_wide(&expected),
                    "seed {SEED}, {dtype} {m}x{n}x{k}, {} with {} threads",
                    compute.kernels(),
                    compute.n_threads()
                );
            }
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (m, n, k) = (23, 67, 80);
    let (w, _) = weights(&mut rng, DType::F16, n, k);
    let (x, bias) = (random(&mut rng, m * k), random(&mut rng, n));
    let x_wide: Vec<f64> = x.iter().copied().map(f64::from).collect();
    for compute in contenders() {
        let together = matmul(&compute, &x, &w, &bias);
        let together_wide = matmul_wide(&compute, &x_wide, &w, &bias);
        for row in 0..m {
            let (one, columns) = (row * k..(row + 1) * k, row * n..(row + 1) * n);
            let alone = matmul(&compute, &x[one.clone()], &w, &bias);
            assert_eq!(bits(&together[columns.clone()]), bits(&alone), "row {row}, {}", compute.kernels());
            let alone = matmul_wide(&compute, &x_wide[one], &w, &bias);
            assert_eq!(bits_wide(&together_wide[columns]), bits_wide(&alone), "row {row}, wide");
        }
    }
}

#[test]
fn norm_rotation_activation_and_sum_equal_the_scalar_file_and_their_equations() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let scalar = Compute::with_kernels(1, "scalar").unwrap();
    // 40 rows of 1,000 are shared out over the team, 3 of 37 are not.
    for (rows, width) in [(3, 37), (40, 1000)] {
        let (x, up) = (random(&mut rng, rows * width), random(&mut rng, rows * width));
        let stream = random_wide(&mut rng, rows * width);
        let gain = random(&mut rng, width);
        let run = |compute: &Compute| {
            let mut normed = vec![0.0; stream.len()];
            compute.rms_norm(&stream, &gain, 1e-6, &mut normed);
            let mut gated = x.clone();
            compute.silu_mul(&mut gated, &up);
            let mut sum = stream.clone();
            compute.add(&mut sum, &up);
            let mut narrow = vec![0.0; sum.len()];
            compute.narrow(&sum, &mut narrow);
            (normed, gated, sum, narrow)
        };
        let (normed, gated, sum, narrow) = run(&scalar);
        for row in 0..rows {
            let stream = &stream[row * width..][..width];
            let mean = stream.iter().map(|v| v.powi(2)).sum::<f64>() / width as f64;
            for column in 0..width {
                let index = row * width + column;
                let expected = stream[column] / (mean + 1e-6).sqrt() * f64::from(gain[column]);
                assert!((normed[index] - expected).abs() < 1e-14, "norm at {index}");
                let value = f64::from(x[index]);
                let expected = value / (1.0 + (-value).exp()) * f64::from(up[index]);
                assert!((f64::from(gated[index]) - expected).abs() < 1e-6, "silu at {index}");
                assert_eq!(sum[index], stream[column] + f64::from(up[index]));
                assert_eq!(narrow[index], sum[index] as f32);
            }
        }
        for compute in contenders() {
            let (a, b, c, d) = run(&compute);
            assert_eq!(
                (bits_wide(&a), bits(&b), bits_wide(&c), bits(&d)),
                (bits_wide(&normed), bits(&gated), bits_wide(&sum), bits(&narrow)),
                "{}",
                compute.kernels()
            );
        }
    }
}

#[test]
fn silu_of_extreme_values_is_finite_and_signed() {
    for compute in contenders() {
        let mut gate = [0.0, -0.0, 1e4, -1e4, f32::MAX, f32::MIN, 1e-30, f32::NAN];
        compute.silu_mul(&mut gate, &[1.0; 8]);
        assert_eq!(gate[..3], [0.0, 0.0, 1e4]);
        assert!(gate[3] <= 0.0 && gate[3] > -1e-30, "{}", gate[3]);
        assert_eq!(gate[4], f32::MAX);
        assert!(gate[7].is_nan(), "a NaN stays one");
    }
}

#[test]
fn rotation_turns_each_pair_by_its_angle() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let (n_rows, n_heads, head_dim) = (3, 2, 48);
    let x = random_wide(&mut rng, n_rows * n_heads * head_dim);
    let turns = random_wide(&mut rng, n_rows * head_dim / 2);
    let angles: Vec<f64> = turns
        .chunks_exact(head_dim / 2)
        .flat_map(|row| row.iter().map(|turn| turn.cos()).chain(row.iter().map(|turn| turn.sin())))
        .collect();
    let mut expected = None;
    for compute in contenders() {
        let mut rotated = x.clone();
        compute.rotate_halves(&mut rotated, head_dim, &angles);
        for row in 0..n_rows {
            for head in 0..n_heads {
                let offset = (row * n_heads + head) * head_dim;
                for i in 0..head_dim / 2 {
                    let (a, b) = (x[offset + i], x[offset + head_dim / 2 + i]);
                    let (sin, cos) = turns[row * head_dim / 2 + i].sin_cos();
                    assert!((rotated[offset + i] - (a * cos - b * sin)).abs() < 1e-14);
                    assert!((rotated[offset + head_dim / 2 + i] - (b * cos + a * sin)).abs() < 1e-14);
                }
            }
        }
        let rotated = bits_wide(&rotated);
        assert_eq!(expected.get_or_insert_with(|| rotated.clone()), &rotated, "{}", compute.kernels());
    }
}

/// Softmax attention in f64, straight from the equation; `[n_queries, n_heads * head_dim]`.
fn attention_by_definition(
    shape: AttentionShape,
    queries: &[f64],
    caches: &[HeadCache<'_>],
    term: Option<PositionTerm<'_>>,
) -> Vec<f64> {
    let AttentionShape { n_heads, n_kv_heads, head_dim, start, n_queries } = shape;
    let mut out = vec![0.0; queries.len()];
    for query in 0..n_queries {
        for head in 0..n_heads {
            let offset = (query * n_heads + head) * head_dim;
            let cache = caches[head / (n_heads / n_kv_heads)];
            let scores: Vec<f64> = (0..=start + query)
                .map(|key| {
                    let dot: f64 = (0..head_dim)
                        .map(|i| {
                            let of_term = term.map_or(0.0, |term| {
                                term.queries[offset + i] * term.positions[key * head_dim + i]
                            });
                            queries[offset + i] * f64::from(cache.keys[key * head_dim + i]) + of_term
                        })
                        .sum();
                    dot / (head_dim as f64).sqrt()
                })
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = scores.iter().map(|score| (score - max).exp()).sum();
            for (key, score) in scores.iter().enumerate() {
                for i in 0..head_dim {
                    out[offset + i] +=
                        (score - max).exp() / total * f64::from(cache.values[key * head_dim + i]);
                }
            }
        }
    }
    out
}

#[test]
fn attention_follows_its_definition_and_does_not_depend_on_how_queries_are_grouped() {
    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    for (n_heads, n_kv_heads, head_dim, start, n_queries) in
        [(14, 2, 64, 0, 21), (6, 2, 32, 5, 9), (3, 3, 16, 30, 1), (5, 1, 48, 0, 17)]
    {
        let shape = AttentionShape { n_heads, n_kv_heads, head_dim, start, n_queries };
        let n_positions = start + n_queries;
        let queries = random_wide(&mut rng, n_queries * n_heads * head_dim);
        let storage: Vec<(Vec<f32>, Vec<f32>)> = (0..n_kv_heads)
            .map(|_| (random(&mut rng, n_positions * head_dim), random(&mut rng, n_positions * head_dim)))
            .collect();
        let caches: Vec<HeadCache<'_>> =
            storage.iter().map(|(keys, values)| HeadCache { keys, values }).collect();
        // Large, and of one sign for each query, as a key bias makes it: scores of hundreds that differ little.
        let term_queries: Vec<f64> =
            random_wide(&mut rng, queries.len()).into_iter().map(|value| 300.0 + value).collect();
        let term_positions: Vec<f64> = random_wide(&mut rng, n_positions * head_dim)
            .into_iter()
            .map(|value| 1.0 + 1e-3 * value)
            .collect();
        let term = PositionTerm { queries: &term_queries, positions: &term_positions };
        for term in [None, Some(term)] {
            check_attention(shape, &queries, &caches, term);
        }
    }
}

/// Holds every kernel table against the definition, the scalar file and itself a query at a time.
fn check_attention(
    shape: AttentionShape,
    queries: &[f64],
    caches: &[HeadCache<'_>],
    term: Option<PositionTerm<'_>>,
) {
    let AttentionShape { n_heads, head_dim, start, n_queries, .. } = shape;
    let expected = attention_by_definition(shape, queries, caches, term);
    let mut first = None;
    for compute in contenders() {
        let n_pairs: usize = (0..n_queries).map(|query| start + query + 1).sum();
        let mut scores = vec![f32::NAN; n_heads * n_pairs];
        let mut out = vec![f32::NAN; queries.len()];
        compute.attention(shape, queries, caches, term, &mut out, Some(&mut scores));
        for (index, (&value, &exact)) in out.iter().zip(&expected).enumerate() {
            assert!((f64::from(value) - exact).abs() < 2e-6, "{} at {index}", compute.kernels());
        }
        assert!(scores.iter().all(|score| score.is_finite()), "every score is written");
        let first = first.get_or_insert_with(|| (bits(&out), bits(&scores)));
        assert_eq!(first, &(bits(&out), bits(&scores)), "{}", compute.kernels());
        for query in 0..n_queries {
            let one = AttentionShape { start: start + query, n_queries: 1, ..shape };
            let row = query * n_heads * head_dim..(query + 1) * n_heads * head_dim;
            let term = term.map(|term| PositionTerm { queries: &term.queries[row.clone()], ..term });
            let mut alone = vec![0.0; n_heads * head_dim];
            compute.attention(one, &queries[row.clone()], caches, term, &mut alone, None);
            assert_eq!(bits(&alone), bits(&out[row]), "query {query}");
        }
    }
}

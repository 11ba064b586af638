//! Packed products: integer sums equal the scalar file bit for bit on every instruction set, and the equations hold.
#![expect(clippy::unwrap_used, reason = "a test may")]

use apr_tensor::{BLOCK_ROWS, Compute, GROUP, Output, PackedProduct, Packing, RoundedRows, Tensor};
use bytes::Bytes;
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The seed of a run: `APR_TEST_SEED`, or one drawn anew, so that shapes and values are not only those that once passed.
fn seed() -> u64 {
    std::env::var("APR_TEST_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap())
}

/// A matrix of random values and scales; extreme ones all over when `extreme`.
fn matrix(rng: &mut ChaCha8Rng, packing: Packing, n: usize, k: usize, extreme: bool) -> Tensor {
    let (low, high) = packing.range();
    let mut bytes = Vec::new();
    for _ in 0..n / BLOCK_ROWS {
        let values: Vec<i8> = (0..BLOCK_ROWS * k)
            .map(|_| if extreme { [low, high][rng.random_range(0..2)] } else { rng.random_range(low..=high) })
            .collect();
        let scales: Vec<f16> =
            (0..BLOCK_ROWS * k / GROUP).map(|_| f16::from_f32(rng.random_range(-0.02_f32..0.02))).collect();
        let mut tile = vec![0; packing.n_bytes(&[BLOCK_ROWS, k]).unwrap()];
        packing.pack_rows(&values, &scales, &mut tile);
        bytes.extend(tile);
    }
    // Room before the start, so that the address is one a kernel may not count on.
    Tensor::new(packing.dtype(), vec![n, k], Bytes::from(bytes)).unwrap()
}

fn activations(rng: &mut ChaCha8Rng, n: usize, extreme: bool) -> Vec<f32> {
    let magnitude = 10_f32.powi(rng.random_range(-3..4));
    (0..n)
        .map(|_| {
            if extreme {
                [-magnitude, magnitude][rng.random_range(0..2)]
            } else {
                rng.random_range(-magnitude..magnitude)
            }
        })
        .collect()
}

fn contenders() -> Vec<Compute> {
    Compute::available_kernels()
        .into_iter()
        .flat_map(|name| [1, 3].map(|n_threads| Compute::with_kernels(n_threads, name).unwrap()))
        .collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// `x w^T + bias` and then `+ x w^T` once more.
fn products(compute: &Compute, x: &[f32], w: &Tensor, bias: &[f32]) -> Vec<f32> {
    let mut rows = RoundedRows::default();
    compute.round_rows(x, w.shape()[1], &mut rows);
    let mut y = vec![f32::NAN; x.len() / w.shape()[1] * w.shape()[0]];
    compute.multiply_rounded(&rows, &mut [PackedProduct { w, output: Output::Store(&mut y, Some(bias)) }]);
    compute.multiply_rounded(&rows, &mut [PackedProduct { w, output: Output::Add(&mut y) }]);
    y
}

#[test]
fn packed_products_equal_the_scalar_file_bit_for_bit_and_the_sum_of_rounded_values() {
    let seed = seed();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let scalar = Compute::with_kernels(1, "scalar").unwrap();
    for packing in [Packing::Int8, Packing::Int4] {
        for extreme in [false, true] {
            for m in 1..=14 {
                let (n, k) = (16 * rng.random_range(1..12), 64 * rng.random_range(1..8));
                let w = matrix(&mut rng, packing, n, k, extreme);
                let x = activations(&mut rng, m * k, extreme);
                let bias = activations(&mut rng, n, false);
                let what = format!("APR_TEST_SEED={seed}, {packing:?} {m}x{n}x{k}, extreme {extreme}");
                let expected = products(&scalar, &x, &w, &bias);
                let weights = w.to_f32();
                for (index, &y) in expected.iter().enumerate() {
                    let (row, column) = (index / n, index % n);
                    let mut exact = 0.0;
                    let mut slack = 1e-3;
                    for (x, w) in
                        x[row * k..][..k].chunks(GROUP).zip(weights[column * k..][..k].chunks(GROUP))
                    {
                        let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
                        let step = f64::from(largest) / 127.0;
                        for (x, w) in x.iter().zip(w) {
                            exact += 2.0 * f64::from(*x) * f64::from(*w);
                            slack += 2.0 * (0.501 * step + 1e-5 * f64::from(x.abs())) * f64::from(w.abs());
                        }
                    }
                    let exact = exact + f64::from(bias[column]);
                    slack += 1e-5 * f64::from(bias[column].abs());
                    assert!(
                        (f64::from(y) - exact).abs() <= slack,
                        "{what} at [{row}, {column}]: {y}, not {exact}"
                    );
                }
                for compute in contenders() {
                    let y = products(&compute, &x, &w, &bias);
                    assert_eq!(
                        bits(&y),
                        bits(&expected),
                        "{what}, {}, {} threads",
                        compute.kernels(),
                        compute.n_threads()
                    );
                }
            }
        }
    }
}

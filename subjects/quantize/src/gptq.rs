//! GPTQ (Frantar et al. 2023): columns are rounded one after the other, and what rounding one spoils the others mend.

use apr_tensor::{Compute, GROUP, Packing, Tensor};
use half::f16;
use rayon::prelude::*;

use crate::cholesky::inverse_factor;
use crate::matrix::Quantized;
use crate::scale::{nearest, search};

/// Columns whose errors are gathered before the columns behind them are mended.
const BLOCK: usize = 128;
/// Rows that walk the columns together.
const ROWS: usize = 16;
/// What is added to the diagonal of the Hessian, as a share of its mean.
const DAMPING: f32 = 0.01;
/// Sweeps of coordinate descent after the walk.
const SWEEPS: usize = 4;
/// How often values and scales are made better in turn.
const ROUNDS: usize = 2;
/// How firmly scales are held where they are, as a share of what the values say.
const RIDGE: f64 = 1e-3;

/// Rounds `weights`, `[rows, columns]`, so that `sum_t |(w - q) x_t|^2` is small for inputs with `hessian = sum_t x_t x_t^T`.
///
/// Columns are walked in the order of their diagonal in the Hessian, largest first; groups and their scales are those of
/// the columns' own order, and fixed before ("static groups"). Then scales and values are made better in turn, each with
/// the others fixed.
pub(crate) fn gptq(
    compute: &Compute,
    packing: Packing,
    weights: &[f32],
    hessian: &[f32],
    columns: usize,
) -> Quantized {
    let n = columns;
    let mut h = hessian.to_vec();
    let mean = (0..n).map(|i| h[i * n + i]).sum::<f32>() / n as f32;
    for i in 0..n {
        h[i * n + i] += DAMPING * mean;
    }
    let importance: Vec<f32> = (0..n).map(|i| h[i * n + i]).collect();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| importance[b].total_cmp(&importance[a]).then(a.cmp(&b)));
    let u = ordered_factor(compute, &h, &order, DAMPING * mean);

    let mut values = vec![0_i8; weights.len()];
    let mut scales = vec![f16::ZERO; weights.len() / GROUP];
    values
        .par_chunks_mut(ROWS * n)
        .zip(scales.par_chunks_mut(ROWS * n / GROUP))
        .zip(weights.par_chunks(ROWS * n))
        .for_each(|((values, scales), weights)| {
            walk(compute, packing, weights, &importance, &order, &u, values, scales);
        });
    let mut quantized = Quantized { packing, columns, values, scales };
    for _ in 0..ROUNDS {
        descend(compute, weights, &h, &mut quantized);
        refit(compute, weights, &h, &mut quantized);
    }
    descend(compute, weights, &h, &mut quantized);
    quantized
}

/// The factor of the inverse Hessian with rows and columns in `order`. Where f32 cannot factor it, the diagonal grows.
fn ordered_factor(compute: &Compute, h: &[f32], order: &[usize], damping: f32) -> Vec<f32> {
    let n = order.len();
    let mut ordered: Vec<f32> =
        order.iter().flat_map(|&row| order.iter().map(move |&column| h[row * n + column])).collect();
    let mut damping = damping.max(f32::MIN_POSITIVE);
    loop {
        if let Some(factor) = inverse_factor(compute, &ordered, n) {
            return factor;
        }
        damping *= 10.0;
        for i in 0..n {
            ordered[i * n + i] += damping;
        }
    }
}

/// The walk over the columns for some rows.
#[expect(clippy::too_many_arguments, reason = "what GPTQ walks along, and what it leaves")]
fn walk(
    compute: &Compute,
    packing: Packing,
    weights: &[f32],
    importance: &[f32],
    order: &[usize],
    u: &[f32],
    values: &mut [i8],
    scales: &mut [f16],
) {
    let n = order.len();
    let rows = weights.len() / n;
    let groups = weights.as_chunks::<GROUP>().0.iter().zip(importance.as_chunks::<GROUP>().0.iter().cycle());
    for (scale, (weights, importance)) in scales.iter_mut().zip(groups) {
        *scale = search(packing, weights, importance);
    }
    // Columns in the walk's order, those of a row one after the other.
    let mut left: Vec<f32> =
        weights.chunks_exact(n).flat_map(|row| order.iter().map(|&column| row[column])).collect();
    let mut errors = vec![0.0; rows * BLOCK];
    for first in (0..n).step_by(BLOCK) {
        let last = n.min(first + BLOCK);
        for column in first..last {
            let u_row = &u[column * n..][..n];
            let at = order[column];
            for row in 0..rows {
                let left = &mut left[row * n..][..n];
                let scale = scales[row * (n / GROUP) + at / GROUP];
                let value = nearest(packing, left[column], scale);
                values[row * n + at] = value;
                let error = (left[column] - f32::from(value) * scale.to_f32()) / u_row[column];
                errors[row * BLOCK + column - first] = error;
                compute.add_scaled(&mut left[column + 1..last], -error, &u_row[column + 1..last]);
            }
        }
        for column in first..last {
            let u_row = &u[column * n + last..][..n - last];
            for row in 0..rows {
                let error = errors[row * BLOCK + column - first];
                compute.add_scaled(&mut left[row * n + last..][..n - last], -error, u_row);
            }
        }
    }
}

/// Coordinate descent on `(w - q)^T H (w - q)`, row by row: each value in turn becomes the best there is, the others fixed.
fn descend(compute: &Compute, weights: &[f32], h: &[f32], quantized: &mut Quantized) {
    let Quantized { packing, columns: n, values, scales } = quantized;
    let (packing, n) = (*packing, *n);
    let (low, high) = packing.range();
    let differences: Vec<f32> = weights
        .iter()
        .zip(values.iter())
        .enumerate()
        .map(|(i, (weight, value))| weight - f32::from(*value) * scales[i / GROUP].to_f32())
        .collect();
    // H (w - q), a row each; H is symmetric.
    let mut gradients = vec![0.0; weights.len()];
    let tensor = Tensor::from_f32(vec![n, n], h).expect("a square");
    compute.matmul(&differences, &tensor, None, &mut gradients);
    gradients
        .par_chunks_mut(ROWS * n)
        .zip(values.par_chunks_mut(ROWS * n))
        .zip(scales.par_chunks(ROWS * n / GROUP))
        .for_each(|((gradients, values), scales)| {
            for _ in 0..SWEEPS {
                let mut n_changed = 0;
                for column in 0..n {
                    let h_row = &h[column * n..][..n];
                    for row in 0..values.len() / n {
                        let scale = scales[row * (n / GROUP) + column / GROUP].to_f32();
                        if scale == 0.0 {
                            continue;
                        }
                        let gradient = &mut gradients[row * n..][..n];
                        let value = &mut values[row * n + column];
                        let step = gradient[column] / (h_row[column] * scale);
                        let better = (f32::from(*value) + step)
                            .round_ties_even()
                            .clamp(f32::from(low), f32::from(high))
                            as i8;
                        if better != *value {
                            let difference = f32::from(better - *value) * scale;
                            *value = better;
                            n_changed += 1;
                            compute.add_scaled(gradient, -difference, h_row);
                        }
                    }
                }
                if n_changed == 0 {
                    break;
                }
            }
        });
}

/// The scales that make `(w - q)^T H (w - q)` least for each row, its values fixed: with `v_g` the values of group `g` and
/// zeros elsewhere, `sum_h (v_g^T H v_h) s_h = v_g^T H w` for every group.
fn refit(compute: &Compute, weights: &[f32], h: &[f32], quantized: &mut Quantized) {
    let Quantized { columns: n, values, scales, .. } = quantized;
    let n = *n;
    let n_groups = n / GROUP;
    values
        .par_chunks(ROWS * n)
        .zip(scales.par_chunks_mut(ROWS * n_groups))
        .zip(weights.par_chunks(ROWS * n))
        .for_each(|((values, scales), weights)| {
            let rows = values.len() / n;
            let mut a = vec![0.0_f64; rows * n_groups * n_groups];
            let mut b = vec![0.0_f64; rows * n_groups];
            let mut product = vec![0.0_f32; n];
            for group in 0..n_groups {
                for row in 0..rows {
                    let values = &values[row * n..][..n];
                    // H v_g
                    product.fill(0.0);
                    for column in group * GROUP..(group + 1) * GROUP {
                        if values[column] != 0 {
                            compute.add_scaled(
                                &mut product,
                                f32::from(values[column]),
                                &h[column * n..][..n],
                            );
                        }
                    }
                    let equation = &mut a[(row * n_groups + group) * n_groups..][..n_groups];
                    for (a, (values, product)) in
                        equation.iter_mut().zip(values.chunks_exact(GROUP).zip(product.chunks_exact(GROUP)))
                    {
                        *a = f64::from(
                            values.iter().zip(product).map(|(v, p)| f32::from(*v) * p).sum::<f32>(),
                        );
                    }
                    let weights = &weights[row * n..][..n];
                    b[row * n_groups + group] =
                        product.iter().zip(weights).map(|(p, w)| f64::from(*p) * f64::from(*w)).sum();
                }
            }
            let equations = a.chunks_exact_mut(n_groups * n_groups).zip(b.chunks_exact_mut(n_groups));
            for ((a, b), scales) in equations.zip(scales.chunks_exact_mut(n_groups)) {
                // Held near the scales there are where the values say little: ridge regression on the change.
                for group in 0..n_groups {
                    let diagonal = &mut a[group * n_groups + group];
                    let ridge = RIDGE * *diagonal + f64::MIN_POSITIVE;
                    *diagonal += ridge;
                    b[group] += ridge * scales[group].to_f64();
                }
                if solve(a, b).is_some() {
                    for (scale, &mut value) in scales.iter_mut().zip(b) {
                        let value = f16::from_f64(value);
                        if value.is_finite() {
                            *scale = value;
                        }
                    }
                }
            }
        });
}

/// Solves `a x = b` for a symmetric positive definite `a` by Cholesky, leaving `x` in `b`; `None` when it is none.
fn solve(a: &mut [f64], b: &mut [f64]) -> Option<()> {
    let n = b.len();
    for column in 0..n {
        for row in column..n {
            let dot: f64 = (0..column).map(|k| a[column * n + k] * a[row * n + k]).sum();
            let value = a[row * n + column] - dot;
            if row == column {
                if value <= 0.0 || !value.is_finite() {
                    return None;
                }
                a[row * n + column] = value.sqrt();
            } else {
                a[row * n + column] = value / a[column * n + column];
            }
        }
    }
    for row in 0..n {
        let dot: f64 = (0..row).map(|k| a[row * n + k] * b[k]).sum();
        b[row] = (b[row] - dot) / a[row * n + row];
    }
    for row in (0..n).rev() {
        let dot: f64 = (row + 1..n).map(|k| a[k * n + row] * b[k]).sum();
        b[row] = (b[row] - dot) / a[row * n + row];
    }
    Some(())
}

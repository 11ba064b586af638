//! The triangular factor that GPTQ walks along: `U` with `H^-1 = U^T U`, upper.

use apr_tensor::{Compute, Tensor};

/// Rows and columns of a block: what is inside one is computed one by one, what is between them as matrix products.
const BLOCK: usize = 128;

/// `U`, upper triangular, row-major `[n, n]`, with `U^T U` the inverse of the symmetric `h`, `[n, n]`. `None` when `h` is
/// not positive definite, to the precision of f32.
///
/// With rows and columns of `H` in reverse, its Cholesky factor `L` is lower triangular; in the order of before, `L` is
/// an upper triangular `R` with `H = R R^T`, so `H^-1 = R^-T R^-1` and `U = R^-1`.
pub(crate) fn inverse_factor(compute: &Compute, h: &[f32], n: usize) -> Option<Vec<f32>> {
    let mut l: Vec<f32> = h.iter().rev().copied().collect();
    factor(compute, &mut l, n)?;
    let mut inverse = invert(compute, &l, n);
    inverse.reverse();
    Some(inverse)
}

/// Makes the lower triangle of `a`, `[n, n]`, its Cholesky factor and the rest zero.
fn factor(compute: &Compute, a: &mut [f32], n: usize) -> Option<()> {
    for first in (0..n).step_by(BLOCK) {
        let last = n.min(first + BLOCK);
        if first > 0 {
            // a[first.., first..last] -= l[first.., ..first] l[first..last, ..first]^T
            let below = part(a, n, first..n, 0..first);
            let block = part(a, n, first..last, 0..first);
            let product = multiply(compute, &below, &block, last - first, first);
            for (row, product) in (first..n).zip(product.chunks_exact(last - first)) {
                subtract(&mut a[row * n + first..row * n + last], product);
            }
        }
        for column in first..last {
            let row = &a[column * n + first..column * n + column];
            let pivot = a[column * n + column] - row.iter().map(|v| v * v).sum::<f32>();
            if pivot <= 0.0 || !pivot.is_finite() {
                return None;
            }
            let pivot = pivot.sqrt();
            let above = row.to_vec();
            a[column * n + column] = pivot;
            for row in column + 1..n {
                let start = row * n + first;
                let dot: f32 = a[start..row * n + column].iter().zip(&above).map(|(a, b)| a * b).sum();
                a[row * n + column] = (a[row * n + column] - dot) / pivot;
            }
        }
    }
    for row in 0..n {
        a[row * n + row + 1..(row + 1) * n].fill(0.0);
    }
    Some(())
}

/// The inverse of the lower triangular `l`, `[n, n]`.
fn invert(compute: &Compute, l: &[f32], n: usize) -> Vec<f32> {
    let mut inverse = vec![0.0; n * n];
    for first in (0..n).step_by(BLOCK) {
        let last = n.min(first + BLOCK);
        // The rows of this block: L_bb X_b = I_b - L_b,..b X_..b.
        let mut rows = vec![0.0; (last - first) * n];
        if first > 0 {
            let left = part(l, n, first..last, 0..first);
            // The product wants the rows of X as columns.
            let above = transposed(&inverse[..first * n], n, first);
            let product = multiply(compute, &left, &above, first, first);
            for (row, product) in rows.chunks_exact_mut(n).zip(product.chunks_exact(first)) {
                subtract(&mut row[..first], product);
            }
        }
        for row in first..last {
            let (done, this) = rows.split_at_mut((row - first) * n);
            let this = &mut this[..n];
            this[row] += 1.0;
            for (before, done) in (first..row).zip(done.chunks_exact(n)) {
                let factor = l[row * n + before];
                for (value, done) in this[..=before].iter_mut().zip(done) {
                    *value -= factor * done;
                }
            }
            let pivot = l[row * n + row];
            this[..=row].iter_mut().for_each(|value| *value /= pivot);
        }
        inverse[first * n..last * n].copy_from_slice(&rows);
    }
    inverse
}

/// `x[m, k] w[n, k]^T`.
fn multiply(compute: &Compute, x: &[f32], w: &[f32], n: usize, k: usize) -> Vec<f32> {
    let w = Tensor::from_f32(vec![n, k], w).expect("as many values as the shape says");
    let mut y = vec![0.0; x.len() / k * n];
    compute.matmul(x, &w, None, &mut y);
    y
}

/// A copy of some rows and columns of `a`, `[.., n]`.
fn part(a: &[f32], n: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> Vec<f32> {
    rows.flat_map(|row| &a[row * n + columns.start..row * n + columns.end]).copied().collect()
}

/// The transpose of the first `columns` columns of `a`, `[rows, n]`.
pub(crate) fn transposed(a: &[f32], n: usize, columns: usize) -> Vec<f32> {
    const TILE: usize = 32;
    let rows = a.len() / n;
    let mut target = vec![0.0; columns * rows];
    for first_row in (0..rows).step_by(TILE) {
        for first_column in (0..columns).step_by(TILE) {
            for row in first_row..rows.min(first_row + TILE) {
                for column in first_column..columns.min(first_column + TILE) {
                    target[column * rows + row] = a[row * n + column];
                }
            }
        }
    }
    target
}

fn subtract(a: &mut [f32], b: &[f32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a -= b);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_times_itself_is_the_inverse() {
        let n = 300;
        // Diagonally dominant, with values that differ everywhere.
        let mut h: Vec<f32> = (0..n * n).map(|i| (((i % n) * (i / n)) % 17) as f32 / 40.0).collect();
        for i in 0..n {
            h[i * n + i] += 200.0 + i as f32;
        }
        let u = inverse_factor(&Compute::new(Some(2)), &h, n).unwrap();
        for row in 0..n {
            assert!(u[row * n..row * n + row].iter().all(|&v| v == 0.0), "upper");
            for column in (0..n).step_by(7) {
                // (U^T U) H is the identity.
                let mut sum = 0.0;
                for k in 0..n {
                    let inverse: f64 =
                        (0..n).map(|i| f64::from(u[i * n + row]) * f64::from(u[i * n + k])).sum();
                    sum += inverse * f64::from(h[k * n + column]);
                }
                let expected = f64::from(u8::from(row == column));
                assert!((sum - expected).abs() < 1e-4, "[{row}, {column}]: {sum}");
            }
            if row > 20 {
                break;
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_told() {
        assert!(inverse_factor(&Compute::new(Some(1)), &[1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(inverse_factor(&Compute::new(Some(1)), &[f32::NAN], 1).is_none());
    }
}

//! Singular values of a weight matrix, and the edge that a matrix of independent random entries does not pass.
//!
//! A trained matrix can look Gaussian entry by entry; its singular values tell it from noise. For `[m, n]` independent
//! entries of deviation `s` they fill `s * |sqrt(m) - sqrt(n)| .. s * (sqrt(m) + sqrt(n))` (Marchenko and Pastur 1967),
//! the greatest leaving that edge by a share of only about `n^(-2/3)` (Tracy and Widom 1994). What training wrote
//! sticks out.

use rayon::prelude::*;
use thiserror::Error;

/// Why a matrix has no spectrum.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SpectrumError {
    /// Values that do not fill the shape, or an empty shape.
    #[error("{n_values} values are not a matrix of {n_rows} x {n_columns}")]
    NotThatShape {
        /// Rows claimed.
        n_rows: usize,
        /// Columns claimed.
        n_columns: usize,
        /// Values there are.
        n_values: usize,
    },
    /// A value that is NaN or infinite.
    #[error("element [{row}, {column}] is {value}, not a finite number")]
    NotFinite {
        /// Its row.
        row: usize,
        /// Its column.
        column: usize,
        /// What it is.
        value: String,
    },
}

/// A row-major matrix whose mean over all elements has been taken off: a matrix redrawn around its old mean would show
/// that mean as one singular value outside the edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    n_rows: usize,
    n_columns: usize,
    values: Vec<f64>,
    deviation: f64,
}

impl Matrix {
    /// Centres `values`, `[n_rows, n_columns]`.
    pub fn centred(n_rows: usize, n_columns: usize, values: &[f32]) -> Result<Self, SpectrumError> {
        let n_values = values.len();
        if n_values == 0 || n_rows.checked_mul(n_columns) != Some(n_values) {
            return Err(SpectrumError::NotThatShape { n_rows, n_columns, n_values });
        }
        if let Some(flat) = values.iter().position(|value| !value.is_finite()) {
            let (row, column) = (flat / n_columns, flat % n_columns);
            return Err(SpectrumError::NotFinite { row, column, value: values[flat].to_string() });
        }
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / n_values as f64;
        let values: Vec<f64> = values.iter().map(|&value| f64::from(value) - mean).collect();
        let deviation = (values.iter().map(|value| value * value).sum::<f64>() / n_values as f64).sqrt();
        Ok(Self { n_rows, n_columns, values, deviation })
    }

    /// Deviation of its elements.
    pub fn deviation(&self) -> f64 {
        self.deviation
    }

    /// Where the singular values of as large a matrix of independent elements with this deviation end.
    pub fn edge(&self) -> f64 {
        marchenko_pastur_edge(self.n_rows, self.n_columns, self.deviation)
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.n_columns..][..self.n_columns]
    }
}

/// `deviation * (sqrt(n_rows) + sqrt(n_columns))`.
pub fn marchenko_pastur_edge(n_rows: usize, n_columns: usize, deviation: f64) -> f64 {
    deviation * ((n_rows as f64).sqrt() + (n_columns as f64).sqrt())
}

/// A lower bound of the greatest singular value, by power iteration from a fixed start: `|W v|` for a unit `v` never
/// exceeds it, so that passing the edge proves something after any number of steps. Stops once the bound passes
/// `enough`, once it grows by less than one part in 10^6, or after 300 steps.
pub fn largest_singular_value(matrix: &Matrix, enough: f64) -> f64 {
    let mut v = start(matrix.n_columns);
    let mut bound = 0.0;
    for _ in 0..300 {
        normalise(&mut v);
        // u[m] = W[m, n] v[n]
        let u: Vec<f64> = (0..matrix.n_rows).into_par_iter().map(|row| dot(matrix.row(row), &v)).collect();
        let grown = dot(&u, &u).sqrt();
        if grown > enough || grown <= bound * (1.0 + 1e-6) {
            return grown.max(bound);
        }
        bound = grown;
        // v[n] = W^T[n, m] u[m], summed by blocks of rows in a fixed order
        let block = matrix.n_rows.div_ceil(16);
        let sums: Vec<Vec<f64>> = u
            .par_chunks(block)
            .enumerate()
            .map(|(at, u)| {
                let mut sum = vec![0.0; matrix.n_columns];
                for (row, &weight) in u.iter().enumerate() {
                    axpy(weight, matrix.row(at * block + row), &mut sum);
                }
                sum
            })
            .collect();
        v.fill(0.0);
        for sum in &sums {
            axpy(1.0, sum, &mut v);
        }
    }
    bound
}

/// All singular values, greatest first, as roots of the eigenvalues of the smaller Gram matrix. For `[m, n]` that is
/// `m n min(m, n)` products: choose what to ask it for.
pub fn singular_values(matrix: &Matrix) -> Vec<f64> {
    let mut gram = gram(matrix);
    let (diagonal, off_diagonal) = tridiagonalise(&mut gram);
    let mut values: Vec<f64> =
        (0..diagonal.len()).into_par_iter().map(|k| eigenvalue(&diagonal, &off_diagonal, k)).collect();
    for value in &mut values {
        *value = value.max(0.0).sqrt();
    }
    values.reverse();
    values
}

/// `W W^T` or `W^T W`, whichever is smaller, full rows.
fn gram(matrix: &Matrix) -> Vec<Vec<f64>> {
    let (m, n) = (matrix.n_rows, matrix.n_columns);
    let transposed: Vec<f64>;
    let (size, length, values) = if m <= n {
        (m, n, &matrix.values)
    } else {
        transposed = (0..n)
            .flat_map(|column| (0..m).map(move |row| (row, column)))
            .map(|(r, c)| matrix.row(r)[c])
            .collect();
        (n, m, &transposed)
    };
    let row = |i: usize| &values[i * length..][..length];
    let lower: Vec<Vec<f64>> =
        (0..size).into_par_iter().map(|i| (0..=i).map(|j| dot(row(i), row(j))).collect()).collect();
    (0..size).map(|i| (0..size).map(|j| lower[i.max(j)][i.min(j)]).collect()).collect()
}

/// Householder's reduction of a symmetric matrix to its diagonal and off-diagonal (Golub and Van Loan, 8.3.1).
fn tridiagonalise(a: &mut [Vec<f64>]) -> (Vec<f64>, Vec<f64>) {
    let n = a.len();
    let mut off_diagonal = vec![0.0; n.saturating_sub(1)];
    for k in 0..n.saturating_sub(2) {
        // The reflector that takes column k below the diagonal to one element.
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i][k]).collect();
        let norm = dot(&v, &v).sqrt();
        if norm == 0.0 {
            continue;
        }
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        off_diagonal[k] = alpha;
        v[0] -= alpha;
        normalise(&mut v);
        // A <- (I - 2 v v^T) A (I - 2 v v^T) = A - v w^T - w v^T, with p = 2 A v and w = p - (p . v) v
        let mut w: Vec<f64> = a[k + 1..].par_iter().map(|row| 2.0 * dot(&row[k + 1..], &v)).collect();
        let share = dot(&w, &v);
        axpy(-share, &v, &mut w);
        a[k + 1..].par_iter_mut().zip(v.par_iter().zip(&w)).for_each(|(row, (&vi, &wi))| {
            axpy(-vi, &w, &mut row[k + 1..]);
            axpy(-wi, &v, &mut row[k + 1..]);
        });
    }
    if n >= 2 {
        off_diagonal[n - 2] = a[n - 1][n - 2];
    }
    ((0..n).map(|i| a[i][i]).collect(), off_diagonal)
}

/// The `k`-th smallest eigenvalue of a symmetric tridiagonal matrix, by bisection on Sturm counts.
fn eigenvalue(diagonal: &[f64], off_diagonal: &[f64], k: usize) -> f64 {
    let off = |i: usize| off_diagonal.get(i).map_or(0.0, |value| value.abs());
    let radius = |i: usize| off(i) + if i > 0 { off(i - 1) } else { 0.0 };
    let ends = diagonal.iter().enumerate().map(|(i, &d)| (d - radius(i), d + radius(i)));
    let (mut low, mut high) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (l, h)| (low.min(l), high.max(h)));
    for _ in 0..200 {
        let middle = low + (high - low) / 2.0;
        if middle <= low || middle >= high {
            break;
        }
        if n_below(diagonal, off_diagonal, middle) > k { high = middle } else { low = middle }
    }
    low + (high - low) / 2.0
}

/// How many eigenvalues are below `x`: negative pivots of `T - x I` (Barth, Martin and Wilkinson 1967).
fn n_below(diagonal: &[f64], off_diagonal: &[f64], x: f64) -> usize {
    let mut pivot = 1.0_f64;
    let mut n = 0;
    for (i, &d) in diagonal.iter().enumerate() {
        let off = if i == 0 { 0.0 } else { off_diagonal[i - 1] };
        pivot = d - x - off * off / pivot;
        if pivot == 0.0 {
            pivot = f64::EPSILON * (off.abs() + f64::MIN_POSITIVE);
        }
        n += usize::from(pivot < 0.0);
    }
    n
}

/// A start that is the same every time and points along no axis: quasi-random numbers around 0 from the golden ratio.
fn start(n: usize) -> Vec<f64> {
    (0..n).map(|i| (i as f64 * 0.618_033_988_749_894_8).fract() - 0.4).collect()
}

fn normalise(v: &mut [f64]) {
    let norm = dot(v, v).sqrt();
    if norm > 0.0 {
        for value in v {
            *value /= norm;
        }
    }
}

/// In eight lanes, so that the compiler may vectorise; always the same order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(x, y)| x * y).sum();
    let mut lanes = [0.0; 8];
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    lanes.iter().sum::<f64>() + tail
}

fn axpy(scale: f64, x: &[f64], y: &mut [f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Gaussian elements by summing twelve uniform ones.
    fn noise(n: usize, mean: f32, deviation: f32) -> Vec<f32> {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        (0..n).map(|_| mean + deviation * ((0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0)).collect()
    }

    #[test]
    fn singular_values_are_those_that_a_matrix_was_made_of() {
        // diag(1, 3, 5, 2) between two reflections, 1 - 2 v v^T with v = (1, 1, 1, 1) / 2 and v = (1, 2, 2, 4) / 5.
        let reflection = |v: [f64; 4], i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j];
        let (left, right) = ([0.5; 4], [0.2, 0.4, 0.4, 0.8]);
        let element = |i: usize, j: usize| {
            let parts = [1.0, 3.0, 5.0, 2.0].iter().enumerate();
            parts.map(|(k, value)| reflection(left, i, k) * value * reflection(right, k, j)).sum()
        };
        let values: Vec<f64> = (0..16).map(|at| element(at / 4, at % 4)).collect();
        let found = singular_values(&plain(4, 4, &values));
        for (found, expected) in found.iter().zip([5.0, 3.0, 2.0, 1.0]) {
            assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
        }
        assert_eq!(found.len(), 4);
    }

    /// A matrix with these elements and nothing taken off them.
    fn plain(n_rows: usize, n_columns: usize, values: &[f64]) -> Matrix {
        Matrix { n_rows, n_columns, values: values.to_vec(), deviation: 1.0 }
    }

    #[test]
    fn a_bound_that_is_enough_is_not_made_any_better() {
        let matrix = plain(2, 2, &[3.0, 0.0, 0.0, 1.0]);
        let (first, best) =
            (largest_singular_value(&matrix, 0.0), largest_singular_value(&matrix, f64::INFINITY));
        assert!((best - 3.0).abs() < 1e-5, "{best}");
        assert!(first > 0.0 && first < 2.9, "{first}");
    }

    #[test]
    fn a_bound_that_hardly_grows_is_left_at_that() {
        // Each step of a whole 300 would add less than one part in 10^6, all of them more than one in 10^4.
        let bound = largest_singular_value(&plain(2, 2, &[1.0, 0.0, 0.0, 0.999]), f64::INFINITY);
        assert!(bound > 0.999 && bound < 0.9998, "{bound}");
    }

    #[test]
    fn there_are_as_many_singular_values_as_the_shorter_side_is_long() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(singular_values(&plain(2, 3, &values)).len(), 2);
        assert_eq!(singular_values(&plain(3, 2, &values)).len(), 2);
    }

    #[test]
    fn noise_stays_inside_the_edge_whatever_its_mean() {
        for (m, n, mean) in [(96, 256, 0.0), (256, 96, 0.5), (192, 192, -3.0)] {
            let matrix = Matrix::centred(m, n, &noise(m * n, mean, 0.02)).unwrap();
            let (largest, edge) = (largest_singular_value(&matrix, f64::INFINITY), matrix.edge());
            assert!((0.9..1.05).contains(&(largest / edge)), "{m}x{n}: {largest} against {edge}");
        }
    }

    #[test]
    fn one_direction_written_into_noise_sticks_out() {
        let (m, n) = (192, 128);
        let mut values = noise(m * n, 0.0, 0.02);
        for row in 0..m {
            for column in 0..n {
                let sign = |i: usize| if i.is_multiple_of(3) { 1.0 } else { -0.5 };
                values[row * n + column] += 0.008 * sign(row) * sign(column);
            }
        }
        let matrix = Matrix::centred(m, n, &values).unwrap();
        assert!(largest_singular_value(&matrix, f64::INFINITY) > 1.2 * matrix.edge());
        let outside = singular_values(&matrix).iter().filter(|&&value| value > 1.05 * matrix.edge()).count();
        assert_eq!(outside, 1);
    }

    #[test]
    fn the_bound_never_exceeds_the_greatest_singular_value() {
        let matrix = Matrix::centred(40, 30, &noise(1200, 0.1, 1.0)).unwrap();
        let greatest = singular_values(&matrix)[0];
        let bound = largest_singular_value(&matrix, f64::INFINITY);
        assert!(bound <= greatest * (1.0 + 1e-12) && bound > 0.99 * greatest, "{bound} {greatest}");
        assert!(largest_singular_value(&matrix, 0.0) <= bound);
    }

    #[test]
    fn singular_values_of_a_diagonal_matrix_are_its_diagonal() {
        // Its mean is 0, so that centring changes nothing.
        let matrix = Matrix::centred(3, 3, &[3.0, 0.0, 0.0, 0.0, -4.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
        let values = singular_values(&matrix);
        for (value, expected) in values.iter().zip([4.0, 3.0, 1.0]) {
            assert!((value - expected).abs() < 1e-7, "{values:?}");
        }
    }

    #[test]
    fn squares_of_singular_values_add_up_to_the_squares_of_the_elements() {
        for (m, n) in [(1, 1), (1, 7), (5, 2), (33, 20), (64, 64)] {
            let matrix = Matrix::centred(m, n, &noise(m * n, 0.3, 1.0)).unwrap();
            let squares: f64 = matrix.values.iter().map(|value| value * value).sum();
            let sum: f64 = singular_values(&matrix).iter().map(|value| value * value).sum();
            assert!((sum - squares).abs() <= 1e-10 * squares.max(1.0), "{m}x{n}: {sum} {squares}");
        }
    }

    #[test]
    fn the_bound_ends_after_a_fixed_number_of_steps() {
        // Neighbouring singular values from 1 down to 0.99 with changing signs: the iteration creeps from one to the next.
        let n = 16_u8;
        let mut values = vec![0.0; usize::from(n) * usize::from(n)];
        for i in 0..n {
            let size = 1.0 - 0.01 * f32::from(i) / f32::from(n - 1);
            values[usize::from(i) * usize::from(n + 1)] = if i % 2 == 0 { size } else { -size };
        }
        let matrix = Matrix::centred(n.into(), n.into(), &values).unwrap();
        let bound = largest_singular_value(&matrix, f64::INFINITY);
        let greatest = singular_values(&matrix)[0];
        assert!(bound < greatest && bound > 0.999 * greatest, "{bound} {greatest}");
        assert!(bound < greatest * (1.0 - 1e-4), "it had not converged: {bound} {greatest}");
    }

    #[test]
    fn deviation_and_edge_are_those_of_the_centred_elements() {
        let matrix = Matrix::centred(4, 9, &[[3.0_f32, 7.0]; 18].concat()).unwrap();
        assert_eq!(matrix.deviation(), 2.0);
        assert_eq!(matrix.edge(), 2.0 * (2.0 + 3.0));
        assert_eq!(marchenko_pastur_edge(16, 25, 0.5), 4.5);
    }

    #[test]
    fn what_points_nowhere_is_not_stretched() {
        let mut zero = [0.0; 3];
        normalise(&mut zero);
        assert_eq!(zero, [0.0; 3]);
        let mut v = [3.0, 0.0, -4.0];
        normalise(&mut v);
        assert_eq!(v, [0.6, 0.0, -0.8]);
        let flat = Matrix::centred(3, 4, &[5.0; 12]).unwrap();
        assert_eq!(largest_singular_value(&flat, f64::INFINITY), 0.0);
    }

    #[test]
    fn the_same_matrix_always_has_the_same_spectrum() {
        let matrix = Matrix::centred(50, 70, &noise(3500, 0.0, 1.0)).unwrap();
        assert_eq!(singular_values(&matrix), singular_values(&matrix));
        let bits = || largest_singular_value(&matrix, f64::INFINITY).to_bits();
        assert_eq!(bits(), bits());
    }

    #[test]
    fn what_is_not_a_finite_matrix_is_refused() {
        assert!(Matrix::centred(0, 0, &[]).is_err());
        assert!(Matrix::centred(2, 2, &[1.0; 3]).is_err());
        let error = Matrix::centred(2, 2, &[1.0, 1.0, f32::NAN, 1.0]).unwrap_err();
        assert_eq!(error.to_string(), "element [1, 0] is NaN, not a finite number");
    }
}

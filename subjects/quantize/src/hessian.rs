//! What the inputs of a matrix are like: `H = sum_t x_t x_t^T`.

use apr_tensor::{Compute, Tensor};

use crate::cholesky::transposed;

/// Sums of products of a matrix's inputs, `[columns, columns]`.
pub(crate) struct Hessian {
    columns: usize,
    values: Vec<f32>,
    product: Vec<f32>,
}

impl Hessian {
    /// Of no inputs yet.
    pub(crate) fn new(columns: usize) -> Self {
        Self { columns, values: vec![0.0; columns * columns], product: vec![0.0; columns * columns] }
    }

    /// Adds `x`, `[n, columns]`.
    pub(crate) fn add(&mut self, compute: &Compute, x: &[f32]) {
        let n = x.len() / self.columns;
        // [columns, n]
        let rows = transposed(x, self.columns, self.columns);
        let w = Tensor::from_f32(vec![self.columns, n], &rows).expect("as many values as the shape says");
        compute.matmul(&rows, &w, None, &mut self.product);
        self.values.iter_mut().zip(&self.product).for_each(|(sum, product)| *sum += product);
    }

    /// The sums.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }
}

//! Kernels index without checking, because their entrances check: lengths that do not fit end in a panic there.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use apr_tensor::{AttentionShape, Compute, DType, HeadCache, PositionTerm, Tensor, TensorError};
use bytes::Bytes;

/// Expects `call` to panic with these words.
#[track_caller]
fn refused(call: impl FnOnce(), expected: &str) {
    let payload = catch_unwind(AssertUnwindSafe(call)).expect_err("lengths that do not fit were accepted");
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap();
    assert!(text.contains(expected), "{expected:?} in {text:?}");
}

#[test]
fn matmul_takes_rows_of_the_weights_only() {
    let compute = Compute::new(Some(1));
    let weights = Tensor::from_f32(vec![2, 3], &[0.0; 6]).unwrap();
    let product = |x: &[f32], bias: Option<&[f32]>, n: usize| {
        compute.matmul(x, &weights, bias, &mut vec![0.0; n]);
    };
    product(&[0.0; 3], Some(&[0.0; 2]), 2);
    product(&[], None, 0);
    refused(|| product(&[0.0; 4], None, 2), "x of 4 elements is not rows of 3");
    refused(|| product(&[0.0; 6], None, 2), "y of 2 rows by 2");
    refused(|| product(&[0.0; 3], Some(&[0.0; 3]), 2), "bias of 2");
    let row = Tensor::from_f32(vec![3], &[0.0; 3]).unwrap();
    refused(|| compute.matmul(&[0.0; 3], &row, None, &mut [0.0]), "matmul needs a matrix");
    let narrow = Tensor::from_f32(vec![2, 0], &[]).unwrap();
    refused(|| compute.matmul(&[], &narrow, None, &mut []), "is not rows of 0");
    let flat = Tensor::from_f32(vec![0, 3], &[]).unwrap();
    compute.matmul(&[0.0; 3], &flat, None, &mut []);
    refused(|| compute.matmul_wide(&[0.0; 4], &weights, None, &mut [0.0; 2]), "is not rows of 3");
}

#[test]
fn rows_and_elementwise_operations_take_equal_lengths_only() {
    let compute = Compute::new(Some(1));
    refused(|| compute.rms_norm(&[0.0; 4], &[1.0; 2], 1e-6, &mut [0.0; 2]), "rows of 2");
    refused(|| compute.rms_norm(&[0.0; 3], &[1.0; 2], 1e-6, &mut [0.0; 3]), "rows of 2");
    refused(|| compute.silu_mul(&mut [0.0; 2], &[0.0; 3]), "left == right");
    refused(|| compute.add(&mut [0.0; 2], &[0.0; 3]), "left == right");
    refused(|| compute.narrow(&[0.0; 2], &mut [0.0; 3]), "left == right");
}

#[test]
fn rotation_takes_whole_heads_only() {
    let compute = Compute::new(Some(1));
    compute.rotate_halves(&mut [0.0; 8], 4, &[0.0; 4]);
    refused(|| compute.rotate_halves(&mut [0.0; 6], 3, &[0.0; 3]), "is_multiple_of(2)");
    refused(|| compute.rotate_halves(&mut [0.0; 8], 4, &[0.0; 6]), "is_multiple_of(head_dim)");
    refused(|| compute.rotate_halves(&mut [0.0; 8], 4, &[]), "0 rows of heads of 4");
    refused(|| compute.rotate_halves(&mut [0.0; 6], 4, &[0.0; 4]), "1 rows of heads of 4");
}

/// What attention is called with; everything fits until something is changed.
#[derive(Clone, Copy)]
struct Call {
    shape: AttentionShape,
    n_queries: usize,
    n_out: usize,
    n_caches: usize,
    n_cached: usize,
    term: Option<(usize, usize)>,
    n_scores: Option<usize>,
}

const FITS: Call = Call {
    shape: AttentionShape { n_heads: 2, n_kv_heads: 1, head_dim: 16, start: 1, n_queries: 1 },
    n_queries: 32,
    n_out: 32,
    n_caches: 1,
    n_cached: 32,
    term: Some((32, 32)),
    n_scores: Some(4),
};

fn attend(call: Call) {
    let compute = Compute::new(Some(1));
    let (wide, narrow) = ([0.1; 64], [0.1; 64]);
    let cache = HeadCache { keys: &narrow[..call.n_cached], values: &narrow[..call.n_cached] };
    let caches = [cache; 2];
    let term = call.term.map(|(n_queries, n_positions)| PositionTerm {
        queries: &wide[..n_queries],
        positions: &wide[..n_positions],
    });
    let mut scores = call.n_scores.map(|n| vec![0.0; n]);
    compute.attention(
        call.shape,
        &wide[..call.n_queries],
        &caches[..call.n_caches],
        term,
        &mut vec![0.0; call.n_out],
        scores.as_deref_mut(),
    );
}

#[test]
fn attention_takes_what_its_shape_says_only() {
    attend(FITS);
    attend(Call { term: None, n_scores: None, ..FITS });
    let shape =
        |n_heads, n_kv_heads, head_dim| AttentionShape { n_heads, n_kv_heads, head_dim, ..FITS.shape };
    for (call, expected) in [
        (Call { shape: shape(2, 0, 16), ..FITS }, "n_kv_heads > 0"),
        (Call { shape: shape(3, 2, 16), ..FITS }, "is_multiple_of(n_kv_heads)"),
        (Call { shape: shape(2, 1, 8), ..FITS }, "is_multiple_of(16)"),
        (Call { n_queries: 16, ..FITS }, "queries and output"),
        (Call { n_out: 16, ..FITS }, "queries and output"),
        (Call { n_caches: 2, ..FITS }, "caches of 2 positions"),
        (Call { n_cached: 31, ..FITS }, "caches of 2 positions"),
        (Call { term: Some((16, 32)), ..FITS }, "position term"),
        (Call { term: Some((32, 31)), ..FITS }, "position term"),
        (Call { n_scores: Some(3), ..FITS }, "scores"),
    ] {
        refused(|| attend(call), expected);
    }
}

#[test]
fn a_tensor_whose_bytes_are_not_aligned_is_refused() {
    let bytes = Bytes::from(vec![0_u8; 16]);
    let at = usize::from(bytes.as_ptr().addr().is_multiple_of(4));
    let error = Tensor::new(DType::F32, vec![2], bytes.slice(at..at + 8)).unwrap_err();
    assert_eq!(error, TensorError::Misaligned { dtype: DType::F32 });
}

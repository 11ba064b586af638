//! Kernels index without checking, because their entrances check: lengths that do not fit end in a panic there.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use apr_tensor::{
    AttentionShape, BLOCK_ROWS, Compute, DType, HeadCache, Output, PackedProduct, Packing, PositionTerm,
    RoundedRows, Tensor, TensorError, TiledHeadCache,
};
use bytes::Bytes;
use half::f16;

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
    let packed = packed(Packing::Int8, 16);
    refused(|| compute.matmul(&[0.0; 64], &packed, None, &mut [0.0; 16]), "packed weights take rounded rows");
}

/// `rows` rows of 64 zeros.
fn packed(packing: Packing, rows: usize) -> Tensor {
    let n_bytes = packing.n_bytes(&[rows, 64]).unwrap();
    Tensor::new(packing.dtype(), vec![rows, 64], Bytes::from(vec![0; n_bytes])).unwrap()
}

fn rounded(compute: &Compute, x: &[f32], k: usize) -> RoundedRows {
    let mut rows = RoundedRows::default();
    compute.round_rows(x, k, &mut rows);
    rows
}

#[test]
fn rows_to_round_are_whole_and_in_whole_blocks() {
    let compute = Compute::new(Some(1));
    rounded(&compute, &[1.0; 128], 64);
    rounded(&compute, &[], 64);
    refused(|| drop(rounded(&compute, &[], 0)), "x of 0 elements is not rows of 0");
    refused(|| drop(rounded(&compute, &[1.0; 65], 64)), "x of 65 elements is not rows of 64");
    refused(|| drop(rounded(&compute, &[1.0; 32], 32)), "32");
    let norm = |n_x: usize, n_gain: usize, n_normed: Option<usize>| {
        let mut normed = n_normed.map(|n| vec![0.0; n]);
        let (x, gain) = (vec![1.0; n_x], vec![1.0; n_gain]);
        compute.rms_norm_rounded(&x, &gain, 1e-6, &mut RoundedRows::default(), normed.as_deref_mut());
    };
    norm(128, 64, Some(128));
    norm(64, 64, None);
    refused(|| norm(0, 0, None), "rows of 0");
    refused(|| norm(65, 64, None), "rows of 64");
    refused(|| norm(64, 64, Some(63)), "rows of 64");
}

#[test]
fn packed_products_take_rows_and_weights_that_fit() {
    let compute = Compute::new(Some(1));
    let x = rounded(&compute, &[1.0; 64], 64);
    let weights = packed(Packing::Int4, 16);
    let product = |w: &Tensor, bias: Option<&[f32]>, n: usize| {
        let mut y = vec![0.0; n];
        compute.multiply_rounded(&x, &mut [PackedProduct { w, output: Output::Store(&mut y, bias) }]);
    };
    product(&weights, Some(&[0.0; 16]), 16);
    refused(|| product(&weights, None, 15), "y of 1 rows by 16");
    refused(|| product(&weights, Some(&[0.0; 15]), 16), "bias of 16");
    let floats = Tensor::from_f32(vec![16, 64], &[0.0; 1024]).unwrap();
    refused(|| product(&floats, None, 16), "weights of F32 are not packed");
    let narrow = rounded(&compute, &[1.0; 128], 128);
    let mut y = [0.0; 16];
    let mut products = [PackedProduct { w: &weights, output: Output::Add(&mut y) }];
    refused(|| compute.multiply_rounded(&narrow, &mut products), "weights of shape [16, 64] for rows of 128");
    let gated = |gate: &Tensor, up: &Tensor| {
        compute.multiply_gated(&x, gate, up, &mut RoundedRows::default());
    };
    let wide = packed(Packing::Int4, 64);
    gated(&wide, &wide);
    refused(|| gated(&wide, &packed(Packing::Int4, 128)), "gate and up are alike");
    refused(|| gated(&wide, &packed(Packing::Int8, 64)), "gate and up are alike");
}

#[test]
fn what_is_packed_is_sixteen_rows_of_whole_blocks() {
    let pack = |n_values: usize, n_scales: usize, n_bytes: usize| {
        let (values, scales) = (vec![0; n_values], vec![f16::ONE; n_scales]);
        Packing::Int8.pack_rows(&values, &scales, &mut vec![0; n_bytes]);
    };
    let n_bytes = Packing::Int8.block_bytes();
    pack(BLOCK_ROWS * 64, BLOCK_ROWS * 2, n_bytes);
    refused(|| pack(BLOCK_ROWS * 32, BLOCK_ROWS, n_bytes), "values");
    refused(|| pack(BLOCK_ROWS * 64 + 1, BLOCK_ROWS * 2, n_bytes), "values");
    refused(|| pack(BLOCK_ROWS * 64, BLOCK_ROWS, n_bytes), "a scale for each group");
    refused(|| pack(BLOCK_ROWS * 64, BLOCK_ROWS * 2, n_bytes - 1), "bytes of sixteen rows");
    for shape in [vec![15, 64], vec![16, 63], vec![1024], vec![1, 16, 64]] {
        let error = Tensor::new(DType::Int8, shape.clone(), Bytes::new()).unwrap_err();
        assert_eq!(error, TensorError::Unpackable { dtype: DType::Int8, shape });
    }
    let shape = vec![usize::MAX - 15, 1 << 20];
    let error = Tensor::new(DType::Int4, shape.clone(), Bytes::new()).unwrap_err();
    assert_eq!(error, TensorError::TooLarge(shape));
}

#[test]
fn rows_and_elementwise_operations_take_equal_lengths_only() {
    let compute = Compute::new(Some(1));
    refused(|| compute.rms_norm(&[0.0; 4], &[1.0; 2], 1e-6, &mut [0.0; 2]), "rows of 2");
    refused(|| compute.rms_norm(&[0.0; 3], &[1.0; 2], 1e-6, &mut [0.0; 3]), "rows of 2");
    refused(|| compute.silu_mul(&mut [0.0; 2], &[0.0; 3]), "left == right");
    refused(|| compute.add(&mut [0.0; 2], &[0.0; 3]), "left == right");
    refused(|| compute.narrow(&[0.0; 2], &mut [0.0; 3]), "left == right");
    refused(|| compute.add_scaled(&mut [0.0; 2], 1.0, &[0.0; 3]), "left == right");
    refused(|| compute.rms_norm_narrow(&[0.0; 4], &[1.0; 2], 1e-6, &mut [0.0; 2]), "rows of 2");
    refused(|| compute.rms_norm_narrow(&[0.0; 3], &[1.0; 2], 1e-6, &mut [0.0; 3]), "rows of 2");
}

#[test]
fn rotation_takes_whole_heads_only() {
    let compute = Compute::new(Some(1));
    let wide = |n: usize, head_dim: usize, n_angles: usize| {
        compute.rotate_halves(&mut vec![0.0; n], head_dim, &vec![0.0; n_angles]);
    };
    let narrow = |n: usize, head_dim: usize, n_angles: usize| {
        compute.rotate_halves_narrow(&mut vec![0.0; n], head_dim, &vec![0.0; n_angles]);
    };
    for rotate in [&wide as &dyn Fn(usize, usize, usize), &narrow] {
        rotate(8, 4, 4);
        refused(|| rotate(6, 3, 3), "is_multiple_of(2)");
        refused(|| rotate(8, 4, 6), "is_multiple_of(head_dim)");
        refused(|| rotate(8, 4, 0), "0 rows of heads of 4");
        refused(|| rotate(6, 4, 4), "1 rows of heads of 4");
    }
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

/// What either attention refuses, and in which words.
fn misfits() -> [(Call, &'static str); 8] {
    let shape =
        |n_heads, n_kv_heads, head_dim| AttentionShape { n_heads, n_kv_heads, head_dim, ..FITS.shape };
    [
        (Call { shape: shape(2, 0, 16), ..FITS }, "n_kv_heads > 0"),
        (Call { shape: shape(3, 2, 16), ..FITS }, "is_multiple_of(n_kv_heads)"),
        (Call { shape: shape(2, 1, 8), ..FITS }, "is_multiple_of(16)"),
        (Call { n_queries: 16, ..FITS }, "queries and output"),
        (Call { n_out: 16, ..FITS }, "queries and output"),
        (Call { n_caches: 2, ..FITS }, "caches of 2 positions"),
        (Call { n_cached: 31, ..FITS }, "caches of 2 positions"),
        (Call { n_scores: Some(3), ..FITS }, "scores"),
    ]
}

#[test]
fn attention_takes_what_its_shape_says_only() {
    attend(FITS);
    attend(Call { term: None, n_scores: None, ..FITS });
    for (call, expected) in misfits() {
        refused(|| attend(call), expected);
    }
    for term in [(16, 32), (32, 31)] {
        refused(|| attend(Call { term: Some(term), ..FITS }), "position term");
    }
}

fn attend_tiled(call: Call, n_keys: usize) {
    let compute = Compute::new(Some(1));
    let (queries, cached) = ([0.1; 64], [f16::ONE; 256]);
    let cache = TiledHeadCache { keys: &cached[..n_keys], values: &cached[..call.n_cached] };
    let mut scores = call.n_scores.map(|n| vec![0.0; n]);
    compute.attention_tiled(
        call.shape,
        &queries[..call.n_queries],
        &[cache; 2][..call.n_caches],
        &mut vec![0.0; call.n_out],
        scores.as_deref_mut(),
    );
}

#[test]
fn tiled_attention_takes_what_its_shape_says_only() {
    attend_tiled(FITS, 256);
    attend_tiled(Call { n_scores: None, ..FITS }, 256);
    for (call, expected) in misfits() {
        refused(|| attend_tiled(call, 256), expected);
    }
    // Two positions are a tile of sixteen.
    refused(|| attend_tiled(FITS, 255), "caches of 2 positions");
}

#[test]
fn a_tensor_whose_bytes_are_not_aligned_is_refused() {
    let bytes = Bytes::from(vec![0_u8; 16]);
    let at = usize::from(bytes.as_ptr().addr().is_multiple_of(4));
    let error = Tensor::new(DType::F32, vec![2], bytes.slice(at..at + 8)).unwrap_err();
    assert_eq!(error, TensorError::Misaligned { dtype: DType::F32 });
}

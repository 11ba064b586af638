//! The forward pass against what PyTorch computed in float64 for the trained tiny model, tensor by tensor.

use std::path::{Path, PathBuf};

use apr_format::AprFile;
use apr_generation::{CausalLm, LogitRows, Recorder, TensorKey};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::TokenId;
use ndarray::ArrayD;
use ndarray_npy::ReadNpyExt as _;

/// "The capital of France is", a prompt that is recorded at every position.
const IDS: [u32; 9] = [465, 2552, 272, 291, 308, 445, 81, 954, 306];
/// What `golden/golden-trace.yaml` allows.
const ATOL: f32 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/tiny")
}

fn recorded(key: TensorKey) -> ArrayD<f32> {
    let path = folder().join(format!("the_capital_of_france_is/{key}.npy"));
    ArrayD::read_npy(std::fs::File::open(path).unwrap()).unwrap()
}

#[test]
fn every_tensor_of_a_pass_is_what_pytorch_computed() {
    let file = AprFile::open(&folder().join("tiny.apr")).unwrap();
    let mut model = Qwen2::load(&file, LoadOptions::default()).unwrap();
    let ids = IDS.map(TokenId);
    let mut recorder = Recorder::new(|_| true);
    // In two calls, so that the second one looks back at what the first one kept.
    model.prefill(&ids[..4], LogitRows::All, Some(&mut recorder)).unwrap();
    model.prefill(&ids[4..], LogitRows::All, Some(&mut recorder)).unwrap();
    let computed = recorder.into_tensors();
    assert_eq!(computed.len(), 6 * 11 + 3);
    for (key, tensor) in computed {
        let expected = recorded(key);
        assert_eq!(tensor.shape, expected.shape(), "{key}");
        let distance = |(a, e): (&f32, &f32)| (a - e).abs();
        let furthest = tensor.values.iter().zip(&expected).map(distance).fold(0.0, f32::max);
        let is_finite = tensor.values.iter().all(|value| value.is_finite());
        assert!(is_finite && furthest <= ATOL, "{key} is off by {furthest:e}");
    }
}

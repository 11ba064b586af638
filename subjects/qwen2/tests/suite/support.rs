//! The trained tiny model, sequences of ids, and copies of the model with other weights.

use std::path::{Path, PathBuf};

use apr_format::{AprFile, AprWriter, IndexEntry, Overwrite, TensorSpec};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::{DType, Tensor};
use apr_tokenizer::TokenId;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Tokens that the tiny model knows.
pub(crate) const VOCAB: u32 = 4096;

/// The tiny model's file.
pub(crate) fn tiny_file() -> AprFile {
    AprFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/tiny/tiny.apr")).unwrap()
}

/// The model in `file`, on so many threads, with room for so many positions.
pub(crate) fn load(file: &AprFile, n_threads: usize, context_length: usize) -> Qwen2 {
    let options = LoadOptions { context_length: Some(context_length), n_threads: Some(n_threads) };
    Qwen2::load(file, options).unwrap()
}

/// The tiny model.
pub(crate) fn tiny(n_threads: usize, context_length: usize) -> Qwen2 {
    load(&tiny_file(), n_threads, context_length)
}

/// `n` ids drawn by `seed`.
pub(crate) fn random_ids(seed: u64, n: usize) -> Vec<TokenId> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| TokenId(rng.random_range(0..VOCAB))).collect()
}

/// The bits of each value.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// A copy of the tiny model at `folder/name`, each tensor of the dtype and bytes that `change` says.
pub(crate) fn copy(
    folder: &Path,
    name: &str,
    change: impl Fn(&IndexEntry, &Tensor) -> (DType, Vec<u8>),
) -> AprFile {
    let source = tiny_file();
    let tensors: Vec<(TensorSpec, Vec<u8>)> = source
        .entries()
        .iter()
        .map(|entry| {
            let (dtype, bytes) = change(entry, &source.tensor(&entry.name).unwrap());
            (TensorSpec { name: entry.name.clone(), dtype, shape: entry.shape.clone() }, bytes)
        })
        .collect();
    let specs = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let path: PathBuf = folder.join(name);
    let mut writer = AprWriter::create(&path, source.metadata().clone(), specs, Overwrite::Refuse).unwrap();
    for (spec, bytes) in &tensors {
        writer.write_tensor(&spec.name, bytes).unwrap();
    }
    writer.finish().unwrap();
    AprFile::open(&path).unwrap()
}

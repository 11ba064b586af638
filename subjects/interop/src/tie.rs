//! `--tie-embeddings`: one matrix for embedding and head, where the source has it twice.

use crate::architecture::{EMBEDDING, HEAD};
use crate::convert::read_rows;
use crate::error::ImportError;
use crate::input_file::InputFile;
use crate::model::{Model, ModelFault, SourceTensor};

/// Rows compared, spread over the vocabulary.
const N_SAMPLES: usize = 256;
/// The most that two quantizations of one matrix may differ, as a share of its size: 4 to 8 bits differ by 1 to 10 %,
/// 2 bits by some 30 %, unrelated matrices by 140 %.
const MOST_DIFFERENCE: f64 = 0.5;

/// Leaves one of the two matrices: the one stored with more bits, the head when they are equal. Refuses when they are
/// two different matrices. Returns what was done, for the provenance.
pub(crate) fn tie(model: &mut Model) -> Result<Option<String>, ImportError> {
    if model.metadata.config.tie_word_embeddings {
        model.notes.push("--tie-embeddings changes nothing: this source has one matrix for both".to_owned());
        return Ok(None);
    }
    let (Some(embedding), Some(head)) = (model.tensors.get(EMBEDDING), model.tensors.get(HEAD)) else {
        return Ok(None);
    };
    let difference = difference(embedding, head, &model.files)?;
    let is_quantized = embedding.encoding.dtype().is_none() || head.encoding.dtype().is_none();
    let most = if is_quantized { MOST_DIFFERENCE } else { 0.0 };
    if difference.is_nan() || difference > most {
        let (a, b) = (&embedding.source_name, &head.source_name);
        let path = model.files[head.file].path();
        let what = format!(
            "`{a}` and `{b}` differ by {:.1} % of their size: the head is not the embedding\n\
             hint: leave out --tie-embeddings",
            difference * 100.0
        );
        return Err(ImportError::model(path)(ModelFault::Tie(what)));
    }
    let keep_head = head.encoding.bytes_per_element() >= embedding.encoding.bytes_per_element();
    let kept = if keep_head { head.clone() } else { embedding.clone() };
    let done = format!("tied the embeddings to `{}` ({})", kept.source_name, kept.encoding);
    model.tensors.remove(HEAD);
    model.tensors.insert(EMBEDDING.to_owned(), kept);
    model.metadata.config.tie_word_embeddings = true;
    Ok(Some(done))
}

/// `|a - b| / |b|` in the Euclidean norm: over all rows when both are plain floats, over a sample otherwise.
fn difference(a: &SourceTensor, b: &SourceTensor, files: &[InputFile]) -> Result<f64, ImportError> {
    let n_rows = a.shape[0];
    let is_exact = a.encoding.dtype().is_some() && b.encoding.dtype().is_some();
    let step = if is_exact { 1 } else { n_rows.div_ceil(N_SAMPLES) };
    let (mut squares, mut scale) = (0.0_f64, 0.0_f64);
    for row in (0..n_rows).step_by(step) {
        let a = read_rows(a, &files[a.file], row, 1)?;
        let b = read_rows(b, &files[b.file], row, 1)?;
        for (a, b) in a.into_iter().map(f64::from).zip(b.into_iter().map(f64::from)) {
            squares += (a - b) * (a - b);
            scale += b * b;
        }
    }
    Ok(if squares == 0.0 { 0.0 } else { (squares / scale).sqrt() })
}

//! What layers' matrices are multiplied with, and matrices that are replaced: what quantization goes through a model by.

use std::collections::BTreeMap;

use apr_generation::{CausalLm, Layered, LogitRows, ModelError, Recorder, Site, TensorKey, Trace};
use apr_qwen2::{Matrix, Qwen2};
use apr_tensor::Tensor;
use apr_tokenizer::TokenId;

use crate::support::{bits, random_ids, tiny, tiny_file};

/// What a probe sees of `layer`, given the hidden states before it.
fn recorded(model: &mut Qwen2, layer: usize, hidden: &[f64]) -> BTreeMap<Site, Trace> {
    let mut recorder = Recorder::new(|_| true);
    model.run_layers(layer..layer + 1, &mut hidden.to_vec(), Some(&mut recorder)).unwrap();
    let tensors = recorder.into_tensors().into_iter();
    tensors
        .filter_map(
            |(key, trace)| if let TensorKey::Layer(_, site) = key { Some((site, trace)) } else { None },
        )
        .collect()
}

/// The product of a row of inputs with a matrix of the file, in f64.
fn product(matrix: Matrix, layer: usize, input: &[f32]) -> Vec<f64> {
    let weights = tiny_file().tensor(&matrix.key(layer)).unwrap();
    let dot = |row: &[f32]| row.iter().zip(input).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
    weights.to_f32().chunks_exact(weights.shape()[1]).map(dot).collect()
}

fn site(matrix: Matrix) -> Site {
    match matrix {
        Matrix::QProj => Site::QProj,
        Matrix::KProj => Site::KProj,
        Matrix::VProj => Site::VProj,
        Matrix::OProj => Site::OProj,
        Matrix::GateProj => Site::GateProj,
        Matrix::UpProj => Site::UpProj,
        Matrix::DownProj => Site::DownProj,
    }
}

#[test]
fn matrices_have_the_keys_of_the_checkpoint() {
    assert_eq!(
        Matrix::ALL.map(|matrix| matrix.key(3)),
        [
            "model.layers.3.self_attn.q_proj.weight",
            "model.layers.3.self_attn.k_proj.weight",
            "model.layers.3.self_attn.v_proj.weight",
            "model.layers.3.self_attn.o_proj.weight",
            "model.layers.3.mlp.gate_proj.weight",
            "model.layers.3.mlp.up_proj.weight",
            "model.layers.3.mlp.down_proj.weight",
        ]
    );
}

#[test]
fn hidden_states_before_the_first_layer_are_rows_of_the_embedding() {
    let model = tiny(1, 16);
    let ids = random_ids(31, 5);
    let embedding = tiny_file().tensor("model.embed_tokens.weight").unwrap().to_f32();
    let hidden = model.embed(&ids).unwrap();
    assert_eq!(hidden.len(), 5 * model.hidden_size());
    for (row, id) in hidden.chunks_exact(model.hidden_size()).zip(&ids) {
        let expected = &embedding[id.index() * row.len()..][..row.len()];
        assert!(row.iter().zip(expected).all(|(value, expected)| *value == f64::from(*expected)), "{id:?}");
    }
    for id in [4096, u32::MAX] {
        let unknown = ModelError::UnknownToken { id: TokenId(id), vocab_size: 4096 };
        assert_eq!(model.embed(&[TokenId(4095), TokenId(id)]), Err(unknown));
    }
}

#[test]
fn what_is_seen_of_a_layer_is_what_its_matrices_are_multiplied_with() {
    let (mut model, layer) = (tiny(2, 64), 2);
    let mut hidden = model.embed(&random_ids(32, 21)).unwrap();
    model.run_layers(0..layer, &mut hidden, None).unwrap();
    let tensors = recorded(&mut model, layer, &hidden);
    let mut expected = hidden.clone();
    model.run_layers(layer..layer + 1, &mut expected, None).unwrap();

    let mut n_seen = 0;
    model
        .run_layer_seen(layer, &mut hidden, &mut |inputs| {
            n_seen += 1;
            assert!(inputs.attention == tensors[&Site::InputLayernorm].values);
            assert!(inputs.mlp == tensors[&Site::PostAttentionLayernorm].values);
            for (matrix, input) in [(Matrix::OProj, inputs.output), (Matrix::DownProj, inputs.down)] {
                let outputs = &tensors[&site(matrix)].values;
                let (n_in, n_out) = (input.len() / 21, outputs.len() / 21);
                for (input, output) in input.chunks_exact(n_in).zip(outputs.chunks_exact(n_out)) {
                    for (expected, output) in product(matrix, layer, input).iter().zip(output) {
                        assert!(
                            (expected - f64::from(*output)).abs() < 1e-4,
                            "{matrix:?}: {expected} {output}"
                        );
                    }
                }
            }
        })
        .unwrap();
    assert_eq!(n_seen, 1);
    assert!(hidden == expected, "being seen changes what a layer puts out");
}

#[test]
fn as_many_positions_are_seen_as_a_pass_takes_at_once() {
    let mut model = tiny(2, Qwen2::MAX_SEEN);
    let mut hidden = vec![0.25; Qwen2::MAX_SEEN * model.hidden_size()];
    let mut n_values = 0;
    model.run_layer_seen(0, &mut hidden, &mut |inputs| n_values = inputs.attention.len()).unwrap();
    assert_eq!(n_values, hidden.len());
}

#[test]
#[should_panic(expected = "at most 512 positions")]
fn more_positions_than_a_pass_takes_at_once_are_refused() {
    let mut model = tiny(1, 600);
    let mut hidden = vec![0.25; (Qwen2::MAX_SEEN + 1) * model.hidden_size()];
    let _ = model.run_layer_seen(0, &mut hidden, &mut |_| {});
}

#[test]
fn a_matrix_that_is_replaced_is_multiplied_with_from_then_on_and_no_other_is() {
    let (file, layer) = (tiny_file(), 1);
    let hidden = tiny(1, 16).embed(&random_ids(33, 4)).unwrap();
    let before = recorded(&mut tiny(1, 16), layer, &hidden);
    for matrix in Matrix::ALL {
        let mut model = tiny(1, 16);
        let shape = file.tensor(&matrix.key(layer)).unwrap().shape().to_vec();
        let zeros = Tensor::from_f32(shape.clone(), &vec![0.0; shape.iter().product()]).unwrap();
        model.replace(layer, matrix, zeros);
        let after = recorded(&mut model, layer, &hidden);
        // What is left is the bias, where there is one.
        let bias = file.tensor(&matrix.key(layer).replace(".weight", ".bias"));
        let bias = bias.map_or_else(|| vec![0.0; shape[0]], |bias| bias.to_f32());
        for row in after[&site(matrix)].values.chunks_exact(shape[0]) {
            assert_eq!(row, bias, "{matrix:?}");
        }
        for other in
            [Matrix::QProj, Matrix::KProj, Matrix::VProj].into_iter().filter(|other| *other != matrix)
        {
            assert_eq!(
                bits(&after[&site(other)].values),
                bits(&before[&site(other)].values),
                "{matrix:?}, {other:?}"
            );
        }
        let unchanged = recorded(&mut model, layer + 1, &hidden);
        assert!(unchanged == recorded(&mut tiny(1, 16), layer + 1, &hidden), "{matrix:?} of another layer");
    }
}

#[test]
#[should_panic(expected = "the shape of DownProj")]
fn a_matrix_of_another_shape_is_refused() {
    let zeros = Tensor::from_f32(vec![192, 64], &vec![0.0; 192 * 64]).unwrap();
    tiny(1, 16).replace(0, Matrix::DownProj, zeros);
}

#[test]
#[should_panic(expected = "a model that was not forked")]
fn a_model_that_was_forked_keeps_its_matrices() {
    let mut model = tiny(1, 16);
    let mut fork = model.fork().unwrap();
    fork.prefill(&[TokenId(1)], LogitRows::Last, None).unwrap();
    let zeros = Tensor::from_f32(vec![192, 512], &vec![0.0; 192 * 512]).unwrap();
    model.replace(0, Matrix::DownProj, zeros);
}

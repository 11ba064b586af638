//! What the forward pass promises whatever the weights are, shown on the trained tiny model.

use std::collections::BTreeSet;

use apr_generation::{CausalLm, Layered, LogitRows, ModelError, Recorder, Site, TensorKey};
use apr_qwen2::Qwen2;
use apr_tokenizer::TokenId;

use crate::support::{bits, random_ids, tiny};

/// The logits of every position, the sequence cut into calls of the given lengths, cycled.
fn logits_in_pieces(model: &mut Qwen2, ids: &[TokenId], pieces: &[usize]) -> Vec<u32> {
    model.reset();
    let mut all = Vec::new();
    let mut start = 0;
    for &piece in pieces.iter().cycle() {
        if start == ids.len() {
            return all;
        }
        let end = ids.len().min(start + piece);
        all.extend(bits(model.prefill(&ids[start..end], LogitRows::All, None).unwrap().values()));
        start = end;
    }
    all
}

#[test]
fn logits_are_bit_identical_for_any_chunking_and_thread_count() {
    let ids = random_ids(1, 90);
    let expected = logits_in_pieces(&mut tiny(1, 128), &ids, &[90]);
    for n_threads in [1, 2, 5] {
        let mut model = tiny(n_threads, 128);
        for pieces in [&[90][..], &[1], &[7, 2, 31], &[64, 1], &[8]] {
            assert!(
                logits_in_pieces(&mut model, &ids, pieces) == expected,
                "{n_threads} threads, pieces of {pieces:?}"
            );
        }
    }
}

#[test]
fn a_prompt_longer_than_a_block_equals_the_same_in_pieces() {
    let ids = random_ids(2, 700);
    let mut model = tiny(2, 1024);
    let whole = model.prefill(&ids, LogitRows::Last, None).unwrap();
    model.reset();
    for piece in ids.chunks(100) {
        model.prefill(piece, LogitRows::Last, None).unwrap();
    }
    model.truncate(699);
    assert_eq!(bits(model.decode(ids[699]).unwrap().last()), bits(whole.last()));
}

#[test]
fn forgetting_positions_leaves_no_trace_of_them() {
    let (kept, dropped, next) = (random_ids(3, 20), random_ids(4, 30), random_ids(5, 5));
    let mut model = tiny(2, 64);
    model.prefill(&kept, LogitRows::Last, None).unwrap();
    let mut fork = model.fork().unwrap();
    model.prefill(&dropped, LogitRows::Last, None).unwrap();
    model.truncate(kept.len());
    assert_eq!(model.position(), 20);
    let after = model.prefill(&next, LogitRows::All, None).unwrap();
    let sequence = [kept.clone(), next].concat();
    let fresh = fork.prefill(&sequence, LogitRows::All, None).unwrap();
    for row in 0..5 {
        assert_eq!(bits(after.row(row)), bits(fresh.row(20 + row)), "row {row}");
    }
}

#[test]
fn a_call_that_is_refused_changes_nothing() {
    let mut model = tiny(1, 10);
    let ids = random_ids(6, 8);
    model.prefill(&ids, LogitRows::Last, None).unwrap();
    // A tiny model's position takes 6 layers x 2 x 2 heads x 32 x 4 bytes.
    let overflow = ModelError::ContextOverflow { needed: 11, context_length: 10, cache_bytes: 11 * 3072 };
    assert_eq!(model.prefill(&ids[..3], LogitRows::Last, None), Err(overflow));
    let unknown = ModelError::UnknownToken { id: TokenId(4096), vocab_size: 4096 };
    assert_eq!(model.prefill(&[ids[0], TokenId(4096)], LogitRows::Last, None), Err(unknown));
    assert_eq!(model.prefill(&[], LogitRows::Last, None), Err(ModelError::EmptyPrompt));
    assert_eq!(model.position(), 8);
    let continued = model.decode(ids[0]).unwrap();
    let fresh = tiny(1, 10).prefill(&[ids.clone(), vec![ids[0]]].concat(), LogitRows::Last, None).unwrap();
    assert_eq!(bits(continued.last()), bits(fresh.last()));
}

#[test]
fn a_probe_sees_every_tensor_once_and_changes_no_bit() {
    let ids = random_ids(7, 12);
    let mut model = tiny(2, 32);
    let expected = model.prefill(&ids, LogitRows::All, None).unwrap();
    model.reset();
    let mut recorder = Recorder::new(|_| true);
    let seen = model.prefill(&ids[..5], LogitRows::All, Some(&mut recorder)).unwrap();
    assert_eq!(bits(seen.values()), bits(&expected.values()[..5 * 4096]));
    model.prefill(&ids[5..], LogitRows::All, Some(&mut recorder)).unwrap();
    let tensors = recorder.into_tensors();

    let mut keys = BTreeSet::from([TensorKey::Embedding, TensorKey::Norm, TensorKey::Logits]);
    keys.extend((0..6).flat_map(|layer| Site::ALL.map(|site| TensorKey::Layer(layer, site))));
    assert_eq!(tensors.keys().copied().collect::<BTreeSet<_>>(), keys);
    for (key, trace) in &tensors {
        let expected_shape = match key {
            TensorKey::Layer(_, Site::Scores) => [6, 12 * 13 / 2],
            // Queries are as wide as the hidden states here.
            TensorKey::Layer(_, Site::KProj | Site::VProj) => [12, 64],
            TensorKey::Layer(_, Site::GateProj | Site::UpProj) => [12, 512],
            TensorKey::Logits => [12, 4096],
            _ => [12, 192],
        };
        assert_eq!(trace.shape, expected_shape, "{key}");
        assert_eq!(trace.values.len(), expected_shape[0] * expected_shape[1], "{key}");
    }
    assert_eq!(bits(&tensors[&TensorKey::Logits].values), bits(expected.values()));
}

#[test]
fn a_probe_is_shown_only_what_it_wants() {
    let mut recorder = Recorder::new(|key| key == TensorKey::Layer(3, Site::DownProj));
    tiny(1, 16).prefill(&random_ids(8, 3), LogitRows::Last, Some(&mut recorder)).unwrap();
    assert_eq!(
        recorder.into_tensors().into_keys().collect::<Vec<_>>(),
        [TensorKey::Layer(3, Site::DownProj)]
    );
}

/// The residual stream before the first layer, as the model itself shows it.
fn embedded(model: &mut Qwen2, ids: &[TokenId]) -> Vec<f64> {
    let mut recorder = Recorder::new(|key| key == TensorKey::Embedding);
    model.reset();
    model.prefill(ids, LogitRows::Last, Some(&mut recorder)).unwrap();
    model.reset();
    recorder.into_tensors()[&TensorKey::Embedding].values.iter().map(|&value| f64::from(value)).collect()
}

#[test]
fn layers_and_head_run_by_themselves_give_the_bits_of_a_whole_pass() {
    // Longer than a block, so that the second one starts behind a cache.
    let ids = random_ids(21, 530);
    let mut model = tiny(2, 600);
    let mut whole = Recorder::new(|_| true);
    let logits = model.prefill(&ids, LogitRows::All, Some(&mut whole)).unwrap();
    let whole = whole.into_tensors();
    let mut hidden = embedded(&mut model, &ids);
    let mut parts = Recorder::new(|_| true);
    for part in [0..2, 2..3, 3..model.n_layers()] {
        model.run_layers(part, &mut hidden, Some(&mut parts)).unwrap();
    }
    assert_eq!(model.position(), 0, "no sequence is left behind");
    let by_parts = model.run_head(&hidden, LogitRows::All, Some(&mut parts)).unwrap();
    assert!(bits(by_parts.values()) == bits(logits.values()), "the logits differ");
    let last = model.run_head(&hidden, LogitRows::Last, None).unwrap();
    assert!(bits(last.values()) == bits(logits.last()), "the last row differs");
    for (key, tensor) in parts.into_tensors() {
        assert!(tensor == whole[&key], "`{key}` differs");
    }
}

#[test]
fn hidden_states_and_layers_that_do_not_exist_are_refused() {
    let mut model = tiny(1, 4);
    let (n_layers, hidden_size) = (model.n_layers(), model.hidden_size());
    let mut hidden = vec![0.5; 2 * hidden_size];
    for (layers, n_values, expected) in [
        (0..n_layers + 1, hidden_size, ModelError::UnknownLayer { first: 0, end: n_layers + 1, n_layers }),
        (0..1, hidden_size + 1, ModelError::NoHiddenStates { n_values: hidden_size + 1, hidden_size }),
        (0..1, 0, ModelError::EmptyPrompt),
    ] {
        assert_eq!(model.run_layers(layers, &mut hidden[..n_values], None), Err(expected));
    }
    assert!(model.run_head(&hidden[..3], LogitRows::All, None).is_err());
    let mut too_many = vec![0.5; 5 * hidden_size];
    let error = model.run_layers(0..1, &mut too_many, None).unwrap_err();
    assert!(matches!(error, ModelError::ContextOverflow { needed: 5, context_length: 4, .. }), "{error}");
    assert!(
        too_many.iter().all(|value| value.to_bits() == 0.5_f64.to_bits()),
        "an error leaves the hidden states alone"
    );
    model.run_layers(1..1, &mut hidden, None).unwrap();
    assert!(hidden.iter().all(|value| value.to_bits() == 0.5_f64.to_bits()), "no layer changes nothing");
}

#[test]
fn a_probe_of_the_logits_is_shown_the_rows_that_were_asked_for() {
    let mut recorder = Recorder::new(|key| key == TensorKey::Logits);
    let logits = tiny(1, 16).prefill(&random_ids(9, 5), LogitRows::Last, Some(&mut recorder)).unwrap();
    let seen = &recorder.into_tensors()[&TensorKey::Logits];
    assert_eq!(seen.shape, [1, 4096]);
    assert_eq!(bits(&seen.values), bits(logits.last()));
}

#[test]
fn a_model_tells_what_it_runs_on() {
    for n_threads in [1, 2, 3] {
        assert_eq!(tiny(n_threads, 16).n_threads(), n_threads);
    }
    assert!(["avx512-vnni", "avx512", "avx2", "neon-dot", "neon", "scalar"].contains(&tiny(1, 16).kernels()));
}

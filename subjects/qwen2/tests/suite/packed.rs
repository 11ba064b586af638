//! Packed weights: the model is the one whose weights are what the packed values stand for, but for what rounding its
//! activations changes; and it keeps the promises that every model does.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use apr_format::{AprFile, IndexEntry};
use apr_generation::{CausalLm, Layered, LogitRows, Recorder, Site, TensorKey};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::{BLOCK_ROWS, DType, GROUP, Packing, Tensor};
use half::f16;

use crate::support::{bits, copy, load, random_ids, tiny};

/// The packing of a tensor here: what the project makes of a model at 4 bits.
fn packing(entry: &IndexEntry) -> Option<Packing> {
    let is_fine =
        ["k_proj.weight", "v_proj.weight", "embed_tokens.weight"].iter().any(|end| entry.name.ends_with(end));
    Packing::fits(&entry.shape).then_some(if is_fine { Packing::Int8 } else { Packing::Int4 })
}

/// Each weight as the multiple nearest to it of a 127th, or a seventh, of the largest of its group.
fn packed(packing: Packing, tensor: &Tensor) -> Vec<u8> {
    let columns = tensor.shape()[1];
    let (_, high) = packing.range();
    let (mut values, mut scales) = (Vec::new(), Vec::new());
    for group in tensor.to_f32().chunks_exact(GROUP) {
        let largest = group.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
        let scale = f16::from_f32(largest / f32::from(high));
        values.extend(group.iter().map(|weight| (weight / scale.to_f32()).round() as i8));
        scales.push(scale);
    }
    let tile = BLOCK_ROWS * columns;
    let mut bytes = vec![0; packing.n_bytes(tensor.shape()).unwrap()];
    let n_bytes = bytes.len() / (values.len() / tile);
    for ((values, scales), bytes) in
        values.chunks_exact(tile).zip(scales.chunks_exact(tile / GROUP)).zip(bytes.chunks_exact_mut(n_bytes))
    {
        packing.pack_rows(values, scales, bytes);
    }
    bytes
}

/// The tiny model with packed weights, and the float model of the same values.
struct Twins {
    integers: AprFile,
    floats: AprFile,
}

/// Made once, and kept in memory: the folder they are written to is gone afterwards.
static TWINS: LazyLock<Twins> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let integers = copy(folder.path(), "packed.apr", |entry, tensor| match packing(entry) {
        Some(packing) => (packing.dtype(), packed(packing, tensor)),
        None => (tensor.dtype(), tensor.bytes().to_vec()),
    });
    let floats = copy(folder.path(), "floats.apr", |entry, tensor| {
        if packing(entry).is_none() {
            return (tensor.dtype(), tensor.bytes().to_vec());
        }
        let same = integers.tensor(&entry.name).unwrap().to_f32();
        (DType::F32, same.iter().flat_map(|value| value.to_le_bytes()).collect())
    });
    let in_memory = |file: &AprFile| {
        let bytes = std::fs::read(file.path()).unwrap();
        AprFile::from_bytes(file.path(), bytes.into()).unwrap()
    };
    Twins { integers: in_memory(&integers), floats: in_memory(&floats) }
});

fn integers(n_threads: usize, context_length: usize) -> Qwen2 {
    load(&TWINS.integers, n_threads, context_length)
}

/// The norm of the difference over the norm.
fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let mut differences = found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b));
    norm(&mut differences) / norm(&mut expected.iter().map(|value| f64::from(*value)))
}

#[test]
fn every_tensor_is_that_of_the_float_model_of_the_same_values_within_what_rounding_activations_changes() {
    let ids = random_ids(41, 40);
    let tensors = [&TWINS.integers, &TWINS.floats].map(|file| {
        let mut model = load(file, 2, 64);
        let mut recorder = Recorder::new(|_| true);
        model.prefill(&ids[..33], LogitRows::All, Some(&mut recorder)).unwrap();
        model.prefill(&ids[33..], LogitRows::All, Some(&mut recorder)).unwrap();
        recorder.into_tensors()
    });
    let keys = |of: usize| tensors[of].keys().copied().collect::<BTreeSet<_>>();
    assert_eq!(keys(0), keys(1));
    assert_eq!(keys(0).len(), 6 * 11 + 3);
    for (key, expected) in &tensors[1] {
        let found = &tensors[0][key];
        assert_eq!(found.shape, expected.shape, "{key}");
        let limit = if *key == TensorKey::Embedding { 0.0 } else { 0.1 };
        let distance = distance(&found.values, &expected.values);
        assert!(distance <= limit, "{key} is off by {:.1} %", 100.0 * distance);
    }
}

#[test]
fn logits_are_bit_identical_for_any_chunking_and_thread_count() {
    let ids = random_ids(42, 70);
    let logits = |n_threads: usize, pieces: &[usize]| {
        let mut model = integers(n_threads, 70);
        let (mut start, mut all) = (0, Vec::new());
        for &piece in pieces.iter().cycle() {
            if start == ids.len() {
                break;
            }
            let end = ids.len().min(start + piece);
            all.extend(bits(model.prefill(&ids[start..end], LogitRows::All, None).unwrap().values()));
            start = end;
        }
        all
    };
    let expected = logits(1, &[70]);
    for n_threads in [1, 2, 3] {
        for pieces in [&[1][..], &[7, 2, 31], &[64, 1]] {
            assert!(logits(n_threads, pieces) == expected, "{n_threads} threads, pieces of {pieces:?}");
        }
    }
}

#[test]
fn forgetting_positions_and_forks_leave_no_trace() {
    let (kept, dropped, next) = (random_ids(43, 20), random_ids(44, 30), random_ids(45, 5));
    let mut model = integers(2, 64);
    model.prefill(&kept, LogitRows::Last, None).unwrap();
    let mut fork = model.fork().unwrap();
    assert_eq!(fork.position(), 0);
    model.prefill(&dropped, LogitRows::Last, None).unwrap();
    assert_eq!(model.position(), 50);
    model.truncate(kept.len());
    assert_eq!(model.position(), 20);
    let after = model.prefill(&next, LogitRows::All, None).unwrap();
    let fresh = fork.prefill(&[kept, next].concat(), LogitRows::All, None).unwrap();
    for row in 0..5 {
        assert_eq!(bits(after.row(row)), bits(fresh.row(20 + row)), "row {row}");
    }
}

#[test]
fn layers_and_head_run_by_themselves_give_the_bits_of_a_whole_pass() {
    let ids = random_ids(46, 30);
    let mut model = integers(2, 64);
    let mut whole = Recorder::new(|_| true);
    let logits = model.prefill(&ids, LogitRows::All, Some(&mut whole)).unwrap();
    let mut hidden = model.embed(&ids).unwrap();
    let mut parts = Recorder::new(|_| true);
    for part in [0..1, 1..model.n_layers()] {
        model.run_layers(part, &mut hidden, Some(&mut parts)).unwrap();
    }
    assert_eq!(model.position(), 0);
    let by_parts = model.run_head(&hidden, LogitRows::All, Some(&mut parts)).unwrap();
    assert!(bits(by_parts.values()) == bits(logits.values()), "the logits differ");
    assert!(bits(model.run_head(&hidden, LogitRows::Last, None).unwrap().values()) == bits(logits.last()));
    let whole = whole.into_tensors();
    for (key, tensor) in parts.into_tensors() {
        assert!(tensor == whole[&key], "`{key}` differs");
    }
}

#[test]
fn a_probe_sees_what_it_wants_and_changes_no_bit() {
    let ids = random_ids(47, 12);
    let expected = integers(2, 32).prefill(&ids, LogitRows::All, None).unwrap();
    for site in Site::ALL {
        let key = TensorKey::Layer(3, site);
        let mut recorder = Recorder::new(|wanted| wanted == key);
        let seen = integers(2, 32).prefill(&ids, LogitRows::All, Some(&mut recorder)).unwrap();
        assert_eq!(bits(seen.values()), bits(expected.values()), "{key}");
        assert_eq!(recorder.into_tensors().into_keys().collect::<Vec<_>>(), [key]);
    }
    let mut recorder = Recorder::new(|key| key == TensorKey::Norm);
    integers(1, 32).prefill(&ids, LogitRows::Last, Some(&mut recorder)).unwrap();
    assert_eq!(
        recorder.into_tensors()[&TensorKey::Norm].shape,
        [12, 192],
        "every row, though one is asked for"
    );
}

#[test]
fn a_position_takes_half_of_what_it_takes_with_floats_and_drafts_are_cheap() {
    let (integers, floats) = (load(&TWINS.integers, 1, 16), load(&TWINS.floats, 1, 16));
    // 6 layers, a key and a value, 2 heads of 32.
    assert_eq!(integers.cache_bytes_per_position(), 6 * 2 * 2 * 32 * 2);
    assert_eq!(floats.cache_bytes_per_position(), 6 * 2 * 2 * 32 * 4);
    assert_eq!((integers.cheap_drafts(), floats.cheap_drafts()), (2, 0));
}

#[test]
#[should_panic(expected = "the weights are packed")]
fn the_inputs_of_packed_matrices_are_not_shown() {
    let mut model = integers(1, 16);
    let mut hidden = model.embed(&random_ids(48, 2)).unwrap();
    let _ = model.run_layer_seen(0, &mut hidden, &mut |_| {});
}

#[test]
fn models_that_are_packed_in_part_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, packing_of: &dyn Fn(&IndexEntry) -> Option<Packing>| {
        let file = copy(folder.path(), name, |entry, tensor| match packing_of(entry) {
            Some(packing) => (packing.dtype(), packed(packing, tensor)),
            None => (tensor.dtype(), tensor.bytes().to_vec()),
        });
        Qwen2::load(&file, LoadOptions::default()).map(|_| ()).unwrap_err().to_string()
    };
    let one =
        |entry: &IndexEntry| packing(entry).filter(|_| entry.name.ends_with("layers.4.mlp.down_proj.weight"));
    let found = refused("one.apr", &one);
    assert!(found.contains("some matrices of its layers are packed and others are not"), "{found}");
    let unlike = |entry: &IndexEntry| {
        let is_other = entry.name.ends_with("layers.4.mlp.gate_proj.weight");
        packing(entry).map(|packing| if is_other { Packing::Int8 } else { packing })
    };
    let found = refused("unlike.apr", &unlike);
    assert!(found.contains("gate_proj and up_proj of layer 4 have different dtypes"), "{found}");
}

#[test]
fn a_packed_head_goes_with_float_layers() {
    let folder = tempfile::tempdir().unwrap();
    let is_head = |entry: &IndexEntry| entry.name == "model.embed_tokens.weight";
    let head = copy(folder.path(), "head.apr", |entry, tensor| {
        if is_head(entry) {
            (DType::Int8, packed(Packing::Int8, tensor))
        } else {
            (tensor.dtype(), tensor.bytes().to_vec())
        }
    });
    let ids = random_ids(49, 9);
    let found = load(&head, 1, 16).prefill(&ids, LogitRows::All, None).unwrap();
    let expected = tiny(1, 16).prefill(&ids, LogitRows::All, None).unwrap();
    let distance = distance(found.values(), expected.values());
    assert!(distance > 0.0 && distance < 0.05, "off by {:.1} %", 100.0 * distance);
    assert_eq!(load(&head, 1, 16).cheap_drafts(), 0);
}

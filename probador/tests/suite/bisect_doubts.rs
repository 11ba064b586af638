//! Bisecting where not everything is known, or where the symptom and what is wrong do not belong together.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use apr_format::AprFile;
use apr_generation::{Site, TensorKey};
use apr_qwen2::{LoadOptions, Qwen2};
use probador::golden::{Bisection, Finding, GoldenSet, Part, Stage, Truth, first_out, trace_back};
use probador::reference::Reference;

use crate::damaged::{PROMPT, damaged, edited, load, scale, truth};
use crate::support::{repository, tiny};

/// What is recorded for the prompt but for the tensors of these keys.
fn truth_without(folder: &Path, keys: &[&str]) -> Truth {
    let golden = repository().join("golden/tiny");
    let text = fs::read_to_string(golden.join("manifest.yaml")).unwrap();
    let is_left_out =
        |line: &str| keys.iter().any(|key| line.contains(&format!("{{key: {key}, file: {PROMPT}/")));
    let kept: Vec<&str> = text.lines().filter(|line| !is_left_out(line)).collect();
    assert_eq!(kept.len(), text.lines().count() - keys.len());
    fs::write(folder.join("manifest.yaml"), kept.join("\n") + "\n").unwrap();
    symlink(golden.join(PROMPT), folder.join(PROMPT)).unwrap();
    let set = GoldenSet::open_folder(folder).unwrap();
    Truth::recorded(&set, set.manifest().prompt(PROMPT).unwrap()).unwrap()
}

/// What the first symptom of the model at `path` comes from, when it is said to show in `key`.
fn traced(path: &Path, truth: &Truth, key: Option<TensorKey>) -> Bisection {
    let (file, mut model) = load(path);
    let first = first_out(&mut model, truth).unwrap().first.expect("nothing is out of tolerance");
    let symptom = Finding { key: key.unwrap_or(first.key), ..first };
    trace_back(&mut model, truth, &Reference::of_file(&file).unwrap(), &symptom).unwrap()
}

/// Stage and part of each of these that is out of tolerance by itself.
fn places<'o>(origins: impl IntoIterator<Item = &'o probador::golden::Origin>) -> Vec<(Stage, Part)> {
    origins.into_iter().map(|origin| (origin.stage, origin.part)).collect()
}

#[test]
fn a_layer_whose_input_is_not_known_is_not_run_and_nothing_else_is_blamed_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.self_attn.q_proj.weight", scale(1.05));
    let truth = truth_without(folder.path(), &["model.layers.2"]);
    let bisection = traced(&path, &truth, None);
    assert_eq!((bisection.origin, bisection.others), (None, Vec::new()));
    assert_eq!(bisection.not_run, [Stage::Layer(3)]);
}

#[test]
fn whether_a_part_accounts_for_a_later_symptom_is_left_open_where_it_cannot_be_tried() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.2.self_attn.v_proj.weight", scale(1.05));
    // Nobody knows what the layer after it ought to be given.
    let known = truth_without(folder.path(), &["model.layers.2"]);
    let later = TensorKey::Layer(4, Site::Output);
    let origin = traced(&path, &known, Some(later)).origin.unwrap();
    assert_eq!((origin.stage, origin.part, origin.accounts), (Stage::Layer(2), Part::VProj, None));
    // Of the long prompt it is known at a few positions.
    let origin = traced(&path, &truth("long_prompt"), Some(TensorKey::Logits)).origin.unwrap();
    assert_eq!((origin.stage, origin.part, origin.accounts), (Stage::Layer(2), Part::Unknown, None));
    // Where all of it is known, it is tried.
    let origin = traced(&path, &truth(PROMPT), Some(later)).origin.unwrap();
    assert_eq!((origin.stage, origin.part, origin.accounts), (Stage::Layer(2), Part::VProj, Some(true)));
}

#[test]
fn what_comes_after_a_symptom_is_not_its_origin() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.self_attn.o_proj.weight", scale(1.05));
    let bisection = traced(&path, &truth(PROMPT), Some(TensorKey::Layer(1, Site::Output)));
    assert_eq!(bisection.origin, None);
    assert_eq!(places(&bisection.others), [(Stage::Layer(3), Part::OProj)]);
}

#[test]
fn an_embedding_is_tried_on_a_layer_that_inherits_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let row = truth(PROMPT).ids()[1] as usize;
    let hidden_size = AprFile::open(&tiny()).unwrap().metadata().config.hidden_size;
    let path = edited(folder.path(), "model.embed_tokens.weight", |values| values[row * hidden_size] += 0.5);
    let bisection = traced(&path, &truth(PROMPT), Some(TensorKey::Layer(2, Site::Output)));
    let origin = bisection.origin.unwrap();
    assert_eq!((origin.stage, origin.part, origin.accounts), (Stage::Embedding, Part::Embedding, Some(true)));
}

#[test]
fn a_part_that_is_slightly_off_is_not_blamed_for_what_a_later_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let edit = |name: &str, values: &mut [f32]| match name {
        // Off by the last bit here and there: further than rounding explains, far within tolerance.
        "model.layers.0.self_attn.o_proj.weight" => {
            values.iter_mut().step_by(3200).for_each(|value| *value *= 1.001);
        }
        "model.layers.2.self_attn.v_proj.weight" => scale(1.05)(values),
        _ => {}
    };
    let path = damaged(folder.path(), str::to_owned, edit, |_| {});
    let bisection = traced(&path, &truth("unicode"), None);
    let origin = bisection.origin.as_ref().unwrap();
    assert_eq!((origin.stage, origin.part, origin.accounts), (Stage::Layer(2), Part::VProj, Some(true)));
    assert_eq!(places(&bisection.others), []);
}

#[test]
fn a_prompt_that_the_model_does_not_take_is_named() {
    let file = AprFile::open(&tiny()).unwrap();
    let mut model = Qwen2::load(&file, LoadOptions { context_length: Some(4), n_threads: Some(1) }).unwrap();
    let error = first_out(&mut model, &truth(PROMPT)).unwrap_err().to_string();
    let said = format!("the model does not evaluate the prompt `{PROMPT}`: ");
    assert!(error.starts_with(&said) && error.len() > said.len(), "{error}");
}

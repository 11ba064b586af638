//! Bisecting: damaged copies of the small model and wrong arithmetic, each named by layer and part.

use std::fs;
use std::ops::Range;
use std::path::Path;

use apr_format::AprFile;
use apr_generation::{CausalLm, Layered, LogitRows, Logits, ModelError, Probe, Site, TensorKey};
use apr_qwen2::Qwen2;
use apr_tokenizer::TokenId;
use probador::golden::{Bisection, Cause, GoldenSet, Part, Stage, first_out, trace_back};
use probador::reference::Reference;
use serde_json::Value;

use crate::damaged::{PROMPT, bisected, damaged, edited, load, scale, truth};
use crate::support::{in_folder, repository, stdout, tiny};

/// Holds the damaged model at `path` to the goldens, and the origin to what was damaged.
#[track_caller]
fn names(path: &Path, stage: Stage, part: Part, beside: &[Part]) -> Bisection {
    let (file, mut model) = load(path);
    let (_, bisection) = bisected(&mut model, &file, &truth(PROMPT));
    let origin = bisection.origin.as_ref().expect("no origin is named");
    assert_eq!((origin.stage, origin.part, origin.beside.as_slice()), (stage, part, beside), "{bisection:?}");
    assert_eq!((origin.cause, origin.accounts), (Cause::File, Some(true)), "{bisection:?}");
    assert!(bisection.others.is_empty() && bisection.not_run.is_empty(), "{bisection:?}");
    bisection
}

#[test]
fn a_model_that_meets_its_goldens_has_no_symptom() {
    let (file, mut model) = load(&tiny());
    for slug in ["the_capital_of_france_is", "unicode", "long_prompt", "what_is_ownership_chat"] {
        let symptom = first_out(&mut model, &truth(slug)).unwrap();
        assert!(symptom.first.is_none() && symptom.n_tensors >= 10, "{slug}: {symptom:?}");
    }
    // Asked for the origin of something that is not there, it finds no part suspect.
    let truth = truth(PROMPT);
    let (_, damaged) = {
        let folder = tempfile::tempdir().unwrap();
        load(&edited(folder.path(), "model.norm.weight", scale(1.1)))
    };
    let mut wrong = damaged;
    let first = first_out(&mut wrong, &truth).unwrap().first.unwrap();
    let bisection = trace_back(&mut model, &truth, &Reference::of_file(&file).unwrap(), &first).unwrap();
    assert!(bisection.origin.is_none() && bisection.others.is_empty(), "{bisection:?}");
}

#[test]
fn a_scaled_query_projection_of_a_middle_layer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.self_attn.q_proj.weight", scale(1.05));
    names(&path, Stage::Layer(3), Part::QProj, &[]);
}

#[test]
fn a_dropped_key_bias_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.2.self_attn.k_proj.bias", |values| values.fill(0.0));
    names(&path, Stage::Layer(2), Part::KProj, &[]);
}

#[test]
fn permuted_rows_of_the_value_projection_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.self_attn.v_proj.weight", |values| {
        let middle = values.len() / 2;
        values.rotate_left(middle);
    });
    names(&path, Stage::Layer(3), Part::VProj, &[]);
}

#[test]
fn a_scaled_output_projection_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.4.self_attn.o_proj.weight", scale(0.97));
    names(&path, Stage::Layer(4), Part::OProj, &[]);
}

#[test]
fn exchanged_gate_and_up_projections_are_named_together() {
    let folder = tempfile::tempdir().unwrap();
    let source = |name: &str| match name.strip_prefix("model.layers.2.mlp.") {
        Some("gate_proj.weight") => "model.layers.2.mlp.up_proj.weight".to_owned(),
        Some("up_proj.weight") => "model.layers.2.mlp.gate_proj.weight".to_owned(),
        _ => name.to_owned(),
    };
    let path = damaged(folder.path(), source, |_, _| {}, |_| {});
    names(&path, Stage::Layer(2), Part::GateProj, &[Part::UpProj]);
}

#[test]
fn an_up_projection_alone_is_told_from_the_gate() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.mlp.up_proj.weight", scale(1.02));
    names(&path, Stage::Layer(3), Part::UpProj, &[]);
}

#[test]
fn one_changed_weight_of_a_down_projection_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.2.mlp.down_proj.weight", |values| values[1000] += 0.5);
    names(&path, Stage::Layer(2), Part::DownProj, &[]);
}

#[test]
fn scaled_norms_are_named_each_by_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (name, stage, part) in [
        ("model.layers.3.input_layernorm.weight", Stage::Layer(3), Part::InputLayernorm),
        ("model.layers.2.post_attention_layernorm.weight", Stage::Layer(2), Part::PostAttentionLayernorm),
        ("model.norm.weight", Stage::Head, Part::FinalNorm),
    ] {
        names(&edited(folder.path(), name, scale(1.01)), stage, part, &[]);
    }
}

#[test]
fn one_changed_value_of_the_embedding_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let row = truth(PROMPT).ids()[1] as usize;
    let hidden_size = AprFile::open(&tiny()).unwrap().metadata().config.hidden_size;
    let path = edited(folder.path(), "model.embed_tokens.weight", |values| values[row * hidden_size] += 0.5);
    let (file, mut model) = load(&path);
    let (first, bisection) = bisected(&mut model, &file, &truth(PROMPT));
    assert_eq!(first.key, TensorKey::Embedding);
    let origin = bisection.origin.unwrap();
    assert_eq!((origin.stage, origin.part, origin.cause), (Stage::Embedding, Part::Embedding, Cause::File));
    // The head is tied to the embedding, so that it is wrong as well.
    let others: Vec<Part> = bisection.others.iter().map(|other| other.part).collect();
    assert_eq!(others, [Part::LmHead]);
}

#[test]
fn another_rotary_base_is_named_as_the_rotation_of_the_first_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(folder.path(), str::to_owned, |_, _| {}, |metadata| metadata.config.rope_theta *= 2.0);
    let (file, mut model) = load(&path);
    let (_, bisection) = bisected(&mut model, &file, &truth(PROMPT));
    let origin = bisection.origin.unwrap();
    assert_eq!((origin.stage, origin.part, origin.cause), (Stage::Layer(0), Part::Rotary, Cause::File));
    assert!(bisection.others.iter().all(|other| other.part == Part::Rotary), "{:?}", bisection.others);
    assert_eq!(bisection.others.len(), 5, "every layer rotates");
}

#[test]
fn of_two_faults_the_first_is_named_and_the_other_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(
        folder.path(),
        str::to_owned,
        |name, values| {
            if name == "model.layers.2.self_attn.v_proj.weight"
                || name == "model.layers.4.mlp.down_proj.weight"
            {
                scale(1.05)(values);
            }
        },
        |_| {},
    );
    let (file, mut model) = load(&path);
    let (first, bisection) = bisected(&mut model, &file, &truth(PROMPT));
    assert_eq!(first.key, TensorKey::Layer(2, Site::VProj));
    let origin = bisection.origin.unwrap();
    assert_eq!((origin.stage, origin.part), (Stage::Layer(2), Part::VProj));
    let others: Vec<_> = bisection.others.iter().map(|other| (other.stage, other.part)).collect();
    assert_eq!(others, [(Stage::Layer(4), Part::DownProj)]);
}

#[test]
fn two_faults_in_one_layer_name_the_part_that_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = damaged(
        folder.path(),
        str::to_owned,
        |name, values| {
            if name == "model.layers.3.self_attn.o_proj.weight" || name == "model.layers.3.mlp.up_proj.weight"
            {
                scale(1.05)(values);
            }
        },
        |_| {},
    );
    names(&path, Stage::Layer(3), Part::OProj, &[]);
}

#[test]
fn a_deep_layer_that_only_inherits_is_cleared_and_the_origin_named() {
    let folder = tempfile::tempdir().unwrap();
    for (part, stride, deep) in [
        ("o_proj", 3200, Stage::Layer(5)),
        ("o_proj", 1600, Stage::Layer(4)),
        ("v_proj", 1600, Stage::Layer(3)),
    ] {
        // A few weights off by their last bit: far within tolerance where it happens, out of it layers later.
        let name = format!("model.layers.0.self_attn.{part}.weight");
        let path = edited(folder.path(), &name, |values| {
            values.iter_mut().step_by(stride).for_each(|value| *value *= 1.001);
        });
        let (file, mut model) = load(&path);
        let (first, bisection) = bisected(&mut model, &file, &truth("unicode"));
        assert_eq!(Stage::of(first.key), deep);
        let origin = bisection.origin.unwrap();
        assert_eq!((origin.stage, origin.part.name()), (Stage::Layer(0), part));
        assert!(!origin.finding.is_out() && origin.finding.difference.max_abs < 1e-4, "{:?}", origin.finding);
        assert_eq!((origin.cause, origin.accounts), (Cause::File, Some(true)), "the truth after it cures it");
        assert!(bisection.others.is_empty(), "{:?}", bisection.others);
    }
}

/// Changes the values of one tensor, given its shape.
type Distort = fn(&[usize], &mut [f32]);

/// The small model with arithmetic that is wrong in what one tensor shows.
struct Crooked {
    inner: Qwen2,
    key: TensorKey,
    distort: Distort,
}

struct Distorted<'p> {
    inner: &'p mut dyn Probe,
    key: TensorKey,
    distort: Distort,
}

impl Probe for Distorted<'_> {
    fn wants(&self, key: TensorKey) -> bool {
        self.inner.wants(key)
    }

    fn record(&mut self, key: TensorKey, shape: &[usize], values: &[f32]) {
        let mut values = values.to_vec();
        if key == self.key {
            (self.distort)(shape, &mut values);
        }
        self.inner.record(key, shape, &values);
    }
}

impl CausalLm for Crooked {
    fn vocab_size(&self) -> usize {
        self.inner.vocab_size()
    }

    fn context_length(&self) -> usize {
        self.inner.context_length()
    }

    fn position(&self) -> usize {
        self.inner.position()
    }

    fn cache_bytes_per_position(&self) -> u64 {
        self.inner.cache_bytes_per_position()
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        let probe = probe.unwrap();
        let mut probe = Distorted { inner: probe, key: self.key, distort: self.distort };
        self.inner.prefill(ids, rows, Some(&mut probe))
    }

    fn truncate(&mut self, n_positions: usize) {
        self.inner.truncate(n_positions);
    }
}

impl Layered for Crooked {
    fn n_layers(&self) -> usize {
        self.inner.n_layers()
    }

    fn hidden_size(&self) -> usize {
        self.inner.hidden_size()
    }

    fn run_layers(
        &mut self,
        layers: Range<usize>,
        hidden: &mut [f64],
        probe: Option<&mut dyn Probe>,
    ) -> Result<(), ModelError> {
        let Some(probe) = probe else { return self.inner.run_layers(layers, hidden, None) };
        let mut probe = Distorted { inner: probe, key: self.key, distort: self.distort };
        self.inner.run_layers(layers, hidden, Some(&mut probe))
    }

    fn run_head(
        &mut self,
        hidden: &[f64],
        rows: LogitRows,
        probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        self.inner.run_head(hidden, rows, probe)
    }
}

/// Each element's row and column.
fn places(shape: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let width = shape[1];
    (0..shape[0] * width).map(move |at| (at / width, at % width))
}

#[test]
fn wrong_arithmetic_is_told_from_wrong_weights_and_placed_between_the_tensors() {
    let all: Distort = |_, values| values.iter_mut().for_each(|value| *value *= 1.1);
    // In a lower triangle position p's own key stands at p (p + 3) / 2.
    let off_diagonal: Distort = |shape, values| {
        for ((_, pair), value) in places(shape).zip(values) {
            *value += if (0..200).any(|p| p * (p + 3) / 2 == pair) { 0.0 } else { 0.01 };
        }
    };
    let after_the_start: Distort = |shape, values| {
        for ((row, _), value) in places(shape).zip(values) {
            *value += if row > 0 { 0.01 } else { 0.0 };
        }
    };
    let scaled_by_row_and_column: Distort = |shape, values| {
        for ((row, column), value) in places(shape).zip(values) {
            *value *= 1.0
                + 0.1 * (row % 3) as f32
                + 0.01 * (column % 7) as f32
                + 0.001 * ((row % 3) * (column % 7)) as f32;
        }
    };
    let uneven: Distort = |shape, values| {
        for ((row, column), value) in places(shape).zip(values) {
            *value += 0.5 * ((row * 31 + column * 17) % 5) as f32;
        }
    };
    for (site, distort, part) in [
        (Site::Scores, all, Part::Scores),
        (Site::Scores, off_diagonal, Part::Rotary),
        (Site::OProj, all, Part::OProj),
        (Site::OProj, after_the_start, Part::AttentionOutput),
        (Site::PostAttentionLayernorm, scaled_by_row_and_column, Part::PostAttentionLayernorm),
        (Site::PostAttentionLayernorm, uneven, Part::Residual),
        (Site::DownProj, all, Part::DownProj),
        (Site::Output, all, Part::Residual),
    ] {
        let (file, inner) = load(&tiny());
        let mut model = Crooked { inner, key: TensorKey::Layer(3, site), distort };
        let (first, bisection) = bisected(&mut model, &file, &truth(PROMPT));
        let origin = bisection.origin.unwrap();
        assert_eq!(first.key, TensorKey::Layer(3, site));
        assert_eq!(
            (origin.stage, origin.part, origin.cause),
            (Stage::Layer(3), part, Cause::Arithmetic),
            "{site:?}"
        );
    }
}

#[test]
fn values_that_are_not_numbers_have_an_origin_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.mlp.up_proj.weight", |values| values[7] = f32::NAN);
    let (file, mut model) = load(&path);
    let (_, bisection) = bisected(&mut model, &file, &truth(PROMPT));
    let origin = bisection.origin.unwrap();
    assert_eq!((origin.stage, origin.part), (Stage::Layer(3), Part::UpProj));
}

#[test]
fn where_not_every_site_is_recorded_the_reference_fills_in_and_nothing_else_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.mlp.gate_proj.weight", scale(1.05));
    let (file, mut model) = load(&path);
    let set = GoldenSet::open_folder(&repository().join("golden/tiny")).unwrap();
    // Of the long prompt, layer outputs are recorded, and those at ten positions.
    let mut sparse = truth("long_prompt");
    assert!(!sparse.is_complete(6));
    let (first, bisection) = bisected(&mut model, &file, &sparse);
    assert_eq!(first.key, TensorKey::Layer(3, Site::Output));
    assert_eq!(bisection.origin.unwrap().part, Part::Unknown, "no part is named that nothing speaks against");

    let verification = &set.manifest().verification;
    let damaged = sparse.fill(&Reference::of_file(&file).unwrap(), verification).unwrap_err().to_string();
    assert!(damaged.contains("computes another `model.layers.3` on it than was recorded"), "{damaged}");
    sparse.fill(&Reference::open(&tiny()).unwrap(), verification).unwrap();
    assert!(sparse.is_complete(6));
    let (_, bisection) = bisected(&mut model, &file, &sparse);
    let origin = bisection.origin.unwrap();
    assert_eq!((origin.stage, origin.part), (Stage::Layer(3), Part::GateProj));
}

#[test]
fn the_command_names_layer_and_part_and_fails() {
    let folder = tempfile::tempdir().unwrap();
    let path = edited(folder.path(), "model.layers.3.self_attn.q_proj.weight", scale(1.05));
    let path = path.to_str().unwrap();
    let goldens = repository().join("golden/tiny");
    let arguments = ["trace", "bisect", path, "--goldens", goldens.to_str().unwrap()];
    let lines = stdout(&in_folder(&repository(), &arguments).code(100));
    assert_eq!(lines.lines().last(), Some("FAIL: layer 3, q_proj"), "{lines}");
    assert!(lines.contains("first out of tolerance: model.layers.3.self_attn.q_proj: max_abs"), "{lines}");
    assert!(lines.contains("its weights or configuration are others"), "{lines}");

    let arguments = [&arguments[..], &["--prompt", "unicode", "--json"]].concat();
    let found: Value =
        serde_json::from_str(&stdout(&in_folder(&repository(), &arguments).code(100))).unwrap();
    assert_eq!(found["passed"], Value::Bool(false));
    let failure = &found["failure"];
    assert_eq!((&failure["prompt"], &failure["inherited"]), (&Value::from("unicode"), &Value::Bool(false)));
    let origin = &failure["origin"];
    assert_eq!((&origin["layer"], &origin["part"]), (&Value::from(3), &Value::from("q_proj")));
    assert_eq!((&origin["cause"], &origin["accounts_for_it"]), (&Value::from("file"), &Value::Bool(true)));
    assert_eq!(origin["by_itself"]["key"], "model.layers.3.self_attn.q_proj");

    // A prompt nobody recorded: by the reference over a good model the weights are wrong, over its own they are not.
    let text = ["trace", "bisect", path, "--text", "Why is the sky blue?"];
    let lines = stdout(&in_folder(&repository(), &[&text[..], &["--reference", "tiny"]].concat()).code(100));
    assert_eq!(lines.lines().last(), Some("FAIL: layer 3, q_proj"), "{lines}");
    let assert = in_folder(&repository(), &text).code(0);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("weights are taken as they are"));
}

#[test]
fn the_command_passes_on_the_small_model_and_refuses_what_it_cannot_use() {
    let found = stdout(&in_folder(&repository(), &["trace", "bisect", "tiny", "--json"]).code(0));
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((&found["passed"], &found["failure"]), (&Value::Bool(true), &Value::Null));
    assert!(found["n_compared"].as_u64().unwrap() > 1_000_000, "{found}");
    in_folder(&repository(), &["trace", "bisect", "--prompt", "no_such_prompt"]).code(3);
    in_folder(&repository(), &["trace", "bisect", "--prompt", "unicode", "--text", "x"]).code(1);
    in_folder(&repository(), &["trace", "bisect", "--text", ""]).code(3);
    in_folder(&repository(), &["trace", "bisect", "no_such_model"]).code(3);
    in_folder(&repository(), &["trace", "bisect", "--text", "x", "--reference", "no_such_model"]).code(3);

    let folder = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(repository().join("golden/tiny/manifest.yaml")).unwrap();
    let by_the_subject =
        manifest.replacen("script: scripts/generate_golden_traces.py", "script: target/release/apr", 1);
    fs::write(folder.path().join("manifest.yaml"), by_the_subject).unwrap();
    let goldens = folder.path().to_str().unwrap();
    let assert = in_folder(&repository(), &["trace", "bisect", "tiny", "--goldens", goldens]).code(2);
    assert!(String::from_utf8_lossy(&assert.get_output().stderr).contains("not PyTorch"));
}

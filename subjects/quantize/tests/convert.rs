//! The tiny model converted: what the file holds, how well it still predicts, and that how it is run changes nothing.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use apr_evaluate::{Counting, Evaluation, evaluate, windows};
use apr_format::{AprFile, AprWriter, Overwrite, TensorSpec};
use apr_generation::{
    CausalLm, GenerationParams, LogitRows, Recorder, SamplingParams, Site, Step, TensorKey, generate,
};
use apr_quantize::{
    CALIBRATION_TEXT, ConvertError, ConvertOptions, EVALUATION_TEXT, Head, Method, SEQUENCE, convert,
    sequences,
};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::{DType, Packing};
use apr_tokenizer::{TokenId, Tokenizer};
use tempfile::TempDir;

struct Quietly;

impl apr_quantize::Watch for Quietly {
    fn step(&mut self, done: usize, all: usize, _: &str) -> bool {
        assert!(done <= all, "step {done} of {all}");
        true
    }
}

impl apr_evaluate::Watch for Quietly {
    fn window(&mut self, _: usize, _: usize, _: f64) -> bool {
        true
    }
}

/// Stops after a few steps.
struct Impatient;

impl apr_quantize::Watch for Impatient {
    fn step(&mut self, done: usize, _: usize, _: &str) -> bool {
        done < 5
    }
}

fn tiny() -> AprFile {
    AprFile::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/tiny/tiny.apr")).unwrap()
}

fn tokenizer() -> Tokenizer {
    Tokenizer::from_json(&tiny().tokenizer_json().unwrap().unwrap()).unwrap()
}

fn options(packing: Packing, method: Method) -> ConvertOptions {
    ConvertOptions { packing, head: Head::Auto, method, overwrite: Overwrite::Refuse, n_threads: Some(2) }
}

fn gptq() -> Method {
    Method::Gptq(sequences(&tokenizer().encode(CALIBRATION_TEXT), 8, SEQUENCE).unwrap())
}

/// The tiny model in 4 bits by GPTQ; made once.
fn int4() -> &'static Path {
    static MADE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("int4.apr");
        convert(&tiny(), &path, &options(Packing::Int4, gptq()), &mut Quietly).unwrap();
        (folder, path)
    });
    path
}

fn load(path: &Path, n_threads: usize) -> Qwen2 {
    let options = LoadOptions { context_length: Some(512), n_threads: Some(n_threads) };
    Qwen2::load(&AprFile::open(path).unwrap(), options).unwrap()
}

/// The model at `path` beside the one it was made from.
fn evaluation(path: &Path) -> Evaluation {
    let ids = tokenizer().encode(EVALUATION_TEXT);
    let windows = windows(Counting::LlamaCpp, ids.len(), 256, 256, Some(12)).unwrap();
    let options = LoadOptions { context_length: Some(256), n_threads: Some(2) };
    let mut old = Qwen2::load(&tiny(), options).unwrap();
    evaluate(&mut load(path, 2), Some(&mut old), &ids, &windows, &mut Quietly).unwrap()
}

#[test]
fn matrices_are_packed_keys_values_and_head_keep_eight_bits_and_vectors_stay() {
    let file = AprFile::open(int4()).unwrap();
    for entry in file.entries() {
        let name = entry.name.as_str();
        let expected =
            if name.contains("k_proj.weight") || name.contains("v_proj.weight") || name.contains("embed") {
                DType::Int8
            } else if name.contains("_proj.weight") {
                DType::Int4
            } else {
                tiny().tensor(name).unwrap().dtype()
            };
        assert_eq!(entry.dtype, expected, "{name}");
    }
    let provenance = file.metadata().provenance.clone().unwrap();
    assert!(
        provenance.transformations.last().unwrap().contains("4 bits, groups of 32, GPTQ on 4096 tokens"),
        "{provenance:?}"
    );
}

#[test]
fn eight_bits_change_next_to_nothing_and_gptq_beats_rounding() {
    let folder = TempDir::new().unwrap();
    let [int8, rounded] =
        [("int8.apr", Packing::Int8), ("int4.apr", Packing::Int4)].map(|(name, packing)| {
            let path = folder.path().join(name);
            convert(&tiny(), &path, &options(packing, Method::RoundToNearest), &mut Quietly).unwrap();
            evaluation(&path).against.unwrap()
        });
    let gptq = evaluation(int4()).against.unwrap();
    assert!(int8.kl_divergence.value < 0.002, "{int8:?}");
    assert!(int8.top_1_agreement.value > 0.97, "{int8:?}");
    assert!(gptq.kl_divergence.value < 0.8 * rounded.kl_divergence.value, "{gptq:?} {rounded:?}");
    assert!(gptq.perplexity_ratio.value < 1.05, "{gptq:?}");
}

#[test]
fn how_a_sequence_is_cut_and_how_many_threads_there_are_changes_no_bit() {
    let ids: Vec<TokenId> = tokenizer().encode(EVALUATION_TEXT).into_iter().take(200).collect();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    let whole = load(int4(), 1).prefill(&ids, LogitRows::All, None).unwrap();
    for (n_threads, chunk) in [(1, 1), (2, 3), (3, 7), (8, 64), (2, 200)] {
        let mut model = load(int4(), n_threads);
        let mut rows = Vec::new();
        for part in ids.chunks(chunk) {
            rows.extend(bits(model.prefill(part, LogitRows::All, None).unwrap().values()));
        }
        assert_eq!(rows, bits(whole.values()), "{n_threads} threads, {chunk} at a time");
    }
    // A prefix that another sequence left is as good as a new one.
    let mut model = load(int4(), 2);
    model.prefill(&ids, LogitRows::Last, None).unwrap();
    model.truncate(100);
    let rest = model.prefill(&ids[100..], LogitRows::Last, None).unwrap();
    assert_eq!(bits(rest.last()), bits(whole.last()));
}

#[test]
fn what_a_probe_sees_is_what_is_computed() {
    let ids: Vec<TokenId> = tokenizer().encode(EVALUATION_TEXT).into_iter().take(40).collect();
    let mut probe = Recorder::new(|_| true);
    let seen = load(int4(), 2).prefill(&ids, LogitRows::All, Some(&mut probe)).unwrap();
    let unseen = load(int4(), 2).prefill(&ids, LogitRows::All, None).unwrap();
    assert_eq!(seen, unseen);
    let traces = probe.into_tensors();
    let n_layers = load(int4(), 1).config().num_layers;
    assert_eq!(traces.len(), 3 + n_layers * Site::ALL.len());
    // The residual stream is the sum of what the blocks add to it.
    let at = |key| &traces[&key].values;
    for layer in 0..n_layers {
        let before = match layer {
            0 => at(TensorKey::Embedding),
            _ => at(TensorKey::Layer(layer - 1, Site::Output)),
        };
        let (o, down) =
            (at(TensorKey::Layer(layer, Site::OProj)), at(TensorKey::Layer(layer, Site::DownProj)));
        for (index, after) in at(TensorKey::Layer(layer, Site::Output)).iter().enumerate() {
            assert_eq!(*after, before[index] + o[index] + down[index], "layer {layer}, {index}");
        }
    }
}

#[test]
fn drafts_change_nothing_but_the_number_of_passes() {
    let tokenizer = tokenizer();
    // Says the same again and again, so that there is something to look up.
    let prompt = tokenizer.encode(&"fn main() { println!(\"one\"); }\n".repeat(4));
    let mut replies = Vec::new();
    for temperature in [0.0, 0.9] {
        for drafts in [0, 1, 2] {
            let mut model = load(int4(), 2);
            let sampling = SamplingParams { temperature, seed: 7, ..SamplingParams::greedy() };
            let params = GenerationParams {
                sampling,
                max_tokens: Some(60),
                stop: Vec::new(),
                end_of_text: Vec::new(),
                drafts,
            };
            let mut shown = Vec::new();
            let mut observer = |step: &Step<'_>| {
                shown.push((step.id, step.log_probability.to_bits(), step.logits[5].to_bits()));
                ControlFlow::Continue(())
            };
            let reply = generate(&mut model, &tokenizer, &prompt, &params, &mut observer).unwrap();
            // The last token was chosen and not evaluated.
            assert_eq!(model.position(), prompt.len() + 59, "{drafts} drafts");
            replies.push((temperature.to_bits(), reply, shown));
        }
    }
    for same in replies.chunks(3) {
        assert_eq!(same[0], same[1]);
        assert_eq!(same[0], same[2]);
    }
    assert_ne!(replies[0].1.ids, replies[3].1.ids, "the seed counts at a temperature above zero");
}

#[test]
fn what_cannot_be_converted_says_why_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.apr");
    let packed = AprFile::open(int4()).unwrap();
    let error =
        convert(&packed, &out, &options(Packing::Int8, Method::RoundToNearest), &mut Quietly).unwrap_err();
    assert!(error.to_string().contains("has packed weights already"), "{error}");
    // Half a block of columns.
    let unfit = folder.path().join("unfit.apr");
    let specs = vec![TensorSpec {
        name: "model.layers.0.x_proj.weight".into(),
        dtype: DType::F32,
        shape: vec![16, 32],
    }];
    let mut writer = AprWriter::create(&unfit, tiny().metadata().clone(), specs, Overwrite::Refuse).unwrap();
    writer.write_tensor("model.layers.0.x_proj.weight", &[0; 16 * 32 * 4]).unwrap();
    writer.finish().unwrap();
    let unfit = AprFile::open(&unfit).unwrap();
    let error =
        convert(&unfit, &out, &options(Packing::Int8, Method::RoundToNearest), &mut Quietly).unwrap_err();
    assert!(error.to_string().contains("has shape [16, 32]; packed weights have 16 n rows"), "{error}");
    std::fs::remove_file(unfit.path()).unwrap();
    std::fs::write(&out, "mine").unwrap();
    let error =
        convert(&tiny(), &out, &options(Packing::Int8, Method::RoundToNearest), &mut Quietly).unwrap_err();
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    std::fs::remove_file(&out).unwrap();

    let error = convert(&tiny(), &out, &options(Packing::Int8, gptq()), &mut Impatient).unwrap_err();
    assert!(matches!(error, ConvertError::Cancelled), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    assert!(matches!(
        sequences(&[TokenId(1); 100], 4, SEQUENCE),
        Err(ConvertError::Calibration { found: 100, needed: 512 })
    ));
}

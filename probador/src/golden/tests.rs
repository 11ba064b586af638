//! A golden set made in a folder, and models that meet it, miss it or leave things out.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use apr_format::atomic::Overwrite;
use apr_generation::{CausalLm, LogitRows, Logits, ModelError, Probe, Site, TensorKey};
use apr_tokenizer::TokenId;

use super::*;

const SCORES: TensorKey = TensorKey::Layer(0, Site::Scores);

/// A model whose tensors follow from ids and positions, with ways to be wrong.
#[derive(Clone, Default)]
struct Fake {
    position: usize,
    /// Added to the embedding's second column at position 2.
    embedding_error: f32,
    /// Added to the score of head 1, query 2, key 1.
    score_error: f32,
    /// Replaces the first logit of position 0.
    first_logit: Option<f32>,
    /// A tensor it does not compute.
    silent: Option<TensorKey>,
}

impl Fake {
    fn logits(&self, id: u32, position: usize) -> Vec<f32> {
        let mut row: Vec<f32> =
            (0..6).map(|logit| (id as f32 * (logit + 1) as f32 + position as f32).sin()).collect();
        if let (0, Some(value)) = (position, self.first_logit) {
            row[0] = value;
        }
        row
    }
}

impl CausalLm for Fake {
    fn vocab_size(&self) -> usize {
        6
    }

    fn context_length(&self) -> usize {
        100
    }

    fn position(&self) -> usize {
        self.position
    }

    fn cache_bytes_per_position(&self) -> u64 {
        0
    }

    fn prefill(
        &mut self,
        ids: &[TokenId],
        rows: LogitRows,
        mut probe: Option<&mut dyn Probe>,
    ) -> Result<Logits, ModelError> {
        let mut all = Vec::new();
        for id in ids {
            let (position, id) = (self.position, id.0);
            let embedding =
                [id as f32, -(id as f32) + if position == 2 { self.embedding_error } else { 0.0 }];
            let score = |head: usize, key: usize| {
                let wrong = if (head, position, key) == (1, 2, 1) { self.score_error } else { 0.0 };
                (head * 100 + position * 10 + key) as f32 + wrong
            };
            let scores: Vec<f32> = (0..2)
                .flat_map(|head| (0..=position).map(move |key| (head, key)))
                .map(|(h, k)| score(h, k))
                .collect();
            if let Some(probe) = probe.as_deref_mut() {
                for (key, shape, values) in
                    [(TensorKey::Embedding, [1, 2], &embedding[..]), (SCORES, [2, position + 1], &scores[..])]
                {
                    if self.silent != Some(key) && probe.wants(key) {
                        probe.record(key, &shape, values);
                    }
                }
            }
            all.push(self.logits(id, position));
            self.position += 1;
        }
        if rows == LogitRows::Last {
            all.drain(..all.len() - 1);
        }
        Ok(Logits::new(6, all.concat()))
    }

    fn truncate(&mut self, n_positions: usize) {
        self.position = self.position.min(n_positions);
    }
}

const IDS: [u32; 3] = [1, 2, 3];

pub(super) const CONFIG: &str = "\
verification:
  prompts: [\"1 2 3\"]
  checkpoints:
    - {layer: embedding, keys: [model.embed_tokens], tolerance: 0.0, rtol: 0.0}
    - {layer: scores, keys: [\"model.layers.*.self_attn.scores\"], tolerance: 1.0e-4, rtol: 1.0e-6}
    - {layer: logits, keys: [logits], tolerance: 1.0e-4, rtol: 0.0}
  conditioning: {max_noise_ratio: 2.0}
  metrics:
    perplexity: {max_deviation: 5%}
    top_k_accuracy: {k: 2, threshold: 0.95}
  models:
    fake: {record: {positions: all}, prompts: []}
";

fn perplexity() -> f64 {
    let fake = Fake::default();
    let nll = |position: usize| {
        crate::compare::negative_log_likelihood(
            &fake.logits(IDS[position], position),
            IDS[position + 1] as usize,
        )
        .unwrap()
    };
    f64::midpoint(nll(0), nll(1)).exp()
}

/// Writes a golden set that [`Fake::default`] meets: embedding and logits of all positions, scores of positions 0 and 2.
pub(super) fn golden(folder: &Path) -> String {
    fs::create_dir_all(folder.join("one_two_three")).unwrap();
    let fake = Fake::default();
    let logits: Vec<f32> =
        IDS.iter().enumerate().flat_map(|(position, &id)| fake.logits(id, position)).collect();
    let tensors = [
        ("model.embed_tokens", vec![3, 2], vec![1., -1., 2., -2., 3., -3.], "[0, 1, 2]", "0.0, rtol: 0.0"),
        (
            "model.layers.0.self_attn.scores",
            vec![2, 4],
            vec![0., 20., 21., 22., 100., 120., 121., 122.],
            "[0, 2]",
            "0.0001, rtol: 1e-06",
        ),
        ("logits", vec![3, 6], logits, "[0, 1, 2]", "0.0001, rtol: 0.0"),
    ];
    let mut rows = String::new();
    for (key, shape, values, positions, tolerance) in tensors {
        let path = folder.join(format!("one_two_three/{key}.npy"));
        npy::write_f32(&path, &shape, &values, Overwrite::Allow).unwrap();
        let hash = blake3::hash(&fs::read(&path).unwrap()).to_hex();
        let _ = writeln!(
            rows,
            "      - {{key: {key}, file: one_two_three/{key}.npy, shape: {shape:?}, dtype: float32, positions: {positions}, \
             left_out: [], blake3: {hash}, atol: {tolerance}, noise_floor: {{max_abs: 1e-06, max_rel: 1e-07}}}}"
        );
    }
    let top: Vec<String> = (0..3)
        .map(|position| {
            let ids = crate::compare::top_k(&fake.logits(IDS[position], position), 2).unwrap();
            format!("{{position: {position}, ids: {ids:?}}}")
        })
        .collect();
    let verification = CONFIG.trim_end();
    let manifest = format!(
        "schema: 1\nmodel: {{name: fake, weights: {zeros}, tokenizer: null}}\nproducer:\n  script: scripts/make.py\n  \
         script_blake3: {script}\n  modules: [{{path: scripts/part.py, blake3: {part}}}]\n  torch: \"2.15.0\"\n  transformers: \"5.23.0\"\n  dtype: float64\n  noise_dtype: float32\n  \
         threads: 2\n  source: [{{name: a, sha256: {zeros}}}]\n{verification}\nprompts:\n  - name: three numbers\n    slug: one_two_three\n    \
         text: 1 2 3\n    chat: false\n    ids: [1, 2, 3]\n    perplexity: {perplexity}\n    top_k: [{top}]\n    tensors:\n{rows}",
        zeros = "0".repeat(64),
        script = blake3::hash(b"print()").to_hex(),
        part = blake3::hash(b"pass").to_hex(),
        perplexity = perplexity(),
        top = top.join(", "),
    );
    // `text` must be text.
    let manifest = manifest.replace("text: 1 2 3", "text: \"1 2 3\"");
    fs::write(folder.join(MANIFEST), &manifest).unwrap();
    manifest
}

fn verified(model: &mut Fake) -> (tempfile::TempDir, GoldenSet, VerifiedPrompt) {
    let folder = tempfile::tempdir().unwrap();
    golden(folder.path());
    let set = GoldenSet::open_folder(folder.path()).unwrap();
    let verified = verify_prompt(&set, &set.manifest().prompts[0], model, |_| true).unwrap();
    (folder, set, verified)
}

#[test]
fn a_model_that_computes_what_was_recorded_passes() {
    let (_folder, _, verified) = verified(&mut Fake { position: 7, ..Fake::default() });
    assert!(verified.passes(), "{verified:?}");
    let compared: Vec<usize> = verified.tensors.iter().map(VerifiedTensor::n_compared).collect();
    assert_eq!(compared, [6, 8, 18]);
    let metrics = verified.metrics.unwrap();
    assert!(
        (metrics.top_k - 1.0).abs() < 1e-12 && (metrics.perplexity - perplexity()).abs() < 1e-9,
        "{metrics:?}"
    );
}

#[test]
fn a_tensor_out_of_tolerance_names_the_place_and_what_would_pass() {
    let (_folder, _, verified) =
        verified(&mut Fake { score_error: 0.5, embedding_error: 1e-6, ..Fake::default() });
    assert!(!verified.passes());
    let text: Vec<String> = verified.tensors.iter().map(ToString::to_string).collect();
    assert!(
        text[0].contains("out of tolerance") && text[0].ends_with("(position 2, column 1)"),
        "{}",
        text[0]
    );
    assert!(text[1].ends_with("(head 1, query 2, key 1)"), "{}", text[1]);
    assert!(text[1].contains("expected 121, found 121.5; smallest passing atol 4.999e-1"), "{}", text[1]);
    assert!(verified.tensors[2].passes());
}

#[test]
fn a_tensor_that_the_model_does_not_show_is_a_failure() {
    let (_folder, _, verified) = verified(&mut Fake { silent: Some(SCORES), ..Fake::default() });
    assert_eq!(verified.tensors[1].outcome, TensorOutcome::Missing);
    assert!(!verified.passes() && verified.tensors[1].n_compared() == 0);
}

#[test]
fn logits_that_are_not_numbers_pass_nothing() {
    for value in [f32::NAN, f32::INFINITY] {
        let (_folder, _, verified) = verified(&mut Fake { first_logit: Some(value), ..Fake::default() });
        let metrics = verified.metrics.unwrap();
        assert!(!verified.tensors[2].passes() && !metrics.top_k_passes() && !metrics.perplexity_passes());
    }
}

#[test]
fn only_what_is_selected_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    golden(folder.path());
    fs::remove_file(folder.path().join("one_two_three/logits.npy")).unwrap();
    let set = GoldenSet::open_folder(folder.path()).unwrap();
    let prompt = &set.select(&["one_two_three".to_owned()]).unwrap()[0];
    let verified = verify_prompt(&set, prompt, &mut Fake::default(), |key| key == SCORES).unwrap();
    assert!(verified.passes() && verified.tensors.len() == 1 && verified.metrics.is_none());
    let none = verify_prompt(&set, prompt, &mut Fake::default(), |_| false).unwrap();
    assert!(!none.passes(), "nothing compared is not a pass");
    let verified = verify_prompt(&set, prompt, &mut Fake::default(), |_| true).unwrap();
    assert!(
        !verified.passes() && verified.tensors[2].to_string().contains("logits.npy"),
        "{:?}",
        verified.tensors[2]
    );
    let error = set.select(&["four".to_owned()]).unwrap_err().to_string();
    assert!(error.ends_with("has no prompt `four`; it has: one_two_three"), "{error}");
}

#[test]
fn a_golden_that_was_touched_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    golden(folder.path());
    let path = folder.path().join("one_two_three/model.embed_tokens.npy");
    npy::write_f32(&path, &[3, 2], &[1., -1., 2., -2., 3., -3.5], Overwrite::Allow).unwrap();
    let set = GoldenSet::open_folder(folder.path()).unwrap();
    let verified = verify_prompt(&set, &set.manifest().prompts[0], &mut Fake::default(), |_| true).unwrap();
    assert!(matches!(set.read(&set.manifest().prompts[0].tensors[0]), Err(GoldenError::Hash { .. })));
    assert!(
        !verified.passes() && verified.tensors[0].to_string().contains("has BLAKE3"),
        "{:?}",
        verified.tensors[0]
    );
    assert!(verified.tensors[1].passes(), "the others are judged");
}

#[test]
fn a_golden_that_pytorch_did_not_make_in_float64_is_refused() {
    for (from, to, why) in [
        ("dtype: float64", "dtype: float32", "the truth is float64"),
        ("torch: \"2.15.0\"", "torch: \"\"", "not PyTorch"),
        ("script: scripts/make.py", "script: target/release/apr", "not PyTorch"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let manifest = golden(folder.path()).replacen(from, to, 1);
        fs::write(folder.path().join(MANIFEST), manifest).unwrap();
        let set = GoldenSet::open_folder(folder.path()).unwrap();
        let error =
            verify_prompt(&set, &set.manifest().prompts[0], &mut Fake::default(), |_| true).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn opening_a_set_reads_no_tensor() {
    let folder = tempfile::tempdir().unwrap();
    golden(&folder.path().join("fake"));
    fs::remove_dir_all(folder.path().join("fake/one_two_three")).unwrap();
    let set = GoldenSet::open(folder.path(), "fake").unwrap().unwrap();
    assert_eq!(set.manifest().prompts[0].tensors.len(), 3);
    assert!(GoldenSet::open(folder.path(), "other").unwrap().is_none());
}

#[test]
fn every_problem_of_a_manifest_is_reported_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = golden(folder.path());
    for (from, to) in [
        ("schema: 1", "schema: 2"),
        ("threads: 2", "threads: 2\n  colour: red"),
        ("slug: one_two_three", "slug: ../evil"),
        ("file: one_two_three/logits.npy", "file: /etc/passwd"),
        ("key: model.embed_tokens,", "key: model.embed,"),
        ("positions: [0, 2]", "positions: [2, 0]"),
        ("atol: 0.0001, rtol: 0.0", "atol: 0.5, rtol: 0.0"),
    ] {
        assert!(manifest.contains(from), "{from}");
        manifest = manifest.replacen(from, to, 1);
    }
    fs::write(folder.path().join(MANIFEST), manifest).unwrap();
    let Err(GoldenError::Invalid(problems)) = GoldenSet::open_folder(folder.path()) else {
        panic!("accepted")
    };
    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    for expected in [
        "schema 2 is not known",
        "unknown key `colour`",
        "`model.embed` is not a checkpoint key",
        "`positions` does not increase",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(text.contains("manifest.yaml:1:1: "), "{text}");
}

#[test]
fn files_tolerances_and_shapes_must_be_what_the_rest_says() {
    for (from, to, why) in [
        (
            "file: one_two_three/logits.npy",
            "file: ../../etc/passwd",
            "the file of `logits` is `one_two_three/logits.npy`",
        ),
        ("slug: one_two_three", "slug: ..", "it names a folder"),
        ("atol: 0.0001, rtol: 0.0", "atol: 0.5, rtol: 0.0", "its checkpoint asks for"),
        ("shape: [2, 4]", "shape: [2, 5]", "shape [2, 5] is not that of 2 positions"),
        ("positions: [0, 2]", "positions: [0, 9]", "stores position 9 of 3 ids"),
        ("left_out: []", "left_out: [1]", "both stored and left out"),
        ("key: logits", "key: model.embed_tokens", "twice"),
        ("dtype: float32, positions", "dtype: float16, positions", "golden tensors are float32"),
        ("{position: 0,", "{position: 7,", "of no id"),
        ("k: 2", "k: 3", "likeliest ids, not 3"),
        ("max_deviation: 5%", "max_deviation: 5", "expected text"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let manifest = golden(folder.path());
        assert!(manifest.contains(from), "{from}");
        fs::write(folder.path().join(MANIFEST), manifest.replacen(from, to, 1)).unwrap();
        let Err(error) = GoldenSet::open_folder(folder.path()) else { panic!("accepted {to}") };
        assert!(error.to_string().contains(why), "{to}: {error}");
    }
}

#[test]
fn a_mismatch_leaves_what_was_computed_until_it_is_mended() {
    let (folder, set, missed) = verified(&mut Fake { embedding_error: 1.0, ..Fake::default() });
    let written = leave_pending(&set, &set.manifest().prompts[0], &missed).unwrap();
    let pending = folder.path().join("one_two_three/model.embed_tokens.npy.new");
    assert_eq!(written, std::slice::from_ref(&pending));
    let array = npy::parse_f32(&pending, &npy::read_bytes(&pending).unwrap()).unwrap();
    assert_eq!(array.values[5].to_bits(), (-2.0_f32).to_bits());
    let met = verify_prompt(&set, &set.manifest().prompts[0], &mut Fake::default(), |_| true).unwrap();
    assert!(leave_pending(&set, &set.manifest().prompts[0], &met).unwrap().is_empty() && !pending.exists());
}

#[test]
fn nothing_is_left_beside_a_golden_that_there_is_not() {
    let (folder, set, mut missed) = verified(&mut Fake { embedding_error: 1.0, ..Fake::default() });
    missed.tensors[0].key = TensorKey::Norm;
    assert!(missed.tensors[0].actual.is_some());
    assert_eq!(
        leave_pending(&set, &set.manifest().prompts[0], &missed).unwrap(),
        Vec::<std::path::PathBuf>::new()
    );
    let left = fs::read_dir(folder.path().join("one_two_three")).unwrap().count();
    assert_eq!(left, 3, "the goldens and nothing else");
}

/// A model file with no tensors of note, for its fingerprints.
fn model_file(folder: &Path) -> apr_format::AprFile {
    use apr_format::{AprWriter, Metadata, TensorSpec};
    let path = folder.join("model.apr");
    let spec = TensorSpec { name: "a".into(), dtype: apr_tensor::DType::F32, shape: vec![1] };
    let mut writer = AprWriter::create(&path, Metadata::default(), vec![spec], Overwrite::Allow).unwrap();
    writer.write_tensor("a", &1_f32.to_le_bytes()).unwrap();
    writer.finish().unwrap();
    apr_format::AprFile::open(&path).unwrap()
}

#[test]
fn a_stale_golden_says_everything_that_makes_it_stale() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("golden/fake");
    let manifest = golden(&folder);
    fs::create_dir(root.path().join("scripts")).unwrap();
    fs::write(root.path().join("scripts/make.py"), "print()").unwrap();
    fs::write(root.path().join("scripts/part.py"), "pass").unwrap();
    fs::write(root.path().join("golden/golden-trace.yaml"), CONFIG).unwrap();
    let file = model_file(root.path());
    let fresh = manifest.replacen(&"0".repeat(64), &file.weights_fingerprint(), 1);
    let faults = |manifest: &str| {
        fs::write(folder.join(MANIFEST), manifest).unwrap();
        let set = GoldenSet::open_folder(&folder).unwrap();
        freshness(&set, &file, &config(&root.path().join("golden")).unwrap(), root.path())
    };
    assert_eq!(faults(&fresh), Freshness { faults: vec![], n_prompts: 1, n_files: 3 });

    let hash = "a".repeat(64);
    for (from, to, why) in [
        (file.weights_fingerprint(), hash.clone(), "another model"),
        ("tokenizer: null".to_owned(), format!("tokenizer: {hash}"), "another tokenizer"),
        (blake3::hash(b"print()").to_hex().to_string(), hash.clone(), "`scripts/make.py` has changed since"),
        (blake3::hash(b"pass").to_hex().to_string(), hash, "`scripts/part.py` has changed since"),
        ("scripts/make.py".to_owned(), "../make.py".to_owned(), "not one of this checkout"),
        (
            "scripts/make.py".to_owned(),
            "scripts/gone.py".to_owned(),
            "its script `scripts/gone.py` cannot be read",
        ),
        ("torch: \"2.15.0\"".to_owned(), "torch: \"\"".to_owned(), "not PyTorch"),
        ("text: \"1 2 3\"".to_owned(), "text: \"1 2\"".to_owned(), "has no golden"),
        // In a chat template it is another prompt.
        ("chat: false".to_owned(), "chat: true".to_owned(), "has no golden"),
        (
            "name: fake".to_owned(),
            "name: other".to_owned(),
            "golden-trace.yaml does not ask for a model `other`",
        ),
        (
            "max_noise_ratio: 2.0".to_owned(),
            "max_noise_ratio: 2.5".to_owned(),
            "golden-trace.yaml has changed",
        ),
    ] {
        let found = faults(&fresh.replacen(&from, &to, 1)).faults;
        assert!(found.len() == 1 && found[0].contains(why), "{why}: {found:?}");
    }

    fs::write(folder.join("one_two_three/model.norm.npy"), "").unwrap();
    fs::remove_file(folder.join("one_two_three/logits.npy")).unwrap();
    let found = faults(&fresh).faults;
    assert!(
        found.len() == 2 && found[0].contains("logits.npy") && found[1].contains("is not in the manifest"),
        "{found:?}"
    );
    fs::remove_dir_all(folder.join("one_two_three")).unwrap();
    let found = faults(&fresh).faults;
    assert!(found.len() == 3 && found.iter().all(|fault| fault.contains("No such file")), "{found:?}");
}

/// The goldens and the model that the repository carries.
fn of_the_repository() -> (GoldenSet, apr_format::AprFile) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden");
    let set = GoldenSet::open(&golden, "tiny").unwrap().unwrap();
    (set, apr_format::AprFile::open_verified(&golden.join("tiny/tiny.apr")).unwrap())
}

#[test]
fn the_engines_reference_is_pytorchs_float64_on_every_recorded_tensor() {
    let (set, file) = of_the_repository();
    let reference = crate::reference::Reference::of_file(&file).unwrap();
    let mut n_tensors = 0;
    for prompt in &set.manifest().prompts {
        let verified = verify_reference(&set, prompt, &reference, |_| true).unwrap();
        for tensor in &verified.tensors {
            assert!(tensor.passes(), "{}: {tensor}", prompt.slug);
        }
        n_tensors += verified.tensors.len();
        let perplexity = reference.perplexity(&prompt.ids, 1).unwrap();
        assert!((perplexity / prompt.perplexity - 1.0).abs() < 1e-9, "{}: {perplexity}", prompt.slug);
    }
    assert!(n_tensors >= 300, "{n_tensors} tensors");
}

/// The model with one bias of one head off by a hundredth.
struct Altered(apr_format::AprFile);
impl crate::reference::WeightSource for Altered {
    fn stored(&self, name: &str) -> Option<crate::reference::Stored> {
        let mut stored = self.0.stored(name)?;
        if name == "model.layers.3.self_attn.q_proj.bias" {
            let mut values = vec![0.0; stored.shape[0]];
            values[0] = 0.01;
            stored.element = crate::reference::Element::F32;
            stored.bytes =
                values.iter().flat_map(|value: &f32| value.to_le_bytes()).collect::<Vec<u8>>().into();
        }
        Some(stored)
    }
}

#[test]
fn a_reference_over_other_weights_is_not_pytorchs() {
    let (set, file) = of_the_repository();
    let config = crate::reference::Reference::of_file(&file).unwrap().config().clone();
    let reference = crate::reference::Reference::new(config, Box::new(Altered(file))).unwrap();
    let prompt = &set.manifest().prompts[0];
    let verified = verify_reference(&set, prompt, &reference, |_| true).unwrap();
    let first_wrong = verified.tensors.iter().find(|tensor| !tensor.passes()).unwrap();
    assert_eq!(first_wrong.key.to_string(), "model.layers.3.self_attn.q_proj");
}

#[test]
fn a_tensor_that_the_reference_does_not_compute_is_missing() {
    let (_, file) = of_the_repository();
    let folder = tempfile::tempdir().unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/tiny/manifest.yaml");
    // The small model has six layers.
    let manifest = fs::read_to_string(manifest)
        .unwrap()
        .replace("model.layers.5.mlp.up_proj", "model.layers.9.mlp.up_proj");
    fs::write(folder.path().join(MANIFEST), manifest).unwrap();
    let set = GoldenSet::open_folder(folder.path()).unwrap();
    let reference = crate::reference::Reference::of_file(&file).unwrap();
    let key: TensorKey = "model.layers.9.mlp.up_proj".parse().unwrap();
    let prompt = &set.manifest().prompts[0];
    let verified = verify_reference(&set, prompt, &reference, |wanted| wanted == key).unwrap();
    let said: Vec<String> = verified.tensors.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["model.layers.9.mlp.up_proj: missing from the model's trace"]);
    assert!(!verified.passes());
}

#[test]
fn the_goldens_of_the_repository_are_fresh() {
    let (set, file) = of_the_repository();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let found = freshness(&set, &file, &config(&root.join("golden")).unwrap(), root);
    assert_eq!(found.faults, Vec::<String>::new());
    assert!(found.n_files >= 300 && found.n_prompts >= 6, "{found:?}");
}

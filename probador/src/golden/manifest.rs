//! `golden/<model>/manifest.yaml`: what was recorded, by whom, and how closely it must be met. Read strictly.

use std::collections::BTreeSet;
use std::path::Path;

use apr_generation::{Site, TensorKey};

use super::config::Verification;
use crate::compare::Tolerance;
use crate::yaml::{Fields, FromNode, Node, Position, Problem, Problems, Value, parse};

/// A manifest whose every key is known, present and consistent with the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Whose tensors these are.
    pub model: ModelIdentity,
    /// What computed them.
    pub producer: Producer,
    /// What was asked for: `golden-trace.yaml` as it was then.
    pub verification: Verification,
    /// What was recorded.
    pub prompts: Vec<Prompt>,
}

/// The model that was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelIdentity {
    /// What `golden-trace.yaml` calls it.
    pub name: String,
    /// Fingerprint of its weights.
    pub weights: String,
    /// Fingerprint of its tokenizer; `None` where the source held none as such.
    pub tokenizer: Option<String>,
}

/// What made the golden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The script, from the checkout's root.
    pub script: String,
    /// BLAKE3 of that script.
    pub script_blake3: String,
    /// What it imports from the checkout.
    pub modules: Vec<Module>,
    /// Version of PyTorch.
    pub torch: String,
    /// Version of transformers.
    pub transformers: String,
    /// What the truth was computed in.
    pub dtype: String,
    /// What the noise floor was computed in.
    pub noise_dtype: String,
    /// Threads it ran on.
    pub threads: u64,
    /// The weight files it read.
    pub source: Vec<SourceFile>,
}

/// A script of the checkout that the producer imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// From the checkout's root.
    pub path: String,
    /// BLAKE3 of it.
    pub blake3: String,
}

/// A file that the producer read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name.
    pub name: String,
    /// SHA-256 of it.
    pub sha256: String,
}

/// One recorded prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// What people call it.
    pub name: String,
    /// Its folder; permanent.
    pub slug: String,
    /// What was asked.
    pub text: String,
    /// Whether the text is a user's turn in the model's chat template.
    pub chat: bool,
    /// The system message, where there is one.
    pub system: Option<String>,
    /// The ids the model was given.
    pub ids: Vec<u32>,
    /// Perplexity of every id but the first.
    pub perplexity: f64,
    /// The likeliest next ids where logits are stored.
    pub top_k: Vec<TopIds>,
    /// The recorded tensors, in the order of the forward pass.
    pub tensors: Vec<Tensor>,
    /// Where the manifest says so.
    pub at: Position,
}

/// The likeliest next ids after a position, likeliest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopIds {
    /// The position.
    pub position: usize,
    /// The ids.
    pub ids: Vec<usize>,
}

/// One recorded tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Its checkpoint key.
    pub key: TensorKey,
    /// Its file, below the model's folder.
    pub file: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// The prompt's positions that are stored, in order.
    pub positions: Vec<usize>,
    /// Positions that were asked for, where float32 itself cannot keep the tolerance.
    pub left_out: Vec<usize>,
    /// BLAKE3 of the file.
    pub blake3: String,
    /// How closely it must be met.
    pub tolerance: Tolerance,
    /// What PyTorch's own float32 is off by.
    pub noise_floor: NoiseFloor,
}

/// PyTorch's float32 against its float64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoiseFloor {
    /// Largest difference.
    pub max_abs: f64,
    /// That over the tensor's largest value.
    pub max_rel: f64,
}

impl Manifest {
    /// Reads `text`, the contents of `file`; every problem at once.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let node = parse(file, text).map_err(|problem| vec![problem])?;
        let mut problems = Problems::new(file);
        let manifest = Self::from_node(&node, &mut problems);
        let problems = problems.into_vec();
        manifest.filter(|_| problems.is_empty()).ok_or(problems)
    }

    /// The prompt in the folder `slug`.
    pub fn prompt(&self, slug: &str) -> Option<&Prompt> {
        self.prompts.iter().find(|prompt| prompt.slug == slug)
    }

    /// What speaks against taking the producer for the reference, if anything.
    pub fn refusal(&self) -> Option<String> {
        let Producer { script, torch, transformers, dtype, .. } = &self.producer;
        let is_python = Path::new(script).extension().is_some_and(|extension| extension == "py");
        if torch.is_empty() || transformers.is_empty() || !is_python {
            return Some(format!("its producer is `{script}`, not PyTorch"));
        }
        (dtype != "float64").then(|| format!("its producer computed in {dtype}, the truth is float64"))
    }
}

impl Prompt {
    /// The tensor of this key.
    pub fn tensor(&self, key: TensorKey) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.key == key)
    }
}

impl FromNode for Manifest {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a manifest", problems)?;
        let schema: Option<u64> = fields.required("schema", problems);
        if let Some(schema) = schema.filter(|&schema| schema != 1) {
            problems.add(fields.at(), format!("schema {schema} is not known, only 1"));
        }
        let model = fields.required("model", problems);
        let producer = fields.required("producer", problems);
        let verification: Option<Verification> = fields.required("verification", problems);
        let prompts_node = fields.node("prompts");
        if prompts_node.is_none() {
            problems.add(fields.at(), "a manifest lacks `prompts`");
        }
        let prompts: Option<Vec<Prompt>> = prompts_node.and_then(|node| Vec::from_node(node, problems));
        fields.finish(problems);
        let (verification, prompts) = (verification?, prompts?);
        judge_prompts(
            &prompts,
            &verification,
            prompts_node.map_or_else(Position::default, |node| node.at),
            problems,
        );
        (schema == Some(1)).then_some(())?;
        Some(Self { model: model?, producer: producer?, verification, prompts })
    }
}

/// What no single key can say: names are unique, tolerances are those that were asked for.
fn judge_prompts(prompts: &[Prompt], verification: &Verification, at: Position, problems: &mut Problems) {
    if prompts.is_empty() {
        problems.add(at, "a manifest without prompts shows nothing");
    }
    let mut slugs = BTreeSet::new();
    for prompt in prompts {
        let at = prompt.at;
        if !slugs.insert(&prompt.slug) {
            problems.add(at, format!("two prompts have the slug `{}`", prompt.slug));
        }
        for tensor in &prompt.tensors {
            let asked = verification.tolerance_of(&tensor.key.to_string());
            if asked != Some(tensor.tolerance) {
                problems.add(
                    at,
                    format!(
                        "`{}` of `{}` has {}, its checkpoint asks for {}",
                        tensor.key,
                        prompt.slug,
                        tensor.tolerance,
                        asked.map_or_else(|| "nothing".to_owned(), |asked| asked.to_string())
                    ),
                );
            }
        }
        for top in &prompt.top_k {
            if top.ids.len() != verification.top_k {
                problems.add(
                    at,
                    format!(
                        "position {} of `{}` has {} likeliest ids, not {}",
                        top.position,
                        prompt.slug,
                        top.ids.len(),
                        verification.top_k
                    ),
                );
            }
        }
    }
}

impl FromNode for ModelIdentity {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a model", problems)?;
        let name = fields.required("name", problems);
        let weights = hex(&mut fields, "weights", problems);
        let tokenizer = match fields.node("tokenizer") {
            Some(Node { value: Value::Null, .. }) => Some(None),
            Some(_) => hex(&mut fields, "tokenizer", problems).map(Some),
            None => {
                problems.add(fields.at(), "a model lacks `tokenizer` (null where there is none)");
                None
            }
        };
        fields.finish(problems);
        Some(Self { name: name?, weights: weights?, tokenizer: tokenizer? })
    }
}

impl FromNode for Producer {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a producer", problems)?;
        let script = fields.required("script", problems);
        let script_blake3 = hex(&mut fields, "script_blake3", problems);
        let modules = fields.required("modules", problems);
        let torch = fields.required("torch", problems);
        let transformers = fields.required("transformers", problems);
        let dtype = fields.required("dtype", problems);
        let noise_dtype = fields.required("noise_dtype", problems);
        let threads = fields.required("threads", problems);
        let source = fields.required("source", problems);
        fields.finish(problems);
        Some(Self {
            script: script?,
            script_blake3: script_blake3?,
            modules: modules?,
            torch: torch?,
            transformers: transformers?,
            dtype: dtype?,
            noise_dtype: noise_dtype?,
            threads: threads?,
            source: source?,
        })
    }
}

impl FromNode for Module {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a module", problems)?;
        let path = fields.required("path", problems);
        let blake3 = hex(&mut fields, "blake3", problems);
        fields.finish(problems);
        Some(Self { path: path?, blake3: blake3? })
    }
}

impl FromNode for SourceFile {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a source file", problems)?;
        let name = fields.required("name", problems);
        let sha256 = hex(&mut fields, "sha256", problems);
        fields.finish(problems);
        Some(Self { name: name?, sha256: sha256? })
    }
}

impl FromNode for Prompt {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a prompt", problems)?;
        let name = fields.required("name", problems);
        let slug: Option<String> = fields.required("slug", problems);
        let text = fields.required("text", problems);
        let chat = fields.required("chat", problems);
        let system = match fields.node("system") {
            Some(node) => String::from_node(node, problems).map(Some),
            None => Some(None),
        };
        let ids: Option<Vec<u32>> = fields.required("ids", problems);
        let perplexity = fields.required("perplexity", problems);
        let top_k: Option<Vec<TopIds>> = fields.required("top_k", problems);
        let tensors: Option<Vec<Tensor>> = fields.required("tensors", problems);
        let at = fields.at();
        fields.finish(problems);
        let (slug, ids, tensors, top_k) = (slug?, ids?, tensors?, top_k?);
        let is_slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if slug.is_empty() || !slug.chars().all(is_slug) {
            problems.add(at, format!("slug `{slug}` is not made of a-z, 0-9 and _, and it names a folder"));
        }
        if ids.is_empty() || tensors.is_empty() {
            problems.add(at, format!("prompt `{slug}` has no ids or no tensors, so it shows nothing"));
        }
        let mut keys = BTreeSet::new();
        for tensor in &tensors {
            let expected = format!("{slug}/{}.npy", tensor.key);
            if tensor.file != expected {
                problems
                    .add(at, format!("the file of `{}` is `{expected}`, not `{}`", tensor.key, tensor.file));
            }
            if !keys.insert(tensor.key) {
                problems.add(at, format!("prompt `{slug}` has `{}` twice", tensor.key));
            }
            let beyond =
                tensor.positions.iter().chain(&tensor.left_out).find(|&&position| position >= ids.len());
            if let Some(position) = beyond {
                problems.add(at, format!("`{}` stores position {position} of {} ids", tensor.key, ids.len()));
            }
        }
        if let Some(top) = top_k.iter().find(|top| top.position >= ids.len()) {
            problems.add(at, format!("the likeliest ids at position {} are of no id", top.position));
        }
        Some(Self {
            name: name?,
            slug,
            text: text?,
            chat: chat?,
            system: system?,
            ids,
            perplexity: perplexity?,
            top_k,
            tensors,
            at,
        })
    }
}

impl FromNode for TopIds {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a row of likeliest ids", problems)?;
        let position: Option<u32> = fields.required("position", problems);
        let ids: Option<Vec<u32>> = fields.required("ids", problems);
        fields.finish(problems);
        Some(Self { position: position? as usize, ids: ids?.into_iter().map(|id| id as usize).collect() })
    }
}

impl FromNode for Tensor {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a tensor", problems)?;
        let at = fields.at();
        let key: Option<String> = fields.required("key", problems);
        let key = key.and_then(|key| key.parse().map_err(|error| problems.add(at, format!("{error}"))).ok());
        let file = fields.required("file", problems);
        let shape: Option<Vec<u32>> = fields.required("shape", problems);
        let dtype: Option<String> = fields.required("dtype", problems);
        if let Some(dtype) = dtype.as_ref().filter(|dtype| *dtype != "float32") {
            problems.add(at, format!("golden tensors are float32, not {dtype}"));
        }
        let positions = increasing(&mut fields, "positions", None, problems);
        let left_out = increasing(&mut fields, "left_out", Some(Vec::new()), problems);
        let blake3 = hex(&mut fields, "blake3", problems);
        let atol: Option<f64> = fields.required("atol", problems);
        let rtol: Option<f64> = fields.required("rtol", problems);
        let tolerance = atol.zip(rtol).and_then(|(atol, rtol)| {
            Tolerance::new(atol, rtol).map_err(|error| problems.add(at, error.to_string())).ok()
        });
        let noise_floor = fields.required("noise_floor", problems);
        fields.finish(problems);
        let (key, positions, left_out) = (key?, positions?, left_out?);
        let shape: Vec<usize> = shape?.into_iter().map(|dim| dim as usize).collect();
        if let Some(what) = contradiction(key, &shape, &positions, &left_out) {
            problems.add(at, format!("`{key}`: {what}"));
        }
        Some(Self {
            key,
            file: file?,
            shape,
            positions,
            left_out,
            blake3: blake3?,
            tolerance: tolerance?,
            noise_floor: noise_floor?,
        })
    }
}

/// How shape and positions contradict each other, if they do.
fn contradiction(key: TensorKey, shape: &[usize], positions: &[usize], left_out: &[usize]) -> Option<String> {
    if positions.is_empty() {
        return Some("no position is stored, so it shows nothing".to_owned());
    }
    if left_out.iter().any(|position| positions.contains(position)) {
        return Some("a position is both stored and left out".to_owned());
    }
    let (at, expected) = if matches!(key, TensorKey::Layer(_, Site::Scores)) {
        (1, positions.iter().map(|position| position + 1).sum::<usize>())
    } else {
        (0, positions.len())
    };
    let agrees = shape.len() == 2 && shape[at] == expected && !shape.contains(&0);
    (!agrees).then(|| format!("shape {shape:?} is not that of {} positions", positions.len()))
}

impl FromNode for NoiseFloor {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a noise floor", problems)?;
        let max_abs = fields.required("max_abs", problems);
        let max_rel = fields.required("max_rel", problems);
        fields.finish(problems);
        Some(Self { max_abs: max_abs?, max_rel: max_rel? })
    }
}

/// A hash of 32 bytes, in hex.
pub(super) fn hex(fields: &mut Fields<'_>, name: &'static str, problems: &mut Problems) -> Option<String> {
    let text: String = fields.required(name, problems)?;
    let is_hex =
        text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !is_hex {
        problems.add(fields.at(), format!("`{name}` is not a hash of 64 lower-case hex digits"));
    }
    is_hex.then_some(text)
}

/// A list of whole numbers, each greater than the one before.
fn increasing(
    fields: &mut Fields<'_>,
    name: &'static str,
    absent: Option<Vec<u32>>,
    problems: &mut Problems,
) -> Option<Vec<usize>> {
    let list: Vec<u32> = match absent {
        Some(absent) => fields.optional(name, absent, problems),
        None => fields.required(name, problems),
    }?;
    if !list.is_sorted_by(|a, b| a < b) {
        problems.add(fields.at(), format!("`{name}` does not increase"));
        return None;
    }
    Some(list.into_iter().map(|position| position as usize).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::golden;
    use super::*;

    fn manifest() -> String {
        golden(tempfile::tempdir().unwrap().path())
    }

    /// A manifest with `to` in the place of `from`, and a problem that is then found.
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        let text = manifest();
        assert!(text.contains(from), "{from}");
        refused(&text.replacen(from, to, 1), expected);
    }

    #[track_caller]
    fn refused(text: &str, expected: &str) {
        let problems = Manifest::parse("m.yaml", text).unwrap_err();
        let said: Vec<&str> = problems.iter().map(|problem| problem.what.as_str()).collect();
        assert!(said.contains(&expected), "{expected:?} is not among {said:#?}");
    }

    #[test]
    fn a_manifest_that_shows_nothing_is_refused() {
        let text = manifest();
        let (head, prompts) = text.split_once("\nprompts:\n").unwrap();
        refused(&format!("{head}\n"), "a manifest lacks `prompts`");
        refused(&format!("{head}\nprompts: []\n"), "a manifest without prompts shows nothing");
        refused(&format!("{text}{prompts}"), "two prompts have the slug `one_two_three`");
        let nothing = "prompt `one_two_three` has no ids or no tensors, so it shows nothing";
        check("    ids: [1, 2, 3]\n", "    ids: []\n", nothing);
        let (prompt, _) = prompts.split_once("    tensors:\n").unwrap();
        refused(&format!("{head}\nprompts:\n{prompt}    tensors: []\n"), nothing);
        check(
            "positions: [0, 1, 2]",
            "positions: []",
            "`model.embed_tokens`: no position is stored, so it shows nothing",
        );
    }

    #[test]
    fn shapes_slugs_and_hashes_are_what_they_must_be() {
        for shape in ["[6]", "[3, 2, 1]", "[2, 2]", "[3, 0]"] {
            let said = format!("`model.embed_tokens`: shape {shape} is not that of 3 positions");
            check("shape: [3, 2]", &format!("shape: {shape}"), &said);
        }
        for slug in ["", "One", "a-b"] {
            let said = format!("slug `{slug}` is not made of a-z, 0-9 and _, and it names a folder");
            check("slug: one_two_three", &format!("slug: \"{slug}\""), &said);
        }
        let zeros = "0".repeat(64);
        for hash in [&zeros[1..], &"A".repeat(64), &"g".repeat(64), &"0a".repeat(33)] {
            let said = "`weights` is not a hash of 64 lower-case hex digits";
            check(&format!("weights: {zeros}"), &format!("weights: \"{hash}\""), said);
        }
        check("left_out: []", "left_out: 1", "expected a list, found a whole number");
        check(", positions: [0, 1, 2], left_out", ", left_out", "a tensor lacks `positions`");
        check(", tokenizer: null", "", "a model lacks `tokenizer` (null where there is none)");
    }

    #[test]
    fn a_system_message_and_a_tokenizer_are_read_where_there_is_one() {
        let read = Manifest::parse("m.yaml", &manifest()).unwrap();
        assert_eq!((read.prompts[0].system.as_deref(), read.model.tokenizer.as_deref()), (None, None));
        let hash = "0f".repeat(32);
        let text = manifest()
            .replacen("    chat: false\n", "    chat: false\n    system: be brief\n", 1)
            .replacen("tokenizer: null", &format!("tokenizer: {hash}"), 1);
        let read = Manifest::parse("m.yaml", &text).unwrap();
        assert_eq!(read.prompts[0].system.as_deref(), Some("be brief"));
        assert_eq!(read.model.tokenizer, Some(hash));
    }

    #[test]
    fn what_was_made_without_pytorch_or_transformers_is_no_reference() {
        let refusal = |from: &str, to: &str| {
            Manifest::parse("m.yaml", &manifest().replacen(from, to, 1)).unwrap().refusal()
        };
        assert_eq!(refusal("", ""), None);
        let other = Some("its producer is `scripts/make.py`, not PyTorch".to_owned());
        assert_eq!(refusal("torch: \"2.15.0\"", "torch: \"\""), other);
        assert_eq!(refusal("transformers: \"5.23.0\"", "transformers: \"\""), other);
    }
}

//! The models the project knows: where each comes from, what it must hash to, how well it must predict text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::anyhow;

use crate::checklist::SourceText;
use crate::workspace::{LoadError, Workspace};
use crate::yaml::{Fields, FromNode, Node, Problems, Value, parse};

/// A row of `golden/models.yaml`.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownModel {
    /// What `--model` calls it.
    pub name: String,
    /// The file: in the checkout when it starts with `golden/`, else in the cache's `models/`.
    pub file: String,
    /// Whether it stands in for the released model, so that claims about that one cannot be judged on it.
    pub stand_in: bool,
    /// Where it comes from.
    pub source: String,
    /// Its licence.
    pub licence: String,
    /// What gets it when it is not there.
    pub get: String,
    /// Fingerprint of names, types, shapes and bytes of its tensors.
    pub weights: String,
    /// Fingerprint of its tokenizer.
    pub tokenizer: String,
    /// How well it must predict text.
    pub perplexity: Perplexity,
}

/// How perplexity is measured for a model, what the reference measured, and what is too much.
#[derive(Clone, Debug, PartialEq)]
pub struct Perplexity {
    /// The text: a file of the checkout when it starts with `golden/`, else of the data folder.
    pub text: String,
    /// BLAKE3 of that text, `blake3:...`.
    pub text_hash: String,
    /// Tokens a window.
    pub window: u32,
    /// The first position of a window whose token is scored, at least 1 and below `window`.
    pub scored_from: u32,
    /// How many windows from the start of the text.
    pub n_windows: u32,
    /// What the reference implementation measured.
    pub reference: f64,
    /// Which implementation, and on what.
    pub reference_by: String,
    /// What token frequencies alone would give, where that was measured.
    pub unigram: f64,
    /// Above this the model is broken.
    pub ceiling: f64,
}

/// The model under test.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelChoice {
    /// Its name, or the file's.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is known of it.
    pub known: Option<KnownModel>,
}

impl FromNode for Perplexity {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a perplexity", problems)?;
        let text = fields.required("text", problems);
        let text_hash = fields.required("text_hash", problems);
        let window = fields.required("window", problems);
        let scored_from = fields.required("scored_from", problems);
        let n_windows = fields.required("n_windows", problems);
        let reference = fields.required("reference", problems);
        let reference_by = fields.required("reference_by", problems);
        let unigram = fields.required("unigram", problems);
        let ceiling = fields.required("ceiling", problems);
        fields.finish(problems);
        let (window, scored_from, n_windows) = (window?, scored_from?, n_windows?);
        if !(1..window).contains(&scored_from) {
            problems.add(node.at, "`scored_from` is a position of the window, 1 or a later one");
        }
        if n_windows == 0 {
            problems.add(node.at, "`n_windows` is 1 or more");
        }
        Some(Self {
            text: text?,
            text_hash: text_hash?,
            window,
            scored_from,
            n_windows,
            reference: reference?,
            reference_by: reference_by?,
            unigram: unigram?,
            ceiling: ceiling?,
        })
    }
}

impl FromNode for KnownModel {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "a model", problems)?;
        let name = fields.required("name", problems);
        let file = fields.required("file", problems);
        let stand_in = fields.optional("stand_in", false, problems);
        let source = fields.required("source", problems);
        let licence = fields.required("licence", problems);
        let get = fields.required("get", problems);
        let weights = fields.required("weights", problems);
        let tokenizer = fields.required("tokenizer", problems);
        let perplexity = fields.required("perplexity", problems);
        fields.finish(problems);
        Some(Self {
            name: name?,
            file: file?,
            stand_in: stand_in?,
            source: source?,
            licence: licence?,
            get: get?,
            weights: weights?,
            tokenizer: tokenizer?,
            perplexity: perplexity?,
        })
    }
}

/// Reads `golden/models.yaml`, by name.
pub fn load_models(source: &SourceText) -> Result<BTreeMap<String, KnownModel>, LoadError> {
    let mut problems = Problems::new(&source.file);
    let mut models = BTreeMap::new();
    match parse(&source.file, &source.text) {
        Err(problem) => problems.add(problem.at, problem.what),
        Ok(Node { value: Value::Seq(items), .. }) => {
            for node in &items {
                let Some(model) = KnownModel::from_node(node, &mut problems) else { continue };
                if let Some(twice) = models.insert(model.name.clone(), model) {
                    problems.add(node.at, format!("model `{}` is described twice", twice.name));
                }
            }
        }
        Ok(node) => problems.add(node.at, format!("expected a list of models, found {}", node.value.kind())),
    }
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(models) } else { Err(LoadError::Invalid(problems)) }
}

impl ModelChoice {
    /// What `--model` takes to choose it again.
    pub fn typed(&self) -> String {
        self.known.as_ref().map_or_else(|| self.path.display().to_string(), |known| known.name.clone())
    }
}

impl KnownModel {
    /// Where its file lies, or would.
    pub fn path(&self, workspace: &Workspace) -> PathBuf {
        if self.file.starts_with("golden/") {
            workspace.path(&self.file)
        } else {
            Workspace::cache().join("models").join(&self.file)
        }
    }
}

/// The model that `wanted` names: a known name, or a file. Without one, the embedded model.
pub fn choose(wanted: Option<&str>, workspace: &Workspace) -> Result<ModelChoice, LoadError> {
    let models = load_models(&workspace.source("golden/models.yaml")?)?;
    let wanted = wanted.unwrap_or("tiny");
    if let Some(known) = models.get(wanted) {
        return Ok(ModelChoice {
            name: known.name.clone(),
            path: known.path(workspace),
            known: Some(known.clone()),
        });
    }
    let path = Path::new(wanted);
    if !path.is_file() {
        let names: Vec<_> = models.keys().map(String::as_str).collect();
        return Err(LoadError::Environment(anyhow!(
            "model `{wanted}` is neither a file nor one of: {}\nhint: models are described in golden/models.yaml",
            names.join(", ")
        )));
    }
    let path = std::path::absolute(path).map_err(anyhow::Error::from)?;
    let same_file = |known: &&KnownModel| {
        let canonical = |path: &Path| std::fs::canonicalize(path).ok();
        canonical(&known.path(workspace)).is_some_and(|known| Some(known) == canonical(&path))
    };
    let known = models.values().find(same_file).cloned();
    let name = known
        .as_ref()
        .map(|known| known.name.clone())
        .or_else(|| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    Ok(ModelChoice { name: name.unwrap_or_else(|| wanted.to_owned()), path, known })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::sample::Checkout;

    fn problems(text: &str) -> Vec<String> {
        let source = SourceText { file: "golden/models.yaml".into(), text: text.into() };
        match load_models(&source).unwrap_err() {
            LoadError::Invalid(problems) => problems.iter().map(ToString::to_string).collect(),
            LoadError::Environment(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_list_that_is_none_or_says_a_model_twice_is_refused_with_its_place() {
        assert_eq!(
            problems("name: tiny\n"),
            ["golden/models.yaml:1:1: expected a list of models, found a mapping"]
        );
        let [problem] = &problems("- {\n")[..] else { panic!("one problem") };
        assert!(problem.starts_with("golden/models.yaml:"), "{problem}");
        let workspace = Workspace::find(None).unwrap();
        let text = workspace.source("golden/models.yaml").unwrap().text;
        let (before, rows) = text.split_at(text.find("- name: tiny").unwrap());
        let tiny = rows.split("\n- name: release").next().unwrap();
        let twice = format!("{before}{tiny}\n{tiny}");
        let found = problems(&twice);
        assert!(found.len() == 1 && found[0].ends_with(": model `tiny` is described twice"), "{found:?}");
        let found = problems(&text.replacen("  window: 512", "  windows: 512", 1).replacen(
            "    window: 512",
            "    windows: 512",
            1,
        ));
        assert!(found.iter().any(|problem| problem.contains("`window`")), "{found:?}");
    }

    #[test]
    fn windows_in_which_nothing_is_scored_are_refused() {
        let text = Workspace::find(None).unwrap().source("golden/models.yaml").unwrap().text;
        let place = "`scored_from` is a position of the window, 1 or a later one";
        for (before, after, expected) in [
            ("scored_from: 1\n", "scored_from: 0\n", place),
            ("scored_from: 1\n", "scored_from: 512\n", place),
            ("n_windows: 11", "n_windows: 0", "`n_windows` is 1 or more"),
        ] {
            let found = problems(&text.replacen(before, after, 1));
            assert!(found.len() == 1 && found[0].ends_with(expected), "{after}: {found:?}");
        }
    }

    #[test]
    fn a_model_is_chosen_by_name_by_file_or_not_at_all() {
        let checkout = Checkout::new();
        let workspace = checkout.workspace();
        let tiny = choose(None, &workspace).unwrap();
        assert_eq!((tiny.name.as_str(), tiny.typed().as_str()), ("tiny", "tiny"));
        // The same file under another path is the same model.
        let path = workspace.path("golden/tiny/../tiny/tiny.apr");
        let same = choose(path.to_str(), &workspace).unwrap();
        assert_eq!((same.name.as_str(), same.known.is_some()), ("tiny", true));
        let copy = checkout.path().join("other.apr");
        std::fs::write(&copy, "anything").unwrap();
        let other = choose(copy.to_str(), &workspace).unwrap();
        assert_eq!((other.name.as_str(), other.known.is_none()), ("other", true));
        assert_eq!(other.typed(), copy.display().to_string());
        let error = choose(Some("none"), &workspace).unwrap_err().to_string();
        assert_eq!(
            error,
            "model `none` is neither a file nor one of: release, tiny\nhint: models are described in golden/models.yaml"
        );
    }

    #[test]
    fn a_model_outside_of_the_checkout_lies_in_the_cache() {
        let workspace = Workspace::find(None).unwrap();
        let models = load_models(&workspace.source("golden/models.yaml").unwrap()).unwrap();
        assert_eq!(models["tiny"].path(&workspace), workspace.path("golden/tiny/tiny.apr"));
        let release = Workspace::cache().join("models/qwen2.5-coder-0.5b-instruct.apr");
        assert_eq!(models["release"].path(&workspace), release);
    }
}

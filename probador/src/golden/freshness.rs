//! Whether a golden set is still what it says: this model's, made by this script, all of it there and untouched.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use apr_format::AprFile;

use super::acceptance::accepted;
use super::config::Verification;
use super::set::{GoldenError, GoldenSet};
use crate::yaml::Problem;

/// What was looked at, and what speaks against trusting the goldens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// Every fault, in words.
    pub faults: Vec<String>,
    /// Prompts that were looked for.
    pub n_prompts: usize,
    /// Files whose hash was computed.
    pub n_files: usize,
}

/// Looks for everything that makes `set` stale: another model or tokenizer than `file`'s, a script that changed, a
/// producer that is not the reference, a prompt of `config` (`golden-trace.yaml`) that is missing, a file that is
/// missing, changed or unknown. `root` is the checkout, where the script is.
pub fn freshness(set: &GoldenSet, file: &AprFile, config: &Verification, root: &Path) -> Freshness {
    let mut freshness = Freshness::default();
    let manifest = set.manifest();
    let faults = &mut freshness.faults;
    faults.extend(manifest.refusal());
    let found = file.weights_fingerprint();
    if manifest.model.weights != found {
        faults.push(format!(
            "recorded from another model: weights {}, the model has {found}",
            manifest.model.weights
        ));
    }
    // A source without a tokenizer file leaves it open which one the ids came from.
    if let Some(recorded) = &manifest.model.tokenizer
        && file.tokenizer_fingerprint() != Some(recorded)
    {
        let found = file.tokenizer_fingerprint().unwrap_or("none");
        faults.push(format!("recorded with another tokenizer: {recorded}, the model has {found}"));
    }
    let producer = &manifest.producer;
    faults.extend(script_fault(root, &producer.script, &producer.script_blake3));
    for module in &producer.modules {
        faults.extend(script_fault(root, &module.path, &module.blake3));
    }
    if manifest.verification != *config {
        faults.push(
            "golden-trace.yaml has changed since: it is not what the manifest says was asked for".to_owned(),
        );
    }
    if let Err(error) = accepted(set.folder()) {
        freshness.faults.push(format!("the log of what was accepted cannot be read: {error}"));
    }
    judge_prompts(set, config, &mut freshness);
    judge_files(set, &mut freshness);
    freshness
}

/// Reads `golden-trace.yaml` in `golden`, the folder of all goldens.
pub fn config(golden: &Path) -> Result<Verification, GoldenError> {
    let path = golden.join("golden-trace.yaml");
    let text = fs::read_to_string(&path).map_err(|source| GoldenError::Io { path: path.clone(), source })?;
    Verification::parse_config(&path.display().to_string(), &text)
        .map_err(|problems: Vec<Problem>| GoldenError::Invalid(problems))
}

pub(super) fn script_fault(root: &Path, script: &str, recorded: &str) -> Option<String> {
    let is_inside =
        Path::new(script).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    if !is_inside {
        return Some(format!("its script `{script}` is not one of this checkout"));
    }
    match fs::read(root.join(script)) {
        Ok(bytes) if blake3::hash(&bytes).to_hex().as_str() == recorded => None,
        Ok(_) => Some(format!("`{script}` has changed since\nhint: record the goldens again")),
        Err(error) => Some(format!("its script `{script}` cannot be read: {error}")),
    }
}

fn judge_prompts(set: &GoldenSet, config: &Verification, freshness: &mut Freshness) {
    let manifest = set.manifest();
    let name = &manifest.model.name;
    let Some(slugs) = config.slugs_of(name) else {
        freshness.faults.push(format!("golden-trace.yaml does not ask for a model `{name}`"));
        return;
    };
    for text in &config.prompts {
        freshness.n_prompts += 1;
        if !manifest.prompts.iter().any(|prompt| !prompt.chat && prompt.text == *text) {
            freshness.faults.push(format!("the prompt {text:?} of golden-trace.yaml has no golden"));
        }
    }
    for slug in slugs {
        freshness.n_prompts += 1;
        if manifest.prompt(slug).is_none() {
            freshness.faults.push(format!("the prompt `{slug}` of golden-trace.yaml has no golden"));
        }
    }
}

fn judge_files(set: &GoldenSet, freshness: &mut Freshness) {
    for prompt in &set.manifest().prompts {
        let mut known = BTreeSet::new();
        for tensor in &prompt.tensors {
            freshness.n_files += 1;
            known.insert(set.path(tensor));
            if let Err(error) = set.read(tensor) {
                freshness.faults.push(error.to_string());
            }
        }
        let folder = set.folder().join(&prompt.slug);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut unknown: Vec<_> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| {
                path.extension().is_some_and(|extension| extension == "npy") && !known.contains(path)
            })
            .collect();
        unknown.sort();
        for path in unknown {
            freshness.faults.push(format!("`{}` is not in the manifest", path.display()));
        }
    }
}

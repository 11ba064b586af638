//! Faults in golden traces: an edited copy of the folder that holds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::golden::{GoldenSet, LOG, MANIFEST};
use crate::models::choose;
use crate::workspace::Workspace;

/// What is asked for, beside the models' folders.
const CONFIG: &str = "golden-trace.yaml";

/// Edits a copy: `golden` is the folder of all, `model` the folder of the model's.
type Edit = fn(golden: &Path, model: &Path) -> anyhow::Result<()>;

/// A copy, in `folder`, of the goldens of the model at `model` with the fault `name` in them; `None` when it is no fault of
/// this kind.
pub(super) fn edited(name: &str, model: &Path, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let edit: Edit = match name {
        "golden-script-changed" => {
            |_, model| edit(&model.join(MANIFEST), |text| with_other_hash(text, "  script_blake3: \""))
        }
        "golden-module-changed" => |_, model| {
            edit(&model.join(MANIFEST), |text| {
                with_other_hash(text, "scripts/reference_model.py, blake3: \"")
            })
        },
        "golden-made-by-the-subject" => |_, model| {
            edit(&model.join(MANIFEST), |text| {
                text.replacen(
                    "  script: scripts/generate_golden_traces.py",
                    "  script: target/release/apr",
                    1,
                )
            })
        },
        "golden-made-in-float32" => |_, model| {
            edit(&model.join(MANIFEST), |text| text.replacen("  dtype: float64", "  dtype: float32", 1))
        },
        "golden-configuration-changed" => |golden, _| {
            edit(&golden.join(CONFIG), |text| text.replacen("max_deviation: 5%", "max_deviation: 6%", 1))
        },
        "golden-prompt-missing" => |_, model| {
            let last = slugs(model)?.pop().context("there are no prompts")?;
            edit(&model.join(MANIFEST), without_last_prompt)?;
            Ok(fs::remove_dir_all(model.join(last))?)
        },
        "golden-tensor-changed" => |_, model| {
            let path = some_tensor(model)?;
            let mut bytes = fs::read(&path)?;
            // The lowest bit of one value: no tolerance would show it.
            let middle = (bytes.len() / 2) & !3;
            bytes[middle] ^= 1;
            Ok(fs::write(&path, bytes)?)
        },
        "golden-tensor-missing" => |_, model| Ok(fs::remove_file(some_tensor(model)?)?),
        "golden-tensor-unknown" => |_, model| {
            let path = some_tensor(model)?;
            Ok(fs::copy(&path, path.with_file_name("model.layers.0.made_up.npy")).map(drop)?)
        },
        "golden-accepted-without-reason" => |_, model| {
            let zeros = "0".repeat(64);
            let row = format!(
                "- {{date: \"2026-01-01\", prompt: a, key: b, old: \"{zeros}\", new: \"{zeros}\", torch: \"2\", reason: \"\"}}\n"
            );
            Ok(fs::write(model.join(LOG), row)?)
        },
        _ => return Ok(None),
    };
    let (golden, of_model) = copied(model, folder)?;
    edit(&golden, &of_model)?;
    Ok(Some(golden))
}

/// An unharmed copy of the goldens of the model at `model`; `None` when it has none.
pub(super) fn twin(model: &Path, folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let (golden, of_model) = copied(model, folder)?;
    Ok(of_model.join(MANIFEST).is_file().then_some(golden))
}

/// Copies what is asked for and what was recorded of the model; returns the copy and the model's folder in it.
fn copied(model: &Path, folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let workspace = Workspace::find(None)?;
    let name = choose(Some(model.to_str().context("the model's path is not text")?), &workspace)?.name;
    let (source, golden) = (workspace.path("golden"), folder.join("golden"));
    let of_model = golden.join(&name);
    fs::create_dir_all(&of_model)?;
    fs::copy(source.join(CONFIG), golden.join(CONFIG))?;
    for entry in walkdir::WalkDir::new(source.join(&name)) {
        let Ok(entry) = entry else { continue };
        let to = of_model.join(entry.path().strip_prefix(source.join(&name))?);
        let is_golden = entry.file_name() == MANIFEST
            || entry.file_name() == LOG
            || entry.path().extension().is_some_and(|extension| extension == "npy");
        if entry.file_type().is_dir() {
            fs::create_dir_all(to)?;
        } else if is_golden {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok((golden, of_model))
}

fn slugs(model: &Path) -> anyhow::Result<Vec<String>> {
    let set = GoldenSet::open_folder(model)?;
    Ok(set.manifest().prompts.iter().map(|prompt| prompt.slug.clone()).collect())
}

/// The last tensor of the first prompt: its logits.
fn some_tensor(model: &Path) -> anyhow::Result<PathBuf> {
    let set = GoldenSet::open_folder(model)?;
    let tensor = set.manifest().prompts.first().and_then(|prompt| prompt.tensors.last());
    Ok(set.path(tensor.context("there are no tensors")?))
}

/// Edits a text file; an edit that changes nothing plants nothing, which is an error.
fn edit(path: &Path, edit: impl Fn(&str) -> String) -> anyhow::Result<()> {
    let text = fs::read_to_string(path)?;
    let edited = edit(&text);
    if edited == text {
        bail!("the edit of `{}` no longer applies", path.display());
    }
    Ok(fs::write(path, edited)?)
}

/// `text` with the hash after `before` replaced by zeros.
fn with_other_hash(text: &str, before: &str) -> String {
    match text.split_once(before) {
        Some((head, tail)) if tail.len() > 64 => {
            format!("{head}{before}{}{}", "0".repeat(64), &tail[64..])
        }
        _ => text.to_owned(),
    }
}

/// A manifest without its last prompt.
fn without_last_prompt(text: &str) -> String {
    let prompts = text.find("\nprompts:\n").unwrap_or(text.len());
    match text.rfind("\n  - name: ") {
        Some(last) if last > prompts => format!("{}\n", &text[..last]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_prompt_goes_and_the_others_stay() {
        let text = "models:\n  - name: x\nprompts:\n  - name: a\n    b: 1\n  - name: c\n    d: 2\n";
        assert_eq!(without_last_prompt(text), "models:\n  - name: x\nprompts:\n  - name: a\n    b: 1\n");
        assert_eq!(without_last_prompt("models:\n  - name: x\n"), "models:\n  - name: x\n");
    }

    #[test]
    fn an_edit_that_no_longer_applies_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.yaml");
        fs::write(&path, "a: 1\n").unwrap();
        let error = edit(&path, |text| text.replacen("b: 1", "b: 2", 1)).unwrap_err().to_string();
        assert!(error.ends_with("no longer applies"), "{error}");
    }

    #[test]
    fn a_hash_that_is_not_there_is_not_replaced() {
        let text = format!("a: \"{}\"\nb: 1\n", "f".repeat(64));
        assert_eq!(with_other_hash(&text, "a: \""), text.replace('f', "0"));
        assert_eq!(with_other_hash(&text, "c: \""), text);
        assert_eq!(with_other_hash(&text, "b: "), text, "what follows is no hash");
    }

    #[test]
    fn a_twin_is_of_the_very_goldens_and_a_model_without_any_has_none() {
        let workspace = Workspace::find(None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let tiny = choose(None, &workspace).unwrap().path;
        let golden = twin(&tiny, folder.path()).unwrap().unwrap();
        let read = |golden: &Path| fs::read(golden.join("tiny").join(MANIFEST)).unwrap();
        assert_eq!(read(&golden), read(&workspace.path("golden")));
        assert!(!golden.join("tiny/tiny.apr").exists(), "only goldens are copied");
        let slugs = slugs(&golden.join("tiny")).unwrap();
        assert!(slugs.iter().all(|slug| golden.join("tiny").join(slug).is_dir()), "{slugs:?}");

        let (other, place) = (tempfile::tempdir().unwrap(), folder.path().join("place"));
        let unknown = other.path().join("unheard-of.apr");
        fs::write(&unknown, "").unwrap();
        assert_eq!(twin(&unknown, &place).unwrap(), None);
        assert!(edited("unheard-of", &tiny, &place).unwrap().is_none());
    }

    #[test]
    fn what_is_accepted_without_a_reason_is_written_to_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let tiny = choose(None, &Workspace::find(None).unwrap()).unwrap().path;
        let golden = edited("golden-accepted-without-reason", &tiny, folder.path()).unwrap().unwrap();
        assert!(fs::read_to_string(golden.join("tiny").join(LOG)).unwrap().ends_with("reason: \"\"}\n"));
    }
}

//! Putting what the reference recorded anew in the place of a golden, with a reason that stays.
//!
//! Three things must hold before a tensor becomes a golden: the manifest left with it says that PyTorch recorded it with
//! the scripts of this checkout, its bytes are those the manifest names, and the engine's own float64 reference computes
//! the same to the last bit of float32. The last is what a model's own output cannot meet, whatever a manifest says of it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use apr_format::atomic::{self, Overwrite};

use super::evaluate::cut;
use super::freshness::script_fault;
use super::manifest::{Manifest, hex};
use super::npy;
use super::pending::{Author, Pending, Proposal, other_than_values, rows};
use super::set::{GoldenError, GoldenSet, MANIFEST};
use super::verify::reference_tolerance;
use crate::checklist::Date;
use crate::compare::{View, compare};
use crate::reference::{Reference, Rows};
use crate::yaml::{Fields, FromNode, Node, Problem, Problems, Value, parse};

/// The log of a model's goldens.
pub const LOG: &str = "accepted.yaml";
/// The longest reason that is kept.
const REASON_LIMIT: usize = 500;
const HEADING: &str =
    "# What `golden update` and `golden review` put in the place of a golden, when and why; do not edit.\n";

/// One golden that was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// The day.
    pub date: Date,
    /// The prompt's slug.
    pub prompt: String,
    /// The tensor's key.
    pub key: String,
    /// BLAKE3 of the golden that was replaced.
    pub old: String,
    /// BLAKE3 of the one in its place.
    pub new: String,
    /// The PyTorch that computed the new one.
    pub torch: String,
    /// Why.
    pub reason: String,
}

/// A reason as it may be kept: one line of text that says something.
pub fn check_reason(reason: &str) -> Result<&str, GoldenError> {
    let reason = reason.trim();
    let refuse = |what: &str| {
        Err(GoldenError::Unknown(format!(
            "the reason {what}\nhint: say in one line why the truth is another now"
        )))
    };
    if reason.is_empty() {
        return refuse("is empty");
    }
    if reason.chars().any(char::is_control) || reason.chars().count() > REASON_LIMIT {
        return refuse("is not one line of at most 500 characters");
    }
    Ok(reason)
}

/// Puts `pending` in its golden's place. `root` is the checkout, whose scripts must have recorded it; `reference` evaluates
/// the model that the goldens are of. Returns what was logged, and the set as it is now.
pub fn accept(
    set: &GoldenSet,
    pending: &Pending<'_>,
    reason: &str,
    date: Date,
    root: &Path,
    reference: &Reference,
) -> Result<(Acceptance, GoldenSet), GoldenError> {
    let reason = check_reason(reason)?;
    let refused = |what: String| GoldenError::Refused { path: pending.path.clone(), what };
    let proposal = Proposal::open(set)?.filter(|_| pending.author == Author::Reference).ok_or_else(|| {
        refused(
            "it is what the model under test computed, not what the reference recorded\n\
             hint: mend the model; if the truth changed, `golden generate --new` records it anew"
                .to_owned(),
        )
    })?;
    check_proposal(set, &proposal, root).map_err(refused)?;
    let (slug, key) = (&pending.prompt.slug, pending.tensor.key);
    let new = proposal.tensor(slug, key).filter(|new| new.blake3 == pending.blake3);
    let new = new.ok_or_else(|| refused("the manifest left with it names other bytes".to_owned()))?;
    check_by_reference(pending, reference)?;

    let acceptance = Acceptance {
        date,
        prompt: slug.clone(),
        key: key.to_string(),
        old: pending.tensor.blake3.clone(),
        new: new.blake3.clone(),
        torch: proposal.manifest.producer.torch.clone(),
        reason: reason.to_owned(),
    };
    // The log first: an acceptance that is cut short is a golden that does not match, never one without a reason.
    log(set.folder(), &acceptance)?;
    let bytes = npy::read_bytes(&pending.path)?;
    atomic::write(&set.path(pending.tensor), &bytes, Overwrite::Allow)?;
    replace_row(set, &proposal, slug, &acceptance.key)?;
    remove(&pending.path)?;
    let set = settle(set.folder())?;
    Ok((acceptance, set))
}

/// Keeps the golden: what lies beside it goes.
pub fn keep(set: &GoldenSet, pending: &Pending<'_>) -> Result<GoldenSet, GoldenError> {
    remove(&pending.path)?;
    settle(set.folder())
}

/// What was accepted so far for the goldens in `folder`, oldest first; nothing when there is no log.
pub fn accepted(folder: &Path) -> Result<Vec<Acceptance>, GoldenError> {
    let path = folder.join(LOG);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(GoldenError::Io { path, source }),
    };
    read_log(&path.display().to_string(), &text).map_err(GoldenError::Invalid)
}

/// Refuses what was not recorded by the reference, with the scripts of this checkout, for these goldens.
fn check_proposal(set: &GoldenSet, proposal: &Proposal, root: &Path) -> Result<(), String> {
    if let Some(what) = proposal.manifest.refusal() {
        return Err(what);
    }
    if let Some(what) = other_than_values(set.manifest(), &proposal.manifest) {
        return Err(format!("{what} changed since: record the goldens as a whole"));
    }
    let producer = &proposal.manifest.producer;
    let modules = producer.modules.iter().map(|module| (module.path.as_str(), module.blake3.as_str()));
    let mut scripts =
        [(producer.script.as_str(), producer.script_blake3.as_str())].into_iter().chain(modules);
    scripts.find_map(|(path, hash)| script_fault(root, path, hash)).map_or(Ok(()), Err)
}

/// Refuses values that the engine's own float64 reference does not compute to the rounding of float32.
fn check_by_reference(pending: &Pending<'_>, reference: &Reference) -> Result<(), GoldenError> {
    let refused = |what: String| GoldenError::Refused { path: pending.path.clone(), what };
    let (prompt, tensor) = (pending.prompt, pending.tensor);
    let key = tensor.key.to_string();
    let trace = reference.trace(&prompt.ids, Rows::All, |wanted| wanted == key)?;
    let computed =
        trace.get(&key).and_then(|whole| cut(tensor, &whole.shape, &whole.values, prompt.ids.len()));
    let (shape, values) =
        computed.ok_or_else(|| refused(format!("the engine's reference computes no such `{key}`")))?;
    let difference = View::new(&shape, &values)
        .and_then(|expected| {
            compare(expected, View::new(&pending.array.shape, &pending.array.values)?, reference_tolerance())
        })
        .map_err(|error| refused(error.to_string()))?;
    if difference.passes() {
        return Ok(());
    }
    Err(refused(format!(
        "the engine's own float64 reference computes another `{key}`, so no float64 PyTorch did this: {difference}"
    )))
}

/// Adds a row to the log in `folder`.
fn log(folder: &Path, acceptance: &Acceptance) -> Result<(), GoldenError> {
    // What is there must be readable, or it would be lost to the next reader as well.
    accepted(folder)?;
    let path = folder.join(LOG);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|_| HEADING.to_owned());
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let Acceptance { date, prompt, key, old, new, torch, reason } = acceptance;
    let _ = writeln!(
        text,
        "- {{date: \"{date}\", prompt: {prompt}, key: {key}, old: \"{old}\", new: \"{new}\", torch: {}, reason: {}}}",
        quoted(torch),
        quoted(reason)
    );
    // Read back before it is written: a reason must not break the log.
    read_log(&path.display().to_string(), &text).map_err(GoldenError::Invalid)?;
    Ok(atomic::write(&path, text.as_bytes(), Overwrite::Allow)?)
}

/// Replaces the row of one tensor in the manifest by the proposal's.
fn replace_row(set: &GoldenSet, proposal: &Proposal, slug: &str, key: &str) -> Result<(), GoldenError> {
    let path = set.folder().join(MANIFEST);
    let text = fs::read_to_string(&path).map_err(|source| GoldenError::Io { path: path.clone(), source })?;
    let broken = || GoldenError::Unknown(format!("`{}` has no row for `{key}` of `{slug}`", path.display()));
    let (old, new) =
        (row_of(&text, slug, key).ok_or_else(broken)?, row_of(&proposal.text, slug, key).ok_or_else(broken)?);
    let edited = format!("{}{}{}", &text[..old.start], &proposal.text[new], &text[old.end..]);
    Manifest::parse(&path.display().to_string(), &edited).map_err(GoldenError::Invalid)?;
    Ok(atomic::write(&path, edited.as_bytes(), Overwrite::Allow)?)
}

/// Where in a manifest the line of a tensor stands.
fn row_of(manifest: &str, slug: &str, key: &str) -> Option<std::ops::Range<usize>> {
    let prompts = manifest.find("\nprompts:\n")?;
    let prompt = prompts + manifest[prompts..].find(&format!("\n    slug: {slug}\n"))?;
    let row = prompt + manifest[prompt..].find(&format!("\n      - {{key: {key},"))? + 1;
    let end = row + manifest[row..].find('\n').unwrap_or(manifest.len() - row);
    // The next prompt's row of that key is not this prompt's.
    (!manifest[prompt + 1..row].contains("\n    slug: ")).then_some(row..end)
}

/// Once nothing of the reference's lies beside a golden: its manifest takes the place of the old one where every tensor is
/// now what it says, and goes away where some were kept.
fn settle(folder: &Path) -> Result<GoldenSet, GoldenError> {
    let set = GoldenSet::open_folder(folder)?;
    let Some(proposal) = Proposal::open(&set)? else { return Ok(set) };
    if super::pending::pending(&set)?.iter().any(|pending| pending.author == Author::Reference) {
        return Ok(set);
    }
    let all_taken = rows(set.manifest(), &proposal.manifest).all(|(_, old, new)| old.blake3 == new.blake3);
    if all_taken {
        atomic::write(&folder.join(MANIFEST), proposal.text.as_bytes(), Overwrite::Allow)?;
    }
    remove(&Proposal::path(&set))?;
    GoldenSet::open_folder(folder)
}

fn remove(path: &PathBuf) -> Result<(), GoldenError> {
    fs::remove_file(path).map_err(|source| GoldenError::Io { path: path.clone(), source })
}

fn read_log(file: &str, text: &str) -> Result<Vec<Acceptance>, Vec<Problem>> {
    let node = parse(file, text).map_err(|problem| vec![problem])?;
    let mut problems = Problems::new(file);
    let rows = match &node.value {
        Value::Seq(rows) => rows.iter().filter_map(|row| Acceptance::from_node(row, &mut problems)).collect(),
        other => {
            problems.add(node.at, format!("expected a list of acceptances, found {}", other.kind()));
            Vec::new()
        }
    };
    let problems = problems.into_vec();
    if problems.is_empty() { Ok(rows) } else { Err(problems) }
}

impl FromNode for Acceptance {
    fn from_node(node: &Node, problems: &mut Problems) -> Option<Self> {
        let mut fields = Fields::new(node, "an acceptance", problems)?;
        let at = fields.at();
        let date = fields.required("date", problems);
        let prompt = fields.required("prompt", problems);
        let key = fields.required("key", problems);
        let old = hex(&mut fields, "old", problems);
        let new = hex(&mut fields, "new", problems);
        let torch = fields.required("torch", problems);
        let reason: Option<String> = fields.required("reason", problems);
        fields.finish(problems);
        if reason.as_deref().is_some_and(|reason| reason.trim().is_empty()) {
            problems.add(at, "an acceptance says no reason");
        }
        Some(Self {
            date: date?,
            prompt: prompt?,
            key: key?,
            old: old?,
            new: new?,
            torch: torch?,
            reason: reason?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_no_log_is_an_error_and_none_is_an_empty_one() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(accepted(folder.path()).unwrap(), []);
        let path = folder.path().join(LOG);
        let said = || accepted(folder.path()).unwrap_err().to_string();
        for (text, found) in [("words", "text"), ("{a: 1}", "a mapping"), ("", "nothing")] {
            fs::write(&path, text).unwrap();
            let expected = format!("{}:1:1: expected a list of acceptances, found {found}", path.display());
            assert_eq!(said(), expected, "{text:?}");
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(
            said().starts_with(&format!("failed to read `{}`: Is a directory", path.display())),
            "{}",
            said()
        );
    }

    #[test]
    fn a_reason_is_one_line_that_says_something_and_no_essay() {
        assert_eq!(check_reason("  a newer torch ").unwrap(), "a newer torch");
        let longest = "é".repeat(REASON_LIMIT);
        assert_eq!(check_reason(&longest).unwrap(), longest);
        let check = |reason: &str, what: &str| {
            let said = check_reason(reason).unwrap_err().to_string();
            assert_eq!(
                said,
                format!("the reason {what}\nhint: say in one line why the truth is another now")
            );
        };
        check(" ", "is empty");
        check("two\nlines", "is not one line of at most 500 characters");
        check(&"é".repeat(REASON_LIMIT + 1), "is not one line of at most 500 characters");
    }
}

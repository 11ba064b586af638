//! What a proof depends on, as one hash: the claim, its faults, the code that checks and plants, and the subject.

use std::path::Path;

use anyhow::Context as _;
use apr_format::AprFile;

use super::Target;
use crate::checklist::{Check, Checklist, Claim, Fault, SourceText};
use crate::code::code_hash;
use crate::members::files;
use crate::models::ModelChoice;
use crate::workspace::Workspace;

/// The parts of the engine that decide a verdict. What reads commands and prints is not among them: it counts where the
/// engine's own program is judged.
const JUDGES: [&str; 18] = [
    "availability.rs",
    "code.rs",
    "engine.rs",
    "models.rs",
    "stored.rs",
    "checks",
    "coverage",
    "faults",
    "golden",
    "members.rs",
    "mutants",
    "playbook",
    "process",
    "prove",
    "reference",
    "report",
    "tensors",
    "workspace.rs",
];
/// Claims whose checks run the engine's own program. Playbooks do, too: `apr` hands over to it.
const OF_THE_PROGRAM: [&str; 2] = ["F9", "I19"];
/// What every build depends on besides its sources; a small checkout of a test may lack them.
const BUILD: [&str; 2] = ["Cargo.toml", "Cargo.lock"];
/// What pages are made from.
const TEMPLATES: &str = "probador/templates";

/// Hashes everything that the proofs of one model have in common.
#[derive(Clone, Debug)]
pub struct Keys {
    common: blake3::Hasher,
    /// The engine's program.
    program: String,
    playbooks: Vec<SourceText>,
}

impl Keys {
    /// The keys of proofs on `model`.
    pub fn new(workspace: &Workspace, model: &ModelChoice) -> anyhow::Result<Self> {
        Self::of_any_model(workspace)?.on(workspace, model)
    }

    /// What the proofs of all models have in common: every source is read and taken apart for it.
    pub(super) fn of_any_model(workspace: &Workspace) -> anyhow::Result<Self> {
        let root = workspace.root();
        let mut common = judges(root)?;
        update(&mut common, &subjects_hash(&root.join("subjects"))?);
        let program = code_hash(&root.join("probador/src"))?;
        Ok(Self { common, program, playbooks: workspace.playbook_sources()? })
    }

    /// The keys of proofs on `model`.
    pub(super) fn on(mut self, workspace: &Workspace, model: &ModelChoice) -> anyhow::Result<Self> {
        // What the goldens of the model say is hashed in their manifest, file by file.
        let golden = workspace.path("golden");
        for file in [golden.join("models.yaml"), golden.join(&model.name).join("manifest.yaml")] {
            // A model without goldens has none.
            update(&mut self.common, &std::fs::read_to_string(file).unwrap_or_default());
        }
        update(&mut self.common, &model_hash(&model.path)?);
        Ok(self)
    }

    /// The key of a proof of `target` by `faults`. A claim that playbooks judge depends on them, too.
    pub fn of<'t>(&self, target: impl Into<Target<'t>>, faults: &[&Fault]) -> anyhow::Result<String> {
        let mut hasher = self.common.clone();
        match target.into() {
            Target::Claim(claim) => {
                // Where a row stands in its file is no part of what it says.
                update(&mut hasher, &serde_json::to_string(&Claim { line: 0, ..claim.clone() })?);
                if OF_THE_PROGRAM.contains(&claim.id.to_string().as_str()) {
                    update(&mut hasher, &self.program);
                }
                if let Check::Playbook(wanted) = claim.check {
                    update(&mut hasher, &self.program);
                    for source in self.playbooks.iter().filter(|source| wanted.takes(&source.file)) {
                        update(&mut hasher, &source.text);
                    }
                }
            }
            Target::Playbook(playbook) => {
                update(&mut hasher, &self.program);
                update(&mut hasher, &serde_json::to_string(playbook)?);
            }
        }
        for fault in faults {
            update(&mut hasher, &serde_json::to_string(&Fault { line: 0, ..(*fault).clone() })?);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

impl Keys {
    /// The key of what depends on every claim and every fault, and on `code` of the engine besides the judges.
    pub fn of_all(&self, checklist: &Checklist, code: &[&Path]) -> anyhow::Result<String> {
        let mut hasher = self.common.clone();
        for path in code {
            update(&mut hasher, &code_hash(path)?);
        }
        let faults: Vec<&Fault> = checklist.faults().values().collect();
        for claim in checklist.claims() {
            update(&mut hasher, &self.of(claim, &faults)?);
        }
        Ok(hasher.finalize().to_hex().to_string())
    }
}

fn update(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// What the engine in the checkout at `root` judges with.
fn judges(root: &Path) -> anyhow::Result<blake3::Hasher> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"probador proof 3\0");
    for judge in JUDGES {
        update(&mut hasher, &code_hash(&root.join("probador/src").join(judge))?);
    }
    for file in BUILD {
        update(&mut hasher, &std::fs::read_to_string(root.join(file)).unwrap_or_default());
    }
    for below in ["probador/core/src", "probador/lint/src"] {
        update(&mut hasher, &code_hash(&root.join(below))?);
    }
    for file in files(&root.join(TEMPLATES)) {
        let (name, contents) = file?;
        update(&mut hasher, &name);
        update(&mut hasher, &String::from_utf8_lossy(&contents));
    }
    Ok(hasher)
}

/// The root hash covers metadata and index, and the index the hash of every tensor.
fn model_hash(path: &Path) -> anyhow::Result<String> {
    Ok(AprFile::open(path)?.root_hash().to_owned())
}

/// What the crates in `folder` are built from. Tests are no part of what is judged.
fn subjects_hash(folder: &Path) -> anyhow::Result<String> {
    let failed = || format!("failed to read `{}`", folder.display());
    let mut crates = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(failed)? {
        let path = entry.with_context(failed)?.path();
        if path.join("src").is_dir() {
            crates.push(path);
        }
    }
    crates.sort();
    let mut hasher = blake3::Hasher::new();
    for path in crates {
        update(&mut hasher, &path.strip_prefix(folder)?.to_string_lossy());
        update(&mut hasher, &std::fs::read_to_string(path.join("Cargo.toml")).unwrap_or_default());
        update(&mut hasher, &code_hash(&path.join("src"))?);
    }
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::playbook::Playbook;

    #[test]
    fn sources_and_manifests_of_subjects_count_and_their_tests_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            subjects_hash(folder.path()).unwrap()
        };
        let first = write("qwen2/src/lib.rs", "pub fn a() {}");
        assert_eq!(write("qwen2/src/lib.rs", "pub fn a() {}\n#[cfg(test)]\nmod tests {}\n"), first);
        assert_eq!(write("qwen2/tests/a.rs", "fn b() {}"), first);
        assert_eq!(write("fuzz/hostile/a", "x"), first);
        let with_manifest = write("qwen2/Cargo.toml", "[package]");
        assert_ne!(with_manifest, first);
        assert_ne!(write("qwen2/src/lib.rs", "pub fn b() {}"), with_manifest);
        assert_ne!(write("tensor/src/lib.rs", ""), with_manifest);
    }

    #[test]
    fn what_judges_and_the_pages_counts_and_what_prints_does_not() {
        let checkout = Workspace::find(None).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for part in ["probador/src", "probador/core/src", "probador/lint/src", TEMPLATES] {
            for file in files(&checkout.path(part)) {
                let (name, contents) = file.unwrap();
                let path = folder.path().join(part).join(name);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, contents).unwrap();
            }
        }
        for file in BUILD {
            std::fs::copy(checkout.path(file), folder.path().join(file)).unwrap();
        }
        let hash = || judges(folder.path()).unwrap().finalize();
        let mut last = hash();
        let mut changes = |file: &str| {
            let path = folder.path().join(file);
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, format!("{text}\nfn added() {{}}\n")).unwrap();
            std::mem::replace(&mut last, hash()) != hash()
        };
        let template = files(&checkout.path(TEMPLATES)).next().unwrap().unwrap().0;
        for file in ["src/checks/mod.rs", "core/src/lib.rs", "lint/src/lib.rs", "src/report/mod.rs"] {
            assert!(changes(&format!("probador/{file}")), "{file}");
        }
        assert!(changes(&format!("{TEMPLATES}/{template}")), "{template}");
        for file in BUILD {
            assert!(changes(file), "{file}");
        }
        assert!(!changes("probador/src/printer.rs"));
    }

    /// The keys of our own proofs, and what they are of.
    fn ours() -> (Keys, Checklist, Vec<Playbook>) {
        let workspace = Workspace::find(None).unwrap();
        let checklist = workspace.checklist().unwrap();
        let playbooks = workspace.playbooks(&checklist).unwrap();
        let keys = Keys::new(&workspace, &crate::models::choose(None, &workspace).unwrap()).unwrap();
        (keys, checklist, playbooks)
    }

    #[test]
    fn what_reads_commands_counts_for_what_runs_the_program_and_for_nothing_else() {
        let (keys, checklist, playbooks) = ours();
        let changed = Keys { program: "another".to_owned(), ..keys.clone() };
        for (id, counts) in [("F9", true), ("I19", true), ("I8", true), ("C1", false), ("I16", false)] {
            let claim = checklist.claim(id.parse().unwrap()).unwrap();
            assert_eq!(keys.of(claim, &[]).unwrap() != changed.of(claim, &[]).unwrap(), counts, "{id}");
        }
        let first = Target::Playbook(&playbooks[0]);
        assert_ne!(keys.of(first, &[]).unwrap(), changed.of(first, &[]).unwrap());
    }

    #[test]
    fn a_playbook_has_a_key_that_changes_with_it_and_with_its_faults() {
        let (keys, checklist, playbooks) = ours();
        let key =
            |playbook: &Playbook, faults: &[&Fault]| keys.of(Target::Playbook(playbook), faults).unwrap();
        let (first, fault) = (&playbooks[0], checklist.faults().values().next().unwrap());
        assert_eq!(key(first, &[]), key(&first.clone(), &[]));
        assert_ne!(key(first, &[]), key(&playbooks[1], &[]));
        assert_ne!(key(first, &[]), key(first, &[fault]));
        // Where the fault's row stands is no part of what it says.
        let moved = Fault { line: fault.line + 1, ..fault.clone() };
        assert_eq!(key(first, &[fault]), key(first, &[&moved]));
        let mut changed = first.clone();
        changed.description.push('!');
        assert_ne!(key(first, &[]), key(&changed, &[]));
    }
}

//! The parts of the workspace that claims about coverage and mutants are about.

use crate::members::Member;

/// A part of the workspace: what it is called, and where its files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What messages call it.
    pub name: &'static str,
    /// Folders, ending in `/`, and files, from the top of the checkout.
    pub paths: &'static [&'static str],
}

/// What decides verdicts without touching anything, and the runtime whose results are compared with the native one's.
pub const VERDICT_CORE: Scope =
    Scope { name: "the verdict core", paths: &["probador/core/", "subjects/wasm/"] };

/// What verifies.
pub const ENGINE: Scope = Scope { name: "the engine", paths: &["probador/"] };

/// The crates that a reply is computed with.
pub const INFERENCE: Scope = Scope {
    name: "the inference crates",
    paths: &[
        "subjects/format/",
        "subjects/generation/",
        "subjects/qwen2/",
        "subjects/tensor/",
        "subjects/tokenizer/",
    ],
};

impl Scope {
    /// Whether all of `member` belongs to it.
    pub fn takes(&self, member: &Member) -> bool {
        self.holds(&format!("{}/", member.folder))
    }

    /// Whether the file at `path`, from the top of the checkout, belongs to it.
    pub fn holds(&self, path: &str) -> bool {
        self.paths.iter().any(|part| if part.ends_with('/') { path.starts_with(part) } else { path == *part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_its_files_and_a_file_itself() {
        for path in ["probador/core/src/compare/tolerance.rs", "probador/core/src/generate.rs"] {
            assert!(VERDICT_CORE.holds(path), "{path}");
            assert!(!INFERENCE.holds(path), "{path}");
        }
        for path in ["probador/src/compare.rs", "probador/core.rs", "subjects/apr/src/main.rs"] {
            assert!(!VERDICT_CORE.holds(path) && !INFERENCE.holds(path), "{path}");
        }
        let file = Scope { name: "one file", paths: &["probador/src/gate.rs"] };
        assert!(file.holds("probador/src/gate.rs") && !file.holds("probador/src/gate.rs.new"));
    }

    #[test]
    fn every_part_exists_but_the_runtime_to_come() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for part in [VERDICT_CORE, ENGINE, INFERENCE].iter().flat_map(|scope| scope.paths) {
            assert!(*part == "subjects/wasm/" || root.join(part).exists(), "{part}");
        }
    }
}

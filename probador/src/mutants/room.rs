//! The rooms that mutants are made in, each with the tests that must notice them.

use std::path::Path;

use anyhow::anyhow;

use crate::members::{self, Member, folder_hash};

/// A part of the workspace whose mutants are tried together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What commands call it.
    pub name: &'static str,
    /// The package it belongs to.
    pub package: &'static str,
    /// Its files, as cargo-mutants selects them.
    pub glob: &'static str,
    /// The tests that try it.
    pub tests: Tests,
}

/// Tests, and what they are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tests {
    /// All of the crate's own; its result depends on the crate and those below.
    Crate,
    /// Those of a module of the library, and of test files of that name; its result depends on these folders and files.
    Module {
        /// The module.
        module: &'static str,
        /// A file of tests beside the library's own.
        file: Option<&'static str>,
        /// Folders and files, from the top of the checkout.
        uses: &'static [&'static str],
    },
}

/// Rooms that are judged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What messages call it.
    pub name: &'static str,
    /// Its rooms.
    pub rooms: &'static [&'static str],
}

/// Every room.
pub const ROOMS: [Room; 7] = [
    Room { name: "case", package: "probador", glob: "probador/src/case/**/*.rs", tests: Tests::Crate },
    Room {
        name: "checklist",
        package: "probador",
        glob: "probador/src/checklist/**/*.rs",
        tests: Tests::Crate,
    },
    Room {
        name: "compare",
        package: "probador",
        glob: "probador/src/compare/**/*.rs",
        tests: Tests::Module { module: "compare", file: None, uses: &["probador/src/compare"] },
    },
    Room { name: "generate", package: "probador", glob: "probador/src/generate.rs", tests: Tests::Crate },
    Room { name: "format", package: "apr-format", glob: "subjects/format/src/**/*.rs", tests: Tests::Crate },
    Room { name: "qwen2", package: "apr-qwen2", glob: "subjects/qwen2/src/**/*.rs", tests: Tests::Crate },
    Room {
        name: "tokenizer",
        package: "apr-tokenizer",
        glob: "subjects/tokenizer/src/**/*.rs",
        tests: Tests::Crate,
    },
];

/// What is held to a score of its own.
pub const SCOPES: [Scope; 4] = [
    Scope { name: "the verdict core", rooms: &["case", "checklist", "compare", "generate"] },
    Scope { name: "qwen2", rooms: &["qwen2"] },
    Scope { name: "tokenizer", rooms: &["tokenizer"] },
    Scope { name: "format", rooms: &["format"] },
];

/// The room called `name`, or the rooms of the package of that name.
pub fn find(name: &str) -> anyhow::Result<Vec<&'static Room>> {
    let found: Vec<&Room> = ROOMS.iter().filter(|room| room.name == name || room.package == name).collect();
    if found.is_empty() {
        let known: Vec<&str> = ROOMS.iter().map(|room| room.name).collect();
        return Err(anyhow!("mutants are not made in `{name}`, but in: {}", known.join(", ")));
    }
    Ok(found)
}

impl Room {
    /// Hash of everything that its result depends on, in the checkout at `root`.
    pub fn key(&self, root: &Path, members: &[Member]) -> anyhow::Result<String> {
        let Tests::Module { uses, .. } = self.tests else {
            return Ok(members::find(members, self.package)?.key.clone());
        };
        let mut hasher = blake3::Hasher::new();
        for part in uses {
            hasher.update(format!("{part}\0{}\0", folder_hash(&root.join(part))?).as_bytes());
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Whether it holds the file at `path`, from the top of the checkout.
    pub fn holds(&self, path: &str) -> bool {
        self.glob.strip_suffix("**/*.rs").map_or(path == self.glob, |folder| path.starts_with(folder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn every_room_exists_and_is_judged_once() {
        let members = members::members(root()).unwrap();
        for room in ROOMS {
            let folder = room.glob.trim_end_matches("**/*.rs");
            assert!(root().join(folder).exists(), "{}", room.name);
            assert_eq!(
                SCOPES.iter().filter(|scope| scope.rooms.contains(&room.name)).count(),
                1,
                "{}",
                room.name
            );
            assert_eq!(room.key(root(), &members).unwrap().len(), 64, "{}", room.name);
        }
        assert!(SCOPES.iter().flat_map(|scope| scope.rooms).all(|room| find(room).is_ok()));
    }

    #[test]
    fn a_room_is_found_by_its_name_or_its_package() {
        let names = |name: &str| find(name).unwrap().iter().map(|room| room.name).collect::<Vec<_>>();
        assert_eq!(names("qwen2"), ["qwen2"]);
        assert_eq!(names("probador"), ["case", "checklist", "compare", "generate"]);
        let error = find("serve").unwrap_err().to_string();
        assert!(error.starts_with("mutants are not made in `serve`, but in: case, checklist"), "{error}");
    }

    #[test]
    fn a_room_holds_its_files_only() {
        let room = |name: &str| find(name).unwrap()[0];
        assert!(room("compare").holds("probador/src/compare/tolerance.rs"));
        assert!(!room("compare").holds("probador/src/generate.rs"));
        assert!(room("generate").holds("probador/src/generate.rs"));
    }

    #[test]
    fn no_room_of_the_engine_uses_more_than_it_says() {
        for room in ROOMS {
            let Tests::Module { uses, .. } = room.tests else { continue };
            for used in uses.iter().filter(|used| used.starts_with("probador/src")) {
                for entry in walkdir::WalkDir::new(root().join(used)) {
                    let entry = entry.unwrap();
                    if !entry.file_type().is_file() {
                        continue;
                    }
                    let text = std::fs::read_to_string(entry.path()).unwrap();
                    for part in text.split("crate::").skip(1) {
                        let module = part.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                        let is_named = uses.iter().any(|used| {
                            *used == format!("probador/src/{module}")
                                || *used == format!("probador/src/{module}.rs")
                        });
                        assert!(is_named, "{}: {} uses crate::{module}", room.name, entry.path().display());
                    }
                }
            }
        }
    }
}

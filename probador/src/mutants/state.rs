//! What the result of a file's mutants depends on, with tests told from the code under them: a test that was added can
//! catch what survived before, and cannot let go what was caught, so only the survivors need to be tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::code::{Parts, is_rust};
use crate::coverage::test_files;
use crate::members::{Member, files};

/// The folder of a crate that its tests lie in, beside those in its sources.
const TESTS: &str = "tests/";
/// Characters of a hash that tell two tests of a crate apart.
const LEN: usize = 12;

/// The state of a source file that its mutants were tried in. What lies in other files is none of it: it can move the
/// result only by making the same tests of the same code take another way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Hash of everything in the file but tests.
    pub code: String,
    /// A hash for each test in the file and in the crate's files of tests, and for each item that only tests see.
    pub tests: BTreeSet<String>,
}

impl State {
    /// The state of every source file of `member` as it lies in the checkout at `root`, by its path from there.
    pub fn of_files(root: &Path, member: &Member) -> anyhow::Result<BTreeMap<String, Self>> {
        let mut states = BTreeMap::new();
        let mut shared = BTreeSet::new();
        let test_files = test_files(root, std::slice::from_ref(member))?;
        for file in files(&root.join(&member.folder)) {
            let (path, contents) = file?;
            let from_top = format!("{}/{path}", member.folder);
            if path.starts_with(TESTS) || test_files.contains(&from_top) {
                shared.extend(hashes(&path, &Parts::of_tests(&path, &contents)));
            } else if path.starts_with("src/") && is_rust(&path) {
                let parts = Parts::of(&contents);
                let code = blake3::hash(&parts.code).to_hex().to_string();
                let state = Self { code, tests: hashes(&path, &parts).collect() };
                states.insert(from_top, state);
            }
        }
        for state in states.values_mut() {
            state.tests.extend(shared.iter().cloned());
        }
        Ok(states)
    }

    /// Whether this differs from `before` in nothing but tests that were added, if at all.
    pub fn only_adds_tests_to(&self, before: &Self) -> bool {
        self.code == before.code && self.tests.is_superset(&before.tests)
    }
}

/// A hash for each test in the file at `path`.
fn hashes(path: &str, parts: &Parts) -> impl Iterator<Item = String> {
    parts.tests.iter().map(move |test| short_hash(path, test))
}

fn short_hash(path: &str, part: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(path.as_bytes()).update(b"\0").update(part);
    let mut hash = hasher.finalize().to_hex().to_string();
    hash.truncate(LEN);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::members;

    const CODE: &str = "pub fn a() -> u8 {\n    1\n}\n";
    const TESTS: &str = "\n#[cfg(test)]\nmod tests {\n    use super::a;\n\n    #[test]\n    fn one() {\n        assert_eq!(a(), 1);\n    }\n}\n";

    /// The states of the files of a crate whose `src/lib.rs` and `tests/a.rs` say this.
    fn states(library: &str, test: &str) -> BTreeMap<String, State> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("Cargo.toml", "[workspace]\nmembers = [\"top\"]\n");
        write("top/Cargo.toml", "[package]\nname = \"top\"\n");
        write("top/src/lib.rs", library);
        write("top/src/b/mod.rs", &format!("{CODE}#[cfg(test)]\nmod tests;\n"));
        write("top/src/b/tests.rs", test);
        write("top/src/b/page.html", "<p>");
        write("top/benches/a.rs", CODE);
        write("top/tests/a.rs", test);
        write("top/tests/fixture.json", "1");
        let all = members::members(folder.path()).unwrap();
        State::of_files(folder.path(), members::find(&all, "top").unwrap()).unwrap()
    }

    #[test]
    fn every_source_file_has_a_state_of_its_own_with_the_tests_of_the_crate() {
        let before = states(&format!("{CODE}{TESTS}"), "fn two() {}");
        assert_eq!(before.keys().collect::<Vec<_>>(), ["top/src/b/mod.rs", "top/src/lib.rs"]);
        assert_eq!(before["top/src/lib.rs"].tests.len(), 5);
        assert_eq!(before["top/src/b/mod.rs"].tests.len(), 4);
        let after = states("pub fn other() {}", "fn two() {}");
        assert_eq!(after["top/src/b/mod.rs"], before["top/src/b/mod.rs"]);
        assert_ne!(after["top/src/lib.rs"], before["top/src/lib.rs"]);
    }

    #[test]
    fn tests_that_are_added_are_told_from_any_other_change() {
        let library = format!("{CODE}{TESTS}");
        let test = "use top::a;\n#[test]\nfn two() {\n    a();\n}\n";
        let state = |library: &str, test: &str| states(library, test)["top/src/lib.rs"].clone();
        let before = state(&library, test);
        let adds = |library: &str, test: &str| state(library, test).only_adds_tests_to(&before);
        assert!(adds(&library, test));
        let inside = library.replace("use super::a;", "use super::{a, b};\n\n    #[test]\n    fn none() {}");
        assert!(adds(&inside, test));
        assert!(adds(
            &library,
            &format!("{test}#[test]\nfn three() {{}}\n").replace("top::a", "top::{b, a}")
        ));
        assert!(adds(&format!("{library}#[cfg(test)]\nuse a::*;\n#[cfg(test)]\nfn helper() {{}}\n"), test));
        for (what, library, test) in [
            ("a test says something else", library.replace("a(), 1", "a(), a()"), test.to_owned()),
            ("a test is gone", library.clone(), "use top::a;\n".to_owned()),
            ("a test means another function", library.clone(), test.replace("top::a", "top::b as a")),
            ("the code does something else", library.replace("    1\n", "    2\n"), test.to_owned()),
            ("a line moved", format!("\n{library}"), test.to_owned()),
        ] {
            assert!(!adds(&library, &test), "{what}");
        }
    }
}

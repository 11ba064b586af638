//! What a result of mutants depends on, with tests told from the code under them: a test that was added can catch what
//! survived before, and cannot let go what was caught, so only the survivors need to be tried again.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use syn::spanned::Spanned as _;

use crate::lint::is_test_only;
use crate::members::{Member, files};

/// Folders of a crate that only its tests are built from.
const FOR_TESTS: [&str; 3] = ["tests/", "benches/", "examples/"];
/// Characters of a hash that tell two tests of a crate apart.
const LEN: usize = 12;

/// The state of a crate that mutants were tried in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Hash of all its files; see `members.rs`.
    pub key: String,
    /// Hash of everything but tests.
    pub code: String,
    /// A hash for each test, and for each item and file that only tests see.
    pub tests: BTreeSet<String>,
}

impl State {
    /// The state of `member` as it lies in the checkout at `root`.
    pub fn of(root: &Path, member: &Member) -> anyhow::Result<Self> {
        let mut code = blake3::Hasher::new();
        let mut tests = BTreeSet::new();
        for file in files(&root.join(&member.folder)) {
            let (path, contents) = file?;
            let parts = Parts::of(&path, &contents);
            if let Some(text) = parts.code {
                code.update(format!("{path}\0{}\0", text.len()).as_bytes());
                code.update(&text);
            }
            tests.extend(parts.tests.iter().map(|test| short_hash(&path, test)));
        }
        Ok(Self { key: member.key.clone(), code: code.finalize().to_hex().to_string(), tests })
    }

    /// Whether this differs from `before` in nothing but tests that were added.
    pub fn only_adds_tests_to(&self, before: &Self) -> bool {
        self.code == before.code && self.tests.is_superset(&before.tests)
    }
}

/// A file, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    /// What is compiled without tests, or is no Rust.
    code: Option<Vec<u8>>,
    /// What only tests see, an item each.
    tests: Vec<Vec<u8>>,
}

impl Parts {
    fn of(path: &str, contents: &[u8]) -> Self {
        let is_for_tests = FOR_TESTS.iter().any(|folder| path.starts_with(folder));
        let is_rust = Path::new(path).extension().is_some_and(|extension| extension == "rs");
        let text = std::str::from_utf8(contents).ok().filter(|_| is_rust);
        let Some((text, syntax)) = text.and_then(|text| Some((text, syn::parse_file(text).ok()?))) else {
            let whole = contents.to_vec();
            return if is_for_tests {
                Self { code: None, tests: vec![whole] }
            } else {
                Self { code: Some(whole), tests: Vec::new() }
            };
        };
        if is_for_tests {
            let tests = syntax.items.iter().flat_map(|item| texts(text, item)).collect();
            return Self { code: None, tests };
        }
        let mut parts = Self::default();
        let mut code = Vec::new();
        let mut from = 0;
        for item in syntax.items.iter().filter(|item| is_for_tests_only(item)) {
            let range = item.span().byte_range();
            code.extend(&text.as_bytes()[from..range.start]);
            from = range.end;
            match item {
                syn::Item::Mod(syn::ItemMod { content: Some((_, items)), .. }) => {
                    parts.tests.extend(items.iter().flat_map(|item| texts(text, item)));
                }
                item => parts.tests.extend(texts(text, item)),
            }
        }
        code.extend(&text.as_bytes()[from..]);
        // Blank lines before the tests are none of the code.
        code.truncate(code.trim_ascii_end().len());
        Self { code: Some(code), ..parts }
    }
}

fn is_for_tests_only(item: &syn::Item) -> bool {
    match item {
        syn::Item::Mod(item) => is_test_only(&item.attrs),
        syn::Item::Fn(item) => is_test_only(&item.attrs),
        syn::Item::Use(item) => is_test_only(&item.attrs),
        _ => false,
    }
}

/// An item as it is written; each name that a `use` brings in by itself, since a new test often needs one more.
fn texts(text: &str, item: &syn::Item) -> Vec<Vec<u8>> {
    match item {
        syn::Item::Use(item) => {
            let mut names = Vec::new();
            names_of(&item.tree, "use", &mut names);
            names
        }
        item => vec![text.as_bytes()[item.span().byte_range()].to_vec()],
    }
}

fn names_of(tree: &syn::UseTree, before: &str, names: &mut Vec<Vec<u8>>) {
    match tree {
        syn::UseTree::Path(path) => names_of(&path.tree, &format!("{before} {}", path.ident), names),
        syn::UseTree::Group(group) => group.items.iter().for_each(|tree| names_of(tree, before, names)),
        syn::UseTree::Name(name) => names.push(format!("{before} {}", name.ident).into_bytes()),
        syn::UseTree::Rename(name) => {
            names.push(format!("{before} {} as {}", name.ident, name.rename).into_bytes());
        }
        syn::UseTree::Glob(_) => names.push(format!("{before} *").into_bytes()),
    }
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

    /// The state of a crate whose `src/lib.rs` and `tests/a.rs` say this.
    fn state(library: &str, test: &str) -> State {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("Cargo.toml", "[workspace]\nmembers = [\"top\"]\n");
        write("top/Cargo.toml", "[package]\nname = \"top\"\n");
        write("top/src/lib.rs", library);
        write("top/tests/a.rs", test);
        write("top/tests/fixture.json", "1");
        let all = members::members(folder.path()).unwrap();
        State::of(folder.path(), members::find(&all, "top").unwrap()).unwrap()
    }

    #[test]
    fn tests_that_are_added_are_told_from_any_other_change() {
        let library = format!("{CODE}{TESTS}");
        let test = "use top::a;\n#[test]\nfn two() {\n    a();\n}\n";
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

    #[test]
    fn what_is_for_tests_alone_is_taken_apart_item_by_item() {
        let text = "fn a() {}\n#[cfg(test)]\nuse b::{self, *};\n#[cfg(test)]\nfn c() {}\n#[cfg(test)]\nmod tests;\nstruct D;\n";
        let parts = Parts::of("src/lib.rs", text.as_bytes());
        assert_eq!(String::from_utf8(parts.code.unwrap()).unwrap(), "fn a() {}\n\n\n\nstruct D;");
        let tests: Vec<String> =
            parts.tests.into_iter().map(|test| String::from_utf8(test).unwrap()).collect();
        assert_eq!(tests, ["use b self", "use b *", "#[cfg(test)]\nfn c() {}", "#[cfg(test)]\nmod tests;"]);
    }

    #[test]
    fn what_is_no_rust_counts_whole() {
        let parts = Parts::of("src/lib.rs", b"fn {");
        assert_eq!(parts, Parts { code: Some(b"fn {".to_vec()), tests: vec![] });
        let parts = Parts::of("tests/data.bin", &[0xff]);
        assert_eq!(parts, Parts { code: None, tests: vec![vec![0xff]] });
    }
}

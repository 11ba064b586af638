//! Sources with the code told from its tests: what judges or is judged does not change when a test of it does.

use std::path::Path;

use syn::spanned::Spanned as _;

use crate::lint::is_test_only;
use crate::members::files;

/// BLAKE3 over the names of the Rust sources in `folder`, or of the file that it is, and their contents without tests.
pub(crate) fn code_hash(folder: &Path) -> anyhow::Result<String> {
    let mut hasher = blake3::Hasher::new();
    for file in files(folder) {
        let (name, contents) = file?;
        // The name of a file that is hashed by itself is empty.
        if name.is_empty() || is_rust(&name) {
            let code = Parts::of(&contents).code;
            hasher.update(format!("{name}\0{}\0", code.len()).as_bytes());
            hasher.update(&code);
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Whether the file is one of Rust.
pub(crate) fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// A file, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    /// What is compiled without tests, or is no Rust.
    pub(crate) code: Vec<u8>,
    /// What only tests see, an item each.
    pub(crate) tests: Vec<Vec<u8>>,
}

impl Parts {
    /// Of a file that only tests see.
    pub(crate) fn of_tests(path: &str, contents: &[u8]) -> Self {
        let tests = match parse(contents).filter(|_| is_rust(path)) {
            Some((text, syntax)) => syntax.items.iter().flat_map(|item| texts(text, item)).collect(),
            None => vec![contents.to_vec()],
        };
        Self { code: Vec::new(), tests }
    }

    /// Of a source file.
    pub(crate) fn of(contents: &[u8]) -> Self {
        let Some((text, syntax)) = parse(contents) else {
            return Self { code: contents.to_vec(), tests: Vec::new() };
        };
        let mut parts = Self::default();
        let mut from = 0;
        for item in syntax.items.iter().filter(|item| is_for_tests_only(item)) {
            let range = item.span().byte_range();
            parts.code.extend(&text.as_bytes()[from..range.start]);
            from = range.end;
            match item {
                syn::Item::Mod(syn::ItemMod { content: Some((_, items)), .. }) => {
                    parts.tests.extend(items.iter().flat_map(|item| texts(text, item)));
                }
                item => parts.tests.extend(texts(text, item)),
            }
        }
        parts.code.extend(&text.as_bytes()[from..]);
        // Blank lines before the tests are none of the code.
        parts.code.truncate(parts.code.trim_ascii_end().len());
        parts
    }
}

fn parse(contents: &[u8]) -> Option<(&str, syn::File)> {
    let text = std::str::from_utf8(contents).ok()?;
    Some((text, syn::parse_file(text).ok()?))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_follows_the_code_and_neither_its_tests_nor_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            code_hash(folder.path()).unwrap()
        };
        let first = write("a.rs", "pub fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n");
        assert_eq!(write("a.rs", "pub fn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn c() {}\n}\n"), first);
        assert_eq!(write("a.rs", "pub fn a() {}\n"), first);
        assert_eq!(write("page.html", "<p>"), first);
        let by_itself = code_hash(&folder.path().join("a.rs")).unwrap();
        let changed = write("a.rs", "pub fn b() {}\n");
        assert_ne!(changed, first);
        assert_ne!(write("b.rs", ""), changed);
        assert_ne!(code_hash(&folder.path().join("a.rs")).unwrap(), by_itself);
        assert!(code_hash(&folder.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_is_for_tests_alone_is_taken_apart_item_by_item() {
        let text = "fn a() {}\n#[cfg(test)]\nuse b::{self, *};\n#[cfg(test)]\nfn c() {}\n#[cfg(test)]\nmod tests;\nstruct D;\n";
        let parts = Parts::of(text.as_bytes());
        assert_eq!(String::from_utf8(parts.code).unwrap(), "fn a() {}\n\n\n\nstruct D;");
        let tests: Vec<String> =
            parts.tests.into_iter().map(|test| String::from_utf8(test).unwrap()).collect();
        assert_eq!(tests, ["use b self", "use b *", "#[cfg(test)]\nfn c() {}", "#[cfg(test)]\nmod tests;"]);
    }

    #[test]
    fn what_is_no_rust_counts_whole() {
        let parts = Parts::of(b"fn {");
        assert_eq!(parts, Parts { code: b"fn {".to_vec(), tests: vec![] });
        let parts = Parts::of_tests("tests/data.bin", &[0xff]);
        assert_eq!(parts, Parts { code: vec![], tests: vec![vec![0xff]] });
    }
}

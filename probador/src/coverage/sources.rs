//! What a source file says about coverage: which lines only tests see, which functions are public, and which lines are
//! excused.
//!
//! A line that no test can reach is excused in place, by a comment above it that says how many lines it excuses and why:
//! `// coverage: the next 2 lines, because a sorted list has no such pair`. Any other comment that starts so is a
//! problem, and so is an excuse for lines that all are executed.
//!
//! Code for an instruction set is judged where there is one: a file that says `// coverage: this file, on a processor
//! with avx512f` is left out of what a processor without it measured, as code for another architecture is. All of its
//! functions are unsafe: whoever calls one has asked what the processor has.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::Path;

use anyhow::{Context as _, anyhow};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::lint::is_test_only;
use crate::members::Member;

/// How a comment that excuses lines starts.
const MARK: &str = "// coverage:";
/// An excuse for more than this hides a function, not a line.
const MOST_EXCUSED: u32 = 12;
/// How the comment goes on that says which processor a file is for.
const FOR_PROCESSOR: &str = "this file, on a processor with ";

/// What one file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// Lines that are compiled for tests only.
    pub test_lines: Vec<RangeInclusive<u32>>,
    /// Its public functions, tests left out.
    pub public: Vec<PublicFunction>,
    /// Lines that are excused.
    pub exclusions: Vec<Exclusion>,
    /// What a processor must have to execute any of it.
    pub feature: Option<Feature>,
    /// Comments that start like an excuse and are none, with their lines.
    pub problems: Vec<(u32, String)>,
    /// Modules of the file that are compiled for tests only and lie in files of their own.
    test_modules: Vec<String>,
    /// The first function that every processor can call.
    safe: Option<String>,
    /// Whether there is a function that only a processor that was asked may call.
    has_unsafe: bool,
}

/// A function that other modules can call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicFunction {
    /// Its name, after its type's where it has one.
    pub name: String,
    /// The lines from its visibility to its name, where coverage says it starts.
    pub lines: RangeInclusive<u32>,
}

/// Lines that may stay unexecuted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    /// The line of the comment.
    pub line: u32,
    /// The lines it excuses.
    pub lines: RangeInclusive<u32>,
    /// Why.
    pub reason: String,
}

/// An extension of an instruction set that whole files are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// AVX-512, its foundation.
    Avx512f,
    /// AVX-512, products of small integers.
    Avx512vnni,
}

impl Feature {
    /// Every one.
    const ALL: [Self; 2] = [Self::Avx512f, Self::Avx512vnni];

    /// What compilers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512f => "avx512f",
            Self::Avx512vnni => "avx512vnni",
        }
    }

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return match self {
            Self::Avx512f => is_x86_feature_detected!("avx512f"),
            Self::Avx512vnni => is_x86_feature_detected!("avx512vnni"),
        };
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}

impl Sources {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        Self::of(&text).with_context(|| format!("`{}` does not parse", path.display()))
    }

    /// Reads `text`.
    pub fn of(text: &str) -> anyhow::Result<Self> {
        let syntax = syn::parse_file(text).map_err(|error| {
            let at = error.span().start();
            anyhow!("line {}, column {}: {error}", at.line, at.column + 1)
        })?;
        let mut sources = Self::default();
        Collector { sources: &mut sources, owner: String::new() }.visit_file(&syntax);
        for (line, text) in (1..).zip(text.lines()) {
            let Some(said) = text.trim_start().strip_prefix(MARK) else { continue };
            let said = said.trim();
            if let Some(name) = said.strip_prefix(FOR_PROCESSOR) {
                match sources.feature(name) {
                    Ok(feature) => sources.feature = Some(feature),
                    Err(why) => sources.problems.push((line, why)),
                }
                continue;
            }
            match exclusion(line, said) {
                Ok(exclusion) => sources.exclusions.push(exclusion),
                Err(why) => sources.problems.push((line, why)),
            }
        }
        Ok(sources)
    }

    /// The feature of this name, if all of the file can be for processors that have it.
    fn feature(&self, name: &str) -> Result<Feature, String> {
        if let Some(safe) = &self.safe {
            return Err(format!("`{safe}` is not unsafe: a processor without {name} can call it"));
        }
        if !self.has_unsafe {
            return Err(format!("no function here is for a processor with {name}"));
        }
        let feature = Feature::ALL.into_iter().find(|feature| feature.name() == name);
        feature.ok_or_else(|| format!("`{name}` is none of {}", Feature::ALL.map(Feature::name).join(", ")))
    }

    /// Whether only tests see `line`.
    pub fn is_test(&self, line: u32) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// The excuse for `line`, if it has one.
    pub fn excuse(&self, line: u32) -> Option<&Exclusion> {
        self.exclusions.iter().find(|exclusion| exclusion.lines.contains(&line))
    }
}

/// The files of `members` that are compiled for tests only, from the top of the checkout at `root`.
pub(crate) fn test_files(root: &Path, members: &[Member]) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for member in members {
        for entry in walkdir::WalkDir::new(root.join(&member.folder).join("src")) {
            let entry = entry?;
            if entry.path().extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let stem = entry.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let folder = entry.path().parent().unwrap_or(root);
            let inner =
                if ["lib", "main", "mod"].contains(&&*stem) { folder.to_owned() } else { folder.join(stem) };
            for module in Sources::read(entry.path())?.test_modules {
                let path = inner.join(format!("{module}.rs"));
                found.insert(path.strip_prefix(root)?.to_string_lossy().into_owned());
            }
        }
    }
    Ok(found)
}

fn exclusion(line: u32, said: &str) -> Result<Exclusion, String> {
    let wrong = || {
        format!(
            "an excuse reads `{MARK} the next N lines, because REASON`, or `the next line`, or `{MARK} {FOR_PROCESSOR}FEATURE`; this says `{said}`"
        )
    };
    let rest = said.strip_prefix("the next ").ok_or_else(wrong)?;
    let (count, reason) = rest.split_once(", because ").ok_or_else(wrong)?;
    let n = match count {
        "line" => 1,
        many => many.strip_suffix(" lines").and_then(|n| n.parse().ok()).ok_or_else(wrong)?,
    };
    if !(1..=MOST_EXCUSED).contains(&n) {
        return Err(format!("{n} lines cannot be excused at once: at least 1, at most {MOST_EXCUSED}"));
    }
    if reason.split_whitespace().count() < 3 {
        return Err(format!("`{reason}` is no reason: say why no test can reach the line"));
    }
    Ok(Exclusion { line, lines: line + 1..=line + n, reason: reason.to_owned() })
}

struct Collector<'s> {
    sources: &'s mut Sources,
    /// The type or trait whose functions are being visited, with `::`.
    owner: String,
}

impl Collector<'_> {
    /// Notes `item` when only tests see it; its inside is then of no interest.
    fn is_test(&mut self, attributes: &[syn::Attribute], span: proc_macro2::Span) -> bool {
        let is_test = is_test_only(attributes);
        if is_test {
            self.sources.test_lines.push(span.start().line as u32..=span.end().line as u32);
        }
        is_test
    }

    /// Notes whether every processor can call a function with a body.
    fn note_safety(&mut self, signature: &syn::Signature) {
        if matches!(signature.safety, syn::Safety::Unsafe(_)) {
            self.sources.has_unsafe = true;
        } else {
            self.sources.safe.get_or_insert_with(|| format!("{}{}", self.owner, signature.ident));
        }
    }

    fn note(&mut self, from: proc_macro2::Span, ident: &syn::Ident) {
        let lines = from.start().line as u32..=ident.span().end().line as u32;
        self.sources.public.push(PublicFunction { name: format!("{}{ident}", self.owner), lines });
    }

    fn inside(&mut self, owner: String, visit: impl FnOnce(&mut Self)) {
        let outer = std::mem::replace(&mut self.owner, owner);
        visit(self);
        self.owner = outer;
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !self.is_test(&module.attrs, module.span()) {
            visit::visit_item_mod(self, module);
        } else if module.content.is_none() {
            self.sources.test_modules.push(module.ident.to_string());
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if self.is_test(&function.attrs, function.span()) {
            return;
        }
        self.note_safety(&function.sig);
        if matches!(function.vis, syn::Visibility::Public(_)) {
            self.note(function.vis.span(), &function.sig.ident);
        }
    }

    fn visit_item_impl(&mut self, block: &'ast syn::ItemImpl) {
        if self.is_test(&block.attrs, block.span()) {
            return;
        }
        let name = match &*block.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|last| format!("{}::", last.ident)),
            _ => None,
        };
        self.inside(name.unwrap_or_default(), |inside| visit::visit_item_impl(inside, block));
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if self.is_test(&function.attrs, function.span()) {
            return;
        }
        self.note_safety(&function.sig);
        if matches!(function.vis, syn::Visibility::Public(_)) {
            self.note(function.vis.span(), &function.sig.ident);
        }
    }

    fn visit_item_trait(&mut self, declared: &'ast syn::ItemTrait) {
        if self.is_test(&declared.attrs, declared.span()) {
            return;
        }
        let is_public = matches!(declared.vis, syn::Visibility::Public(_));
        self.inside(format!("{}::", declared.ident), |inside| {
            let provided = declared.items.iter().filter_map(|item| match item {
                syn::TraitItem::Fn(function) => function.default.as_ref().map(|_| &function.sig),
                _ => None,
            });
            for signature in provided {
                inside.note_safety(signature);
                if is_public {
                    inside.note(signature.span(), &signature.ident);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_and_public_functions_are_found() {
        let text = "pub fn a() {}\nfn b() {}\npub(crate) fn c() {}\nimpl T {\n    #[must_use]\n    pub const fn\n        d(self) {}\n}\n\
                    pub trait R {\n    fn e(&self);\n    fn f(&self) {}\n}\ntrait Q {\n    fn g() {}\n}\n\
                    #[cfg(test)]\nmod tests {\n    pub fn h() {}\n}\n#[cfg(test)]\nmod more;\nmod inner {\n    pub fn i() {}\n}\n";
        let sources = Sources::of(text).unwrap();
        let found: Vec<(&str, u32, u32)> = sources
            .public
            .iter()
            .map(|function| (function.name.as_str(), *function.lines.start(), *function.lines.end()))
            .collect();
        assert_eq!(found, [("a", 1, 1), ("T::d", 6, 7), ("R::f", 11, 11), ("i", 23, 23)]);
        assert_eq!(sources.test_lines, [16..=19, 20..=21]);
        assert_eq!(sources.test_modules, ["more"]);
        assert!(sources.is_test(18) && !sources.is_test(15));
    }

    #[test]
    fn what_only_tests_see_is_not_public_wherever_it_stands() {
        let text = "impl T {\n    #[cfg(test)]\n    pub fn a() {}\n    fn b() {}\n}\n#[cfg(test)]\nimpl T {\n    pub fn c() {}\n}\n\
                    #[cfg(test)]\npub trait R {\n    fn d() {}\n}\n#[cfg(test)]\npub fn e() {}\nimpl [u8] {\n    pub fn f() {}\n}\n";
        let sources = Sources::of(text).unwrap();
        assert_eq!(sources.test_lines, [2..=3, 6..=9, 10..=13, 14..=15]);
        let names: Vec<&str> = sources.public.iter().map(|function| function.name.as_str()).collect();
        assert_eq!(names, ["f"], "a type without a name lends none");
    }

    #[test]
    fn files_of_tests_lie_where_the_compiler_looks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let declares = |name: &str| format!("#[cfg(test)]\nmod {name};\n");
        write("top/src/lib.rs", &declares("of_lib"));
        write("top/src/notes.md", "#[cfg(test)] mod none;");
        write("top/src/inner/mod.rs", &declares("of_mod"));
        write("top/src/inner/leaf.rs", &declares("of_leaf"));
        write("ground/src/main.rs", "mod inner;\n");
        let member = |name: &str| Member {
            name: name.to_owned(),
            folder: name.to_owned(),
            below: [].into(),
            key: String::new(),
            code: String::new(),
        };
        let found = test_files(folder.path(), &[member("top"), member("ground")]).unwrap();
        let expected = ["top/src/inner/leaf/of_leaf.rs", "top/src/inner/of_mod.rs", "top/src/of_lib.rs"];
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        let error = test_files(folder.path(), &[member("nowhere")]).unwrap_err();
        assert!(format!("{error:#}").contains("nowhere/src"), "{error:#}");
    }

    #[test]
    fn an_excuse_says_how_many_lines_and_why() {
        let text =
            |said: &str| Sources::of(&format!("fn a() {{\n    // coverage: {said}\n    b();\n}}\n")).unwrap();
        let sources = text("the next line, because nobody calls it");
        let expected = Exclusion { line: 2, lines: 3..=3, reason: "nobody calls it".to_owned() };
        assert_eq!(sources.excuse(3), Some(&expected));
        assert_eq!(sources.excuse(4), None);
        assert_eq!(text("the next 2 lines, because nobody calls it").exclusions[0].lines, 3..=4);
        for said in [
            "off",
            "the next line",
            "the next lines, because nobody calls it",
            "the next 0 lines, because nobody calls it",
            "the next 13 lines, because nobody calls it",
            "the next line, because hard",
        ] {
            let sources = text(said);
            assert!(sources.exclusions.is_empty(), "{said}");
            assert_eq!(sources.problems.len(), 1, "{said}");
            assert_eq!(sources.problems[0].0, 2, "{said}");
        }
    }

    #[test]
    fn a_file_may_be_for_a_processor_that_is_known() {
        let text = |said: &str| {
            let text = format!(
                "// coverage: {said}\nunsafe fn a() {{}}\n#[cfg(test)]\nmod tests {{\n    fn b() {{}}\n}}\n"
            );
            Sources::of(&text).unwrap()
        };
        assert_eq!(text("this file, on a processor with avx512vnni").feature, Some(Feature::Avx512vnni));
        let sources = text("this file, on a processor with luck");
        assert_eq!(sources.feature, None);
        assert_eq!(sources.problems, [(1, "`luck` is none of avx512f, avx512vnni".to_owned())]);
        assert!(Feature::Avx512f.is_here() || !Feature::Avx512vnni.is_here(), "the one contains the other");
    }

    #[test]
    fn a_file_is_for_no_processor_that_others_can_call() {
        let safe = "not unsafe: a processor without avx512f can call it";
        for (code, why) in [
            ("unsafe fn a() {}\nfn b() {}", format!("`b` is {safe}")),
            ("impl T {\n    unsafe fn c() {}\n    fn d(&self) {}\n}", format!("`T::d` is {safe}")),
            ("trait R {\n    fn e(&self);\n    fn f(&self) {}\n}", format!("`R::f` is {safe}")),
            (
                "trait R {\n    unsafe fn e(&self);\n}",
                "no function here is for a processor with avx512f".to_owned(),
            ),
        ] {
            let sources =
                Sources::of(&format!("// coverage: this file, on a processor with avx512f\n{code}\n"))
                    .unwrap();
            assert_eq!(sources.feature, None, "{code}");
            assert_eq!(sources.problems, [(1, why)], "{code}");
        }
    }

    #[test]
    fn what_is_no_rust_is_an_error_with_its_place() {
        let error = Sources::of("fn a() {}\nfn {").unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 4:"), "{error}");
    }
}

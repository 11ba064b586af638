//! I5: code that nothing reaches says why it is there.
//!
//! The compiler finds what a crate itself does not use, and clippy's stored result (G3) holds its warnings. Two things
//! escape it. One is a warning that is silenced: every `allow` or `expect` of such a lint gives a `reason`. The other is
//! an item that is public, so that a user might exist: in a library of the subjects, which are not published, each is
//! named somewhere in the workspace outside of tests and imports, or excused (`suppressions.rs`). Names are compared without types, so an item that shares its name with a used one escapes.

use std::collections::BTreeMap;

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::attributes::is_test_only;
use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::suppressions::never_in_effect;
use super::tree::{LintError, Role, SourceFile, Tree};

/// The compiler's lints for what is not used or not reached.
const LINTS: [&str; 5] =
    ["dead_code", "unreachable_code", "unused", "unused_imports", "unreachable_patterns"];

pub(super) const RULE: Rule = Rule {
    id: "I5",
    also: &[],
    kind: Kind::Violation,
    name: "dead-code",
    what: "code that nothing reaches and that does not say why it is there",
    check,
    must_flag: &[
        Example {
            what: "warnings silenced without a reason",
            files: &[(
                "src/lib.rs",
                "#![allow(unused)]\n#[allow(dead_code)]\nfn a() {}\nstruct S {\n    #[expect(dead_code)]\n    b: u8,\n}\n\
                 #[allow(clippy::pedantic, unreachable_code, reason = \"\")]\nfn c() {}\n",
            )],
            at: &[("src/lib.rs", 1), ("src/lib.rs", 2), ("src/lib.rs", 5), ("src/lib.rs", 8)],
        },
        Example {
            what: "public items that nobody names but their tests and imports",
            files: &[
                (
                    "src/lib.rs",
                    "mod inner;\npub use inner::idle;\npub struct S;\nimpl S {\n    pub fn lonely(&self) {}\n}\n\
                     pub const N: u8 = 1;\n#[cfg(test)]\nmod tests {\n    fn a() {\n        super::idle();\n    }\n}\n",
                ),
                ("src/inner.rs", "/// Says nothing.\npub fn idle() {}\n"),
                ("tests/it.rs", "fn a() {\n    example::S.lonely();\n}\n"),
            ],
            at: &[("src/inner.rs", 2), ("src/lib.rs", 5), ("src/lib.rs", 7)],
        },
        Example {
            what: "a reason under another name",
            files: &[(
                "src/lib.rs",
                "#[allow(dead_code, because = \"it may be needed\")]\nfn a() {}\n#[expect = \"dead_code\"]\nfn b() {}\n",
            )],
            at: &[("src/lib.rs", 1)],
        },
    ],
    must_not_flag: &[
        Example {
            what: "reasons, other lints, and what another crate, a macro or an attribute names",
            files: &[
                ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
                (
                    "a/src/lib.rs",
                    "#[allow(dead_code, reason = \"read by a debugger\")]\nfn a() {}\n#[allow(clippy::pedantic)]\nfn b() {}\n\
                     pub fn called() {}\npub fn in_macro() {}\npub fn in_attribute() -> u8 {\n    1\n}\n\
                     pub(crate) fn d() {}\nfn e() {}\n",
                ),
                ("b/Cargo.toml", "[package]\nname = \"b\"\n[dependencies]\na = \"1\"\n"),
                (
                    "b/src/main.rs",
                    "struct S {\n    #[serde(default = \"a::in_attribute\")]\n    n: u8,\n}\nfn main() {\n    a::called();\n    \
                     assert!(a::in_macro() == ());\n}\n",
                ),
            ],
            at: &[],
        },
        Example {
            what: "what implements a trait, and what only tests see",
            files: &[(
                "src/lib.rs",
                "struct S;\nimpl std::fmt::Display for S {\n    fn fmt(&self) {}\n}\n#[cfg(test)]\npub fn helper() {}\n",
            )],
            at: &[],
        },
        Example {
            what: "a method that only tests see, and an attribute that silences nothing",
            files: &[(
                "src/lib.rs",
                "struct S;\nimpl S {\n    #[cfg(test)]\n    pub fn seen_by_tests() {}\n}\n#[allow]\nfn b() {}\n",
            )],
            at: &[],
        },
    ],
};

/// How often each name is written, and how often where something of that name is defined.
#[derive(Default)]
struct Names {
    written: BTreeMap<String, usize>,
    defined: BTreeMap<String, usize>,
}

impl Names {
    fn is_used(&self, name: &str) -> bool {
        self.written.get(name).copied().unwrap_or_default()
            > self.defined.get(name).copied().unwrap_or_default()
    }

    fn write_tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => self.write(&ident.to_string()),
                TokenTree::Group(group) => self.write_tokens(group.stream()),
                // A path in a literal, as attributes have them.
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    text.split(|c: char| !c.is_alphanumeric() && c != '_').for_each(|word| self.write(word));
                }
                TokenTree::Punct(_) => {}
            }
        }
    }

    fn write(&mut self, name: &str) {
        *self.written.entry(name.to_owned()).or_default() += 1;
    }
}

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let mut names = Names::default();
    for file in tree.crates().iter().flat_map(|krate| &krate.files) {
        Silenced { file: &file.path, findings }.visit_file(&file.syntax);
        if file.role != Role::Test {
            Reader { names: &mut names }.visit_file(&file.syntax);
        }
    }
    let libraries: Vec<&SourceFile> =
        tree.subjects().flat_map(|krate| &krate.files).filter(|file| file.role == Role::Library).collect();
    if libraries.is_empty() {
        return Err(LintError::NothingToJudge { rule: "I5", what: "no subject has a library".to_owned() });
    }
    for file in libraries {
        let mut public = Public::default();
        public.visit_file(&file.syntax);
        for item in public.items.iter().filter(|item| !names.is_used(&item.name)) {
            let what = format!("nothing but tests and imports names `{}`", item.name);
            findings.at(&file.path, item.span, what);
        }
    }
    Ok(())
}

/// Finds lints that are silenced without a reason.
struct Silenced<'f> {
    file: &'f str,
    findings: &'f mut Findings,
}

impl<'ast> Visit<'ast> for Silenced<'_> {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if !(attribute.path().is_ident("allow") || attribute.path().is_ident("expect")) {
            return;
        }
        let Ok(list) = attribute.meta.require_list() else { return };
        let tokens: Vec<TokenTree> = list.tokens.clone().into_iter().collect();
        let silenced = tokens.iter().find_map(|token| match token {
            TokenTree::Ident(ident) => LINTS.into_iter().find(|lint| ident == lint),
            _ => None,
        });
        let has_reason = tokens.windows(3).any(|three| match three {
            [TokenTree::Ident(key), TokenTree::Punct(_), TokenTree::Literal(text)] => {
                key == "reason" && text.to_string().len() > "\"\"".len()
            }
            _ => false,
        });
        if let Some(lint) = silenced.filter(|_| !has_reason) {
            let what = format!("`{lint}` is silenced without a `reason`");
            self.findings.at(self.file, attribute.pound_token.span, what);
        }
    }
}

/// Counts names, but for those in imports and in what only tests see.
struct Reader<'n> {
    names: &'n mut Names,
}

impl Reader<'_> {
    fn define(&mut self, name: &syn::Ident) {
        *self.names.defined.entry(name.to_string()).or_default() += 1;
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_ident(&mut self, ident: &'ast syn::Ident) {
        self.names.write(&ident.to_string());
    }

    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.visit_path(&called.path);
        self.names.write_tokens(called.tokens.clone());
    }

    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        match &attribute.meta {
            // An exception's reason may well name what it excuses.
            _ if never_in_effect(attribute).is_some() => {}
            syn::Meta::List(list) => self.names.write_tokens(list.tokens.clone()),
            // Documentation names without using.
            syn::Meta::NameValue(_) | syn::Meta::Path(_) => {}
        }
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = described(item);
        if is_test_only(attributes) {
            return;
        }
        if let Some(name) = name {
            self.define(name);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test_only(&function.attrs) {
            self.define(&function.sig.ident);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.define(&function.sig.ident);
        visit::visit_trait_item_fn(self, function);
    }
}

/// Collects what is public.
#[derive(Default)]
struct Public {
    items: Vec<PublicItem>,
}

struct PublicItem {
    name: String,
    span: Span,
}

impl Public {
    fn note(&mut self, visibility: &syn::Visibility, name: &syn::Ident) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.items.push(PublicItem { name: name.to_string(), span: name.span() });
        }
    }
}

impl<'ast> Visit<'ast> for Public {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = described(item);
        if is_test_only(attributes) {
            return;
        }
        if let (Some(name), Some(visibility)) = (name, visibility(item)) {
            self.note(visibility, name);
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test_only(&function.attrs) {
            self.note(&function.vis, &function.sig.ident);
        }
    }
}

/// The attributes of an item, and its name where it defines one that can be used.
fn described(item: &syn::Item) -> (&[syn::Attribute], Option<&syn::Ident>) {
    match item {
        syn::Item::Const(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Enum(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Fn(item) => (&item.attrs, Some(&item.sig.ident)),
        syn::Item::Static(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Struct(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Trait(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Type(item) => (&item.attrs, Some(&item.ident)),
        syn::Item::Impl(item) => (&item.attrs, None),
        syn::Item::Mod(item) => (&item.attrs, None),
        syn::Item::Macro(item) => (&item.attrs, None),
        _ => (&[], None),
    }
}

fn visibility(item: &syn::Item) -> Option<&syn::Visibility> {
    match item {
        syn::Item::Const(item) => Some(&item.vis),
        syn::Item::Enum(item) => Some(&item.vis),
        syn::Item::Fn(item) => Some(&item.vis),
        syn::Item::Static(item) => Some(&item.vis),
        syn::Item::Struct(item) => Some(&item.vis),
        syn::Item::Trait(item) => Some(&item.vis),
        syn::Item::Type(item) => Some(&item.vis),
        _ => None,
    }
}

//! G6: an error that leaves its crate is a type.
//!
//! Flags, in the libraries of the subjects and outside their tests: public functions, methods of traits, associated
//! types and public aliases whose error is a string; a boxed `dyn Error` or an `anyhow::Error` in any function; and a
//! library's dependency on `anyhow`. Inside its crate a function may hand its caller a text that becomes part of a
//! typed error.

use std::collections::BTreeMap;

use proc_macro2::Span;
use syn::visit::{self, Visit};

use super::attributes::is_test_only;
use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, Role, Tree};

pub(super) const RULE: Rule = Rule {
    id: "G6",
    also: &[],
    name: "string-as-error",
    what: "a library function that returns a `String`, a boxed `dyn Error` or an `anyhow::Error` as its error",
    kind: Kind::Violation,
    check,
    must_flag: &[
        Example {
            what: "strings of every kind",
            files: &[(
                "src/lib.rs",
                "pub fn a() -> Result<u8, String> {\n    Ok(1)\n}\npub fn b() -> std::result::Result<(), &'static str> {\n    Ok(())\n}\n\
                 pub fn c() -> Result<(), std::borrow::Cow<'static, str>> {\n    Ok(())\n}\n",
            )],
            at: &[("src/lib.rs", 1), ("src/lib.rs", 4), ("src/lib.rs", 7)],
        },
        Example {
            what: "boxed errors, nested in what is returned",
            files: &[(
                "src/lib.rs",
                "use std::error::Error;\npub async fn a() -> Option<Result<u8, Box<dyn Error + Send>>> {\n    None\n}\n\
                 pub struct S;\nimpl S {\n    fn b(&self) -> Result<u8, Box<dyn Error>> {\n        Ok(1)\n    }\n}\n",
            )],
            at: &[("src/lib.rs", 2), ("src/lib.rs", 7)],
        },
        Example {
            what: "a public alias, a private one in a public signature, an associated type and a trait's method",
            files: &[(
                "src/lib.rs",
                "pub type Result<T> = std::result::Result<T, String>;\ntype Hidden<T> = std::result::Result<T, String>;\n\
                 pub fn a() -> Hidden<u8> {\n    Ok(1)\n}\nstruct S;\nimpl std::str::FromStr for S {\n    type Err = String;\n    \
                 fn from_str(_: &str) -> std::result::Result<Self, String> {\n        Ok(S)\n    }\n}\n\
                 pub trait T {\n    fn a() -> std::result::Result<u8, String>;\n}\n",
            )],
            at: &[
                ("src/lib.rs", 1),
                ("src/lib.rs", 3),
                ("src/lib.rs", 8),
                ("src/lib.rs", 9),
                ("src/lib.rs", 14),
            ],
        },
        Example {
            what: "anyhow in a library",
            files: &[
                ("Cargo.toml", "[package]\nname = \"example\"\n[dependencies]\nanyhow = \"1\"\n"),
                (
                    "src/lib.rs",
                    "pub fn a() -> anyhow::Result<u8> {\n    Ok(1)\n}\npub fn b() -> Result<u8, anyhow::Error> {\n    Ok(1)\n}\n",
                ),
            ],
            at: &[("Cargo.toml", 4), ("src/lib.rs", 1), ("src/lib.rs", 4)],
        },
        Example {
            what: "strings and errors behind references, parentheses and boxes",
            files: &[(
                "src/lib.rs",
                "pub fn a() -> Result<u8, &'static &'static str> {\n    Ok(1)\n}\npub fn b() -> Result<u8, (String)> {\n    Ok(1)\n}\n\
                     pub fn c() -> Result<u8, &dyn std::error::Error> {\n    Err(&E)\n}\npub fn d() -> Result<u8, Box<str>> {\n    Ok(1)\n}\n\
                     pub fn e() -> Result<u8, Box<String>> {\n    Ok(1)\n}\npub fn f() -> anyhow::Result<u8, String> {\n    Ok(1)\n}\nimpl TryFrom<u8> for S {\n    \
                     type Error = String;\n}\n",
            )],
            at: &[
                ("src/lib.rs", 1),
                ("src/lib.rs", 4),
                ("src/lib.rs", 7),
                ("src/lib.rs", 10),
                ("src/lib.rs", 13),
                ("src/lib.rs", 16),
                ("src/lib.rs", 20),
            ],
        },
    ],
    must_not_flag: &[
        Example {
            what: "typed errors, and strings that are the success",
            files: &[(
                "src/lib.rs",
                "pub enum E {}\npub fn a() -> Result<String, E> {\n    Ok(String::new())\n}\n\
                 pub fn b() -> Result<Vec<String>, std::io::Error> {\n    Ok(vec![])\n}\npub fn c() -> std::io::Result<String> {\n    Ok(String::new())\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "helpers inside the crate, and tests",
            files: &[(
                "src/lib.rs",
                "type Seen = Result<String, String>;\nfn a() -> Result<u8, String> {\n    Ok(1)\n}\n\
                 pub(crate) fn c() -> Seen {\n    Err(String::new())\n}\n#[cfg(test)]\nmod tests {\n    pub fn b() -> Result<u8, String> {\n        Ok(1)\n    }\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "an executable",
            files: &[
                ("Cargo.toml", "[package]\nname = \"example\"\n[dependencies]\nanyhow = \"1\"\n"),
                ("src/main.rs", "mod part;\nfn main() -> anyhow::Result<()> {\n    Ok(())\n}\n"),
                ("src/part.rs", "pub fn a() -> Result<u8, String> {\n    Ok(1)\n}\n"),
            ],
            at: &[],
        },
        Example {
            what: "errors that are pairs and lists, associated types that are no errors, and what only tests see",
            files: &[(
                "src/lib.rs",
                "pub fn a() -> Result<u8, (u8, u8)> {\n    Ok(1)\n}\npub fn b() -> Result<u8, [u8; 2]> {\n    Ok(1)\n}\npub fn c<'a>() -> Cursor<'a, 3> {\n    \
                     Ok(1)\n}\nimpl Iterator for S {\n    type Item = String;\n}\nimpl FromStr for S {\n    type Err = E;\n}\n#[cfg(test)]\n\
                     pub fn d() -> Result<u8, String> {\n    Ok(1)\n}\n#[cfg(test)]\nimpl S {\n    pub fn e() -> Result<u8, String> {\n        Ok(1)\n    }\n}\n\
                     impl S {\n    #[cfg(test)]\n    pub fn f() -> Result<u8, String> {\n        Ok(1)\n    }\n}\n",
            )],
            at: &[],
        },
    ],
};

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let mut n_libraries = 0;
    for krate in tree.subjects().filter(|krate| krate.is_library()) {
        n_libraries += 1;
        for dependency in krate.dependencies.iter().filter(|d| !d.is_dev && d.package == "anyhow") {
            let reason =
                "a library depends on anyhow, whose error is no type\nhint: define one with thiserror";
            findings.at_line(&krate.manifest, dependency.line, 1, reason);
        }
        for file in krate.files.iter().filter(|file| file.role == Role::Library) {
            let mut aliases = Aliases::default();
            aliases.visit_file(&file.syntax);
            let aliases = aliases.0;
            Visitor { file: &file.path, findings, in_trait: false, aliases: &aliases }
                .visit_file(&file.syntax);
        }
    }
    // A tree of executables only has no library to judge, which is no fault of theirs.
    if n_libraries == 0 && tree.subjects().next().is_none() {
        return Err(LintError::NothingToJudge { rule: RULE.id, what: "there is no crate".to_owned() });
    }
    Ok(())
}

/// Aliases of a file whose error is untyped, by name.
#[derive(Default)]
struct Aliases(BTreeMap<String, Untyped>);

impl<'ast> Visit<'ast> for Aliases {
    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if let Some(error) = untyped_result(&item.ty, &BTreeMap::new()) {
            self.0.insert(item.ident.to_string(), error);
        }
    }
}

struct Visitor<'v> {
    file: &'v str,
    findings: &'v mut Findings,
    /// Whether what is visited belongs to a trait, and is as visible as it.
    in_trait: bool,
    aliases: &'v BTreeMap<String, Untyped>,
}

/// An error that is no type of its own.
#[derive(Clone, Copy)]
enum Untyped {
    /// Text, by how it is spelled.
    Text(&'static str),
    /// Any error at all, by how it is spelled.
    Any(&'static str),
}

impl Visitor<'_> {
    fn judge(&mut self, visibility: &syn::Visibility, signature: &syn::Signature) {
        if let syn::ReturnType::Type(_, returned) = &signature.output {
            let is_public = self.in_trait || matches!(visibility, syn::Visibility::Public(_));
            let who = format!("`{}` returns", signature.ident);
            self.judge_type(returned, is_public, &who, signature.ident.span());
        }
    }

    /// Flags a `Result` anywhere in `ty` whose error is no type of its own.
    fn judge_type(&mut self, ty: &syn::Type, is_public: bool, who: &str, at: Span) {
        let error = match untyped_result(ty, self.aliases) {
            Some(Untyped::Text(error)) if is_public => error,
            Some(Untyped::Any(error)) => error,
            _ => return,
        };
        let reason = format!("{who} {error} as its error\nhint: define an error enum with thiserror");
        self.findings.at(self.file, at, reason);
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test_only(&function.attrs) {
            self.judge(&function.vis, &function.sig);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test_only(&function.attrs) {
            self.judge(&function.vis, &function.sig);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.judge(&syn::Visibility::Inherited, &function.sig);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_test_only(&item.attrs) {
            let outer = std::mem::replace(&mut self.in_trait, item.trait_.is_some());
            visit::visit_item_impl(self, item);
            self.in_trait = outer;
        }
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let outer = std::mem::replace(&mut self.in_trait, true);
        visit::visit_item_trait(self, item);
        self.in_trait = outer;
    }

    fn visit_impl_item_type(&mut self, item: &'ast syn::ImplItemType) {
        if (item.ident == "Err" || item.ident == "Error")
            && let Some(Untyped::Text(error) | Untyped::Any(error)) = untyped(&item.ty)
        {
            self.findings.at(
                self.file,
                item.ident.span(),
                format!(
                    "the error of this implementation is {error}\nhint: define an error enum with thiserror"
                ),
            );
        }
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        let is_public = matches!(item.vis, syn::Visibility::Public(_));
        self.judge_type(&item.ty, is_public, &format!("the alias `{}` has", item.ident), item.ident.span());
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

/// The first untyped error of a `Result`, or of an alias of one, anywhere in `ty`.
fn untyped_result(ty: &syn::Type, aliases: &BTreeMap<String, Untyped>) -> Option<Untyped> {
    struct Results<'r> {
        aliases: &'r BTreeMap<String, Untyped>,
        found: Option<Untyped>,
    }
    impl<'ast> Visit<'ast> for Results<'_> {
        fn visit_type_path(&mut self, path: &'ast syn::TypePath) {
            let segments: Vec<_> = path.path.segments.iter().collect();
            let found = match segments.as_slice() {
                [alias] if self.aliases.contains_key(&alias.ident.to_string()) => {
                    self.aliases.get(&alias.ident.to_string()).copied()
                }
                [.., owner, last] if last.ident == "Result" && owner.ident == "anyhow" => {
                    Some(generic_types(last).nth(1).map_or(Untyped::Any("an `anyhow::Error`"), |error| {
                        untyped(error).unwrap_or(Untyped::Any("an `anyhow::Error`"))
                    }))
                }
                [.., last] if last.ident == "Result" => generic_types(last).nth(1).and_then(untyped),
                _ => None,
            };
            self.found = self.found.or(found);
            visit::visit_type_path(self, path);
        }
    }
    let mut results = Results { aliases, found: None };
    results.visit_type(ty);
    results.found
}

fn generic_types(segment: &syn::PathSegment) -> impl Iterator<Item = &syn::Type> {
    let arguments = match &segment.arguments {
        syn::PathArguments::AngleBracketed(arguments) => Some(&arguments.args),
        _ => None,
    };
    arguments.into_iter().flatten().filter_map(|argument| match argument {
        syn::GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

/// What kind of untyped error `error` is, if it is one.
fn untyped(error: &syn::Type) -> Option<Untyped> {
    match error {
        syn::Type::Reference(reference) if is_str(&reference.elem) => {
            Some(Untyped::Text("a string (`&str`)"))
        }
        syn::Type::Reference(reference) => untyped(&reference.elem),
        syn::Type::Paren(inner) => untyped(&inner.elem),
        syn::Type::TraitObject(_) => Some(Untyped::Any("a `dyn Error`")),
        syn::Type::Path(path) => {
            let segments: Vec<_> = path.path.segments.iter().collect();
            let last = segments.last()?;
            match last.ident.to_string().as_str() {
                "String" => Some(Untyped::Text("a `String`")),
                "Box" | "Arc" | "Rc" => match generic_types(last).next() {
                    Some(syn::Type::TraitObject(_)) => Some(Untyped::Any("a boxed `dyn Error`")),
                    Some(inner) if is_str(inner) => Some(Untyped::Text("a string")),
                    inner => inner.and_then(untyped),
                },
                "Cow" => generic_types(last).any(is_str).then_some(Untyped::Text("a string (`Cow<str>`)")),
                "Error" if segments.len() >= 2 && segments[segments.len() - 2].ident == "anyhow" => {
                    Some(Untyped::Any("an `anyhow::Error`"))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn is_str(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(path) if path.path.is_ident("str"))
}

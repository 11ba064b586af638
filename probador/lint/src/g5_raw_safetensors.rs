//! G5: inference reads `.apr` and nothing else.
//!
//! An inference crate is one that implements `CausalLm`, and every subject that such a crate depends on. It must not
//! reach the safetensors package, directly or through others; must not name it; and must not open files by that
//! ending. Which crates those are follows from what they implement and depend on, not from what they are called.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::visit::{self, Visit};

use super::attributes::is_test_only;
use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::tree::{Crate, LintError, Role, Tree};

/// The trait whose implementation makes a crate an inference crate.
const INFERENCE_TRAIT: &str = "CausalLm";
/// The package that reads the foreign format.
const FOREIGN: &str = "safetensors";

const MODEL: &str = "use safetensors::SafeTensors;\npub struct M;\nimpl apr_generation::CausalLm for M {}\n\
                     pub fn load(bytes: &[u8]) {\n    let _ = SafeTensors::deserialize(bytes);\n}\n";

pub(super) const RULE: Rule = Rule {
    id: "G5",
    also: &[],
    name: "raw-safetensors-in-inference",
    what: "safetensors in a crate that runs models, or in one it depends on",
    kind: Kind::Violation,
    check,
    must_flag: &[
        Example {
            what: "a model that reads safetensors itself, under another name of the package too",
            files: &[
                (
                    "Cargo.toml",
                    "[package]\nname = \"example\"\n[dependencies]\nsafetensors = \"1\"\nst = { package = \"safetensors\", version = \"0.8\" }\n",
                ),
                ("src/lib.rs", MODEL),
            ],
            at: &[("Cargo.toml", 4), ("Cargo.toml", 5), ("src/lib.rs", 1)],
        },
        Example {
            what: "a model whose dependency's dependency reads safetensors",
            files: &[
                ("a/Cargo.toml", "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n"),
                ("a/src/lib.rs", "pub struct M;\nimpl CausalLm for M {}\n"),
                ("b/Cargo.toml", "[package]\nname = \"b\"\n\n[dependencies]\nsafetensors.workspace = true\n"),
                (
                    "b/src/lib.rs",
                    "pub fn read(bytes: &[u8]) {\n    let _ = safetensors::SafeTensors::deserialize(bytes);\n}\n",
                ),
            ],
            at: &[("b/Cargo.toml", 5), ("b/src/lib.rs", 2)],
        },
        Example {
            what: "a model that opens such a file and reads it by hand",
            files: &[(
                "src/lib.rs",
                "struct M;\nimpl CausalLm for M {}\nfn load() {\n    open(\"model.safetensors\");\n    open(&format!(\"{x}/a.safetensors\"));\n}\n",
            )],
            at: &[("src/lib.rs", 4), ("src/lib.rs", 5)],
        },
        Example {
            what: "the package imported whole, renamed and in a group, and named in a macro",
            files: &[(
                "src/lib.rs",
                "use safetensors;\nuse safetensors as st;\nuse {safetensors::SafeTensors, std::fs, std::io::*};\npub struct M;\nimpl CausalLm for M {}\n\
                     pub fn a() {\n    assert!(safetensors::is_valid(fs::read(\"x\")), \"{}\", other(1));\n}\n",
            )],
            at: &[("src/lib.rs", 1), ("src/lib.rs", 2), ("src/lib.rs", 3), ("src/lib.rs", 7)],
        },
    ],
    must_not_flag: &[
        Example {
            what: "an importer that no model depends on, and a command that uses both",
            files: &[
                (
                    "model/Cargo.toml",
                    "[package]\nname = \"model\"\n[dev-dependencies]\nimporter.workspace = true\n",
                ),
                (
                    "model/src/lib.rs",
                    "pub struct M;\nimpl CausalLm for M {}\n#[cfg(test)]\nmod tests {\n    fn a() {\n        import(\"model.safetensors\");\n    }\n}\n",
                ),
                (
                    "importer/Cargo.toml",
                    "[package]\nname = \"importer\"\n[dependencies]\nsafetensors = \"1\"\n",
                ),
                ("importer/src/lib.rs", "use safetensors::SafeTensors;\n"),
                (
                    "cli/Cargo.toml",
                    "[package]\nname = \"cli\"\n[dependencies]\nmodel.workspace = true\nimporter.workspace = true\n",
                ),
                ("cli/src/main.rs", "fn main() {}\n"),
            ],
            at: &[],
        },
        Example {
            what: "documentation that speaks of such files",
            files: &[
                ("model/Cargo.toml", "[package]\nname = \"model\"\n"),
                (
                    "model/src/lib.rs",
                    "pub struct M;\nimpl CausalLm for M {}\n/// Never reads .safetensors.\npub fn a() {}\n",
                ),
            ],
            at: &[],
        },
        Example {
            what: "a reference that only tests see",
            files: &[(
                "src/lib.rs",
                "pub struct M;\nimpl CausalLm for M {}\n#[cfg(test)]\nfn reference() -> SafeTensors {\n    \
                     safetensors::SafeTensors::deserialize(read(\"model.safetensors\"))\n}\n",
            )],
            at: &[],
        },
    ],
};

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let mut inference = BTreeSet::new();
    for krate in tree.subjects().filter(|krate| implements_inference(krate)) {
        inference.extend(tree.closure(krate));
    }
    if inference.is_empty() {
        let what = format!("no crate implements `{INFERENCE_TRAIT}`");
        return Err(LintError::NothingToJudge { rule: RULE.id, what });
    }
    for krate in tree.subjects().filter(|krate| inference.contains(krate.name.as_str())) {
        let direct: Vec<_> =
            krate.dependencies.iter().filter(|d| !d.is_dev && d.package == FOREIGN).collect();
        for dependency in &direct {
            let reason = format!(
                "`{}` runs models or serves one that does, and depends on safetensors\nhint: import to .apr in a crate that no model depends on",
                krate.name
            );
            findings.at_line(&krate.manifest, dependency.line, 1, reason);
        }
        let mut names: BTreeSet<String> = direct.iter().map(|d| d.name.replace('-', "_")).collect();
        names.insert(FOREIGN.to_owned());
        for file in krate.files.iter().filter(|file| file.role != Role::Test) {
            let mut visitor = Visitor { names: &names, found: Vec::new() };
            visitor.visit_file(&file.syntax);
            for (span, what) in visitor.found {
                findings.at(
                    &file.path,
                    span,
                    format!("`{}` runs models or serves one that does, and {what}", krate.name),
                );
            }
        }
    }
    Ok(())
}

/// Whether a library of the crate implements the inference trait; an executable may decorate somebody else's model.
fn implements_inference(krate: &Crate) -> bool {
    let mut visitor = Implements(false);
    for file in krate.files.iter().filter(|file| file.role == Role::Library) {
        visitor.visit_file(&file.syntax);
    }
    visitor.0
}

struct Implements(bool);

impl<'ast> Visit<'ast> for Implements {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let names_it =
            |path: &syn::Path| path.segments.last().is_some_and(|last| last.ident == INFERENCE_TRAIT);
        self.0 |= !is_test_only(&item.attrs) && item.trait_.as_ref().is_some_and(|(path, _)| names_it(path));
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

struct Visitor<'v> {
    /// What the code may call the package.
    names: &'v BTreeSet<String>,
    found: Vec<(Span, &'static str)>,
}

impl Visitor<'_> {
    fn judge_literal(&mut self, literal: &proc_macro2::Literal) {
        if literal.to_string().contains(".safetensors") {
            self.found.push((literal.span(), "opens safetensors files"));
        }
    }

    fn judge_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.judge_tokens(group.stream()),
                proc_macro2::TokenTree::Literal(literal) => self.judge_literal(&literal),
                proc_macro2::TokenTree::Ident(word) if self.names.contains(&word.to_string()) => {
                    self.found.push((word.span(), "uses safetensors"));
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first()
            && path.segments.len() > 1
            && self.names.contains(&first.ident.to_string())
        {
            self.found.push((first.ident.span(), "uses safetensors"));
        }
        visit::visit_path(self, path);
    }

    fn visit_use_tree(&mut self, tree: &'ast syn::UseTree) {
        let first = match tree {
            syn::UseTree::Path(path) => Some(&path.ident),
            syn::UseTree::Name(name) => Some(&name.ident),
            syn::UseTree::Rename(rename) => Some(&rename.ident),
            syn::UseTree::Glob(_) | syn::UseTree::Group(_) => None,
        };
        match (first, tree) {
            (Some(word), _) if self.names.contains(&word.to_string()) => {
                self.found.push((word.span(), "uses safetensors"));
            }
            // Only the first part of a path names a package.
            (None, syn::UseTree::Group(_)) => visit::visit_use_tree(self, tree),
            _ => {}
        }
    }

    fn visit_lit(&mut self, literal: &'ast syn::Lit) {
        if let syn::Lit::Str(text) = literal {
            self.judge_literal(&text.token());
        }
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.judge_tokens(mac.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_test_only(&function.attrs) {
            visit::visit_item_fn(self, function);
        }
    }
}

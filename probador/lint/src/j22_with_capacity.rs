//! J22: where memory is asked for in advance, as an inventory.
//!
//! Lists every use of `with_capacity` and of its relatives (`try_with_capacity`, `with_capacity_and_hasher`, ..) in
//! any crate, called or handed on, in macros too. Nothing about them is wrong.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, Tree};

pub(super) const RULE: Rule = Rule {
    id: "J22",
    also: &[],
    name: "preallocation",
    what: "a use of `with_capacity`",
    kind: Kind::Inventory,
    check,
    must_flag: &[
        Example {
            what: "called on any type, handed on as a function, and in a macro",
            files: &[(
                "src/lib.rs",
                "fn a() {\n    let x: Vec<u8> = Vec::with_capacity(3);\n    let y = String::with_capacity(x.len());\n    let z = Some(3).map(Vec::<u8>::with_capacity);\n    \
                 assert_eq!(std::collections::HashMap::<u8, u8>::with_capacity(4).len(), 0);\n    let w = SmallVec::<[u8; 4]>::try_with_capacity(9);\n}\n",
            )],
            at: &[
                ("src/lib.rs", 2),
                ("src/lib.rs", 3),
                ("src/lib.rs", 4),
                ("src/lib.rs", 5),
                ("src/lib.rs", 6),
            ],
        },
        Example {
            what: "in a test and in a macro's definition",
            files: &[
                (
                    "src/lib.rs",
                    "macro_rules! room {\n    ($n:expr) => {\n        Vec::with_capacity($n)\n    };\n}\n",
                ),
                ("tests/it.rs", "#[test]\nfn a() {\n    Vec::<u8>::with_capacity(1);\n}\n"),
            ],
            at: &[("src/lib.rs", 3), ("tests/it.rs", 3)],
        },
    ],
    must_not_flag: &[Example {
        what: "memory that grows as it must, the word in text, and a function that is declared",
        files: &[(
            "src/lib.rs",
            "/// Like `Vec::with_capacity`.\nfn with_capacity_of_none() -> &'static str {\n    let x: Vec<u8> = Vec::new();\n    \"with_capacity\"\n}\n",
        )],
        at: &[],
    }],
};

#[expect(clippy::unnecessary_wraps, reason = "other rules can find nothing to judge")]
fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    for file in tree.crates().iter().flat_map(|krate| &krate.files) {
        Uses { file: &file.path, findings }.visit_file(&file.syntax);
    }
    Ok(())
}

/// Whether a name asks for memory in advance.
pub(super) fn asks_in_advance(name: &str) -> bool {
    ["with_capacity", "try_with_capacity", "with_capacity_in", "with_capacity_and_hasher"].contains(&name)
}

struct Uses<'u> {
    file: &'u str,
    findings: &'u mut Findings,
}

impl Uses<'_> {
    fn add(&mut self, name: &syn::Ident) {
        if asks_in_advance(&name.to_string()) {
            self.findings.at(self.file, name.span(), "asks for memory in advance");
        }
    }

    fn add_tokens(&mut self, tokens: TokenStream) {
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.add_tokens(group.stream()),
                TokenTree::Ident(word) => self.add(&word),
                TokenTree::Literal(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        if let Some(last) = path.path.segments.last() {
            self.add(&last.ident);
        }
        visit::visit_expr_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.add(&call.method);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.add_tokens(mac.tokens.clone());
    }
}

//! G2: every `unsafe` says why it is sound.
//!
//! A block or implementation needs a comment with `SAFETY:` directly above it, on its line, or above the statement it
//! is part of. A function or trait needs that or a `# Safety` section, which tells callers what they must uphold; a
//! trait's section covers its functions, and a function that implements a trait's has its trait's. Macros are read token
//! by token, so that an `unsafe` inside one is seen too.

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::attributes::documents_safety;
use super::finding::Findings;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, SourceFile, Tree};

pub(super) const RULE: Rule = Rule {
    id: "G2",
    also: &[],
    name: "unsafe-without-reason",
    what: "an `unsafe` block, function, trait or implementation without a `SAFETY:` comment or `# Safety` section",
    kind: Kind::Violation,
    check,
    must_flag: &[
        Example {
            what: "a block without a comment",
            files: &[("src/lib.rs", "fn a(p: *const u8) -> u8 {\n    unsafe { *p }\n}\n")],
            at: &[("src/lib.rs", 2)],
        },
        Example {
            what: "a comment that gives no reason, and one that belongs to another statement",
            files: &[(
                "src/lib.rs",
                "fn a(p: *const u8) -> u8 {\n    // reads a byte\n    unsafe { *p };\n    \
                 // SAFETY: fine\n    let q = p;\n    unsafe { *q }\n}\n",
            )],
            at: &[("src/lib.rs", 3), ("src/lib.rs", 6)],
        },
        Example {
            what: "a function, an implementation, a trait and a foreign block",
            files: &[(
                "src/lib.rs",
                "/// Reads.\npub unsafe fn a() {}\nstruct S;\nunsafe impl Send for S {}\nunsafe trait T {}\n\
                 unsafe extern \"C\" {\n    fn abs(x: i32) -> i32;\n}\n",
            )],
            at: &[("src/lib.rs", 2), ("src/lib.rs", 4), ("src/lib.rs", 5), ("src/lib.rs", 6)],
        },
        Example {
            what: "a block inside a macro's definition and inside its arguments",
            files: &[(
                "src/lib.rs",
                "macro_rules! read {\n    ($p:expr) => {\n        unsafe { *$p }\n    };\n}\n\
                 fn a(p: *const u8) {\n    assert_eq!(unsafe { *p }, 0);\n}\n",
            )],
            at: &[("src/lib.rs", 3), ("src/lib.rs", 7)],
        },
        Example {
            what: "a test",
            files: &[("src/lib.rs", ""), ("tests/it.rs", "#[test]\nfn a() {\n    unsafe { f() }\n}\n")],
            at: &[("tests/it.rs", 3)],
        },
        Example {
            what: "items in a macro, the words in a text, an empty reason, and a method",
            files: &[(
                "src/lib.rs",
                "macro_rules! send {\n    ($t:ty) => {\n        unsafe impl Send for $t {}\n        unsafe trait Odd {}\n        unsafe fn odd() {}\n    };\n\
                     }\nfn a(p: *const u8) -> u8 {\n    unsafe { read(p, \"SAFETY: only words\") }\n}\n/* SAFETY: */\nunsafe fn b() {}\nstruct S;\nimpl S {\n    \
                     const N: u8 = 1;\n    unsafe fn c() {}\n}\n",
            )],
            at: &[
                ("src/lib.rs", 3),
                ("src/lib.rs", 4),
                ("src/lib.rs", 5),
                ("src/lib.rs", 9),
                ("src/lib.rs", 12),
                ("src/lib.rs", 16),
            ],
        },
    ],
    must_not_flag: &[
        Example {
            what: "a reason above the block, on its line, above its statement, and above its match arm",
            files: &[(
                "src/lib.rs",
                "fn a(p: *const u8, n: u8) -> u8 {\n    // SAFETY: p points to a byte, see `new`.\n    unsafe { *p };\n    \
                 let x = unsafe { *p }; // SAFETY: as above\n    // SAFETY: as above,\n    // in two lines\n    \
                 let y = x\n        + unsafe { *p };\n    match n {\n        // SAFETY: as above\n        \
                 0 => unsafe { *p },\n        _ => y,\n    }\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "a function that tells callers what to uphold, and one that implements a trait's",
            files: &[(
                "src/lib.rs",
                "/// Reads.\n///\n/// # Safety\n/// `p` points to a byte.\n#[inline]\npub unsafe fn a(p: *const u8) {}\n\
                 trait T {\n    /// # Safety\n    /// Call it once.\n    unsafe fn b();\n}\n\
                 impl T for u8 {\n    unsafe fn b() {}\n}\n/// # Safety\n/// Only on Mondays.\ntrait U {\n    unsafe fn c();\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "types and attributes that spell the word",
            files: &[(
                "src/lib.rs",
                "struct S {\n    f: unsafe fn(u8),\n    g: unsafe extern \"C\" fn(u8),\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "a reason above an implementation with attributes, and inside a macro",
            files: &[(
                "src/lib.rs",
                "struct S;\n// SAFETY: S holds nothing.\n#[cfg(unix)]\nunsafe impl Send for S {}\n\
                 macro_rules! read {\n    ($p:expr) => {\n        // SAFETY: the caller's\n        unsafe { *$p }\n        // SAFETY: the caller's\n        \
                 $(#[$attribute])*\n        unsafe fn a() {}\n    };\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "types in a macro, a foreign block that is not unsafe, and reasons in block comments",
            files: &[(
                "src/lib.rs",
                "macro_rules! types {\n    () => {\n        type A = unsafe fn(u8);\n        type B = unsafe extern \"C\" fn(u8);\n        check!(unsafe);\n        \
                     check!(unsafe (x));\n    };\n}\nextern \"C\" {\n    fn abs(x: i32) -> i32;\n}\nfn a(p: *const u8) -> u8 {\n    \
                     /* SAFETY: p points to a byte. */\n    unsafe { *p };\n    /*\n     * SAFETY: as above.\n     */\n    unsafe { *p }\n}\n",
            )],
            at: &[],
        },
    ],
};

#[expect(clippy::unnecessary_wraps, reason = "other rules can find nothing to judge")]
fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    for file in tree.crates().iter().flat_map(|krate| &krate.files) {
        let mut visitor = Visitor { file, lines: file.text.lines().collect(), starts: Vec::new(), findings };
        visitor.visit_file(&file.syntax);
    }
    Ok(())
}

struct Visitor<'v> {
    file: &'v SourceFile,
    lines: Vec<&'v str>,
    /// First lines of the statement, arm or item around what is being visited, innermost last.
    starts: Vec<usize>,
    findings: &'v mut Findings,
}

impl Visitor<'_> {
    /// Flags what stands at `span` unless a reason is given on its line, above it, or above what it is part of.
    fn judge(&mut self, span: Span, what: &str) {
        let line = span.start().line;
        let around = self.starts.last().copied().unwrap_or(line);
        if !(says_why(self.lines[line - 1]) || self.reason_above(line) || self.reason_above(around)) {
            self.findings.at(
                &self.file.path,
                span,
                format!("unsafe {what} without a reason\nhint: say in a `// SAFETY:` comment above it why it is sound"),
            );
        }
    }

    /// Whether the comments and attributes directly above `line` (from 1) give a reason.
    fn reason_above(&self, line: usize) -> bool {
        const BETWEEN: [&str; 5] = ["//", "/*", "*", "#[", "$(#["];
        let above = self.lines[..line - 1].iter().rev().map(|line| line.trim_start());
        above.take_while(|line| BETWEEN.iter().any(|start| line.starts_with(start))).any(says_why)
    }

    fn inside<N>(&mut self, span: Span, node: N, visit: impl FnOnce(&mut Self, N)) {
        self.starts.push(span.start().line);
        visit(self, node);
        self.starts.pop();
    }

    /// Finds `unsafe` among tokens that are not parsed.
    fn judge_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.judge_tokens(group.stream()),
                TokenTree::Ident(word) if word == "unsafe" => match tokens.get(index + 1) {
                    Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                        self.judge(word.span(), "block");
                    }
                    Some(TokenTree::Ident(next)) if next == "impl" || next == "trait" => {
                        self.judge(word.span(), &next.to_string());
                    }
                    Some(TokenTree::Ident(next))
                        if next == "fn" && matches!(tokens.get(index + 2), Some(TokenTree::Ident(_))) =>
                    {
                        self.judge(word.span(), "function");
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }
}

fn says_why(line: &str) -> bool {
    line.split_once("SAFETY:").is_some_and(|(before, reason)| {
        (before.contains("//") || before.contains("/*") || before.trim_start().starts_with('*'))
            && !reason.trim().trim_end_matches("*/").is_empty()
    }) || line.trim_start().trim_start_matches("///").trim() == "# Safety"
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_stmt(&mut self, stmt: &'ast syn::Stmt) {
        self.inside(syn::spanned::Spanned::span(stmt), stmt, visit::visit_stmt);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.inside(syn::spanned::Spanned::span(arm), arm, visit::visit_arm);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.inside(syn::spanned::Spanned::span(item), item, visit::visit_item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.inside(syn::spanned::Spanned::span(item), item, visit::visit_impl_item);
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        self.inside(syn::spanned::Spanned::span(item), item, visit::visit_trait_item);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        self.judge(block.unsafe_token.span, "block");
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !documents_safety(&function.attrs) {
            self.judge_signature(&function.sig);
        }
        visit::visit_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = item.unsafety {
            self.judge(token.span, "implementation");
        }
        if item.trait_.is_none() {
            for inner in &item.items {
                if let syn::ImplItem::Fn(function) = inner
                    && !documents_safety(&function.attrs)
                {
                    let start = syn::spanned::Spanned::span(function);
                    self.inside(start, &function.sig, Self::judge_signature);
                }
            }
        }
        visit::visit_item_impl(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        if !documents_safety(&item.attrs) {
            if let Some(token) = item.unsafety {
                self.judge(token.span, "trait");
            }
            for inner in &item.items {
                if let syn::TraitItem::Fn(function) = inner
                    && !documents_safety(&function.attrs)
                {
                    self.inside(syn::spanned::Spanned::span(function), &function.sig, Self::judge_signature);
                }
            }
        }
        visit::visit_item_trait(self, item);
    }

    fn visit_item_foreign_mod(&mut self, item: &'ast syn::ItemForeignMod) {
        if let Some(token) = item.unsafety {
            self.judge(token.span, "foreign block");
        }
        visit::visit_item_foreign_mod(self, item);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.judge_tokens(mac.tokens.clone());
        visit::visit_macro(self, mac);
    }
}

impl Visitor<'_> {
    fn judge_signature(&mut self, signature: &syn::Signature) {
        if let syn::Safety::Unsafe(token) = signature.safety {
            self.judge(token.span, "function");
        }
    }
}

//! J23: what grows in a loop of the hot path was given room before.
//!
//! Flags `push` and its relatives inside a loop on a list or text that was made empty outside of it, in the same
//! function, and never given room: reallocation copies what is there each time it grows.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::calls::CallGraph;
use super::finding::Findings;
use super::hot_path::hot_path;
use super::j22_with_capacity::asks_in_advance;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, Tree};

pub(super) const RULE: Rule = Rule {
    id: "J23",
    also: &[],
    name: "growing-in-a-loop",
    what: "`push` in a loop of the hot path on something that was given no room",
    kind: Kind::Violation,
    check,
    must_flag: &[
        Example {
            what: "a list, a text and a field, in loops of every kind",
            files: &[(
                "src/lib.rs",
                "pub fn generate(n: usize) -> Vec<u32> {\n    let mut ids = Vec::new();\n    let mut text = String::new();\n    let mut reply = Reply { words: vec![] };\n    for i in 0..n {\n        ids.push(i as u32);\n    }\n    \
                 while text.len() < n {\n        text.push_str(\"a\");\n    }\n    loop {\n        reply.words.push(1);\n        helper(n);\n    }\n}\n\
                 fn helper(n: usize) {\n    let mut all: Vec<u8> = Vec::default();\n    (0..n).for_each(|i| all.push(i as u8));\n}\n",
            )],
            at: &[("src/lib.rs", 6), ("src/lib.rs", 9), ("src/lib.rs", 12), ("src/lib.rs", 18)],
        },
        Example {
            what: "a model's forward pass",
            files: &[(
                "src/lib.rs",
                "struct M;\nimpl CausalLm for M {\n    fn prefill(&mut self, ids: &[u32]) {\n        let mut rows = Vec::<u32>::new();\n        for id in ids {\n            rows.extend([*id]);\n        }\n    }\n}\n",
            )],
            at: &[("src/lib.rs", 6)],
        },
        Example {
            what: "lists that are made in pairs",
            files: &[(
                "src/lib.rs",
                "pub fn generate(n: usize) {\n    let (mut ids, (mut pairs, _), mut words) = (Vec::new(), (Vec::new(), 1), String::new());\n    \
                     for i in 0..n {\n        ids.push(i);\n        pairs.push(i);\n        words.push_str(\"a\");\n    }\n}\n",
            )],
            at: &[("src/lib.rs", 4), ("src/lib.rs", 6)],
        },
    ],
    must_not_flag: &[
        Example {
            what: "room made when it was made or later, a list of the loop's own, and one that is handed in",
            files: &[(
                "src/lib.rs",
                "pub fn generate(n: usize, out: &mut Vec<u32>) {\n    let mut ids = Vec::with_capacity(n);\n    let mut later = Vec::new();\n    later.reserve(n);\n    for i in 0..n {\n        ids.push(i);\n        later.push(i);\n        out.push(1);\n        \
                 let mut own = Vec::new();\n        own.push(i);\n    }\n    let mut once = Vec::new();\n    once.push(1);\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "a loop where no model runs",
            files: &[(
                "src/lib.rs",
                "pub fn forward() {}\npub fn import(n: usize) {\n    let mut ids = Vec::new();\n    for i in 0..n {\n        ids.push(i);\n    }\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "what others made, and room made in other words",
            files: &[(
                "src/lib.rs",
                "pub fn generate(n: usize, make: fn() -> Vec<usize>) {\n    let mut made = (make)();\n    let mut other = Vec::filled();\n    \
                     let mut unnamed = Reply { 0: vec![] };\n    let mut ids = Vec::new();\n    ids.try_reserve(n);\n    let mut rows = SmallVec::new();\n    \
                     let mut text = String::new();\n    text.resize(n);\n    let mut words = Vec::new();\n    words = words.try_with_capacity(n);\n    \
                     for i in 0..n {\n        made.push(i);\n        other.push(i);\n        unnamed.0.push(i);\n        ids.push(i);\n        rows.push(i);\n        \
                     text.push_str(\"a\");\n        words.push(i);\n    }\n}\n",
            )],
            at: &[],
        },
    ],
};

const GROWS: [&str; 9] = [
    "push",
    "push_str",
    "push_back",
    "push_front",
    "extend",
    "extend_from_slice",
    "append",
    "insert_str",
    "write_str",
];
const HINT: &str = "\nhint: make it with `with_capacity`, or `reserve` before the loop";

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let graph = CallGraph::of(tree);
    let reached = hot_path(tree, &graph, RULE.id)?;
    for &index in reached.keys() {
        let function = &graph.functions[index];
        let Some(body) = function.body else { continue };
        let mut growing = Growing { empty: BTreeMap::new(), depth: 0, found: Vec::new() };
        growing.visit_block(body);
        for (span, name) in growing.found {
            let way = graph.way_to(index, &reached);
            let reason =
                format!("`{name}` grows in a loop of the hot path and was given no room ({way}){HINT}");
            findings.at(function.file, span, reason);
        }
    }
    Ok(())
}

struct Growing {
    /// What was made empty, and how many loops were around it.
    empty: BTreeMap<String, usize>,
    depth: usize,
    found: Vec<(proc_macro2::Span, String)>,
}

/// A place by its names: `reply.ids`.
fn place(expression: &syn::Expr) -> Option<String> {
    match expression {
        syn::Expr::Path(path) => path.path.get_ident().map(ToString::to_string),
        syn::Expr::Field(field) => {
            let syn::Member::Named(name) = &field.member else { return None };
            Some(format!("{}.{name}", place(&field.base)?))
        }
        syn::Expr::Paren(inner) => place(&inner.expr),
        _ => None,
    }
}

/// Whether an expression makes something empty that can grow.
fn is_empty(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Call(call) if call.args.is_empty() => {
            let syn::Expr::Path(path) = &*call.func else { return false };
            let segments: Vec<String> =
                path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            matches!(segments.as_slice(), [.., owner, made] if ["Vec", "String", "VecDeque"].contains(&owner.as_str()) && (made == "new" || made == "default"))
        }
        syn::Expr::Macro(call) => call.mac.path.is_ident("vec") && call.mac.tokens.is_empty(),
        _ => false,
    }
}

impl Growing {
    fn made(&mut self, name: &str, value: &syn::Expr) {
        if is_empty(value) {
            self.empty.insert(name.to_owned(), self.depth);
            return;
        }
        self.empty.retain(|held, _| held != name && !held.starts_with(&format!("{name}.")));
        if let syn::Expr::Struct(literal) = value {
            for field in &literal.fields {
                if let syn::Member::Named(member) = &field.member
                    && is_empty(&field.expr)
                {
                    self.empty.insert(format!("{name}.{member}"), self.depth);
                }
            }
        }
    }

    fn in_loop(&mut self, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        visit(self);
        self.depth -= 1;
        // What was made inside is gone.
        let depth = self.depth;
        self.empty.retain(|_, made_at| *made_at <= depth);
    }
}

impl<'ast> Visit<'ast> for Growing {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        let pattern = if let syn::Pat::Type(typed) = &local.pat { &typed.pat } else { &local.pat };
        match (pattern, &local.init) {
            (syn::Pat::Ident(name), Some(init)) => self.made(&name.ident.to_string(), &init.expr),
            (syn::Pat::Tuple(patterns), Some(init)) => {
                if let syn::Expr::Tuple(values) = &*init.expr {
                    for (pattern, value) in patterns.elems.iter().zip(&values.elems) {
                        if let syn::Pat::Ident(name) = pattern {
                            self.made(&name.ident.to_string(), value);
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn visit_expr_assign(&mut self, assign: &'ast syn::ExprAssign) {
        visit::visit_expr_assign(self, assign);
        if let Some(name) = place(&assign.left) {
            self.made(&name, &assign.right);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        if let Some(name) = place(&call.receiver) {
            if method.starts_with("reserve")
                || method.starts_with("try_reserve")
                || method == "resize"
                || asks_in_advance(&method)
            {
                self.empty.remove(&name);
            } else if GROWS.contains(&method.as_str())
                && self.empty.get(&name).is_some_and(|made_at| *made_at < self.depth)
            {
                self.found.push((call.method.span(), name));
            }
        }
        if method == "for_each" {
            self.visit_expr(&call.receiver);
            self.in_loop(|this| call.args.iter().for_each(|argument| this.visit_expr(argument)));
            return;
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_for_loop(&mut self, repeated: &'ast syn::ExprForLoop) {
        self.visit_expr(&repeated.expr);
        self.in_loop(|this| this.visit_block(&repeated.body));
    }

    fn visit_expr_while(&mut self, repeated: &'ast syn::ExprWhile) {
        self.in_loop(|this| {
            this.visit_expr(&repeated.cond);
            this.visit_block(&repeated.body);
        });
    }

    fn visit_expr_loop(&mut self, repeated: &'ast syn::ExprLoop) {
        self.in_loop(|this| this.visit_block(&repeated.body));
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

//! G8: the hot path computes with kernels.
//!
//! Flags, in what a model or a server runs for every token: going through a tensor's elements by hand
//! (`.data().iter()`), sums of products in three loops, and loops or iterators that add, multiply, narrow or take the
//! dot product of floats one by one, for which `Compute` has kernels. Kernels are not judged.

use std::collections::BTreeSet;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::calls::{CallGraph, Function};
use super::finding::Findings;
use super::hot_path::hot_path;
use super::rule::{Example, Kind, Rule};
use super::tree::{LintError, Tree};

pub(super) const RULE: Rule = Rule {
    id: "G8",
    also: &["J10"],
    name: "naive-loop",
    what: "a loop over elements on the hot path where a kernel exists",
    kind: Kind::Violation,
    check,
    must_flag: &[
        Example {
            what: "a tensor's elements one by one, in a function that the forward pass reaches",
            files: &[(
                "src/lib.rs",
                "pub fn forward(x: &Tensor) -> Vec<f32> {\n    scale(x)\n}\nfn scale(x: &Tensor) -> Vec<f32> {\n    x.data().iter().map(|v| v * 2.0).collect()\n}\n\
                 fn prefill(x: &Tensor) {\n    let values = x.data();\n    for v in values {\n        show(v);\n    }\n    for v in x.data() {\n        show(v);\n    }\n}\n",
            )],
            at: &[("src/lib.rs", 5), ("src/lib.rs", 9), ("src/lib.rs", 12)],
        },
        Example {
            what: "a matrix product in three loops",
            files: &[(
                "src/lib.rs",
                "pub struct M;\nimpl CausalLm for M {\n    fn prefill(&mut self, a: &[f32], b: &[f32], c: &mut [f32]) {\n        for i in 0..4 {\n            for j in 0..4 {\n                for k in 0..4 {\n                    \
                 c[i * 4 + j] += a[i * 4 + k] * b[j * 4 + k];\n                }\n            }\n        }\n    }\n}\n",
            )],
            at: &[("src/lib.rs", 4)],
        },
        Example {
            what: "dot products, sums and products of elements, spelled in five ways",
            files: &[(
                "src/lib.rs",
                "pub fn generate(a: &mut [f32], b: &[f32]) -> f32 {\n    for (x, y) in a.iter_mut().zip(b) {\n        *x += *y;\n    }\n    let mut sum = 0.0;\n    for i in 0..b.len() {\n        sum += a[i] * b[i];\n    }\n    \
                 a.iter_mut().zip(b).for_each(|(x, y)| *x = *x * y);\n    let squares: f32 = b.iter().map(|x| x * x).sum();\n    a.iter().zip(b).fold(sum + squares, |acc, (x, y)| acc + x * y)\n}\n",
            )],
            at: &[
                ("src/lib.rs", 2),
                ("src/lib.rs", 6),
                ("src/lib.rs", 9),
                ("src/lib.rs", 10),
                ("src/lib.rs", 11),
            ],
        },
        Example {
            what: "narrowing one by one in a request handler",
            files: &[(
                "src/main.rs",
                "fn main() {\n    Router::new().route(\"/\", post(chat));\n}\nfn chat(body: String) -> String {\n    narrow(&[1.0], &mut [0.0]);\n    body\n}\nfn narrow(x: &[f64], y: &mut [f32]) {\n    for (y, x) in y.iter_mut().zip(x) {\n        *y = *x as f32;\n    }\n}\n",
            )],
            at: &[("src/main.rs", 9)],
        },
        Example {
            what: "products, differences, narrowing and fused products, in loops and in closures",
            files: &[(
                "src/lib.rs",
                "pub fn generate(a: &mut [f32], b: &[f32], wide: &[f64]) -> f32 {\n    for i in 0..b.len() {\n        a[i] *= b[i];\n    }\n    \
                     for i in 0..b.len() {\n        a[i] -= (b[i]);\n    }\n    let mut sum = vec![0f32; 4];\n    for i in 0..4 {\n        \
                     sum[0] += (a[i] * b[i]) as f32;\n    }\n    for (x, y) in a.iter_mut().zip(b) {\n        *x = y.mul_add(*y, 1.0);\n    }\n    \
                     for i in 0..b.len() {\n        a[i] = a[i] - b[i];\n    }\n    let added: Vec<f32> = a.iter().zip(b).map(|(x, y)| x + y).collect();\n    \
                     let taken: Vec<f32> = a.iter().zip(b).map(|(x, y)| { x - y }).collect();\n    \
                     let narrow: Vec<f32> = wide.iter().map(|x| (*x as f32)).collect();\n    let dot = a.iter().zip(b).fold(0.0, |acc, (x, y)| x * y + acc);\n    \
                     a.iter().zip(b).fold(dot, |acc, (x, y)| x.mul_add(*y, acc))\n}\nfn prefill(x: &Tensor) -> f32 {\n    let values = x.data();\n    \
                     values.iter().sum()\n}\n",
            )],
            at: &[
                ("src/lib.rs", 2),
                ("src/lib.rs", 5),
                ("src/lib.rs", 9),
                ("src/lib.rs", 12),
                ("src/lib.rs", 15),
                ("src/lib.rs", 18),
                ("src/lib.rs", 19),
                ("src/lib.rs", 20),
                ("src/lib.rs", 21),
                ("src/lib.rs", 22),
                ("src/lib.rs", 26),
            ],
        },
        Example {
            what: "what stands beside a kernel among the sources of a crate, which is no kernel for that",
            files: &[
                (
                    "src/lib.rs",
                    "mod simd;\npub fn forward(x: &mut [f32], y: &[f32]) {\n    simd::add(x, y);\n    for (x, y) in x.iter_mut().zip(y) {\n        *x += *y;\n    \
                     }\n}\n",
                ),
                (
                    "src/simd.rs",
                    "#[target_feature(enable = \"avx2\")]\npub fn add(x: &mut [f32], y: &[f32]) {\n    for (x, y) in x.iter_mut().zip(y) {\n        *x += *y;\n    \
                     }\n}\n",
                ),
                (
                    "src/bin/tool.rs",
                    "#[target_feature(enable = \"avx2\")]\nfn add(x: &mut [f32], y: &[f32]) {\n    for (x, y) in x.iter_mut().zip(y) {\n        *x += *y;\n    }\n\
                     }\nfn main() {}\n",
                ),
            ],
            at: &[("src/lib.rs", 4)],
        },
    ],
    must_not_flag: &[
        Example {
            what: "kernels, loops over what is no float, and copies",
            files: &[
                (
                    "src/lib.rs",
                    "pub fn forward(ids: &[u32], x: &mut [f32], y: &[f32]) -> u32 {\n    kernels::add(x, y);\n    let mut total = 0;\n    for (i, id) in ids.iter().enumerate() {\n        total += *id * i as u32;\n    }\n    \
                     for (x, y) in x.iter_mut().zip(y) {\n        *x = *y;\n    }\n    let largest = y.iter().copied().fold(f32::NEG_INFINITY, f32::max);\n    total\n}\n",
                ),
                (
                    "src/kernels/avx2.rs",
                    "#[target_feature(enable = \"avx2\")]\npub fn add(x: &mut [f32], y: &[f32]) {\n    for (x, y) in x.iter_mut().zip(y) {\n        *x += *y;\n    }\n}\n",
                ),
                (
                    "src/kernels/scalar.rs",
                    "pub fn add(x: &mut [f32], y: &[f32]) {\n    for (x, y) in x.iter_mut().zip(y) {\n        *x += *y;\n    }\n}\n",
                ),
            ],
            at: &[],
        },
        Example {
            what: "a naive loop where no model runs",
            files: &[(
                "src/lib.rs",
                "pub fn forward() {}\npub fn statistics(x: &[f32]) -> f32 {\n    x.iter().map(|x| x * x).sum()\n}\n",
            )],
            at: &[],
        },
        Example {
            what: "a factor for all, what no kernel does, and widening",
            files: &[(
                "src/lib.rs",
                "pub fn generate(a: &mut [f32], b: &[f32], n: usize, scale: f32) -> f32 {\n    for i in 0..n {\n        fn nothing() {}\n        \
                     a[i] *= scale;\n        a[i] = scale * 2.0;\n        a[i] = b[i] * scale;\n        a[i] = b[i] / a[i];\n        a[i] = n as f32;\n        \
                     a[i] += f64::from(n);\n        a[i] += largest(n);\n        a[i] = b[i] as f64;\n        a[i] = b[i].powi(2);\n        \
                     a[i] = scale.mul_add(2.0, 1.0);\n    }\n    let shifted = b.iter().map(|x| x + 1.0);\n    let mirrored = b.iter().map(|x| 1.0 - x);\n    \
                     let doubled = b.iter().map(|x| x + x);\n    let scaled = b.iter().map(|x| x * scale);\n    let grown = b.iter().map(|x| scale * x);\n    \
                     let halved = b.iter().map(|x| x / 2.0);\n    let wide = b.iter().map(|x| *x as f64);\n    let constant = b.iter().map(|_| n as f32);\n    \
                     let rounded = b.iter().map(|x| x.round() as f32);\n    let named = b.iter().map(|x| { let y = x; y });\n    let same = b.iter().map(|x| x);\n    \
                     b.iter().map(|x| x.abs()).fold(0.0, f32::max)\n}\n",
            )],
            at: &[],
        },
    ],
};

const HINT: &str = "\nhint: use a method of `Compute`";

fn check(tree: &Tree, findings: &mut Findings) -> Result<(), LintError> {
    let graph = CallGraph::of(tree);
    let reached = hot_path(tree, &graph, RULE.id)?;
    for &index in reached.keys() {
        let function = &graph.functions[index];
        for (span, what) in naive_loops(function) {
            let way = graph.way_to(index, &reached);
            findings.at(function.file, span, format!("{what} on the hot path ({way}){HINT}"));
        }
    }
    Ok(())
}

/// Where a function computes by hand, and what.
fn naive_loops(function: &Function<'_>) -> Vec<(Span, &'static str)> {
    let Some(body) = function.body else { return Vec::new() };
    let mut loops =
        Loops { floats: BTreeSet::new(), tensors: BTreeSet::new(), depth: 0, nest: None, found: Vec::new() };
    for input in &function.signature.inputs {
        if let syn::FnArg::Typed(typed) = input
            && is_float(&typed.ty)
        {
            loops.floats.extend(names(&typed.pat));
        }
    }
    loops.visit_block(body);
    loops.found
}

struct Loops {
    /// Names that hold floats.
    floats: BTreeSet<String>,
    /// Names that hold what `.data()` gave.
    tensors: BTreeSet<String>,
    depth: usize,
    /// Where the outermost loop begins.
    nest: Option<Span>,
    found: Vec<(Span, &'static str)>,
}

/// The names that a pattern binds.
fn names(pattern: &syn::Pat) -> BTreeSet<String> {
    struct Names(BTreeSet<String>);
    impl<'ast> Visit<'ast> for Names {
        fn visit_pat_ident(&mut self, name: &'ast syn::PatIdent) {
            self.0.insert(name.ident.to_string());
            visit::visit_pat_ident(self, name);
        }
    }
    let mut names = Names(BTreeSet::new());
    names.visit_pat(pattern);
    names.0
}

/// Whether a type holds floats.
fn is_float(ty: &syn::Type) -> bool {
    struct Floats(bool);
    impl<'ast> Visit<'ast> for Floats {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= ["f32", "f64", "f16", "bf16", "Buffer", "Tensor", "Activations"]
                .iter()
                .any(|name| segment.ident == name);
            visit::visit_path_segment(self, segment);
        }
        fn visit_type_trait_object(&mut self, _: &'ast syn::TypeTraitObject) {}
        fn visit_type_impl_trait(&mut self, _: &'ast syn::TypeImplTrait) {}
    }
    let mut floats = Floats(false);
    floats.visit_type(ty);
    floats.0
}

fn is_data_call(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::MethodCall(call) => {
            call.args.is_empty()
                && ["data", "data_mut", "as_slice", "as_mut_slice"].iter().any(|name| call.method == name)
        }
        syn::Expr::Reference(inner) => is_data_call(&inner.expr),
        syn::Expr::Paren(inner) => is_data_call(&inner.expr),
        _ => false,
    }
}

/// Whether an expression has a float in hand: a name that holds floats, a float in the source, a conversion to one.
struct Mentions<'l> {
    floats: &'l BTreeSet<String>,
    found: bool,
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.found |= path.path.get_ident().is_some_and(|name| self.floats.contains(&name.to_string()));
        self.found |=
            path.path.segments.iter().any(|segment| segment.ident == "f32" || segment.ident == "f64");
    }
    fn visit_lit_float(&mut self, _: &'ast syn::LitFloat) {
        self.found = true;
    }
    fn visit_expr_cast(&mut self, cast: &'ast syn::ExprCast) {
        self.found |= is_float(&cast.ty);
        visit::visit_expr_cast(self, cast);
    }
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // A length is no float.
        if call.method != "len" {
            visit::visit_expr_method_call(self, call);
        }
    }
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        if mac.path.is_ident("vec") {
            self.found |= mac.tokens.to_string().split(';').next().is_some_and(|value| {
                value.trim().trim_start_matches('-').parse::<f64>().is_ok_and(|_| value.contains('.'))
                    || value.contains("f32")
            });
        }
    }
}

impl Loops {
    fn has_float(&self, expression: &syn::Expr) -> bool {
        let mut mentions = Mentions { floats: &self.floats, found: false };
        mentions.visit_expr(expression);
        mentions.found
    }

    /// What a body computes element by element, where it touches a float.
    fn computes(body: &syn::Expr, bound: &BTreeSet<String>) -> Option<&'static str> {
        let mut sums = Sums { bound, kind: None };
        sums.visit_expr(body);
        sums.kind
    }

    fn enter_loop(&mut self, span: Span, visit: impl FnOnce(&mut Self)) {
        self.depth += 1;
        let outermost = self.nest;
        self.nest = outermost.or(Some(span));
        visit(self);
        self.nest = outermost;
        self.depth -= 1;
    }

    fn judge_body(&mut self, span: Span, body: &syn::Block, bound: &BTreeSet<String>) {
        let block = syn::Expr::Block(syn::ExprBlock { attrs: Vec::new(), label: None, block: body.clone() });
        let touches_float = self.has_float(&block) || bound.iter().any(|name| self.floats.contains(name));
        let Some(what) = Self::computes(&block, bound).filter(|_| touches_float) else { return };
        let (span, what) = if self.depth >= 3 && what == DOT {
            (self.nest.unwrap_or(span), "a product of matrices in loops over indices")
        } else {
            (span, what)
        };
        self.found.push((span, what));
    }
}

impl<'ast> Visit<'ast> for Loops {
    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        let declared = matches!(&local.pat, syn::Pat::Type(typed) if is_float(&typed.ty));
        let Some(init) = &local.init else { return };
        if is_data_call(&init.expr) {
            self.tensors.extend(names(&local.pat));
        }
        if declared || self.has_float(&init.expr) {
            self.floats.extend(names(&local.pat));
        }
    }

    fn visit_expr_for_loop(&mut self, repeated: &'ast syn::ExprForLoop) {
        let span = repeated.for_token.span();
        let of_tensor = is_data_call(&repeated.expr)
            || matches!(&*repeated.expr, syn::Expr::Path(path) if path.path.get_ident().is_some_and(|name| self.tensors.contains(&name.to_string())));
        if of_tensor {
            self.found.push((span, "a loop over a tensor's elements"));
            return;
        }
        self.visit_expr(&repeated.expr);
        let bound = names(&repeated.pat);
        let is_range = matches!(&*repeated.expr, syn::Expr::Range(_) | syn::Expr::Paren(_));
        let outer = self.floats.clone();
        if !is_range && self.has_float(&repeated.expr) {
            self.floats.extend(bound.iter().cloned());
        }
        self.enter_loop(span, |this| {
            let n_before = this.found.len();
            this.visit_block(&repeated.body);
            // An inner loop that was found says it already.
            if this.found.len() == n_before {
                this.judge_body(span, &repeated.body, &bound);
            }
        });
        self.floats = outer;
    }

    fn visit_expr_while(&mut self, repeated: &'ast syn::ExprWhile) {
        let span = repeated.while_token.span();
        self.enter_loop(span, |this| {
            let n_before = this.found.len();
            this.visit_block(&repeated.body);
            if this.found.len() == n_before {
                this.judge_body(span, &repeated.body, &BTreeSet::new());
            }
        });
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        let is_iteration =
            ["iter", "iter_mut", "into_iter", "chunks", "chunks_exact"].contains(&method.as_str());
        let of_tensor = is_data_call(&call.receiver)
            || matches!(&*call.receiver, syn::Expr::Path(path) if path.path.get_ident().is_some_and(|name| self.tensors.contains(&name.to_string())));
        if is_iteration && of_tensor {
            self.found.push((call.method.span(), "a walk over a tensor's elements"));
        }
        if ["map", "fold", "for_each", "zip_map"].contains(&method.as_str())
            && let Some(syn::Expr::Closure(closure)) = call.args.last()
            && self.has_float(&call.receiver)
        {
            let bound: BTreeSet<String> = closure.inputs.iter().flat_map(names).collect();
            let mut sums = Sums { bound: &bound, kind: None };
            if method == "for_each" {
                sums.visit_expr(&closure.body);
            } else if let Some(kind) = combines(&closure.body, &bound) {
                sums.kind = Some(kind);
            }
            if let Some(what) = sums.kind {
                self.found.push((call.method.span(), what));
                return;
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// Looks in a loop's body for arithmetic on elements.
struct Sums<'b> {
    /// What the loop binds: elements, or indices.
    bound: &'b BTreeSet<String>,
    kind: Option<&'static str>,
}

const DOT: &str = "a dot product one element at a time";
const SUM: &str = "a sum of floats one element at a time";
const PRODUCT: &str = "a product of floats one element at a time";
const NARROWING: &str = "floats narrowed one element at a time";

impl Sums<'_> {
    /// Whether an expression is an element: indexed, behind a reference that the loop gave, or such a name.
    fn is_element(&self, expression: &syn::Expr) -> bool {
        match expression {
            syn::Expr::Index(index) => !matches!(&*index.index, syn::Expr::Range(_) | syn::Expr::Lit(_)),
            syn::Expr::Unary(inner) => self.is_element(&inner.expr),
            syn::Expr::Paren(inner) => self.is_element(&inner.expr),
            syn::Expr::Cast(inner) => self.is_element(&inner.expr),
            syn::Expr::Path(path) => {
                path.path.get_ident().is_some_and(|name| self.bound.contains(&name.to_string()))
            }
            // `f64::from(x)`.
            syn::Expr::Call(call) => {
                let is_conversion = matches!(&*call.func, syn::Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "from"));
                is_conversion && call.args.iter().all(|argument| self.is_element(argument))
            }
            syn::Expr::Binary(binary) => self.is_element(&binary.left) || self.is_element(&binary.right),
            syn::Expr::MethodCall(call) => call.args.is_empty() && self.is_element(&call.receiver),
            _ => false,
        }
    }

    fn product_of(&self, expression: &syn::Expr) -> bool {
        match expression {
            syn::Expr::Binary(binary) if matches!(binary.op, syn::BinOp::Mul(_)) => {
                self.is_element(&binary.left) && self.is_element(&binary.right)
            }
            syn::Expr::Paren(inner) => self.product_of(&inner.expr),
            syn::Expr::Cast(inner) => self.product_of(&inner.expr),
            _ => false,
        }
    }
}

impl<'ast> Visit<'ast> for Sums<'_> {
    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        use syn::BinOp;
        let into_element = matches!(&*binary.left, syn::Expr::Unary(_) | syn::Expr::Index(_))
            && self.is_element(&binary.left);
        let found = match binary.op {
            BinOp::AddAssign(_) if self.product_of(&binary.right) => Some(DOT),
            BinOp::AddAssign(_) | BinOp::SubAssign(_) if into_element && self.is_element(&binary.right) => {
                Some(SUM)
            }
            BinOp::MulAssign(_) if into_element && self.is_element(&binary.right) => Some(PRODUCT),
            _ => None,
        };
        self.kind = self.kind.or(found);
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_assign(&mut self, assign: &'ast syn::ExprAssign) {
        let into_element = matches!(&*assign.left, syn::Expr::Unary(_) | syn::Expr::Index(_))
            && self.is_element(&assign.left);
        if into_element {
            let found = match &*assign.right {
                syn::Expr::Binary(binary)
                    if self.is_element(&binary.left) && self.is_element(&binary.right) =>
                {
                    match binary.op {
                        syn::BinOp::Mul(_) => Some(PRODUCT),
                        syn::BinOp::Add(_) | syn::BinOp::Sub(_) => Some(SUM),
                        _ => None,
                    }
                }
                syn::Expr::Cast(cast) if is_f32(&cast.ty) && self.is_element(&cast.expr) => Some(NARROWING),
                _ => None,
            };
            self.kind = self.kind.or(found);
        }
        visit::visit_expr_assign(self, assign);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "mul_add" && call.args.iter().any(|argument| self.is_element(argument)) {
            self.kind = self.kind.or(Some(DOT));
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_for_loop(&mut self, _: &'ast syn::ExprForLoop) {
        // An inner loop is judged for itself.
    }
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

fn is_f32(ty: &syn::Type) -> bool {
    matches!(ty, syn::Type::Path(path) if path.path.is_ident("f32"))
}

/// What the value of a closure combines element by element.
fn combines(body: &syn::Expr, bound: &BTreeSet<String>) -> Option<&'static str> {
    let sums = Sums { bound, kind: None };
    match body {
        syn::Expr::Binary(binary) => match binary.op {
            syn::BinOp::Mul(_) if sums.is_element(&binary.left) && sums.is_element(&binary.right) => {
                Some(DOT)
            }
            syn::BinOp::Add(_) if sums.product_of(&binary.right) || sums.product_of(&binary.left) => {
                Some(DOT)
            }
            syn::BinOp::Add(_) | syn::BinOp::Sub(_)
                if sums.is_element(&binary.left) && sums.is_element(&binary.right) && bound.len() == 2 =>
            {
                Some(SUM)
            }
            _ => None,
        },
        syn::Expr::MethodCall(call) if call.method == "mul_add" => Some(DOT),
        syn::Expr::Cast(cast)
            if is_f32(&cast.ty)
                && sums.is_element(&cast.expr)
                && !matches!(&*cast.expr, syn::Expr::MethodCall(_)) =>
        {
            Some(NARROWING)
        }
        syn::Expr::Paren(inner) => combines(&inner.expr, bound),
        syn::Expr::Block(block) => match block.block.stmts.as_slice() {
            [syn::Stmt::Expr(only, None)] => combines(only, bound),
            _ => None,
        },
        _ => None,
    }
}

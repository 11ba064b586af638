//! Sleeping to look busy: between the pieces of a reply, or between a prompt and what is said to it.
//!
//! Waiting for something is no pretence: a loop that prints nothing (retry, poll), an arm that handles an absence or
//! an error, a thread of its own (spinner) may sleep.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::super::calls::SpanKey;
use super::super::flow::Program;

const REASON: &str = "sleeping while a reply is made or printed makes it look as if something were computed\nhint: print what the model generates when it does";

/// Sleeps in functions that have a prompt in hand, and in what they call to print.
pub(super) fn look_busy<'t>(
    program: &Program<'t>,
    handle_prompts: &BTreeSet<usize>,
) -> Vec<(&'t str, SpanKey, &'static str)> {
    let graph = program.graph;
    let reached = graph.reached_from(handle_prompts);
    let sleepers = sleepers(program);
    let mut found = Vec::new();
    for index in reached {
        let function = &graph.functions[index];
        let Some(body) = function.body else { continue };
        let has_prompt = handle_prompts.contains(&index);
        let mut sleeps = Sleeps {
            program,
            function: index,
            sleepers: &sleepers,
            loops: Vec::new(),
            is_waiting: !has_prompt,
            found: Vec::new(),
        };
        sleeps.visit_block(body);
        found.extend(sleeps.found.into_iter().map(|at| (function.file, at, REASON)));
    }
    found
}

/// Functions whose own statements sleep, whatever happens.
fn sleepers(program: &Program<'_>) -> BTreeSet<usize> {
    let mut sleepers = BTreeSet::new();
    loop {
        let before = sleepers.len();
        for (index, function) in program.graph.functions.iter().enumerate() {
            let Some(body) = function.body else { continue };
            let mut straight = Straight { program, function: index, sleepers: &sleepers, sleeps: false };
            straight.visit_block(body);
            if straight.sleeps {
                sleepers.insert(index);
            }
        }
        if sleepers.len() == before {
            return sleepers;
        }
    }
}

/// Whether a call sleeps by its name, or calls a function that does.
fn sleeps(call: &syn::ExprCall, function: usize, program: &Program<'_>, sleepers: &BTreeSet<usize>) -> bool {
    let syn::Expr::Path(path) = &*call.func else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    let names = ["sleep", "sleep_ms", "sleep_until", "park_timeout", "delay_for"];
    let start = last.ident.span().start();
    let followed = program.path_at(function, last.ident.span());
    let callees = followed
        .map(|path| program.callees(function, path, (start.line, start.column + 1)))
        .unwrap_or_default();
    if !callees.is_empty() {
        return callees.iter().any(|callee| sleepers.contains(callee));
    }
    let name = followed.and_then(<[String]>::last).cloned().unwrap_or_else(|| last.ident.to_string());
    names.contains(&name.as_str()) || path.path.segments.iter().any(|segment| segment.ident == "Timer")
}

/// Looks for a sleep outside loops, branches and closures.
struct Straight<'p, 't> {
    program: &'p Program<'t>,
    function: usize,
    sleepers: &'p BTreeSet<usize>,
    sleeps: bool,
}

impl<'ast> Visit<'ast> for Straight<'_, '_> {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        self.sleeps |= sleeps(call, self.function, self.program, self.sleepers);
        visit::visit_expr_call(self, call);
    }
    fn visit_expr_if(&mut self, _: &'ast syn::ExprIf) {}
    fn visit_expr_match(&mut self, _: &'ast syn::ExprMatch) {}
    fn visit_expr_loop(&mut self, _: &'ast syn::ExprLoop) {}
    fn visit_expr_while(&mut self, _: &'ast syn::ExprWhile) {}
    fn visit_expr_for_loop(&mut self, _: &'ast syn::ExprForLoop) {}
    fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

struct Sleeps<'p, 't> {
    program: &'p Program<'t>,
    function: usize,
    sleepers: &'p BTreeSet<usize>,
    /// For each loop around, whether its body says something to people.
    loops: Vec<bool>,
    /// Whether a sleep here may wait for something.
    is_waiting: bool,
    found: Vec<SpanKey>,
}

impl Sleeps<'_, '_> {
    fn in_loop(&mut self, body: &syn::Block, visit: impl FnOnce(&mut Self)) {
        let mut prints = Prints { program: self.program, function: self.function, found: false };
        prints.visit_block(body);
        let outer = std::mem::replace(&mut self.is_waiting, !prints.found);
        self.loops.push(prints.found);
        visit(self);
        self.loops.pop();
        self.is_waiting = outer;
    }
}

impl<'ast> Visit<'ast> for Sleeps<'_, '_> {
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let is_spawn = matches!(&*call.func, syn::Expr::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "spawn"));
        if is_spawn && !call.args.iter().any(reads_prompt_block) {
            return;
        }
        if !self.is_waiting && sleeps(call, self.function, self.program, self.sleepers) {
            let start = call.func.span().start();
            self.found.push((start.line, start.column + 1));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // A timer that ticks, or a closure over the pieces of a reply.
        if call.method == "tick" && call.args.is_empty() && !self.is_waiting {
            let start = call.method.span().start();
            self.found.push((start.line, start.column + 1));
        }
        if call.method == "for_each" || call.method == "then" || call.method == "map" {
            for argument in &call.args {
                if let syn::Expr::Closure(closure) = argument
                    && let syn::Expr::Block(body) = &*closure.body
                {
                    self.in_loop(&body.block, |this| this.visit_block(&body.block));
                    return self.visit_expr(&call.receiver);
                }
            }
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_for_loop(&mut self, repeated: &'ast syn::ExprForLoop) {
        self.in_loop(&repeated.body, |this| this.visit_block(&repeated.body));
    }

    fn visit_expr_loop(&mut self, repeated: &'ast syn::ExprLoop) {
        self.in_loop(&repeated.body, |this| this.visit_block(&repeated.body));
    }

    fn visit_expr_while(&mut self, repeated: &'ast syn::ExprWhile) {
        // Going round until a clock says so.
        let mut clock = Clock(false);
        clock.visit_expr(&repeated.cond);
        let is_idle = repeated
            .body
            .stmts
            .iter()
            .all(|statement| matches!(statement, syn::Stmt::Expr(syn::Expr::Call(_), _)))
            && clock.0
            && self.loops.is_empty()
            && !self.is_waiting;
        if is_idle {
            let start = repeated.while_token.span.start();
            self.found.push((start.line, start.column + 1));
            return;
        }
        self.in_loop(&repeated.body, |this| this.visit_block(&repeated.body));
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let outer = self.is_waiting;
        self.is_waiting |= is_absence(&arm.pat);
        visit::visit_arm(self, arm);
        self.is_waiting = outer;
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        let outer = self.is_waiting;
        if let syn::Expr::Let(condition) = &*branch.cond {
            self.is_waiting |= is_absence(&condition.pat);
        }
        visit::visit_expr_if(self, branch);
        self.is_waiting = outer;
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

/// Whether a spawned block handles prompts itself: it reads from a stream or a channel.
fn reads_prompt_block(argument: &syn::Expr) -> bool {
    struct Reads(bool);
    impl<'ast> Visit<'ast> for Reads {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            self.0 |= ["read_line", "recv", "read", "read_to_string", "send", "next_line", "next"]
                .iter()
                .any(|name| call.method == name);
            visit::visit_expr_method_call(self, call);
        }
    }
    let mut reads = Reads(false);
    reads.visit_expr(argument);
    reads.0
}

/// Whether a pattern is of an error or of nothing.
fn is_absence(pattern: &syn::Pat) -> bool {
    match pattern {
        syn::Pat::Guard(guarded) => is_absence(&guarded.pat),
        syn::Pat::TupleStruct(variant) => {
            variant.path.segments.last().is_some_and(|last| last.ident == "Err")
        }
        syn::Pat::Ident(name) => name.ident == "None",
        syn::Pat::Path(path) => path.path.segments.last().is_some_and(|last| last.ident == "None"),
        _ => false,
    }
}

struct Clock(bool);
impl<'ast> Visit<'ast> for Clock {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.0 |= call.method == "elapsed";
        visit::visit_expr_method_call(self, call);
    }
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        self.0 |= path.path.segments.last().is_some_and(|last| last.ident == "now");
    }
}

/// Whether something in a block says something to people on the straight way: a loop that polls prints in one arm and
/// sleeps in another.
struct Prints<'p, 't> {
    program: &'p Program<'t>,
    function: usize,
    found: bool,
}

impl<'ast> Visit<'ast> for Prints<'_, '_> {
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let name = mac.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let is_frame = mac.tokens.to_string().contains("\\r");
        self.found |= ["print", "println", "write", "writeln"].contains(&name.as_str())
            && !is_frame
            && !mac.tokens.to_string().contains("stderr")
            || name == "yield";
    }
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.found |= ["write_all", "send", "send_text", "blocking_send", "try_send", "write_str"]
            .iter()
            .any(|name| call.method == name);
        visit::visit_expr_method_call(self, call);
    }
    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        // A callback that pieces are handed to.
        if let syn::Expr::Path(path) = &*call.func
            && let Some(name) = path.path.get_ident()
        {
            let parameters = &self.program.graph.functions[self.function].signature.inputs;
            self.found |= parameters.iter().any(|input| {
                matches!(input, syn::FnArg::Typed(typed) if matches!(&*typed.pat, syn::Pat::Ident(of) if of.ident == *name))
            });
        }
        visit::visit_expr_call(self, call);
    }
    fn visit_expr_yield(&mut self, _: &'ast syn::ExprYield) {
        self.found = true;
    }
    fn visit_expr_match(&mut self, matched: &'ast syn::ExprMatch) {
        let n_absent = matched.arms.iter().filter(|arm| is_absence(&arm.pat)).count();
        if n_absent == 0 {
            visit::visit_expr_match(self, matched);
        }
    }
    fn visit_item(&mut self, _: &'ast syn::Item) {}
}

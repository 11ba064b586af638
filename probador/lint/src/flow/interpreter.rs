//! Runs functions over origins: statements, branches and loops, with what each branch was taken for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use proc_macro2::Span;

use super::conditions::pattern_test;
use super::expressions::is_plain;
use super::program::Program;
use super::value::{Origins, Place, Value};

/// Calls that are run at most, so that no tree takes for ever; what is beyond is taken as unknown.
const MAX_RUNS: usize = 200_000;
/// Calls inside calls that are followed.
const MAX_DEPTH: usize = 48;

/// How text leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaves {
    /// Printed, written to a stream or sent.
    Printed,
    /// Returned to a framework that answers a client with it.
    Answered,
    /// Returned by a function that nothing in the tree calls.
    Returned,
}

/// Text that leaves, and where.
#[derive(Clone, Debug)]
pub(crate) struct Emission {
    pub(crate) value: Value,
    pub(crate) place: Place,
    pub(crate) leaves: Leaves,
    pub(crate) function: usize,
    /// Whether a prompt had been read before.
    pub(crate) after_prompt: bool,
}

/// What a call came to.
#[derive(Clone, Default, Debug)]
pub(super) struct Outcome {
    pub(super) returned: Value,
    /// What became of each argument.
    pub(super) arguments: Vec<Value>,
}

pub(super) type Key = (usize, Vec<(Origins, Option<Rc<str>>)>, Origins);

/// The interpreter and what it has learned.
pub(crate) struct Interpreter<'p, 't> {
    pub(super) program: &'p Program<'t>,
    /// What fields were given, by type (empty where it is unknown) and name.
    pub(super) fields: BTreeMap<(Rc<str>, String), Value>,
    pub(super) constants: BTreeMap<String, Value>,
    pub(super) memo: HashMap<Key, Outcome>,
    running: BTreeSet<usize>,
    /// What functions that call themselves are known to return so far.
    recursive: BTreeMap<usize, Value>,
    /// Closures that are being run, by where they are in memory.
    pub(super) running_closures: BTreeSet<*const syn::ExprClosure>,
    /// Whether a closure hands on to people what it is called with.
    pub(super) says: HashMap<*const syn::ExprClosure, bool>,
    depth: usize,
    n_runs: usize,
    /// What left since the last entry.
    pub(crate) emissions: Vec<Emission>,
    /// Functions that had a prompt in their hands.
    pub(crate) handle_prompts: BTreeSet<usize>,
    pub(super) has_read: bool,
    /// Whether a prompt was handed to a function whose source is not in the tree.
    pub(crate) handed_out: bool,
    /// Whether a field was learned to hold more than before.
    pub(crate) learned: bool,
}

/// A function while it is run.
pub(super) struct Frame<'t> {
    pub(super) function: usize,
    pub(super) file: usize,
    pub(super) locals: BTreeMap<String, Value>,
    pub(super) closures: BTreeMap<String, &'t syn::ExprClosure>,
    pub(super) named_functions: BTreeMap<String, Vec<usize>>,
    pub(super) returned: Value,
    /// What the branches around were taken for.
    pub(super) control: Origins,
    /// What the branches around the call were taken for.
    pub(super) called_under: Origins,
    pub(super) self_type: Option<Rc<str>>,
}

impl Frame<'_> {
    /// A function that is called in a branch that was taken for `control`.
    pub(super) fn new(function: usize, file: usize, control: Origins, self_type: Option<Rc<str>>) -> Self {
        Self {
            function,
            file,
            locals: BTreeMap::new(),
            closures: BTreeMap::new(),
            named_functions: BTreeMap::new(),
            returned: Value::default(),
            control,
            called_under: control,
            self_type,
        }
    }
}

impl<'p, 't> Interpreter<'p, 't> {
    pub(crate) fn new(program: &'p Program<'t>) -> Self {
        Self {
            program,
            fields: BTreeMap::new(),
            constants: BTreeMap::new(),
            memo: HashMap::new(),
            running: BTreeSet::new(),
            recursive: BTreeMap::new(),
            running_closures: BTreeSet::new(),
            says: HashMap::new(),
            depth: 0,
            n_runs: 0,
            emissions: Vec::new(),
            handle_prompts: BTreeSet::new(),
            has_read: false,
            handed_out: false,
            learned: false,
        }
    }

    /// Runs `function` from outside with these arguments, and returns what it returned; what left meanwhile is in
    /// `emissions`.
    pub(crate) fn enter(&mut self, function: usize, arguments: Vec<Value>) -> (Value, Vec<Value>) {
        self.memo.clear();
        self.recursive.clear();
        self.constants.clear();
        self.emissions.clear();
        self.has_read = false;
        self.handed_out = false;
        self.n_runs = 0;
        let outcome = self.call(function, arguments, Origins::NONE);
        (outcome.returned, outcome.arguments)
    }

    /// Whether a prompt was read since the last entry.
    pub(crate) fn has_prompt(&self) -> bool {
        self.has_read
    }

    /// Runs one call.
    pub(super) fn call(&mut self, index: usize, mut arguments: Vec<Value>, control: Origins) -> Outcome {
        // What is done with a text says whether it stands in for a reply; here it is an argument.
        for argument in &mut arguments {
            argument.origins = argument.origins.without(Origins::INSTEAD);
        }
        let function = &self.program.graph.functions[index];
        let ty = match &function.signature.output {
            syn::ReturnType::Type(_, ty) => self.program.type_in(ty, function.self_type.as_deref()),
            syn::ReturnType::Default => None,
        };
        let is_models =
            [&function.implements, &function.self_type].iter().any(|of| of.as_deref() == Some("CausalLm"));
        let made_of = |mut returned: Value, arguments: Vec<Value>| {
            for argument in &arguments {
                returned.origins |= argument.origins.without(Origins::STREAM);
            }
            Outcome { returned: returned.typed(ty.clone()), arguments }
        };
        if is_models && matches!(function.name.as_str(), "prefill" | "decode" | "forward") && self.depth > 0 {
            return Outcome { returned: Value::of(Origins::MODEL).typed(ty), arguments };
        }
        let unknown = Value::of(Origins::OPAQUE);
        let Some(body) = function.body else { return made_of(unknown, arguments) };
        let key: Key =
            (index, arguments.iter().map(|value| (value.origins, value.ty.clone())).collect(), control);
        if let Some(outcome) = self.memo.get(&key) {
            return outcome.clone();
        }
        if self.running.contains(&index) {
            let so_far = self.recursive.entry(index).or_default().clone();
            return made_of(so_far, arguments);
        }
        if self.depth >= MAX_DEPTH || self.n_runs >= MAX_RUNS {
            return made_of(unknown, arguments);
        }
        self.running.insert(index);
        self.depth += 1;
        let mut outcome = self.run(index, body, &arguments, control, ty.as_ref());
        // What it returns to itself is part of what it returns, until no more comes to light.
        while let Some(so_far) = self.recursive.get_mut(&index) {
            let known = so_far.origins;
            so_far.join(&outcome.returned);
            if so_far.origins == known || self.n_runs >= MAX_RUNS {
                break;
            }
            // What others returned meanwhile rests on what was known of this one.
            self.memo.clear();
            outcome = self.run(index, body, &arguments, control, ty.as_ref());
        }
        self.depth -= 1;
        self.running.remove(&index);
        self.memo.insert(key, outcome.clone());
        outcome
    }

    /// Runs the body of a function that returns `ty`.
    fn run(
        &mut self,
        index: usize,
        body: &'t syn::Block,
        arguments: &[Value],
        control: Origins,
        ty: Option<&Rc<str>>,
    ) -> Outcome {
        self.n_runs += 1;
        let function = &self.program.graph.functions[index];
        let self_type = function.self_type.as_deref().map(Into::into);
        let mut frame = Frame::new(index, self.program.file_of(index), control, self_type);
        let self_type = frame.self_type.clone();
        for (input, argument) in function.signature.inputs.iter().zip(arguments) {
            match input {
                syn::FnArg::Receiver(_) => {
                    // A value of a trait is one of this type here.
                    let mut value = argument.clone();
                    value.ty.clone_from(&self_type);
                    frame.locals.insert("self".to_owned(), value);
                }
                syn::FnArg::Typed(typed) => {
                    let declared = self.program.type_in(&typed.ty, self_type.as_deref());
                    self.bind(&typed.pat, &argument.clone().typed(declared), &mut frame);
                }
            }
        }
        let tail = self.block(body, &mut frame);
        let mut returned = Self::under_control(tail, &frame).or(&frame.returned).typed(ty.cloned());
        if matches!(&function.signature.output, syn::ReturnType::Type(_, ty) if is_plain(ty)) {
            // A size or a switch is no part of what is computed.
            returned.origins = returned.origins.without(Origins::STATE);
        }
        let after = function.signature.inputs.iter().zip(arguments).map(|(input, argument)| match input {
            syn::FnArg::Receiver(_) => frame.locals.get("self").cloned().unwrap_or_default(),
            syn::FnArg::Typed(typed) => match &*typed.pat {
                syn::Pat::Ident(name) => {
                    frame.locals.get(&name.ident.to_string()).cloned().unwrap_or_default()
                }
                _ => argument.clone(),
            },
        });
        let outcome = Outcome { returned, arguments: after.collect() };
        if frame.locals.values().any(|value| value.any(Origins::SAID)) {
            self.handle_prompts.insert(index);
        }
        outcome
    }

    /// A value where it is taken: canned or read from a file, it is chosen by what the branch was taken for.
    pub(super) fn under_control(value: Value, frame: &Frame<'t>) -> Value {
        let chosen = frame.control & Origins::CHOICE;
        if chosen == Origins::NONE || !value.any(Origins::CANNED | Origins::FILE) {
            return value;
        }
        let asks_here = chosen.any(Origins::SURE) && !frame.called_under.any(Origins::SURE);
        let is_whole =
            asks_here && value.any(Origins::PROSE | Origins::NUMBERS) && !value.any(Origins::MODEL);
        value.with(if is_whole { chosen | Origins::INSTEAD } else { chosen })
    }

    /// Notes text that leaves.
    pub(super) fn emit(&mut self, value: &Value, span: Span, leaves: Leaves, frame: &Frame<'t>) {
        let value = Self::under_control(value.clone(), frame);
        if !value.any(Origins::CANNED | Origins::FILE | Origins::MODEL | Origins::OPAQUE | Origins::SAID) {
            return;
        }
        let place = (frame.file, span.start().line, span.start().column + 1);
        let emission =
            Emission { value, place, leaves, function: frame.function, after_prompt: self.has_read };
        self.emissions.push(emission);
    }

    pub(super) fn block(&mut self, block: &'t syn::Block, frame: &mut Frame<'t>) -> Value {
        let outer = frame.control;
        let mut last = Value::default();
        for statement in &block.stmts {
            last = match statement {
                syn::Stmt::Local(local) => {
                    self.local(local, frame);
                    Value::default()
                }
                syn::Stmt::Expr(expression, semicolon) => {
                    let value = self.expression(expression, frame);
                    if let syn::Expr::If(branch) = expression
                        && branch.else_branch.is_none()
                        && diverges(&branch.then_branch)
                    {
                        // What follows is the other branch.
                        let asked = self.condition(&branch.cond, frame);
                        frame.control |= asked & Origins::CHOSEN;
                    }
                    if semicolon.is_some() { Value::default() } else { value }
                }
                syn::Stmt::Macro(call) => {
                    let value = self.macro_call(&call.mac, frame);
                    if call.semi_token.is_some() { Value::default() } else { value }
                }
                syn::Stmt::Item(_) => Value::default(),
            };
        }
        frame.control = outer;
        last
    }

    fn local(&mut self, local: &'t syn::Local, frame: &mut Frame<'t>) {
        let (pattern, declared) = match &local.pat {
            syn::Pat::Type(typed) => {
                (&*typed.pat, self.program.type_in(&typed.ty, frame.self_type.as_deref()))
            }
            pattern => (pattern, None),
        };
        let Some(init) = &local.init else {
            self.bind(pattern, &Value::default().typed(declared), frame);
            return;
        };
        if let (syn::Pat::Tuple(patterns), syn::Expr::Tuple(values)) = (pattern, &*init.expr)
            && patterns.elems.len() == values.elems.len()
        {
            for (pattern, value) in patterns.elems.iter().zip(&values.elems) {
                let value = self.expression(value, frame);
                self.bind(pattern, &value, frame);
            }
            return;
        }
        let value = self.expression(&init.expr, frame);
        let mut value = Self::under_control(value, frame);
        if declared.is_some() {
            value.ty = declared;
        }
        if let Some((_, diverging)) = &init.diverge {
            let outer = frame.control;
            frame.control |= pattern_test(pattern, &value);
            self.expression(diverging, frame);
            frame.control = outer;
        }
        self.bind(pattern, &value, frame);
        let syn::Pat::Ident(name) = pattern else { return };
        match &*init.expr {
            syn::Expr::Closure(closure) => drop(frame.closures.insert(name.ident.to_string(), closure)),
            syn::Expr::Path(path) => {
                let functions = self.functions_named(path, frame);
                if !functions.is_empty() {
                    frame.named_functions.insert(name.ident.to_string(), functions);
                }
            }
            _ => {}
        }
    }

    /// What a condition asks of what a prompt says; binds what its patterns name.
    pub(super) fn condition(&mut self, condition: &'t syn::Expr, frame: &mut Frame<'t>) -> Origins {
        let value = self.expression(condition, frame);
        if value.any(Origins::MODEL) { Origins::NONE } else { value.origins & Origins::CHOICE }
    }

    /// Runs `of` in a branch that was taken for `asked`.
    pub(super) fn branch(
        &mut self,
        asked: Origins,
        frame: &mut Frame<'t>,
        of: impl FnOnce(&mut Self, &mut Frame<'t>) -> Value,
    ) -> Value {
        let outer = frame.control;
        frame.control |= asked;
        let value = of(self, frame);
        let value = Self::under_control(value, frame);
        frame.control = outer;
        value
    }
}

/// Whether a block ends by leaving the block around it.
fn diverges(block: &syn::Block) -> bool {
    match block.stmts.last() {
        Some(syn::Stmt::Expr(expression, _)) => {
            matches!(expression, syn::Expr::Return(_) | syn::Expr::Break(_) | syn::Expr::Continue(_))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::MAX_DEPTH;
    use crate::{find, run};

    /// What G7 says of a program that hands its prompt through `n` functions to one that looks into it.
    fn said_through(n: usize) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let mut text =
            "fn main() {\n    println!(\"{}\", f0(&std::env::args().collect::<String>()));\n}\n".to_owned();
        for index in 0..n {
            writeln!(text, "fn f{index}(text: &str) -> &'static str {{ f{}(text) }}", index + 1).unwrap();
        }
        writeln!(
            text,
            "fn f{n}(text: &str) -> &'static str {{ if text.contains(\"capital\") {{ \"It is Paris.\" }} else {{ \"\" }} }}"
        )
        .unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/main.rs"), text).unwrap();
        // On the stack that calls in calls need.
        let findings = run(folder.path(), &[find("G7").unwrap()]).unwrap().findings;
        findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.reason)).collect()
    }

    #[test]
    fn a_reply_is_found_as_deep_as_calls_are_followed_and_below_from_where_they_begin() {
        let cases = [(MAX_DEPTH - 2, "`main`"), (MAX_DEPTH - 1, "`f0`"), (60, "`f13`")];
        for (n, by) in cases {
            let expected = format!(
                "{}: a canned reply is chosen by what the prompt says (said by {by})\nhint: let the model generate every reply",
                n + 4
            );
            assert_eq!(said_through(n), [expected], "through {n}");
        }
    }
}

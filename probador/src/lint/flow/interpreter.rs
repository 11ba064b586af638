//! Runs functions over origins: statements, branches and loops, with what each branch was taken for.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use proc_macro2::Span;
use syn::spanned::Spanned;

use super::conditions::{How, compare, is_catch_all, literal_test, number_test, pattern_test};
use super::known::is_name;
use super::program::Program;
use super::value::{Origins, Place, Value, is_label, is_prose, is_text};

/// Calls that are run at most, so that no tree takes for ever; what is beyond is taken as unknown.
const MAX_RUNS: usize = 200_000;
/// Calls inside calls that are followed.
const MAX_DEPTH: usize = 48;

/// How text leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::lint) enum Leaves {
    /// Printed, written to a stream or sent.
    Printed,
    /// Returned to a framework that answers a client with it.
    Answered,
    /// Returned by a function that nothing in the tree calls.
    Returned,
}

/// Text that leaves, and where.
#[derive(Clone, Debug)]
pub(in crate::lint) struct Emission {
    pub(in crate::lint) value: Value,
    pub(in crate::lint) place: Place,
    pub(in crate::lint) leaves: Leaves,
    pub(in crate::lint) function: usize,
    /// Whether a prompt had been read before.
    pub(in crate::lint) after_prompt: bool,
}

/// What a call came to.
#[derive(Clone, Default, Debug)]
pub(super) struct Outcome {
    pub(super) returned: Value,
    /// What became of each argument.
    pub(super) arguments: Vec<Value>,
}

type Key = (usize, Vec<(Origins, Option<Rc<str>>)>, Origins);

/// The interpreter and what it has learned.
pub(in crate::lint) struct Interpreter<'p, 't> {
    pub(super) program: &'p Program<'t>,
    /// What fields were given, by type (empty where it is unknown) and name.
    pub(super) fields: BTreeMap<(Rc<str>, String), Value>,
    constants: BTreeMap<String, Value>,
    memo: HashMap<Key, Outcome>,
    running: BTreeSet<usize>,
    /// Closures that are being run, by where they are in memory.
    running_closures: BTreeSet<*const syn::ExprClosure>,
    /// Whether a closure hands on to people what it is called with.
    says: HashMap<*const syn::ExprClosure, bool>,
    depth: usize,
    n_runs: usize,
    /// What left since the last entry.
    pub(in crate::lint) emissions: Vec<Emission>,
    /// Functions that had a prompt in their hands.
    pub(in crate::lint) handle_prompts: BTreeSet<usize>,
    pub(super) has_read: bool,
    /// Whether a prompt was handed to a function whose source is not in the tree.
    pub(in crate::lint) handed_out: bool,
    /// Whether a field was learned to hold more than before.
    pub(in crate::lint) learned: bool,
}

/// A function while it is run.
pub(super) struct Frame<'t> {
    pub(super) function: usize,
    pub(super) file: usize,
    pub(super) locals: BTreeMap<String, Value>,
    pub(super) closures: BTreeMap<String, &'t syn::ExprClosure>,
    pub(super) named_functions: BTreeMap<String, Vec<usize>>,
    returned: Value,
    /// What the branches around were taken for.
    pub(super) control: Origins,
    /// What the branches around the call were taken for.
    pub(super) called_under: Origins,
    pub(super) self_type: Option<Rc<str>>,
}

impl<'p, 't> Interpreter<'p, 't> {
    pub(in crate::lint) fn new(program: &'p Program<'t>) -> Self {
        Self {
            program,
            fields: BTreeMap::new(),
            constants: BTreeMap::new(),
            memo: HashMap::new(),
            running: BTreeSet::new(),
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
    pub(in crate::lint) fn enter(&mut self, function: usize, arguments: Vec<Value>) -> (Value, Vec<Value>) {
        self.memo.clear();
        self.constants.clear();
        self.emissions.clear();
        self.has_read = false;
        self.handed_out = false;
        self.n_runs = 0;
        let outcome = self.call(function, arguments, Origins::NONE);
        (outcome.returned, outcome.arguments)
    }

    /// Whether a prompt was read since the last entry.
    pub(in crate::lint) fn has_prompt(&self) -> bool {
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
        let unknown = |arguments: Vec<Value>| {
            let mut returned = Value::of(Origins::OPAQUE).typed(ty.clone());
            arguments
                .iter()
                .for_each(|argument| returned.origins |= argument.origins.without(Origins::STREAM));
            Outcome { returned, arguments }
        };
        if is_models && matches!(function.name.as_str(), "prefill" | "decode" | "forward") && self.depth > 0 {
            return Outcome { returned: Value::of(Origins::MODEL).typed(ty), arguments };
        }
        let Some(body) = function.body else { return unknown(arguments) };
        let key: Key =
            (index, arguments.iter().map(|value| (value.origins, value.ty.clone())).collect(), control);
        if let Some(outcome) = self.memo.get(&key) {
            return outcome.clone();
        }
        if self.depth >= MAX_DEPTH || self.n_runs >= MAX_RUNS || !self.running.insert(index) {
            return unknown(arguments);
        }
        self.n_runs += 1;
        self.depth += 1;
        let mut frame = Frame {
            function: index,
            file: self.program.file_of(index),
            locals: BTreeMap::new(),
            closures: BTreeMap::new(),
            named_functions: BTreeMap::new(),
            returned: Value::default(),
            control,
            called_under: control,
            self_type: function.self_type.as_deref().map(Into::into),
        };
        let self_type = frame.self_type.clone();
        for (input, argument) in function.signature.inputs.iter().zip(&arguments) {
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
        let mut returned = self.under_control(tail, &frame).or(&frame.returned).typed(ty);
        if matches!(&function.signature.output, syn::ReturnType::Type(_, ty) if is_plain(ty)) {
            // A size or a switch is no part of what is computed.
            returned.origins = returned.origins.without(Origins::STATE);
        }
        let after = function.signature.inputs.iter().zip(&arguments).map(|(input, argument)| match input {
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
        self.depth -= 1;
        self.running.remove(&index);
        self.memo.insert(key, outcome.clone());
        outcome
    }

    /// A value where it is taken: canned or read from a file, it is chosen by what the branch was taken for.
    pub(super) fn under_control(&self, value: Value, frame: &Frame<'t>) -> Value {
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
        let value = self.under_control(value.clone(), frame);
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
        let mut value = self.under_control(value, frame);
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
        let value = self.under_control(value, frame);
        frame.control = outer;
        value
    }

    /// The origins of an expression.
    pub(super) fn expression(&mut self, expression: &'t syn::Expr, frame: &mut Frame<'t>) -> Value {
        use syn::Expr;
        match expression {
            Expr::Lit(literal) => self.literal(&literal.lit, frame),
            Expr::Path(path) => self.path(path, frame),
            Expr::Paren(inner) => self.expression(&inner.expr, frame),
            Expr::Group(inner) => self.expression(&inner.expr, frame),
            Expr::Reference(inner) => self.expression(&inner.expr, frame),
            Expr::Try(inner) => self.expression(&inner.expr, frame),
            Expr::Await(inner) => self.expression(&inner.base, frame),
            Expr::Cast(inner) => self.expression(&inner.expr, frame),
            Expr::Unary(inner) => self.expression(&inner.expr, frame),
            Expr::Unsafe(inner) => self.block(&inner.block, frame),
            Expr::Block(inner) => self.block(&inner.block, frame),
            Expr::Async(inner) => self.block(&inner.block, frame),
            Expr::Const(inner) => self.block(&inner.block, frame),
            Expr::TryBlock(inner) => self.block(&inner.block, frame),
            Expr::Binary(binary) => self.binary(binary, frame),
            Expr::If(branch) => {
                let asked = self.condition(&branch.cond, frame);
                let mut value =
                    self.branch(asked, frame, |this, frame| this.block(&branch.then_branch, frame));
                if let Some((_, other)) = &branch.else_branch {
                    let otherwise = asked & Origins::CHOSEN;
                    value.join(&self.branch(otherwise, frame, |this, frame| this.expression(other, frame)));
                }
                value
            }
            Expr::Let(condition) => {
                let value = self.expression(&condition.expr, frame);
                self.bind(&condition.pat, &value, frame);
                Value::of(pattern_test(&condition.pat, &value))
            }
            Expr::Match(matched) => self.matched(matched, frame),
            Expr::While(repeated) => {
                for _ in 0..2 {
                    let asked = self.condition(&repeated.cond, frame);
                    self.branch(asked, frame, |this, frame| this.block(&repeated.body, frame));
                }
                Value::default()
            }
            Expr::Loop(repeated) => {
                self.block(&repeated.body, frame);
                self.block(&repeated.body, frame);
                frame.locals.remove("break").unwrap_or_default()
            }
            Expr::ForLoop(repeated) => {
                let items = self.expression(&repeated.expr, frame);
                for _ in 0..2 {
                    self.bind(&repeated.pat, &items, frame);
                    self.block(&repeated.body, frame);
                    // What was done to an element was done to what holds it.
                    self.give_back(&repeated.pat, &repeated.expr, frame);
                }
                Value::default()
            }
            Expr::Closure(closure) => {
                let parameter = Value::default();
                let says = self.says_what_it_is_given(closure, frame);
                let value = self.closure(closure, &[parameter], None, frame);
                if says { value.with(Origins::CALLBACK) } else { value }
            }
            Expr::Return(returned) => {
                if let Some(inner) = &returned.expr {
                    let value = self.expression(inner, frame);
                    let value = self.under_control(value, frame);
                    frame.returned.join(&value);
                }
                Value::default()
            }
            Expr::Break(broken) => {
                if let Some(inner) = &broken.expr {
                    let value = self.expression(inner, frame);
                    let value = self.under_control(value, frame);
                    frame.locals.entry("break".to_owned()).or_default().join(&value);
                }
                Value::default()
            }
            Expr::Yield(yielded) => {
                if let Some(inner) = &yielded.expr {
                    let value = self.expression(inner, frame);
                    self.emit(&value, yielded.span(), Leaves::Printed, frame);
                }
                Value::default()
            }
            Expr::Assign(assigned) => {
                let value = self.expression(&assigned.right, frame);
                let value = self.under_control(value, frame).with(frame.control & Origins::CHOICE);
                self.assign(&assigned.left, &value, frame);
                Value::default()
            }
            Expr::Field(field) => {
                let base = self.expression(&field.base, frame);
                self.field(&base, &member_name(&field.member))
            }
            Expr::Index(index) => {
                let base = self.expression(&index.expr, frame);
                let at = self.expression(&index.index, frame);
                Self::element(&base, &at)
            }
            Expr::Range(range) => {
                let ends = [range.start.as_deref(), range.end.as_deref()];
                let mut value = Value::default();
                for end in ends.into_iter().flatten() {
                    value.join(&self.expression(end, frame));
                }
                value
            }
            Expr::Array(array) => self.list(array.elems.iter(), frame),
            Expr::Tuple(tuple) => self.list(tuple.elems.iter(), frame),
            Expr::Repeat(repeat) => {
                self.expression(&repeat.len, frame);
                self.expression(&repeat.expr, frame)
            }
            Expr::Struct(literal) => self.struct_literal(literal, frame),
            Expr::Call(call) => self.function_call(call, frame),
            Expr::MethodCall(call) => self.method_call(call, frame),
            Expr::Macro(call) => self.macro_call(&call.mac, frame),
            _ => Value::default(),
        }
    }

    /// Gives what a pattern's names hold back to the place whose elements they were lent by.
    fn give_back(&mut self, pattern: &syn::Pat, lender: &'t syn::Expr, frame: &mut Frame<'t>) {
        if !quote_text(lender).contains("mut")
            && !matches!(lender, syn::Expr::Reference(lent) if lent.mutability.is_some())
        {
            return;
        }
        let mut names = Names(Vec::new());
        syn::visit::Visit::visit_pat(&mut names, pattern);
        let mut value = Value::default();
        names.0.iter().filter_map(|name| frame.locals.get(name)).for_each(|held| value.join(held));
        value.ty = None;
        self.assign(lender, &value, frame);
    }

    pub(super) fn list<'e>(
        &mut self,
        elements: impl Iterator<Item = &'t syn::Expr>,
        frame: &mut Frame<'t>,
    ) -> Value
    where
        't: 'e,
    {
        let (mut value, mut n_numbers, mut n) = (Value::default(), 0, 0);
        let mut first = None;
        for element in elements {
            n += 1;
            if is_number(element) {
                n_numbers += 1;
                first = first.or_else(|| Some(element.span().start()));
            }
            value.join(&self.expression(element, frame));
        }
        if n_numbers >= 3 && n_numbers == n {
            value.origins |= Origins::NUMBERS | (frame.control & Origins::CHOICE);
            value.literal = first.map(|start| (frame.file, start.line, start.column + 1));
        }
        value
    }

    pub(super) fn literal(&mut self, literal: &syn::Lit, frame: &Frame<'t>) -> Value {
        let chosen = frame.control & Origins::CHOICE;
        let text = match literal {
            syn::Lit::Str(text) => text.value(),
            syn::Lit::ByteStr(text) => String::from_utf8_lossy(&text.value()).into_owned(),
            syn::Lit::CStr(text) => text.value().to_string_lossy().into_owned(),
            _ => return Value::of(chosen),
        };
        let origins = if !is_text(&text) || is_label(&text) || is_name(&text) && !is_prose(&text) {
            Origins::NONE
        } else if is_prose(&text) {
            Origins::LITERAL | Origins::PROSE
        } else {
            Origins::LITERAL
        };
        let start = literal.span().start();
        let place = (frame.file, start.line, start.column + 1);
        Value { origins: origins | chosen, ty: None, literal: (origins != Origins::NONE).then_some(place) }
    }

    fn path(&mut self, path: &'t syn::ExprPath, frame: &mut Frame<'t>) -> Value {
        if let Some(name) = path.path.get_ident()
            && let Some(value) = frame.locals.get(&name.to_string())
        {
            return value.clone();
        }
        let segments: Vec<String> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let Some(last) = segments.last() else { return Value::default() };
        let program = self.program;
        let constants = program.constants(last);
        if !constants.is_empty() {
            let value = self.constant(last, constants);
            return self.under_control(value, frame);
        }
        let functions = self.functions_named(path, frame);
        if !functions.is_empty() {
            // A function as a value: what it would return of its own.
            let mut value = Value::default();
            for function in functions.into_iter().take(8) {
                let n = self.program.graph.functions[function].signature.inputs.len();
                let outcome = self.call(function, vec![Value::default(); n], frame.control);
                value.origins |= outcome.returned.origins & Origins::CANNED;
                value.literal = value.literal.or(outcome.returned.literal);
            }
            return value;
        }
        // A variant, or a unit struct: which one is chosen like any constant.
        let owner = segments.len().checked_sub(2).map(|at| segments[at].as_str());
        let owner = if owner == Some("Self") { frame.self_type.clone() } else { owner.map(Into::into) };
        let ty = owner
            .filter(|owner| self.program.type_info(owner).is_some())
            .or_else(|| self.program.type_info(last).map(|_| last.as_str().into()));
        Value::of(frame.control & Origins::CHOICE).typed(ty)
    }

    /// The functions of the tree that a path names.
    pub(super) fn functions_named(&self, path: &syn::ExprPath, frame: &Frame<'t>) -> Vec<usize> {
        let Some(last) = path.path.segments.last() else { return Vec::new() };
        let start = last.ident.span().start();
        match self.program.path_at(frame.function, last.ident.span()) {
            Some(path) => self.program.callees(frame.function, path, (start.line, start.column + 1)),
            None => Vec::new(),
        }
    }

    /// The constant of this name, or nothing.
    pub(super) fn named_constant(&mut self, name: &str) -> Value {
        let program = self.program;
        let initialisers = program.constants(name);
        self.constant(name, initialisers)
    }

    fn constant(&mut self, name: &str, initialisers: &[(usize, &'t syn::Expr)]) -> Value {
        if let Some(value) = self.constants.get(name) {
            return value.clone();
        }
        self.constants.insert(name.to_owned(), Value::default());
        let mut value = Value::default();
        for (file, initialiser) in initialisers {
            let mut frame = Frame {
                function: 0,
                file: *file,
                locals: BTreeMap::new(),
                closures: BTreeMap::new(),
                named_functions: BTreeMap::new(),
                returned: Value::default(),
                control: Origins::NONE,
                called_under: Origins::NONE,
                self_type: None,
            };
            value.join(&self.expression(initialiser, &mut frame));
            let text = quote_text(initialiser);
            if text.contains("Atomic") {
                value.origins |= Origins::VARIES;
            }
        }
        self.constants.insert(name.to_owned(), value.clone());
        value
    }

    fn matched(&mut self, matched: &'t syn::ExprMatch, frame: &mut Frame<'t>) -> Value {
        let parts = if let syn::Expr::Tuple(tuple) = &*matched.expr {
            tuple.elems.iter().map(|part| self.expression(part, frame)).collect()
        } else {
            vec![self.expression(&matched.expr, frame)]
        };
        let mut whole = Value::default();
        parts.iter().for_each(|part| whole.join(part));
        let (mut value, mut asked_before) = (Value::default(), Origins::NONE);
        for arm in &matched.arms {
            let (pattern, guard) = match &arm.pat {
                syn::Pat::Guard(guarded) => (&*guarded.pat, Some(&*guarded.guard)),
                pattern => (pattern, None),
            };
            let mut asked = match pattern {
                syn::Pat::Tuple(tuple) if tuple.elems.len() == parts.len() => {
                    let mut asked = Origins::NONE;
                    for (pattern, part) in tuple.elems.iter().zip(&parts) {
                        asked |= pattern_test(pattern, part);
                        self.bind(pattern, part, frame);
                    }
                    asked
                }
                pattern => {
                    let asked = pattern_test(pattern, &whole);
                    self.bind(pattern, &whole, frame);
                    asked
                }
            };
            if let Some(guard) = guard {
                asked |= self.condition(guard, frame);
            }
            if is_catch_all(pattern) && guard.is_none() && asked_before.any(Origins::SURE) {
                asked |= Origins::CHOSEN;
            }
            asked_before |= asked;
            value.join(&self.branch(asked, frame, |this, frame| this.expression(&arm.body, frame)));
        }
        value
    }

    fn binary(&mut self, binary: &'t syn::ExprBinary, frame: &mut Frame<'t>) -> Value {
        use syn::BinOp;
        let a = self.expression(&binary.left, frame);
        let b = self.expression(&binary.right, frame);
        match binary.op {
            BinOp::And(_) | BinOp::Or(_) => a.or(&b),
            BinOp::Eq(_) | BinOp::Ne(_) => {
                let literal = |of: &Value, expression: &syn::Expr| {
                    literal_of(expression).map(|literal| test(of, &literal))
                };
                let asked = literal(&a, &binary.right).or_else(|| literal(&b, &binary.left));
                Value::of(asked.unwrap_or_else(|| compare(&a, &b, How::Whole)))
            }
            BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_) => {
                if a.any(Origins::MODEL) || b.any(Origins::MODEL) {
                    return Value::default();
                }
                // A score of how well a prompt fits is compared with a bound.
                Value::of((a.origins | b.origins) & Origins::CHOICE)
            }
            BinOp::AddAssign(_)
            | BinOp::SubAssign(_)
            | BinOp::MulAssign(_)
            | BinOp::DivAssign(_)
            | BinOp::RemAssign(_)
            | BinOp::BitXorAssign(_)
            | BinOp::BitAndAssign(_)
            | BinOp::BitOrAssign(_)
            | BinOp::ShlAssign(_)
            | BinOp::ShrAssign(_) => {
                let value = Self::computed(&a, &b, matches!(binary.op, BinOp::MulAssign(_)));
                let value = value.with(frame.control & Origins::CHOICE).with(Origins::VARIES);
                self.assign(&binary.left, &value, frame);
                Value::default()
            }
            _ => Self::computed(&a, &b, matches!(binary.op, BinOp::Mul(_))),
        }
    }

    /// What arithmetic makes of two values: a product of weights with anything but a constant is a model's.
    fn computed(a: &Value, b: &Value, is_product: bool) -> Value {
        let mut value = a.clone().or(b);
        value.ty = None;
        let weights = |value: &Value| value.any(Origins::STATE);
        let varies = |value: &Value| value.any(Origins::STATE | Origins::SAID | Origins::MODEL);
        if is_product && ((weights(a) && varies(b)) || (weights(b) && varies(a))) {
            value.origins = value.origins.without(Origins::INSTEAD) | Origins::MODEL;
        }
        if value.any(Origins::LENGTH) && !value.any(Origins::MODEL) {
            value.origins |= Origins::PIECE;
        }
        value
    }

    /// An element of `base`, by an index.
    pub(super) fn element(base: &Value, at: &Value) -> Value {
        let mut value = base.clone();
        if at.any(Origins::MODEL) {
            return value.with(Origins::MODEL);
        }
        let chosen = at.origins & Origins::CHOICE;
        if base.any(Origins::CANNED | Origins::FILE) {
            if at.any(Origins::PROMPT) {
                value.origins |= Origins::CHOICE;
            } else if at.any(Origins::SAID | Origins::LENGTH) {
                value.origins |= Origins::CHOSEN;
            }
            if at.any(Origins::CHANCE | Origins::VARIES) {
                value.origins |= Origins::PICKED;
            }
            value.origins |= chosen;
        } else if base.any(Origins::PROMPT) && !base.any(Origins::ARGUMENT) {
            value.origins |= Origins::PIECE;
        }
        value
    }

    /// Whether a closure hands on to people what it is called with.
    pub(super) fn says_what_it_is_given(
        &mut self,
        closure: &'t syn::ExprClosure,
        frame: &mut Frame<'t>,
    ) -> bool {
        let key = std::ptr::from_ref(closure);
        if let Some(says) = self.says.get(&key) {
            return *says;
        }
        self.says.insert(key, false);
        let (memo, n_before) = (std::mem::take(&mut self.memo), self.emissions.len());
        let locals = frame.locals.clone();
        self.closure(closure, &[Value::of(Origins::PROBE | Origins::LITERAL)], None, frame);
        frame.locals = locals;
        self.memo = memo;
        let says = self.emissions.drain(n_before..).any(|emission| emission.value.any(Origins::PROBE));
        self.says.insert(key, says);
        says
    }

    /// Runs a closure where it is written.
    pub(super) fn closure(
        &mut self,
        closure: &'t syn::ExprClosure,
        arguments: &[Value],
        lender: Option<&'t syn::Expr>,
        frame: &mut Frame<'t>,
    ) -> Value {
        if !self.running_closures.insert(std::ptr::from_ref(closure)) {
            return Value::default();
        }
        let returned = std::mem::take(&mut frame.returned);
        for (index, pattern) in closure.inputs.iter().enumerate() {
            let mut value = arguments.get(index).or(arguments.last()).cloned().unwrap_or_default();
            let pattern = match pattern {
                syn::Pat::Type(typed) => {
                    value = value.typed(self.program.type_in(&typed.ty, frame.self_type.as_deref()));
                    &*typed.pat
                }
                pattern => pattern,
            };
            self.bind(pattern, &value, frame);
        }
        let value = self.expression(&closure.body, frame);
        if let Some(lender) = lender {
            closure.inputs.iter().for_each(|pattern| self.give_back(pattern, lender, frame));
        }
        self.running_closures.remove(&std::ptr::from_ref(closure));
        let value = self.under_control(value, frame);
        let inner = std::mem::replace(&mut frame.returned, returned);
        value.or(&inner)
    }
}

/// The names that a pattern binds.
struct Names(Vec<String>);
impl<'ast> syn::visit::Visit<'ast> for Names {
    fn visit_pat_ident(&mut self, name: &'ast syn::PatIdent) {
        self.0.push(name.ident.to_string());
        syn::visit::visit_pat_ident(self, name);
    }
}

/// What comparing `of` with a literal asks.
fn test(of: &Value, literal: &syn::Lit) -> Origins {
    if of.any(Origins::MODEL) {
        return Origins::NONE;
    }
    match literal {
        syn::Lit::Str(text) if of.any(Origins::SAID) => {
            let asked = literal_test(&text.value(), How::Whole);
            if of.any(Origins::ARGUMENT) && asked == Origins::CHOSEN { Origins::NONE } else { asked }
        }
        syn::Lit::ByteStr(text) if of.any(Origins::SAID) => {
            literal_test(&String::from_utf8_lossy(&text.value()), How::Whole)
        }
        syn::Lit::Int(number) => {
            number.base10_parse().map_or(Origins::NONE, |number| number_test(of, number))
        }
        _ => of.origins & Origins::CHOICE,
    }
}

/// The literal that an expression is, references and conversions looked through.
pub(super) fn literal_of(expression: &syn::Expr) -> Option<syn::Lit> {
    match expression {
        syn::Expr::Lit(literal) => Some(literal.lit.clone()),
        syn::Expr::Reference(inner) => literal_of(&inner.expr),
        syn::Expr::Paren(inner) => literal_of(&inner.expr),
        syn::Expr::Cast(inner) => literal_of(&inner.expr),
        syn::Expr::Unary(inner) => literal_of(&inner.expr),
        syn::Expr::Call(call) if call.args.len() == 1 => literal_of(call.args.first()?),
        syn::Expr::MethodCall(call)
            if call.args.is_empty()
                && ["to_string", "to_owned", "into", "as_str", "as_bytes", "to_lowercase"]
                    .iter()
                    .any(|name| call.method == name) =>
        {
            literal_of(&call.receiver)
        }
        _ => None,
    }
}

/// Whether an expression is a number or a character in the source, or calls a constructor with one.
fn is_number(expression: &syn::Expr) -> bool {
    match literal_of(expression) {
        Some(syn::Lit::Int(_) | syn::Lit::Byte(_) | syn::Lit::Char(_)) => true,
        Some(_) | None => false,
    }
}

pub(super) fn member_name(member: &syn::Member) -> String {
    match member {
        syn::Member::Named(name) => name.to_string(),
        syn::Member::Unnamed(index) => index.index.to_string(),
    }
}

/// Whether a type is a whole number or a truth.
pub(super) fn is_plain(ty: &syn::Type) -> bool {
    let syn::Type::Path(path) = ty else { return false };
    ["usize", "u64", "u32", "u16", "u8", "i64", "i32", "i16", "i8", "isize", "bool"]
        .iter()
        .any(|name| path.path.is_ident(name))
}

/// The words of an initialiser.
fn quote_text(expression: &syn::Expr) -> String {
    struct Words(String);
    impl<'ast> syn::visit::Visit<'ast> for Words {
        fn visit_ident(&mut self, word: &'ast syn::Ident) {
            self.0.push_str(&word.to_string());
            self.0.push(' ');
        }
    }
    let mut words = Words(String::new());
    syn::visit::Visit::visit_expr(&mut words, expression);
    words.0
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

//! Expressions: literals, names, operators, branches and loops.

use syn::spanned::Spanned;

use super::conditions::{How, compare, is_catch_all, literal_test, number_test, pattern_test, phrase_test};
use super::interpreter::{Frame, Interpreter, Leaves};
use super::known::is_name;
use super::value::{Origins, Value, is_label, is_prose, is_text};

impl<'t> Interpreter<'_, 't> {
    /// The origins of an expression.
    pub(super) fn expression(&mut self, expression: &'t syn::Expr, frame: &mut Frame<'t>) -> Value {
        use syn::Expr;
        match expression {
            Expr::Lit(literal) => Self::literal(&literal.lit, frame),
            Expr::Path(path) => self.path(path, frame),
            Expr::Paren(inner) => self.expression(&inner.expr, frame),
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
                    let value = Self::under_control(value, frame);
                    frame.returned.join(&value);
                }
                Value::default()
            }
            Expr::Break(broken) => {
                if let Some(inner) = &broken.expr {
                    let value = self.expression(inner, frame);
                    let value = Self::under_control(value, frame);
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
                let value = Self::under_control(value, frame).with(frame.control & Origins::CHOICE);
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

    pub(super) fn literal(literal: &syn::Lit, frame: &Frame<'t>) -> Value {
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
            return Self::under_control(value, frame);
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
            let mut frame = Frame::new(0, *file, Origins::NONE, None);
            value.join(&self.expression(initialiser, &mut frame));
            let text = words(initialiser);
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
        for part in &parts {
            whole.join(part);
        }
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
    pub(super) fn computed(a: &Value, b: &Value, is_product: bool) -> Value {
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
}

/// What comparing `of` with a literal asks.
fn test(of: &Value, literal: &syn::Lit) -> Origins {
    if of.any(Origins::MODEL) {
        return match literal {
            syn::Lit::Str(text) => phrase_test(of, &text.value(), How::Whole),
            _ => Origins::NONE,
        };
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
pub(super) fn words(expression: &syn::Expr) -> String {
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

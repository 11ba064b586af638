//! Calls: into the tree by running what is called, out of it by the kind of work that is done there.

use std::rc::Rc;

use syn::spanned::Spanned;

use super::interpreter::{Frame, Interpreter, Leaves};
use super::known::{self, Method};
use super::value::{Origins, Value};

/// Implementations that a method call is run with at most.
const MAX_CALLEES: usize = 16;
/// Where channels keep what is sent through them.
pub(super) const CHANNEL: &str = "<channel>";

/// The arguments of a call.
pub(super) struct Arguments<'t> {
    pub(super) values: Vec<Value>,
    /// All that are no functions, joined.
    pub(super) joined: Value,
    /// What the functions among them return, if there is one.
    pub(super) function: Option<Value>,
    pub(super) expressions: Vec<&'t syn::Expr>,
}

impl<'t> Interpreter<'_, 't> {
    /// Evaluates arguments; functions among them are run with `elements`, lent by `lender`.
    fn arguments(
        &mut self,
        expressions: impl Iterator<Item = &'t syn::Expr>,
        elements: &Value,
        lender: Option<&'t syn::Expr>,
        frame: &mut Frame<'t>,
    ) -> Arguments<'t> {
        let mut arguments = Arguments {
            values: Vec::new(),
            joined: Value::default(),
            function: None,
            expressions: Vec::new(),
        };
        let mut closures = Vec::new();
        for expression in expressions {
            let is_function = match expression {
                syn::Expr::Closure(_) => true,
                syn::Expr::Path(path) => {
                    path.path.get_ident().is_none_or(|name| !frame.locals.contains_key(&name.to_string()))
                        && !self.functions_named(path, frame).is_empty()
                        || path
                            .path
                            .get_ident()
                            .is_some_and(|name| frame.closures.contains_key(&name.to_string()))
                }
                _ => false,
            };
            if is_function {
                closures.push((arguments.values.len(), expression));
                arguments.values.push(Value::default());
            } else {
                let value = self.expression(expression, frame);
                let value = Self::under_control(value, frame);
                arguments.joined.join(&value);
                arguments.values.push(value);
            }
            arguments.expressions.push(expression);
        }
        for (index, expression) in closures {
            // Twice: what a closure adds up is in its own hands the second time.
            let mut elements = elements.clone();
            if arguments.expressions.len() > 1 {
                elements.join(&arguments.joined);
            }
            self.apply(expression, &elements, lender, frame);
            let value = self.apply(expression, &elements, lender, frame);
            let says = match expression {
                syn::Expr::Closure(closure) => self.says_what_it_is_given(closure, frame),
                _ => false,
            };
            arguments.values[index] =
                if says { value.clone().with(Origins::CALLBACK) } else { value.clone() };
            arguments.function.get_or_insert_with(Value::default).join(&value);
        }
        arguments
    }

    /// Runs a closure, or a function that is named, with the same value for every parameter.
    fn apply(
        &mut self,
        function: &'t syn::Expr,
        value: &Value,
        lender: Option<&'t syn::Expr>,
        frame: &mut Frame<'t>,
    ) -> Value {
        match function {
            syn::Expr::Closure(closure) => self.closure(closure, std::slice::from_ref(value), lender, frame),
            syn::Expr::Path(path) => {
                let closure =
                    path.path.get_ident().and_then(|name| frame.closures.get(&name.to_string()).copied());
                if let Some(closure) = closure {
                    return self.closure(closure, std::slice::from_ref(value), lender, frame);
                }
                let mut returned = Value::default();
                for index in self.functions_named(path, frame) {
                    let n = self.program.graph.functions[index].signature.inputs.len();
                    returned.join(&self.call(index, vec![value.clone(); n], frame.control).returned);
                }
                returned
            }
            _ => Value::default(),
        }
    }

    /// Runs each of `callees` and gives back to the arguments what was done to them.
    fn run_callees(
        &mut self,
        callees: &[usize],
        values: &[Value],
        places: &[&'t syn::Expr],
        frame: &mut Frame<'t>,
    ) -> Value {
        let mut returned = Value::default();
        for &callee in callees.iter().take(MAX_CALLEES) {
            let outcome = self.call(callee, values.to_vec(), frame.control);
            returned.join(&outcome.returned);
            let inputs = &self.program.graph.functions[callee].signature.inputs;
            for ((place, after), input) in places.iter().zip(&outcome.arguments).zip(inputs) {
                let is_changed = match input {
                    syn::FnArg::Receiver(receiver) => receiver.mutability.is_some(),
                    syn::FnArg::Typed(typed) => {
                        matches!(&*typed.ty, syn::Type::Reference(of) if of.mutability.is_some())
                    }
                };
                if is_changed && is_place(place) {
                    self.assign(place, after, frame);
                }
            }
        }
        returned
    }

    pub(super) fn function_call(&mut self, call: &'t syn::ExprCall, frame: &mut Frame<'t>) -> Value {
        let syn::Expr::Path(path) = &*call.func else {
            // A function out of a field or a table.
            let callee = self.expression(&call.func, frame);
            let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
            return self.through_value(&callee, &arguments, call.span(), frame);
        };
        let segments: Vec<String> = match self.program.path_at(frame.function, last_span(&path.path)) {
            Some(followed) => followed.to_vec(),
            None => path.path.segments.iter().map(|segment| segment.ident.to_string()).collect(),
        };
        let name = segments.last().cloned().unwrap_or_default();
        if let Some(word) = path.path.get_ident().map(ToString::to_string) {
            if let Some(closure) = frame.closures.get(&word).copied() {
                let values: Vec<Value> =
                    call.args.iter().map(|argument| self.expression(argument, frame)).collect();
                return self.closure(closure, &values, None, frame);
            }
            if let Some(functions) = frame.named_functions.get(&word).cloned() {
                let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
                return self.run_callees(&functions, &arguments.values, &arguments.expressions, frame);
            }
            if let Some(callee) = frame.locals.get(&word).cloned() {
                let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
                return self.through_value(&callee, &arguments, call.span(), frame);
            }
        }
        if name == "Err" {
            // Why something failed is no reply.
            self.arguments(call.args.iter(), &Value::default(), None, frame);
            return Value::default();
        }
        let callees = self.functions_named(path, frame);
        let arguments = self.arguments(call.args.iter(), &Value::default(), None, frame);
        if !callees.is_empty() {
            return self.run_callees(&callees, &arguments.values, &arguments.expressions, frame);
        }
        let owner = segments.len().checked_sub(2).map(|at| segments[at].clone()).unwrap_or_default();
        let owner =
            if owner == "Self" { frame.self_type.as_deref().unwrap_or("Self").to_owned() } else { owner };
        let ty: Option<Rc<str>> = [&owner, &name]
            .into_iter()
            .find(|name| self.program.type_info(name).is_some())
            .map(|name| name.as_str().into());
        let value = self.outside(&segments, &owner, &name, &arguments, ty.as_ref(), frame);
        value.typed(ty)
    }

    /// A call through a value that holds a function.
    fn through_value(
        &mut self,
        callee: &Value,
        arguments: &Arguments<'t>,
        span: proc_macro2::Span,
        frame: &Frame<'t>,
    ) -> Value {
        let given = arguments.joined.clone();
        if callee.any(Origins::CALLBACK) {
            self.emit(&given, span, Leaves::Printed, frame);
        }
        let mut value = callee.clone().without(Origins::CALLBACK).or(&given);
        if given.any(Origins::SAID) && !given.any(Origins::MODEL) && callee.any(Origins::CANNED) {
            value.origins |= Origins::CHOICE;
        }
        if given.any(Origins::SAID) && callee.any(Origins::OPAQUE) && !callee.any(Origins::CANNED) {
            value.origins |= Origins::MODEL;
        }
        value
    }

    pub(super) fn method_call(&mut self, call: &'t syn::ExprMethodCall, frame: &mut Frame<'t>) -> Value {
        let receiver = self.expression(&call.receiver, frame);
        let name = call.method.to_string();
        let kind = known::method(&name);
        // What a closure on a chosen option makes is chosen too.
        let outer = frame.control;
        if !receiver.any(Origins::MODEL) {
            frame.control |= receiver.origins & Origins::CHOICE;
        }
        let elements = receiver.clone().without(Origins::STREAM);
        let arguments = self.arguments(call.args.iter(), &elements, Some(&call.receiver), frame);
        frame.control = outer;

        let of_type = receiver.ty.as_deref().map(|ty| self.program.methods_of(ty, &name)).unwrap_or_default();
        let of_name = || -> Vec<usize> {
            let called = self.program.methods_called(&name);
            let fits = |&&index: &&usize| {
                let signature = &self.program.graph.functions[index].signature;
                signature.receiver().is_some() && signature.inputs.len() == call.args.len() + 1
            };
            if called.len() > MAX_CALLEES {
                Vec::new()
            } else {
                called.iter().filter(fits).copied().collect()
            }
        };
        let callees = if !of_type.is_empty() {
            of_type
        } else if kind == Method::Unknown {
            of_name()
        } else {
            Vec::new()
        };
        if !callees.is_empty() {
            let mut values = vec![receiver.clone()];
            values.extend(arguments.values.iter().cloned());
            let mut places: Vec<&syn::Expr> = vec![&call.receiver];
            places.extend(&arguments.expressions);
            return self.run_callees(&callees, &values, &places, frame);
        }
        self.outside_method(call, kind, &name, &receiver, &arguments, frame)
    }

    /// Gives every argument that may be changed what the call had in hand.
    pub(super) fn spill(&mut self, arguments: &Arguments<'t>, given: &Value, frame: &mut Frame<'t>) {
        for expression in &arguments.expressions {
            if let syn::Expr::Reference(reference) = expression
                && reference.mutability.is_some()
            {
                self.assign(&reference.expr, &given.clone().without(Origins::STREAM), frame);
            }
        }
    }
}

fn last_span(path: &syn::Path) -> proc_macro2::Span {
    path.segments.last().map_or_else(proc_macro2::Span::call_site, |last| last.ident.span())
}

/// Whether an expression names a place that can be changed.
pub(super) fn is_place(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Path(_) | syn::Expr::Field(_) | syn::Expr::Index(_) => true,
        syn::Expr::Reference(inner) => is_place(&inner.expr),
        syn::Expr::Unary(inner) => is_place(&inner.expr),
        syn::Expr::Paren(inner) => is_place(&inner.expr),
        syn::Expr::MethodCall(call) => {
            ["lock", "unwrap", "as_mut", "borrow_mut", "expect", "write", "entry", "or_default"]
                .iter()
                .any(|name| call.method == name)
                && is_place(&call.receiver)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::MAX_CALLEES;
    use crate::tree::Tree;
    use crate::{find, run_tree};

    /// How often G7 flags a constant that is said by a method which `n` types have.
    fn n_flagged(n: usize) -> usize {
        let mut text =
            "pub fn reply(prompt: &str, bots: &Bots) -> String {\n    bots.answer(prompt)\n}\n".to_owned();
        for index in 0..n {
            write!(
                text,
                "struct B{index};\nimpl B{index} {{\n    fn answer(&self, n: &str) -> String {{\n        \
                 \"I am a helpful model.\".to_owned()\n    }}\n}}\n"
            )
            .unwrap();
        }
        let files = [("Cargo.toml", "[package]\nname = \"a\"\n"), ("src/lib.rs", text.as_str())];
        let tree = Tree::of_files(files.map(|(path, text)| (path.to_owned(), text.to_owned()))).unwrap();
        run_tree(&tree, &[find("G7").unwrap()]).unwrap().findings.len()
    }

    #[test]
    fn a_method_of_a_name_that_too_many_types_have_is_taken_as_unknown() {
        assert_eq!((n_flagged(MAX_CALLEES), n_flagged(MAX_CALLEES + 1)), (1, 0));
    }
}

//! Macros that format, print and build.

use syn::spanned::Spanned;

use super::conditions::pattern_test;
use super::expressions::literal_of;
use super::interpreter::{Frame, Interpreter, Leaves};
use super::value::{Origins, Value};

impl<'t> Interpreter<'_, 't> {
    /// A value as its `Display` shows it.
    pub(super) fn shown(&mut self, value: &Value, frame: &mut Frame<'t>) -> Value {
        let Some(ty) = value.ty.clone() else { return value.clone() };
        let mut shown = value.clone();
        for callee in self.program.methods_of(&ty, "fmt") {
            let control = frame.control | (value.origins & Origins::CHOICE);
            let outcome = self.call(callee, vec![value.clone(), Value::of(Origins::FORMATTER)], control);
            if let Some(written) = outcome.arguments.get(1) {
                shown.join(&written.clone().without(Origins::FORMATTER));
            }
        }
        shown.ty = None;
        shown
    }

    pub(super) fn macro_call(&mut self, mac: &'t syn::Macro, frame: &mut Frame<'t>) -> Value {
        let name = mac.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let inner = self.program.macro_at(frame.file, mac.path.span());
        match name.as_str() {
            "print" | "println" => {
                let value = self.formatted(inner, frame);
                self.emit(&value, mac.path.span(), Leaves::Printed, frame);
                Value::default()
            }
            "write" | "writeln" => {
                let Some((target, rest)) = inner.split_first() else { return Value::default() };
                let into = self.expression(target, frame);
                let value = self.formatted(rest, frame);
                if into.any(Origins::STREAM) {
                    self.emit(&value, mac.path.span(), Leaves::Printed, frame);
                } else {
                    let value = Self::under_control(value, frame);
                    self.assign(target, &value, frame);
                }
                Value::default()
            }
            "eprint" | "eprintln" | "dbg" | "trace" | "debug" | "info" | "warn" | "error" | "log"
            | "event" | "span" | "anyhow" | "format_err" | "panic" | "unreachable" | "todo"
            | "unimplemented" | "assert" | "assert_eq" | "assert_ne" | "debug_assert" | "debug_assert_eq"
            | "debug_assert_ne" | "bail" | "ensure" => Value::default(),
            "include_str" | "include_bytes" => {
                let start = mac.path.span().start();
                let place = (frame.file, start.line, start.column + 1);
                Value { origins: Origins::FILE, ty: None, literal: Some(place) }
            }
            "env" | "option_env" | "line" | "file" | "column" | "module_path" | "stringify" => {
                Value::default()
            }
            "format" | "format_args" | "concat" => self.formatted(inner, frame),
            "matches" => match inner {
                [matched] => {
                    let value = self.expression(matched, frame);
                    let asked = match matched {
                        syn::Expr::Match(matched) => {
                            let of = self.expression(&matched.expr, frame);
                            matched.arms.first().map_or(Origins::NONE, |arm| pattern_test(&arm.pat, &of))
                        }
                        _ => Origins::NONE,
                    };
                    Value::of(asked | (value.origins & Origins::CHOICE))
                }
                _ => Value::default(),
            },
            "vec" => self.list(inner.iter(), frame),
            _ => {
                let mut value = Value::default();
                for expression in inner {
                    let part = self.expression(expression, frame);
                    value.join(&Self::under_control(part, frame));
                }
                value
            }
        }
    }

    /// A format string and what is put into it.
    fn formatted(&mut self, inner: &'t [syn::Expr], frame: &mut Frame<'t>) -> Value {
        let mut value = Value::default();
        for expression in inner {
            let expression =
                if let syn::Expr::Assign(named) = expression { &named.right } else { expression };
            let part = self.expression(expression, frame);
            value.join(&self.shown(&part, frame));
            if let Some(syn::Lit::Str(text)) = literal_of(expression) {
                for name in captured(&text.value()) {
                    if let Some(local) = frame.locals.get(&name).cloned() {
                        value.join(&self.shown(&local, frame));
                    }
                    value.join(&self.named_constant(&name));
                }
            }
        }
        value.ty = None;
        value
    }
}

/// The names that a format string captures.
fn captured(format: &str) -> Vec<String> {
    let fields = format.split('{').skip(1).filter_map(|rest| rest.split(['}', ':']).next());
    let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_') && !name.is_empty();
    fields
        .filter(is_name)
        .filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()))
        .map(str::to_owned)
        .collect()
}

//! Names and places: what patterns bind, what assignments change, what fields hold.

use std::rc::Rc;

use super::expressions::{is_plain, member_name};
use super::interpreter::{Frame, Interpreter};
use super::value::{Origins, Value};

/// Fields that say how to answer, not what was said.
const NOT_SAID: [&str; 18] = [
    "role", "model", "id", "object", "format", "kind", "type", "mode", "level", "color", "name", "user",
    "stop", "path", "file", "output", "host", "device",
];

impl<'t> Interpreter<'_, 't> {
    /// Gives the names of a pattern their values.
    pub(super) fn bind(&mut self, pattern: &syn::Pat, value: &Value, frame: &mut Frame<'t>) {
        match pattern {
            syn::Pat::Ident(name) => {
                let word = name.ident.to_string();
                if word.starts_with(char::is_lowercase) || word.starts_with('_') {
                    frame.closures.remove(&word);
                    frame.named_functions.remove(&word);
                    frame.locals.insert(word, value.clone());
                }
                if let Some((_, inner)) = &name.subpat {
                    self.bind(inner, value, frame);
                }
            }
            syn::Pat::Reference(inner) => self.bind(&inner.pat, value, frame),
            syn::Pat::Paren(inner) => self.bind(&inner.pat, value, frame),
            syn::Pat::Tuple(tuple) => tuple.elems.iter().for_each(|inner| self.bind(inner, value, frame)),
            syn::Pat::Slice(slice) => slice.elems.iter().for_each(|inner| self.bind(inner, value, frame)),
            syn::Pat::Or(or) => or.cases.iter().for_each(|inner| self.bind(inner, value, frame)),
            syn::Pat::TupleStruct(fields) => {
                for (index, inner) in fields.elems.iter().enumerate() {
                    // A variant that was built in the tree knows the types of what it holds.
                    let ty = value.ty.as_deref().and_then(|ty| {
                        let declared = self.program.type_info(ty)?.fields.get(&index.to_string())?;
                        self.program.type_in(declared, Some(ty))
                    });
                    let mut inner_value = value.clone();
                    inner_value.ty = ty.or(inner_value.ty);
                    self.bind(inner, &inner_value, frame);
                }
            }
            syn::Pat::Struct(fields) => {
                for field in &fields.fields {
                    let inner = self.field(value, &member_name(&field.member));
                    self.bind(&field.pat, &inner, frame);
                }
            }
            _ => {}
        }
    }

    /// Changes the place that an expression names.
    pub(super) fn assign(&mut self, place: &'t syn::Expr, value: &Value, frame: &mut Frame<'t>) {
        match place {
            syn::Expr::Path(path) => {
                if let Some(name) = path.path.get_ident() {
                    frame.locals.entry(name.to_string()).or_default().join(value);
                }
            }
            syn::Expr::Field(field) => {
                let base = self.expression(&field.base, frame);
                self.learn(base.ty.as_ref(), &member_name(&field.member), value);
                // A local struct that is no type of the tree holds it itself.
                if base.ty.is_none() {
                    self.assign(&field.base, value, frame);
                }
            }
            syn::Expr::Index(index) => {
                self.expression(&index.index, frame);
                self.assign(&index.expr, value, frame);
            }
            syn::Expr::Unary(inner) => self.assign(&inner.expr, value, frame),
            syn::Expr::Reference(inner) => self.assign(&inner.expr, value, frame),
            syn::Expr::Paren(inner) => self.assign(&inner.expr, value, frame),
            syn::Expr::Try(inner) => self.assign(&inner.expr, value, frame),
            syn::Expr::Await(inner) => self.assign(&inner.base, value, frame),
            syn::Expr::MethodCall(call) => self.assign(&call.receiver, value, frame),
            syn::Expr::Tuple(tuple) => tuple.elems.iter().for_each(|inner| self.assign(inner, value, frame)),
            _ => {}
        }
    }

    /// Adds to what a field may hold.
    pub(super) fn learn(&mut self, ty: Option<&Rc<str>>, name: &str, value: &Value) {
        let owners = [ty.cloned(), Some(Rc::from(""))];
        for owner in owners.into_iter().flatten() {
            let held = self.fields.entry((owner, name.to_owned())).or_default();
            let before = (held.origins, held.ty.clone());
            held.join(&value.clone().without(Origins::INSTEAD));
            self.learned |= before != (held.origins, held.ty.clone());
        }
    }

    /// What the field `name` of a value holds.
    pub(super) fn field(&mut self, base: &Value, name: &str) -> Value {
        let Some(ty) = base.ty.clone() else {
            let mut value = base.clone();
            if NOT_SAID.contains(&name) && base.any(Origins::RAW) || name == "role" {
                value.origins = value.origins.without(Origins::SAID);
            }
            return value;
        };
        let Some(info) = self.program.type_info(&ty) else { return base.clone() };
        let Some(declared) = info.fields.get(name) else {
            // Looked through a container to a type that has no such field.
            return base.clone();
        };
        let inner = self.program.type_in(declared, Some(&ty));
        let is_parsed = info.is_parsed();
        let held = self.fields.get(&(ty, name.to_owned())).cloned();
        if name == "role" {
            return held.unwrap_or_default().without(Origins::SAID).typed(inner);
        }
        if base.any(Origins::RAW) {
            let says = holds_text(declared) && !NOT_SAID.contains(&name);
            let mut origins =
                base.origins & (Origins::PROMPT | Origins::ARGUMENT | Origins::RAW | Origins::STREAM);
            if inner.is_none() {
                origins = origins.without(Origins::RAW);
                if !says {
                    origins = Origins::OPAQUE;
                }
            }
            return Value::of(origins).typed(inner).or(&held.unwrap_or_default());
        }
        match held {
            Some(held) if is_plain(declared) => held.without(Origins::STATE),
            Some(held) => held.typed(inner),
            // Made by a parser from text that is at hand, or by nothing in the tree.
            None if is_parsed => {
                let mut value = base.clone();
                value.ty = inner;
                value
            }
            None if is_plain(declared) => Value::of(base.origins & Origins::MODEL),
            None => Value::of(Origins::OPAQUE | (base.origins & Origins::MODEL)).typed(inner),
        }
    }

    /// A struct literal: its fields, which keep what they are given.
    pub(super) fn struct_literal(&mut self, literal: &'t syn::ExprStruct, frame: &mut Frame<'t>) -> Value {
        let segments: Vec<String> =
            literal.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        let named = |name: &String| {
            let name: Rc<str> = if name == "Self" { frame.self_type.clone()? } else { name.as_str().into() };
            self.program.type_info(&name).map(|_| name)
        };
        let ty = segments.iter().rev().find_map(named);
        let mut whole = Value::default();
        for field in &literal.fields {
            let value = self.expression(&field.expr, frame);
            let value = Self::under_control(value, frame);
            self.learn(ty.as_ref(), &member_name(&field.member), &value);
            whole.origins |= value.origins;
            let ty = whole.ty.take();
            whole.join(&value);
            whole.ty = ty;
        }
        if let Some(rest) = &literal.rest {
            whole.join(&self.expression(rest, frame));
        }
        whole.ty = ty;
        whole.without(Origins::STREAM).with(frame.control & Origins::CHOICE)
    }
}

/// Whether a type is or holds text.
pub(crate) fn holds_text(ty: &syn::Type) -> bool {
    struct Text(bool);
    impl<'ast> syn::visit::Visit<'ast> for Text {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= ["String", "str", "Cow", "OsString", "Value", "Bytes", "Text"]
                .iter()
                .any(|name| segment.ident == name);
            syn::visit::visit_path_segment(self, segment);
        }
    }
    let mut text = Text(false);
    syn::visit::Visit::visit_type(&mut text, ty);
    text.0
}

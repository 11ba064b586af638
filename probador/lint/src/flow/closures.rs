//! Closures, run where they are written, and what they do to what they are lent.

use super::expressions::words;
use super::interpreter::{Frame, Interpreter};
use super::value::{Origins, Value};

impl<'t> Interpreter<'_, 't> {
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
        let value = Self::under_control(value, frame);
        let inner = std::mem::replace(&mut frame.returned, returned);
        value.or(&inner)
    }

    /// Gives what a pattern's names hold back to the place whose elements they were lent by.
    pub(super) fn give_back(&mut self, pattern: &syn::Pat, lender: &'t syn::Expr, frame: &mut Frame<'t>) {
        if !words(lender).contains("mut")
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
}

/// The names that a pattern binds.
struct Names(Vec<String>);
impl<'ast> syn::visit::Visit<'ast> for Names {
    fn visit_pat_ident(&mut self, name: &'ast syn::PatIdent) {
        self.0.push(name.ident.to_string());
        syn::visit::visit_pat_ident(self, name);
    }
}

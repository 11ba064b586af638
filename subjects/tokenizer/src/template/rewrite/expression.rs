//! Writes expressions anew, with guards.

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, CompareOpKind, Expr, Filter, UnaryOpKind};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

use super::{Guards, Writer, refuse};

/// Filters whose result is a string, a number or a truth value, whatever they are given.
pub(super) const SCALAR_FILTERS: [&str; 20] = [
    "bool",
    "capitalize",
    "count",
    "e",
    "escape",
    "float",
    "format",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "replace",
    "round",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
    "wordcount",
];
/// Tests that look at a value's kind only.
const KIND_TESTS: [&str; 17] = [
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "even",
    "false",
    "float",
    "integer",
    "iterable",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
];

impl Writer<'_> {
    /// An expression as the operand of anything.
    pub(super) fn operand(&mut self, expr: &Expr<'_>) -> Result<(), Error> {
        match expr {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) | Expr::Call(_) => self.expression(expr),
            _ => {
                self.push("(");
                self.expression(expr)?;
                self.push(")");
                Ok(())
            }
        }
    }

    pub(super) fn guarded(&mut self, guard: &str, expr: &Expr<'_>) -> Result<(), Error> {
        self.push(guard);
        self.push("(");
        self.expression(expr)?;
        self.push(")");
        Ok(())
    }

    /// `open`, the expression that `inner` writes, `)`.
    fn held(&mut self, inner: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let held = self.guards.held.clone();
        self.push(&held);
        self.push("(");
        inner(self)?;
        self.push(")");
        Ok(())
    }

    pub(super) fn expression(&mut self, expr: &Expr<'_>) -> Result<(), Error> {
        match expr {
            Expr::Var(variable) => self.push(variable.id),
            Expr::Const(constant) => self.constant(&constant.value)?,
            Expr::GetAttr(attribute) => {
                self.operand(&attribute.expr)?;
                self.push(".");
                self.push(attribute.name);
            }
            Expr::GetItem(item) => {
                if is_text(&item.subscript_expr) {
                    self.operand(&item.expr)?;
                } else {
                    self.guarded(&self.guards.indexed.clone(), &item.expr)?;
                }
                self.push("[");
                self.expression(&item.subscript_expr)?;
                self.push("]");
            }
            Expr::Slice(slice) => self.held(|writer| {
                writer.operand(&slice.expr)?;
                writer.push("[");
                for (n, bound) in [&slice.start, &slice.stop, &slice.step].into_iter().enumerate() {
                    writer.push(if n > 0 { ":" } else { "" });
                    if let Some(bound) = bound {
                        writer.expression(bound)?;
                    }
                }
                writer.push("]");
                Ok(())
            })?,
            Expr::UnaryOp(unary) => {
                self.push(match unary.op {
                    UnaryOpKind::Not => "not ",
                    UnaryOpKind::Neg => "-",
                });
                self.operand(&unary.expr)?;
            }
            Expr::BinOp(binary) => match binary.op {
                // Constants that are joined are one spelling.
                BinOpKind::Add | BinOpKind::Concat
                    if expr.as_const().is_some_and(|text| text.as_str().is_some()) =>
                {
                    self.constant(&expr.as_const().unwrap_or_default())?;
                }
                BinOpKind::Add | BinOpKind::Mul if !operands(expr, binary.op).any(is_text) => {
                    self.held(|writer| writer.chain(expr, binary.op))?;
                }
                op => self.chain(expr, op)?,
            },
            Expr::Compare(compare) => {
                let mut left = &compare.expr;
                let mut between = "";
                for op in &compare.ops {
                    self.push(between);
                    let guard = comparison_guard(
                        &self.guards,
                        matches!(op.op, CompareOpKind::In | CompareOpKind::NotIn),
                    );
                    self.push("(");
                    self.guarded(&guard, left)?;
                    self.push(" ");
                    self.push(comparison(op.op));
                    self.push(" ");
                    self.operand(&op.expr)?;
                    self.push(")");
                    left = &op.expr;
                    between = " and ";
                }
            }
            Expr::IfExpr(choice) => {
                self.operand(&choice.true_expr)?;
                self.push(" if ");
                self.operand(&choice.test_expr)?;
                if let Some(otherwise) = &choice.false_expr {
                    self.push(" else ");
                    self.operand(otherwise)?;
                }
            }
            Expr::Filter(filter) if SCALAR_FILTERS.contains(&filter.name) => self.filter(filter)?,
            Expr::Filter(filter) => self.held(|writer| writer.filter(filter))?,
            Expr::Test(test) => {
                if KIND_TESTS.contains(&test.name) {
                    self.operand(&test.expr)?;
                } else {
                    let guard = comparison_guard(&self.guards, test.name == "in");
                    self.guarded(&guard, &test.expr)?;
                }
                self.push(" is ");
                self.push(test.name);
                self.arguments(&test.args)?;
            }
            Expr::Call(call) => self.call(call)?,
            Expr::List(list) => self.held(|writer| writer.items("[", &list.items, "]"))?,
            Expr::Tuple(tuple) => self.held(|writer| writer.items("[", &tuple.items, "]"))?,
            Expr::Map(map) => self.held(|writer| {
                writer.push("{");
                for (key, value) in map.keys.iter().zip(&map.values) {
                    writer.operand(key)?;
                    writer.push(": ");
                    writer.operand(value)?;
                    writer.push(", ");
                }
                writer.push("}");
                Ok(())
            })?,
        }
        Ok(())
    }

    fn items(&mut self, open: &str, items: &[Expr<'_>], close: &str) -> Result<(), Error> {
        self.push(open);
        for item in items {
            self.operand(item)?;
            self.push(", ");
        }
        self.push(close);
        Ok(())
    }

    fn filter(&mut self, filter: &Filter<'_>) -> Result<(), Error> {
        let Some(base) = &filter.expr else { return refuse("a filter without a value") };
        match base {
            // A chain of scalar filters needs no parentheses, which nest.
            Expr::Filter(inner) if SCALAR_FILTERS.contains(&inner.name) => self.expression(base)?,
            _ => self.operand(base)?,
        }
        self.push("|");
        self.push(filter.name);
        self.arguments(&filter.args)
    }

    /// Operands of one operator, left to right; a comparison's left operand guarded.
    fn chain(&mut self, expr: &Expr<'_>, op: BinOpKind) -> Result<(), Error> {
        if is_comparison(op) {
            let Expr::BinOp(binary) = expr else { return refuse("expected a comparison") };
            // A constant bounds what a comparison costs, except `in`, which may have to write the left side out.
            let guard = comparison_guard(&self.guards, matches!(op, BinOpKind::In));
            let is_cheap = matches!(binary.left, Expr::Const(_))
                || (matches!(binary.right, Expr::Const(_)) && !matches!(op, BinOpKind::In));
            if is_cheap {
                self.operand(&binary.left)?;
            } else {
                self.guarded(&guard, &binary.left)?;
            }
            self.push(operator(op));
            return self.operand(&binary.right);
        }
        let operands: Vec<&Expr<'_>> = operands(expr, op).collect();
        for (n, operand) in operands.into_iter().rev().enumerate() {
            self.push(if n > 0 { operator(op) } else { "" });
            self.operand(operand)?;
        }
        Ok(())
    }

    pub(super) fn call(&mut self, call: &Call<'_>) -> Result<(), Error> {
        if let Expr::GetAttr(method) = &call.expr
            && method.name == "changed"
        {
            return refuse("loop.changed is not supported in chat templates");
        }
        self.operand(&call.expr)?;
        self.push("(");
        self.argument_list(&call.args)?;
        self.push(")");
        Ok(())
    }

    pub(super) fn arguments(&mut self, arguments: &[CallArg<'_>]) -> Result<(), Error> {
        if arguments.is_empty() {
            return Ok(());
        }
        self.push("(");
        self.argument_list(arguments)?;
        self.push(")");
        Ok(())
    }

    fn argument_list(&mut self, arguments: &[CallArg<'_>]) -> Result<(), Error> {
        for (n, argument) in arguments.iter().enumerate() {
            self.push(if n > 0 { ", " } else { "" });
            match argument {
                CallArg::Pos(value) => self.operand(value)?,
                CallArg::Kwarg(name, value) => {
                    self.push(name);
                    self.push("=");
                    self.operand(value)?;
                }
                CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                    return refuse("* and ** in arguments are not supported in chat templates");
                }
            }
        }
        Ok(())
    }

    fn constant(&mut self, value: &Value) -> Result<(), Error> {
        if let Some(text) = value.as_str() {
            self.text(text);
            return Ok(());
        }
        match value.kind() {
            ValueKind::None => self.push("none"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => {
                let number = value.to_string();
                if !number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
                    return refuse("a constant is not a finite number");
                }
                self.push("(");
                self.push(&number);
                self.push(")");
            }
            ValueKind::Seq => {
                self.push("[");
                for item in value.try_iter()? {
                    self.constant(&item)?;
                    self.push(", ");
                }
                self.push("]");
            }
            ValueKind::Map => {
                self.push("{");
                for key in value.try_iter()? {
                    self.constant(&key)?;
                    self.push(": ");
                    self.constant(&value.get_item(&key)?)?;
                    self.push(", ");
                }
                self.push("}");
            }
            kind => return refuse(&format!("a constant of kind {kind} is not supported")),
        }
        Ok(())
    }

    /// A string literal for `text`, with marks.
    pub(super) fn text(&mut self, text: &str) {
        let marked = (self.mark)(text);
        self.push("\"");
        for c in marked.chars() {
            match c {
                '"' | '\\' => self.out.extend(['\\', c]),
                '\n' => self.push("\\n"),
                '\r' => self.push("\\r"),
                '\t' => self.push("\\t"),
                _ => self.out.push(c),
            }
        }
        self.push("\"");
    }
}

/// Whether `expr` is a string constant.
fn is_text(expr: &Expr<'_>) -> bool {
    matches!(expr, Expr::Const(constant) if constant.value.as_str().is_some())
}

/// The operands of a chain `a op b op c`, right to left.
fn operands<'e, 's>(expr: &'e Expr<'s>, op: BinOpKind) -> impl Iterator<Item = &'e Expr<'s>> {
    let mut rest = Some(expr);
    std::iter::from_fn(move || match rest.take()? {
        // `**` and `%` mix badly with chains of their own kind; they nest by parentheses.
        Expr::BinOp(binary) if operator(binary.op) == operator(op) => {
            rest = Some(&binary.left);
            Some(&binary.right)
        }
        first => Some(first),
    })
}

fn is_comparison(op: BinOpKind) -> bool {
    use BinOpKind::{Eq, Gt, Gte, In, Lt, Lte, Ne};
    matches!(op, Eq | Ne | Lt | Lte | Gt | Gte | In)
}

fn comparison_guard(guards: &Guards, is_containment: bool) -> String {
    if is_containment { guards.needle.clone() } else { guards.compared.clone() }
}

fn operator(op: BinOpKind) -> &'static str {
    match op {
        BinOpKind::Eq => " == ",
        BinOpKind::Ne => " != ",
        BinOpKind::Lt => " < ",
        BinOpKind::Lte => " <= ",
        BinOpKind::Gt => " > ",
        BinOpKind::Gte => " >= ",
        BinOpKind::In => " in ",
        BinOpKind::ScAnd => " and ",
        BinOpKind::ScOr => " or ",
        BinOpKind::Add => " + ",
        BinOpKind::Sub => " - ",
        BinOpKind::Mul => " * ",
        BinOpKind::Div => " / ",
        BinOpKind::FloorDiv => " // ",
        BinOpKind::Rem => " % ",
        BinOpKind::Pow => " ** ",
        BinOpKind::Concat => " ~ ",
    }
}

fn comparison(op: CompareOpKind) -> &'static str {
    match op {
        CompareOpKind::Eq => "==",
        CompareOpKind::Ne => "!=",
        CompareOpKind::Lt => "<",
        CompareOpKind::Lte => "<=",
        CompareOpKind::Gt => ">",
        CompareOpKind::Gte => ">=",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => "not in",
    }
}

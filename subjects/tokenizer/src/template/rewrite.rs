//! Rewrites a template before it runs: what a template could do beyond its fuel goes through guards, and control
//! tokens in its text become marks.
//!
//! The engine charges fuel for strings it makes, but a list that holds another list twice costs two slots, and sixty
//! such lines hold 2^60 items for whoever prints or compares them; a namespace can hold itself. So the template is
//! parsed with the engine's own parser and written anew from the syntax tree, every construct by name (what is not
//! listed here is refused), with calls of guards around
//! * what makes lists and maps: literals, `+`, `*`, slices, filters, and what is put into a namespace (`held`);
//! * what is not charged for: comparisons (`compared`), `in` (`needle`) and indexing (`indexed`).
//!
//! Guards have names that do not occur in the template, so it can neither call nor replace them.

mod expression;

use std::fmt::Write as _;

use minijinja::machinery::ast::{Expr, Macro, Stmt};
use minijinja::machinery::{Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

use expression::SCALAR_FILTERS;

/// Tokens between the delimiters of one tag: bounds how deep its expression can nest.
const MAX_TAG_TOKENS: usize = 1024;
/// Branches of all `if`s together: the engine's parser nests each in the one before.
const MAX_ELIFS: usize = 256;
/// Lines, and characters in a line, of a rewritten template: the engine counts both in 16 bits.
const MAX_LINES: usize = 60_000;
/// The names of the guards in one rewritten template.
#[derive(Clone, Debug)]
pub(super) struct Guards {
    pub(super) held: String,
    pub(super) compared: String,
    pub(super) needle: String,
    pub(super) indexed: String,
}

impl Guards {
    /// Names that `source` does not contain.
    fn for_source(source: &str) -> Self {
        // A source of so many bytes contains fewer of these.
        let mut prefixes = (0..=source.len()).map(|n| format!("guard{n}_"));
        let prefix = prefixes.find(|prefix| !source.contains(prefix)).unwrap_or_default();
        let name = |what: &str| format!("{prefix}{what}");
        Self {
            held: name("held"),
            compared: name("compared"),
            needle: name("needle"),
            indexed: name("indexed"),
        }
    }
}

/// A template ready to run.
pub(super) struct Rewritten {
    pub(super) source: String,
    pub(super) guards: Guards,
}

/// Rewrites `source`; `mark` is applied to every piece of text in it.
pub(super) fn rewrite(
    source: &str,
    syntax: SyntaxConfig,
    mark: &mut dyn FnMut(&str) -> String,
) -> Result<Rewritten, Error> {
    check_tags(source, syntax.clone())?;
    let tree = parse(source, "chat_template", syntax)?;
    let mut writer = Writer { out: String::new(), guards: Guards::for_source(source), mark };
    writer.statement(&tree)?;
    if writer.out.lines().count() > MAX_LINES || writer.out.lines().any(|line| line.len() > MAX_LINES) {
        return refuse("too large to be run");
    }
    Ok(Rewritten { source: writer.out, guards: writer.guards })
}

/// Refuses tags that are too long, before anything recurses over them.
fn check_tags(source: &str, syntax: SyntaxConfig) -> Result<(), Error> {
    let (mut n_tokens, mut n_elifs) = (0, 0);
    for token in tokenize(source, false, syntax) {
        match token?.0 {
            Token::VariableStart | Token::BlockStart => n_tokens = 0,
            Token::Ident("elif") if n_tokens == 0 => (n_tokens, n_elifs) = (1, n_elifs + 1),
            _ => n_tokens += 1,
        }
        if n_elifs > MAX_ELIFS {
            return refuse(&format!("there are more than {MAX_ELIFS} elif"));
        }
        if n_tokens > MAX_TAG_TOKENS {
            return refuse(&format!("a tag has more than {MAX_TAG_TOKENS} tokens"));
        }
    }
    Ok(())
}

fn refuse<T>(what: &str) -> Result<T, Error> {
    Err(Error::new(ErrorKind::SyntaxError, what.to_owned()))
}

struct Writer<'m> {
    out: String,
    guards: Guards,
    mark: &'m mut dyn FnMut(&str) -> String,
}

impl Writer<'_> {
    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    fn statements(&mut self, statements: &[Stmt<'_>]) -> Result<(), Error> {
        statements.iter().try_for_each(|statement| self.statement(statement))
    }

    fn statement(&mut self, statement: &Stmt<'_>) -> Result<(), Error> {
        match statement {
            Stmt::Template(template) => self.statements(&template.children)?,
            Stmt::EmitRaw(raw) => {
                self.push("{{\n");
                self.text(raw.raw);
                self.push(" }}");
            }
            Stmt::EmitExpr(emit) => {
                self.push("{{\n");
                self.expression(&emit.expr)?;
                self.push(" }}");
            }
            Stmt::ForLoop(each) => {
                self.push("{%\nfor ");
                self.target(&each.target)?;
                self.push(" in ");
                self.operand(&each.iter)?;
                if let Some(filter) = &each.filter_expr {
                    self.push(" if ");
                    self.operand(filter)?;
                }
                self.push(if each.recursive { " recursive %}" } else { " %}" });
                self.statements(&each.body)?;
                if !each.else_body.is_empty() {
                    self.push("{%\nelse %}");
                    self.statements(&each.else_body)?;
                }
                self.push("{%\nendfor %}");
            }
            Stmt::IfCond(first) => {
                let mut keyword = "if";
                let mut condition = first;
                loop {
                    write!(self.out, "{{%\n{keyword} ").map_err(Error::from)?;
                    self.operand(&condition.expr)?;
                    self.push(" %}");
                    self.statements(&condition.true_body)?;
                    keyword = "elif";
                    match condition.false_body.as_slice() {
                        [Stmt::IfCond(next)] => condition = next,
                        [] => break,
                        otherwise => {
                            self.push("{%\nelse %}");
                            self.statements(otherwise)?;
                            break;
                        }
                    }
                }
                self.push("{%\nendif %}");
            }
            Stmt::WithBlock(with) => {
                self.push("{%\nwith ");
                for (n, (target, value)) in with.assignments.iter().enumerate() {
                    self.push(if n > 0 { ", " } else { "" });
                    self.target(target)?;
                    self.push(" = ");
                    self.operand(value)?;
                }
                self.push(" %}");
                self.statements(&with.body)?;
                self.push("{%\nendwith %}");
            }
            Stmt::Set(set) => {
                self.push("{%\nset ");
                self.target(&set.target)?;
                self.push(" = ");
                if matches!(set.target, Expr::Var(_)) {
                    self.operand(&set.expr)?;
                } else {
                    self.guarded(&self.guards.held.clone(), &set.expr)?;
                }
                self.push(" %}");
            }
            Stmt::SetBlock(set) => {
                self.push("{%\nset ");
                self.target(&set.target)?;
                if let Some(filter) = &set.filter {
                    self.push(" | ");
                    self.filter_chain(filter)?;
                }
                self.push(" %}");
                self.statements(&set.body)?;
                self.push("{%\nendset %}");
            }
            Stmt::FilterBlock(block) => {
                self.push("{%\nfilter ");
                self.filter_chain(&block.filter)?;
                self.push(" %}");
                self.statements(&block.body)?;
                self.push("{%\nendfilter %}");
            }
            Stmt::Macro(macro_decl) => {
                self.push("{%\nmacro ");
                self.push(macro_decl.name);
                self.parameters(macro_decl)?;
                self.push(" %}");
                self.statements(&macro_decl.body)?;
                self.push("{%\nendmacro %}");
            }
            Stmt::CallBlock(block) => {
                self.push("{%\ncall");
                self.parameters(&block.macro_decl)?;
                self.push(" ");
                self.call(&block.call)?;
                self.push(" %}");
                self.statements(&block.macro_decl.body)?;
                self.push("{%\nendcall %}");
            }
            Stmt::Continue(_) => self.push("{%\ncontinue %}"),
            Stmt::Break(_) => self.push("{%\nbreak %}"),
            Stmt::Do(action) => {
                self.push("{%\ndo ");
                self.call(&action.call)?;
                self.push(" %}");
            }
            Stmt::AutoEscape(_) => return refuse("autoescape is not supported in chat templates"),
        }
        Ok(())
    }

    /// What is assigned to: names, attributes of namespaces, lists of these.
    fn target(&mut self, target: &Expr<'_>) -> Result<(), Error> {
        match target {
            Expr::Var(variable) => self.push(variable.id),
            Expr::GetAttr(attribute) => {
                self.target(&attribute.expr)?;
                self.push(".");
                self.push(attribute.name);
            }
            Expr::List(list) => {
                self.push("(");
                for item in &list.items {
                    self.target(item)?;
                    self.push(", ");
                }
                self.push(")");
            }
            _ => return refuse("this cannot be assigned to"),
        }
        Ok(())
    }

    fn parameters(&mut self, macro_decl: &Macro<'_>) -> Result<(), Error> {
        self.push("(");
        let n_required = macro_decl.args.len().saturating_sub(macro_decl.defaults.len());
        for (n, parameter) in macro_decl.args.iter().enumerate() {
            self.push(if n > 0 { ", " } else { "" });
            self.target(parameter)?;
            if let Some(default) = n.checked_sub(n_required).and_then(|n| macro_decl.defaults.get(n)) {
                self.push("=");
                self.operand(default)?;
            }
        }
        self.push(")");
        Ok(())
    }

    /// `name(arguments) | name(arguments)`, applied to what a block captured: a string.
    fn filter_chain(&mut self, chain: &Expr<'_>) -> Result<(), Error> {
        let Expr::Filter(filter) = chain else { return refuse("expected a filter") };
        if !SCALAR_FILTERS.contains(&filter.name) {
            return refuse(&format!("filter {} is not supported on a block", filter.name));
        }
        if let Some(before) = &filter.expr {
            self.filter_chain(before)?;
            self.push(" | ");
        }
        self.push(filter.name);
        self.arguments(&filter.args)
    }
}

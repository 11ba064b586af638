//! Exceptions that stand in the source, each with its reason.
//!
//! `#[cfg_attr(any(), probador::allow(G8, reason = ".."))]` on an item, a statement or, as `#![..]`, on a file (the root
//! of a crate: the crate) excuses what the rule finds inside. `any()` of nothing is never true, so the compiler reads
//! the attribute and drops it. Nothing about it is taken on trust: another word, an unknown rule, an inventory, a
//! missing reason, a place that has no effect and an exception that excuses nothing are findings themselves.

use proc_macro2::{TokenStream, TokenTree};
use serde::Serialize;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::finding::{Finding, Findings};
use super::rule::{Kind, RULES, Rule};
use super::tree::{SourceFile, Tree};

/// Under which id findings about exceptions are listed.
pub(super) const ALLOW: &str = "allow";
/// What those findings are.
pub(super) const WHAT: &str = "an exception that is mistyped, gives no reason or excuses nothing";

const USAGE: &str = "\nhint: write `#[cfg_attr(any(), probador::allow(G8, reason = \"why\"))]`";

/// A finding that the source excuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suppressed {
    /// What was found.
    pub finding: Finding,
    /// Why it may stay.
    pub reason: String,
    /// The line of the attribute that says so, in the same file or in the crate's root.
    pub by: String,
}

/// An exception.
struct Suppression {
    rule: &'static str,
    reason: String,
    file: String,
    line: usize,
    /// The lines it covers, or `None` for all of a crate.
    lines: Option<(usize, usize)>,
    folder: String,
    excuses: usize,
}

/// Splits `found` into what stands and what is excused, and adds what is wrong with the exceptions. Only exceptions from
/// `applied` rules can have excused nothing.
pub(super) fn apply(tree: &Tree, found: Vec<Finding>, applied: &[&Rule]) -> (Vec<Finding>, Vec<Suppressed>) {
    let mut wrong = Findings::new(ALLOW);
    let mut suppressions = Vec::new();
    for krate in tree.crates() {
        for file in &krate.files {
            let mut collector = Collector {
                file,
                folder: &krate.folder,
                n_read: 0,
                wrong: &mut wrong,
                found: &mut suppressions,
            };
            collector.read_file(&krate.folder);
        }
    }
    let (mut standing, mut suppressed) = (Vec::new(), Vec::new());
    for finding in found {
        let excuse = suppressions.iter_mut().find(|suppression| suppression.covers(&finding));
        match excuse {
            Some(excuse) => {
                excuse.excuses += 1;
                let by = format!("{}:{}", excuse.file, excuse.line);
                suppressed.push(Suppressed { finding, reason: excuse.reason.clone(), by });
            }
            None => standing.push(finding),
        }
    }
    for suppression in &suppressions {
        if suppression.excuses == 0 && applied.iter().any(|rule| rule.id == suppression.rule) {
            let reason = format!("this exception from {} excuses nothing\nhint: remove it", suppression.rule);
            wrong.at_line(&suppression.file, suppression.line, 1, reason);
        }
    }
    standing.append(&mut wrong.into_vec());
    (standing, suppressed)
}

impl Suppression {
    fn covers(&self, finding: &Finding) -> bool {
        let is_here = match self.lines {
            Some((first, last)) => finding.file == self.file && (first..=last).contains(&finding.line),
            None => self.folder.is_empty() || finding.file.starts_with(&format!("{}/", self.folder)),
        };
        self.rule == finding.rule && is_here
    }
}

struct Collector<'c> {
    file: &'c SourceFile,
    folder: &'c str,
    /// Exceptions that were read where they have an effect.
    n_read: usize,
    wrong: &'c mut Findings,
    found: &'c mut Vec<Suppression>,
}

impl Collector<'_> {
    fn read_file(&mut self, folder: &str) {
        let path = &self.file.path;
        let inner = path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/');
        let is_root = matches!(inner, "src/lib.rs" | "src/main.rs");
        let n_lines = self.file.text.lines().count();
        self.read(&self.file.syntax.attrs, (!is_root).then_some((1, n_lines.max(1))));
        self.visit_file(&self.file.syntax);
        let mut all = All { lines: Vec::new() };
        all.visit_file(&self.file.syntax);
        if all.lines.len() != self.n_read {
            let line = all.lines.first().copied().unwrap_or(1);
            let reason = format!(
                "{} of the {} exceptions in this file stand where they excuse nothing\nhint: put them on a function, a type or a statement",
                all.lines.len() - self.n_read.min(all.lines.len()),
                all.lines.len()
            );
            self.wrong.at_line(path, line, 1, reason);
        }
    }

    /// Reads the exceptions among the attributes of what covers `lines`.
    fn read(&mut self, attributes: &[syn::Attribute], lines: Option<(usize, usize)>) {
        for attribute in attributes {
            let Some(inside) = never_in_effect(attribute) else { continue };
            self.n_read += 1;
            match parse(&inside) {
                Ok((rule, reason)) => self.found.push(Suppression {
                    rule,
                    reason,
                    file: self.file.path.clone(),
                    line: attribute.span().start().line,
                    lines,
                    folder: self.folder.to_owned(),
                    excuses: 0,
                }),
                Err(what) => self.wrong.at(&self.file.path, attribute.span(), format!("{what}{USAGE}")),
            }
        }
    }

    fn read_on(&mut self, attributes: &[syn::Attribute], on: &impl Spanned) {
        let span = on.span();
        self.read(attributes, Some((span.start().line, span.end().line)));
    }
}

impl<'ast> Visit<'ast> for Collector<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item;
        let attributes: &[syn::Attribute] = match item {
            Item::Const(item) => &item.attrs,
            Item::Enum(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Macro(item) => &item.attrs,
            // A module in another file covers nothing here.
            Item::Mod(item) if item.content.is_some() => &item.attrs,
            Item::Static(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Trait(item) => &item.attrs,
            Item::Type(item) => &item.attrs,
            _ => &[],
        };
        self.read_on(attributes, item);
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        let attributes: &[syn::Attribute] = match item {
            syn::ImplItem::Const(item) => &item.attrs,
            syn::ImplItem::Fn(item) => &item.attrs,
            syn::ImplItem::Type(item) => &item.attrs,
            _ => &[],
        };
        self.read_on(attributes, item);
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        let attributes: &[syn::Attribute] = match item {
            syn::TraitItem::Const(item) => &item.attrs,
            syn::TraitItem::Fn(item) => &item.attrs,
            _ => &[],
        };
        self.read_on(attributes, item);
        visit::visit_trait_item(self, item);
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        use syn::Expr;
        let attributes: &[syn::Attribute] = match statement {
            syn::Stmt::Local(local) => &local.attrs,
            syn::Stmt::Macro(call) => &call.attrs,
            syn::Stmt::Expr(expression, _) => match expression {
                Expr::ForLoop(inner) => &inner.attrs,
                Expr::While(inner) => &inner.attrs,
                Expr::Loop(inner) => &inner.attrs,
                Expr::If(inner) => &inner.attrs,
                Expr::Match(inner) => &inner.attrs,
                Expr::Block(inner) => &inner.attrs,
                Expr::Unsafe(inner) => &inner.attrs,
                Expr::Call(inner) => &inner.attrs,
                Expr::MethodCall(inner) => &inner.attrs,
                _ => &[],
            },
            syn::Stmt::Item(_) => &[],
        };
        self.read_on(attributes, statement);
        visit::visit_stmt(self, statement);
    }
}

/// Lines of every exception, wherever it stands.
struct All {
    lines: Vec<usize>,
}

impl<'ast> Visit<'ast> for All {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if never_in_effect(attribute).is_some() {
            self.lines.push(attribute.span().start().line);
        }
    }
}

/// What stands in `cfg_attr(any(), ..)`, which is never in effect.
pub(super) fn never_in_effect(attribute: &syn::Attribute) -> Option<Vec<TokenTree>> {
    if !attribute.path().is_ident("cfg_attr") {
        return None;
    }
    let tokens: Vec<TokenTree> = attribute.meta.require_list().ok()?.tokens.clone().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(any), TokenTree::Group(nothing), TokenTree::Punct(comma), inside @ ..]
            if any == "any" && nothing.stream().is_empty() && comma.as_char() == ',' =>
        {
            Some(inside.to_vec())
        }
        _ => None,
    }
}

/// The rule and the reason in `probador::allow(RULE, reason = "..")`.
fn parse(tokens: &[TokenTree]) -> Result<(&'static str, String), String> {
    let word = |token: Option<&TokenTree>, text: &str| token.is_some_and(|token| token.to_string() == text);
    let is_allow = word(tokens.first(), "probador")
        && word(tokens.get(1), ":")
        && word(tokens.get(2), ":")
        && word(tokens.get(3), "allow")
        && tokens.len() == 5;
    let Some(TokenTree::Group(arguments)) = tokens.get(4).filter(|_| is_allow) else {
        let shown: TokenStream = tokens.iter().cloned().collect();
        return Err(format!("`{shown}` is never in effect and is no exception"));
    };
    let arguments: Vec<TokenTree> = arguments.stream().into_iter().collect();
    let [
        TokenTree::Ident(rule),
        TokenTree::Punct(comma),
        TokenTree::Ident(key),
        TokenTree::Punct(equals),
        TokenTree::Literal(reason),
        rest @ ..,
    ] = arguments.as_slice()
    else {
        return Err("an exception names one rule and gives one reason".to_owned());
    };
    let is_end = rest.is_empty() || (rest.len() == 1 && word(rest.first(), ","));
    if comma.as_char() != ',' || key != "reason" || equals.as_char() != '=' || !is_end {
        return Err("an exception names one rule and gives one reason".to_owned());
    }
    let Some(known) = RULES.into_iter().find(|known| rule == known.id) else {
        return Err(format!("there is no rule `{rule}`"));
    };
    if known.kind == Kind::Inventory {
        return Err(format!("{rule} is an inventory: there is nothing to excuse"));
    }
    let text = syn::parse2::<syn::LitStr>(TokenTree::from(reason.clone()).into()).map(|text| text.value());
    match text {
        Ok(text) if !text.trim().is_empty() => Ok((known.id, text)),
        _ => Err("an exception without a reason".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{find, run_tree};
    use super::*;

    fn lint(text: &str) -> (Vec<String>, Vec<(String, String)>) {
        let files = [("Cargo.toml", "[package]\nname = \"a\"\n"), ("src/lib.rs", text)];
        let tree = Tree::of_files(files.map(|(path, text)| (path.to_owned(), text.to_owned()))).unwrap();
        let linted = run_tree(&tree, &[find("G6").unwrap()]).unwrap();
        let shown =
            linted.findings.iter().map(|finding| finding.to_string().lines().next().unwrap().to_owned());
        let suppressed = linted.suppressed.into_iter().map(|suppressed| (suppressed.by, suppressed.reason));
        (shown.collect(), suppressed.collect())
    }

    const BAD: &str = "pub fn a() -> Result<u8, String> {\n    Ok(1)\n}\n";

    #[test]
    fn an_exception_with_a_reason_excuses_what_it_stands_on_and_nothing_else() {
        let allow = "#[cfg_attr(any(), probador::allow(G6, reason = \"a parser's own words\"))]\n";
        let (found, suppressed) = lint(&format!("{allow}{BAD}{}", BAD.replace('a', "b")));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("src/lib.rs:5:"), "{found:?}");
        assert_eq!(suppressed, [("src/lib.rs:1".to_owned(), "a parser's own words".to_owned())]);
    }

    #[test]
    fn an_exception_for_a_crate_stands_in_its_root() {
        let (found, suppressed) = lint(&format!(
            "#![cfg_attr(any(), probador::allow(G6, reason = \"all of it\"))]\nmod m {{\n{BAD}}}\n"
        ));
        assert_eq!((found, suppressed.len()), (vec![], 1));
    }

    #[test]
    fn what_is_wrong_with_an_exception_is_a_finding() {
        let cases = [
            ("probador::allow(G99, reason = \"x\")", "there is no rule `G99`"),
            ("probador::allow(g6, reason = \"x\")", "there is no rule `g6`"),
            ("probador::allow(G6, reason = \" \")", "an exception without a reason"),
            ("probador::allow(G6)", "an exception names one rule and gives one reason"),
            ("probador::allow(G6, because = \"x\")", "an exception names one rule and gives one reason"),
            ("probador::alow(G6, reason = \"x\")", "is never in effect and is no exception"),
            ("prova::allow(G6, reason = \"x\")", "is never in effect and is no exception"),
            ("probador::allow(J22, reason = \"x\")", "J22 is an inventory"),
            ("probador.allow(G6, reason = \"x\")", "is never in effect and is no exception"),
            ("probador:allow(G6, reason = \"x\")", "is never in effect and is no exception"),
            ("probador::allow[G6]::x", "is never in effect and is no exception"),
            ("probador::allow(G6, reason = \"x\", G2)", "an exception names one rule and gives one reason"),
            ("probador::allow(G6, reason = \"x\";)", "an exception names one rule and gives one reason"),
            ("probador::allow(G6; reason = \"x\")", "an exception names one rule and gives one reason"),
            ("probador::allow(G6, reason: \"x\")", "an exception names one rule and gives one reason"),
            ("probador::allow(G6, reason = 3)", "an exception without a reason"),
        ];
        for (inside, expected) in cases {
            let (found, suppressed) = lint(&format!("#[cfg_attr(any(), {inside})]\n{BAD}"));
            assert_eq!((found.len(), suppressed.len()), (2, 0), "{inside}: {found:?}");
            assert!(
                found.iter().any(|finding| finding.contains(": allow: ") && finding.contains(expected)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn an_exception_that_excuses_nothing_is_a_finding() {
        let (found, _) = lint("#[cfg_attr(any(), probador::allow(G6, reason = \"x\"))]\npub fn a() {}\n");
        assert_eq!(found, ["src/lib.rs:1:1: allow: this exception from G6 excuses nothing"]);
        let (found, _) = lint(
            "pub struct S {\n    #[cfg_attr(any(), probador::allow(G6, reason = \"x\"))]\n    a: u8,\n}\n",
        );
        assert_eq!(
            found,
            ["src/lib.rs:2:1: allow: 1 of the 1 exceptions in this file stand where they excuse nothing"]
        );
        // Another rule's exception is not judged when that rule was not applied.
        let (found, _) = lint("#[cfg_attr(any(), probador::allow(G2, reason = \"x\"))]\npub fn a() {}\n");
        assert_eq!(found, Vec::<String>::new());
    }
    #[test]
    fn a_reason_may_end_in_a_comma_as_long_lines_do() {
        let allow = "#[cfg_attr(any(), probador::allow(G6, reason = \"a parser's own words\",))]\n";
        let (found, suppressed) = lint(&format!("{allow}{BAD}"));
        assert_eq!(found, Vec::<String>::new());
        assert_eq!(suppressed, [("src/lib.rs:1".to_owned(), "a parser's own words".to_owned())]);
    }

    #[test]
    fn an_attribute_that_may_be_in_effect_is_no_exception() {
        for attribute in [
            "cfg_attr(all(), probador::allow(G6, reason = \"x\"))",
            "cfg_attr(any(unix), probador::allow(G6, reason = \"x\"))",
            "cfg_attr(any(); probador::allow(G6, reason = \"x\"))",
            "cfg_attr(test)",
            "cfg_attr",
        ] {
            let (found, suppressed) = lint(&format!("#[{attribute}]\n{BAD}"));
            assert_eq!((found.len(), suppressed.len()), (1, 0), "{attribute}: {found:?}");
            assert!(found[0].starts_with("src/lib.rs:2:8: G6: "), "{attribute}: {found:?}");
        }
    }

    #[test]
    fn an_exception_on_a_macro_inside_an_implementation_excuses_nothing() {
        let (found, suppressed) = lint(
            "struct S;\nimpl S {\n    #[cfg_attr(any(), probador::allow(G6, reason = \"x\"))]\n    parts!();\n}\n",
        );
        let expected =
            "src/lib.rs:3:1: allow: 1 of the 1 exceptions in this file stand where they excuse nothing";
        assert_eq!((found, suppressed), (vec![expected.to_owned()], vec![]));
    }
}

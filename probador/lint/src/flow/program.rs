//! What the interpreter looks things up in: types and their fields, constants, functions by type, and the arguments of
//! macros, parsed once.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::super::attributes::is_test_only;
use super::super::calls::{Call, CallGraph, SpanKey};
use super::super::tree::{Role, Tree};
use super::value::Place;

/// The expressions inside each macro call, by where it stands.
#[derive(Default)]
pub(crate) struct Macros(BTreeMap<Place, Expanded>);

/// What a macro call holds.
#[derive(Default)]
pub(crate) struct Expanded {
    /// Its arguments, or what of its tokens are expressions.
    pub(crate) expressions: Vec<syn::Expr>,
    /// Statics that it declares, as `lazy_static!` and `thread_local!` do.
    statics: Vec<(String, syn::Expr)>,
}

/// A struct or enum of the tree.
#[derive(Default)]
pub(crate) struct TypeInfo<'t> {
    /// Fields with a name, and those without by their index; of all variants.
    pub(crate) fields: BTreeMap<String, &'t syn::Type>,
    /// What it derives.
    derives: BTreeSet<String>,
}

/// The tree, indexed.
pub(crate) struct Program<'t> {
    pub(crate) graph: &'t CallGraph<'t>,
    pub(crate) files: Vec<&'t str>,
    macros: &'t Macros,
    types: BTreeMap<String, TypeInfo<'t>>,
    traits: BTreeSet<String>,
    constants: BTreeMap<String, Vec<(usize, &'t syn::Expr)>>,
    methods: BTreeMap<&'t str, Vec<usize>>,
    paths: Vec<BTreeMap<SpanKey, &'t [String]>>,
    file_of: BTreeMap<&'t str, usize>,
}

impl Macros {
    /// Parses what it can of every macro call in the subjects.
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut collector = MacroCollector { file: 0, found: BTreeMap::new() };
        for (index, file) in sources(tree).enumerate() {
            collector.file = index;
            collector.visit_file(&file.syntax);
        }
        Self(collector.found)
    }
}

/// Every file that is no test, in the order in which places count them.
fn sources(tree: &Tree) -> impl Iterator<Item = &super::super::tree::SourceFile> {
    tree.subjects().flat_map(|krate| &krate.files).filter(|file| file.role != Role::Test)
}

impl<'t> Program<'t> {
    pub(crate) fn new(tree: &'t Tree, graph: &'t CallGraph<'t>, macros: &'t Macros) -> Self {
        let mut declared =
            Declared { file: 0, types: BTreeMap::new(), traits: BTreeSet::new(), constants: BTreeMap::new() };
        let mut files = Vec::new();
        for (index, file) in sources(tree).enumerate() {
            files.push(file.path.as_str());
            declared.file = index;
            declared.visit_file(&file.syntax);
        }
        for ((file, ..), expanded) in &macros.0 {
            for (name, expression) in &expanded.statics {
                declared.constants.entry(name.clone()).or_default().push((*file, expression));
            }
        }
        let mut methods: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut paths = Vec::with_capacity(graph.functions.len());
        for (index, function) in graph.functions.iter().enumerate() {
            if function.self_type.is_some() {
                methods.entry(function.name.as_str()).or_default().push(index);
            }
            let of_paths = function.calls.iter().filter_map(|call| match call {
                Call::Path(path, at) => Some((*at, path.as_slice())),
                Call::Method(..) => None,
            });
            paths.push(of_paths.collect());
        }
        let file_of = files.iter().enumerate().map(|(index, file)| (*file, index)).collect();
        let Declared { types, traits, constants, .. } = declared;
        Self { graph, files, macros, types, traits, constants, methods, paths, file_of }
    }

    /// The index of the file that a function is in.
    pub(crate) fn file_of(&self, function: usize) -> usize {
        self.file_of.get(self.graph.functions[function].file).copied().unwrap_or_default()
    }

    /// What the macro call at `span` holds.
    pub(crate) fn macro_at(&self, file: usize, span: Span) -> &'t [syn::Expr] {
        let place = (file, span.start().line, span.start().column + 1);
        self.macros.0.get(&place).map_or(&[], |expanded| &expanded.expressions)
    }

    /// The path that a name in `function` stands for, imports followed.
    pub(crate) fn path_at(&self, function: usize, span: Span) -> Option<&'t [String]> {
        self.paths[function].get(&(span.start().line, span.start().column + 1)).copied()
    }

    /// The functions that a path in `function` can mean.
    pub(crate) fn callees(&self, function: usize, path: &[String], at: SpanKey) -> Vec<usize> {
        self.graph.resolve(&self.graph.functions[function], &Call::Path(path.to_vec(), at))
    }

    /// The methods called `name` that a value of type `ty` can have: the type's own, and where it is a trait every
    /// implementation's.
    pub(crate) fn methods_of(&self, ty: &str, name: &str) -> Vec<usize> {
        let of = |&&index: &&usize| {
            let function = &self.graph.functions[index];
            function.self_type.as_deref() == Some(ty) || function.implements.as_deref() == Some(ty)
        };
        let own: Vec<usize> = self.methods.get(name).into_iter().flatten().filter(of).copied().collect();
        if !own.is_empty() {
            return own;
        }
        // What a trait gives all its implementors.
        let traits: BTreeSet<&str> = self
            .graph
            .functions
            .iter()
            .filter(|function| function.self_type.as_deref() == Some(ty))
            .filter_map(|function| function.implements.as_deref())
            .collect();
        let given = |&&index: &&usize| {
            self.graph.functions[index].self_type.as_deref().is_some_and(|owner| traits.contains(owner))
        };
        self.methods.get(name).into_iter().flatten().filter(given).copied().collect()
    }

    /// Every method of this name.
    pub(crate) fn methods_called(&self, name: &str) -> &[usize] {
        self.methods.get(name).map_or(&[], Vec::as_slice)
    }

    /// The type of this name, where the tree declares it.
    pub(crate) fn type_info(&self, name: &str) -> Option<&TypeInfo<'t>> {
        self.types.get(name)
    }

    /// The initialisers of the constants and statics of this name.
    pub(crate) fn constants(&self, name: &str) -> &[(usize, &'t syn::Expr)] {
        self.constants.get(name).map_or(&[], Vec::as_slice)
    }

    /// The first type of the tree that `ty` names, references and containers looked through.
    pub(crate) fn type_in(&self, ty: &syn::Type, self_type: Option<&str>) -> Option<Rc<str>> {
        struct Names<'p, 't>(&'p Program<'t>, Option<&'p str>, Option<Rc<str>>);
        impl<'ast> Visit<'ast> for Names<'_, '_> {
            fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
                let name = segment.ident.to_string();
                let name = if name == "Self" { self.1.unwrap_or("Self").to_owned() } else { name };
                if self.2.is_none() && (self.0.types.contains_key(&name) || self.0.traits.contains(&name)) {
                    self.2 = Some(name.into());
                }
                visit::visit_path_segment(self, segment);
            }
        }
        let mut names = Names(self, self_type, None);
        names.visit_type(ty);
        names.2
    }
}

impl TypeInfo<'_> {
    /// Whether a parser of command lines or requests makes it.
    pub(crate) fn is_parsed(&self) -> bool {
        ["Parser", "Args", "Deserialize", "StructOpt", "FromArgs"]
            .iter()
            .any(|name| self.derives.contains(*name))
    }
}

struct Declared<'t> {
    file: usize,
    types: BTreeMap<String, TypeInfo<'t>>,
    traits: BTreeSet<String>,
    constants: BTreeMap<String, Vec<(usize, &'t syn::Expr)>>,
}

impl<'t> Declared<'t> {
    fn fields(&mut self, name: &syn::Ident, attributes: &[syn::Attribute], fields: &'t syn::Fields) {
        let info = self.types.entry(name.to_string()).or_default();
        for (index, field) in fields.iter().enumerate() {
            let key = field.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            info.fields.insert(key, &field.ty);
        }
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("derive")) {
            let named = Punctuated::<syn::Path, syn::Token![,]>::parse_terminated;
            let derived = attribute.parse_args_with(named).unwrap_or_default();
            info.derives
                .extend(derived.iter().filter_map(|path| Some(path.segments.last()?.ident.to_string())));
        }
    }
}

impl<'t> Visit<'t> for Declared<'t> {
    fn visit_item_struct(&mut self, item: &'t syn::ItemStruct) {
        self.fields(&item.ident, &item.attrs, &item.fields);
    }

    fn visit_item_enum(&mut self, item: &'t syn::ItemEnum) {
        self.types.entry(item.ident.to_string()).or_default();
        for variant in &item.variants {
            self.fields(&item.ident, &item.attrs, &variant.fields);
        }
    }

    fn visit_item_trait(&mut self, item: &'t syn::ItemTrait) {
        self.traits.insert(item.ident.to_string());
        visit::visit_item_trait(self, item);
    }

    fn visit_item_const(&mut self, item: &'t syn::ItemConst) {
        self.constants.entry(item.ident.to_string()).or_default().push((self.file, &item.expr));
    }

    fn visit_item_static(&mut self, item: &'t syn::ItemStatic) {
        self.constants.entry(item.ident.to_string()).or_default().push((self.file, &item.expr));
    }

    fn visit_impl_item_const(&mut self, item: &'t syn::ImplItemConst) {
        self.constants.entry(item.ident.to_string()).or_default().push((self.file, &item.expr));
    }

    fn visit_item_mod(&mut self, module: &'t syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

struct MacroCollector {
    file: usize,
    found: BTreeMap<Place, Expanded>,
}

impl<'ast> Visit<'ast> for MacroCollector {
    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        let start = mac.path.span().start();
        let place = (self.file, start.line, start.column + 1);
        let name = mac.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default();
        let mut expanded = Expanded::default();
        if name == "macro_rules" {
            return;
        }
        if name == "matches" {
            expanded.expressions.extend(as_match(mac.tokens.clone()));
        }
        if expanded.expressions.is_empty() {
            statics(mac.tokens.clone(), &mut expanded.statics);
        }
        if expanded.expressions.is_empty() && expanded.statics.is_empty() {
            pieces(mac.tokens.clone(), &mut expanded.expressions);
        }
        let inner: Vec<syn::Expr> = expanded
            .expressions
            .iter()
            .chain(expanded.statics.iter().map(|(_, value)| value))
            .cloned()
            .collect();
        self.found.insert(place, expanded);
        for expression in &inner {
            self.visit_expr(expression);
        }
    }
}

/// The expressions among `tokens`: all of them separated by commas, an array with its length, statements, or whatever
/// stands between commas, colons, arrows and inside brackets.
fn pieces(tokens: TokenStream, found: &mut Vec<syn::Expr>) {
    if tokens.is_empty() {
        return;
    }
    if let Ok(list) = Punctuated::<syn::Expr, syn::Token![,]>::parse_terminated.parse2(tokens.clone()) {
        found.extend(list);
        return;
    }
    let bracketed = TokenTree::Group(Group::new(Delimiter::Bracket, tokens.clone()));
    if let Ok(array) = syn::parse2::<syn::Expr>(bracketed.into()) {
        found.push(array);
        return;
    }
    let braced = TokenTree::Group(Group::new(Delimiter::Brace, tokens.clone()));
    if let Ok(block) = syn::parse2::<syn::Expr>(braced.into()) {
        found.push(block);
        return;
    }
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is_cut =
        |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if ",:;=>|".contains(punct.as_char()));
    let parts: Vec<&[TokenTree]> = tokens.split(is_cut).filter(|part| !part.is_empty()).collect();
    for part in parts {
        let stream: TokenStream = part.iter().cloned().collect();
        if let Ok(expression) = syn::parse2::<syn::Expr>(stream) {
            found.push(expression);
            continue;
        }
        for token in part {
            match token {
                TokenTree::Group(group) => pieces(group.stream(), found),
                TokenTree::Literal(literal) => {
                    found.extend(syn::parse2::<syn::Expr>(TokenTree::from(literal.clone()).into()));
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
}

/// `matches!(value, pattern)` as the match it is.
fn as_match(tokens: TokenStream) -> Option<syn::Expr> {
    let all: Vec<TokenTree> = tokens.into_iter().collect();
    let comma =
        all.iter().position(|token| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ','))?;
    let value: TokenStream = all[..comma].iter().cloned().collect();
    let mut pattern: Vec<TokenTree> = all[comma + 1..].to_vec();
    if matches!(pattern.last(), Some(TokenTree::Punct(punct)) if punct.as_char() == ',') {
        pattern.pop();
    }
    let span = pattern.first()?.span();
    let word = |text: &str| TokenTree::Ident(proc_macro2::Ident::new(text, span));
    let arrow = |ahead: &mut Vec<TokenTree>| {
        ahead.push(TokenTree::Punct(proc_macro2::Punct::new('=', proc_macro2::Spacing::Joint)));
        ahead.push(TokenTree::Punct(proc_macro2::Punct::new('>', proc_macro2::Spacing::Alone)));
    };
    let mut arms = pattern;
    arrow(&mut arms);
    arms.push(word("true"));
    arms.push(TokenTree::Punct(proc_macro2::Punct::new(',', proc_macro2::Spacing::Alone)));
    arms.push(word("_"));
    arrow(&mut arms);
    arms.push(word("false"));
    let whole = [
        word("match"),
        TokenTree::Group(Group::new(Delimiter::Parenthesis, value)),
        TokenTree::Group(Group::new(Delimiter::Brace, arms.into_iter().collect())),
    ];
    syn::parse2(whole.into_iter().collect()).ok()
}

/// `static NAME: T = value;` and `static ref NAME: T = value;` among `tokens`.
fn statics(tokens: TokenStream, found: &mut Vec<(String, syn::Expr)>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let is = |token: &TokenTree, text: &str| token.to_string() == text;
    let mut at = 0;
    while let Some(start) = tokens[at..].iter().position(|token| is(token, "static") || is(token, "const")) {
        let mut name = at + start + 1;
        while tokens.get(name).is_some_and(|token| is(token, "ref") || is(token, "mut")) {
            name += 1;
        }
        let rest = tokens.get(name..).unwrap_or_default();
        let end = rest.iter().position(|token| is(token, ";")).unwrap_or(rest.len());
        if let (Some(TokenTree::Ident(word)), Some(equals)) =
            (rest.first(), rest[..end].iter().position(|token| is(token, "=")))
        {
            let value: TokenStream = rest[equals + 1..end].iter().cloned().collect();
            if let Ok(expression) = syn::parse2(value) {
                found.push((word.to_string(), expression));
            }
        }
        at = (name + end).min(tokens.len());
    }
}

//! Who calls whom, as far as names tell: an over-approximation that follows every function a call could mean.
//!
//! A path call means the functions of that name in the named type, module or crate. A method call means every method
//! of that name in the crates the caller can see, and in any crate that implements a trait the caller can see, since a
//! trait object may hide it. Types are not inferred. What is reached from an entry point is therefore at least what it
//! can run, and sometimes more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proc_macro2::{Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::attributes::is_test_only;
use super::tree::{Crate, Role, Tree};

/// Every function of the subjects, tests left out, and what each calls.
pub(super) struct CallGraph<'t> {
    pub(super) functions: Vec<Function<'t>>,
    by_name: BTreeMap<String, Vec<usize>>,
    /// The packages each crate can see, itself included.
    visible: BTreeMap<&'t str, BTreeSet<&'t str>>,
    /// The packages that declare a trait of each name.
    traits: BTreeMap<String, BTreeSet<&'t str>>,
}

/// A function or method.
pub(super) struct Function<'t> {
    pub(super) krate: &'t Crate,
    /// The file it is in.
    pub(super) file: &'t str,
    pub(super) name: String,
    /// The type it is a method of.
    pub(super) self_type: Option<String>,
    pub(super) signature: &'t syn::Signature,
    pub(super) body: Option<&'t syn::Block>,
    /// What it calls.
    pub(super) calls: Vec<Call>,
    /// The trait it implements a method of.
    pub(super) implements: Option<String>,
    /// Attributes, for what frameworks say with them.
    pub(super) attributes: &'t [syn::Attribute],
    is_method: bool,
    /// Whether another crate can name it: `pub`, or a trait's.
    is_public: bool,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// `a::b::c`, after the file's imports were followed; called, or named to be called later.
    Path(Vec<String>, SpanKey),
    /// `.name(..)`, with the number of arguments where the call was parsed.
    Method(String, SpanKey, Option<usize>),
}

/// Where a call stands: line and column, from 1.
pub(super) type SpanKey = (usize, usize);

impl<'t> CallGraph<'t> {
    /// Reads every library and executable of the subjects.
    pub(super) fn of(tree: &'t Tree) -> Self {
        let mut functions = Vec::new();
        let mut traits: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for krate in tree.subjects() {
            for file in krate.files.iter().filter(|file| file.role != Role::Test) {
                let imports = imports(&file.syntax);
                let mut collector = Collector {
                    krate,
                    file: &file.path,
                    imports,
                    self_type: None,
                    implements: None,
                    functions: Vec::new(),
                    traits: Vec::new(),
                };
                collector.visit_file(&file.syntax);
                functions.append(&mut collector.functions);
                for name in collector.traits {
                    traits.entry(name).or_default().insert(&krate.name);
                }
            }
        }
        let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, function) in functions.iter().enumerate() {
            by_name.entry(function.name.clone()).or_default().push(index);
        }
        let visible = tree.subjects().map(|krate| (krate.name.as_str(), tree.closure(krate))).collect();
        Self { functions, by_name, visible, traits }
    }

    /// Functions reached from those for which `is_entry` is true, with the index of the function each was first reached
    /// from, `None` for the entries.
    pub(super) fn reached(&self, is_entry: impl Fn(&Function<'_>) -> bool) -> BTreeMap<usize, Option<usize>> {
        let entries = (0..self.functions.len()).filter(|&index| is_entry(&self.functions[index]));
        let mut reached: BTreeMap<usize, Option<usize>> = entries.map(|index| (index, None)).collect();
        // Breadth first: the way that is shown is a shortest one.
        let mut ahead: VecDeque<usize> = reached.keys().copied().collect();
        while let Some(index) = ahead.pop_front() {
            for call in &self.functions[index].calls {
                for callee in self.resolve(&self.functions[index], call) {
                    reached.entry(callee).or_insert_with(|| {
                        ahead.push_back(callee);
                        Some(index)
                    });
                }
            }
        }
        reached
    }

    /// Functions reached from these, themselves included.
    pub(super) fn reached_from(&self, from: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut reached = from.clone();
        let mut ahead: Vec<usize> = from.iter().copied().collect();
        while let Some(index) = ahead.pop() {
            for call in &self.functions[index].calls {
                let callees = self.resolve(&self.functions[index], call);
                ahead.extend(callees.into_iter().filter(|&callee| reached.insert(callee)));
            }
        }
        reached
    }

    /// The way from an entry to `index`, entry first; the last steps of a long one.
    pub(super) fn way_to(&self, index: usize, reached: &BTreeMap<usize, Option<usize>>) -> String {
        const SHOWN: usize = 6;
        let steps = std::iter::successors(Some(index), |index| reached.get(index).copied().flatten());
        let mut way: Vec<String> = steps.take(SHOWN + 1).map(|index| self.functions[index].label()).collect();
        if way.len() > SHOWN {
            "..".clone_into(&mut way[SHOWN]);
        }
        way.reverse();
        way.join(" > ")
    }

    /// Whether a method call in `caller` can mean `method`.
    fn can_mean(&self, caller: &Function<'_>, method: &Function<'_>, n_arguments: Option<usize>) -> bool {
        let takes = method.signature.inputs.len().saturating_sub(1);
        if n_arguments.is_some_and(|given| given != takes) || !can_name(caller, method) {
            return false;
        }
        let Some(visible) = self.visible.get(caller.krate.name.as_str()) else { return false };
        let of_trait = || {
            let declared = method.implements.as_ref().and_then(|name| self.traits.get(name));
            declared.is_some_and(|crates| crates.iter().any(|krate| visible.contains(krate)))
        };
        method.is_method && (visible.contains(method.krate.name.as_str()) || of_trait())
    }

    /// Every function that `call` could mean.
    pub(super) fn resolve(&self, caller: &Function<'_>, call: &Call) -> Vec<usize> {
        let (name, path): (&str, &[String]) = match call {
            Call::Method(name, ..) => (name, &[]),
            Call::Path(path, _) => match path.split_last() {
                Some((name, rest)) => (name, rest),
                None => return Vec::new(),
            },
        };
        let candidates = self.by_name.get(name).into_iter().flatten().copied();
        if let Call::Method(_, _, n_arguments) = call {
            let means = |&index: &usize| self.can_mean(caller, &self.functions[index], *n_arguments);
            return candidates.filter(means).collect();
        }
        let matches = |&index: &usize| {
            let function = &self.functions[index];
            can_name(caller, function)
                && match path.last().map(String::as_str) {
                    // A bare name: a free function of the same crate, or an import that was not followed.
                    None => function.self_type.is_none() && function.krate.name == caller.krate.name,
                    Some(last) if starts_upper(last) => function.self_type.as_deref() == Some(last),
                    Some(_) => function.self_type.is_none() && function.is_in_crate(path, caller),
                }
        };
        let found: Vec<usize> = candidates.filter(matches).collect();
        // What stands in the file itself, or in the module that is named, is meant before others of the name.
        let near: Vec<usize> = match path.last() {
            None => {
                found.iter().copied().filter(|&index| self.functions[index].file == caller.file).collect()
            }
            Some(module) => {
                found.iter().copied().filter(|&index| self.functions[index].is_in_module(module)).collect()
            }
        };
        if near.is_empty() { found } else { near }
    }
}

/// Whether `caller` may name `function`: another crate must make it public.
fn can_name(caller: &Function<'_>, function: &Function<'_>) -> bool {
    function.is_public || caller.krate.name == function.krate.name
}

impl Function<'_> {
    /// What messages call it.
    pub(super) fn label(&self) -> String {
        self.self_type.as_ref().map_or_else(|| self.name.clone(), |owner| format!("{owner}::{}", self.name))
    }

    /// Whether its file is that of the module `name`.
    fn is_in_module(&self, name: &str) -> bool {
        let path = self.file.trim_end_matches(".rs").trim_end_matches("/mod");
        path.rsplit('/').next() == Some(name)
    }

    /// Whether a path that `caller` writes leads into this function's crate.
    fn is_in_crate(&self, path: &[String], caller: &Function<'_>) -> bool {
        let own = self.krate.name == caller.krate.name;
        match path.first().map(String::as_str) {
            Some("std" | "core" | "alloc") => false,
            Some("crate" | "self" | "super") | None => own,
            // A module of the caller's crate, or another crate's name.
            Some(first) => own || self.krate.name.replace('-', "_") == first,
        }
    }
}

fn starts_upper(word: &str) -> bool {
    word.starts_with(char::is_uppercase)
}

/// What each imported name of a file stands for.
fn imports(file: &syn::File) -> BTreeMap<String, Vec<String>> {
    #[derive(Default)]
    struct Imports(BTreeMap<String, Vec<String>>);
    impl Imports {
        fn add(&mut self, tree: &syn::UseTree, prefix: &[String]) {
            let joined = |word: &syn::Ident| [prefix, &[word.to_string()]].concat();
            match tree {
                syn::UseTree::Path(path) => self.add(&path.tree, &joined(&path.ident)),
                syn::UseTree::Name(name) if name.ident == "self" => {
                    if let Some(last) = prefix.last() {
                        self.0.insert(last.clone(), prefix.to_vec());
                    }
                }
                syn::UseTree::Name(name) => {
                    self.0.insert(name.ident.to_string(), joined(&name.ident));
                }
                syn::UseTree::Rename(rename) if rename.ident == "self" => {
                    self.0.insert(rename.rename.to_string(), prefix.to_vec());
                }
                syn::UseTree::Rename(rename) => {
                    self.0.insert(rename.rename.to_string(), joined(&rename.ident));
                }
                syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add(item, prefix)),
                syn::UseTree::Glob(_) => {}
            }
        }
    }
    impl<'ast> Visit<'ast> for Imports {
        fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
            self.add(&item.tree, &[]);
        }
    }
    let mut imports = Imports::default();
    imports.visit_file(file);
    imports.0
}

struct Collector<'t> {
    krate: &'t Crate,
    file: &'t str,
    imports: BTreeMap<String, Vec<String>>,
    self_type: Option<String>,
    implements: Option<String>,
    functions: Vec<Function<'t>>,
    /// Names of the traits that are declared.
    traits: Vec<String>,
}

impl<'t> Collector<'t> {
    fn add(
        &mut self,
        attributes: &'t [syn::Attribute],
        visibility: Option<&syn::Visibility>,
        signature: &'t syn::Signature,
        body: Option<&'t syn::Block>,
    ) {
        let mut calls =
            Calls { imports: &self.imports, self_type: self.self_type.as_deref(), found: Vec::new() };
        if let Some(body) = body {
            calls.visit_block(body);
        }
        let calls = calls.found;
        self.functions.push(Function {
            krate: self.krate,
            file: self.file,
            name: signature.ident.to_string(),
            self_type: self.self_type.clone(),
            signature,
            body,
            calls,
            is_method: signature.receiver().is_some(),
            is_public: visibility.is_none_or(|of| matches!(of, syn::Visibility::Public(_))),
            implements: self.implements.clone(),
            attributes,
        });
    }
}

impl<'t> Visit<'t> for Collector<'t> {
    fn visit_item_fn(&mut self, function: &'t syn::ItemFn) {
        if !is_test_only(&function.attrs) {
            let outer = self.self_type.take();
            self.add(&function.attrs, Some(&function.vis), &function.sig, Some(&function.block));
            visit::visit_item_fn(self, function);
            self.self_type = outer;
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'t syn::ImplItemFn) {
        if !is_test_only(&function.attrs) {
            let visibility = self.implements.is_none().then_some(&function.vis);
            self.add(&function.attrs, visibility, &function.sig, Some(&function.block));
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'t syn::TraitItemFn) {
        self.add(&function.attrs, None, &function.sig, function.default.as_ref());
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_item_impl(&mut self, item: &'t syn::ItemImpl) {
        if !is_test_only(&item.attrs) {
            let name = match &*item.self_ty {
                syn::Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()),
                _ => None,
            };
            let of_trait = item.trait_.as_ref().and_then(|(path, _)| path.segments.last());
            let implements = of_trait.map(|segment| segment.ident.to_string());
            let outer = std::mem::replace(&mut self.self_type, name);
            let outer_trait = std::mem::replace(&mut self.implements, implements);
            visit::visit_item_impl(self, item);
            (self.self_type, self.implements) = (outer, outer_trait);
        }
    }

    fn visit_item_trait(&mut self, item: &'t syn::ItemTrait) {
        self.traits.push(item.ident.to_string());
        let outer = self.self_type.replace(item.ident.to_string());
        visit::visit_item_trait(self, item);
        self.self_type = outer;
    }

    fn visit_item_mod(&mut self, module: &'t syn::ItemMod) {
        if !is_test_only(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }
}

struct Calls<'c> {
    imports: &'c BTreeMap<String, Vec<String>>,
    self_type: Option<&'c str>,
    found: Vec<Call>,
}

impl Calls<'_> {
    fn add_path(&mut self, mut path: Vec<String>, span: Span) {
        if let (Some("Self"), Some(owner)) = (path.first().map(String::as_str), self.self_type) {
            owner.clone_into(&mut path[0]);
        } else if let Some(imported) = path.first().and_then(|first| self.imports.get(first)) {
            path.splice(..1, imported.iter().cloned());
        }
        self.found.push(Call::Path(path, key(span)));
    }

    /// Calls among tokens that are not parsed: a path or `.name` before parentheses.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (index, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else { continue };
            self.add_tokens(group.stream());
            if group.delimiter() != proc_macro2::Delimiter::Parenthesis {
                continue;
            }
            let mut path = Vec::new();
            let mut at = index;
            while at > 0 {
                let TokenTree::Ident(word) = &tokens[at - 1] else { break };
                path.insert(0, word.to_string());
                at -= 1;
                let is_colon = |at: usize| matches!(&tokens[at], TokenTree::Punct(p) if p.as_char() == ':');
                if at < 2 || !(is_colon(at - 1) && is_colon(at - 2)) {
                    break;
                }
                at -= 2;
            }
            let Some(name) = path.last().cloned() else { continue };
            let span = tokens[index - 1].span();
            let is_method = at > 0 && matches!(&tokens[at - 1], TokenTree::Punct(p) if p.as_char() == '.');
            if is_method && path.len() == 1 {
                self.found.push(Call::Method(name, key(span), None));
            } else {
                self.add_path(path, span);
            }
        }
    }
}

fn key(span: Span) -> SpanKey {
    (span.start().line, span.start().column + 1)
}

impl<'ast> Visit<'ast> for Calls<'_> {
    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let mut segments: Vec<String> =
            path.path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // `<T as Trait>::name` and `<T>::name`: the type is not known by name here.
        if path.qself.is_some() {
            segments = segments.split_off(segments.len().saturating_sub(2));
        }
        let last = path.path.segments.last().map_or_else(Span::call_site, |last| last.ident.span());
        self.add_path(segments, last);
        visit::visit_expr_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let called = Call::Method(call.method.to_string(), key(call.method.span()), Some(call.args.len()));
        self.found.push(called);
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.add_tokens(mac.tokens.clone());
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {
        // A function inside a function is one of its own.
    }
}

/// The names of the types that implement `of`, anywhere in the subjects' libraries and executables.
pub(super) fn implementors(tree: &Tree, of: &str) -> BTreeSet<String> {
    struct Implementors<'i>(&'i str, BTreeSet<String>);
    impl<'ast> Visit<'ast> for Implementors<'_> {
        fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
            if let Some((path, _)) = &item.trait_
                && path.segments.last().is_some_and(|last| last.ident == self.0)
                && let syn::Type::Path(owner) = &*item.self_ty
                && let Some(last) = owner.path.segments.last()
            {
                self.1.insert(last.ident.to_string());
            }
        }
    }
    let mut visitor = Implementors(of, BTreeSet::new());
    let files = tree.subjects().flat_map(|krate| &krate.files).filter(|file| file.role != Role::Test);
    for file in files {
        visitor.visit_file(&file.syntax);
    }
    visitor.1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(files: &[(&str, &str)], entry: &str) -> Vec<String> {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned()));
        let tree = Tree::of_files(files).unwrap();
        let graph = CallGraph::of(&tree);
        let reached = graph.reached(|function| function.name == entry);
        let mut labels: Vec<_> = reached.keys().map(|&index| graph.functions[index].label()).collect();
        labels.sort();
        labels
    }

    const MANIFEST: (&str, &str) = ("Cargo.toml", "[package]\nname = \"a\"\n");

    #[test]
    fn calls_are_followed_through_paths_methods_imports_and_macros() {
        let text = "use inner::{deep as down, S};\nfn entry() { S::new().work(); vec![down(1)]; [1].iter().map(helper); std::fs::read(\"x\"); }\n\
                    fn helper(x: &u8) {}\nfn read() {}\nfn unused() {}\n\
                    mod inner { pub fn deep(x: u8) { Self::odd() } pub struct S; impl S { pub fn new() -> S { Self::made() } fn made() -> S { S } pub fn work(&self) {} pub fn idle(&self) {} } }\n";
        assert_eq!(
            reached(&[MANIFEST, ("src/lib.rs", text)], "entry"),
            ["S::made", "S::new", "S::work", "deep", "entry", "helper"]
        );
    }

    #[test]
    fn a_method_call_may_mean_any_implementation_of_a_trait_in_sight() {
        let files = [
            ("a/Cargo.toml", "[package]\nname = \"a\"\n"),
            (
                "a/src/lib.rs",
                "pub trait T { fn run(&self); }\npub fn entry(t: &dyn T) { t.run(); t.write() }\n",
            ),
            ("b/Cargo.toml", "[package]\nname = \"b\"\n[dependencies]\na.workspace = true\n"),
            (
                "b/src/lib.rs",
                "struct B;\nimpl a::T for B { fn run(&self) { hidden() } }\nfn hidden() {}\n\
                 impl B { fn write(&self) {} }\nimpl std::io::Write for B { fn write(&self) {} }\n\
                 #[cfg(test)]\nmod tests { impl a::T for u8 { fn run(&self) { tested() } } fn tested() {} }\n",
            ),
        ];
        assert_eq!(reached(&files, "entry"), ["B::run", "T::run", "entry", "hidden"]);
        assert_eq!(reached(&files, "hidden"), ["hidden"]);
    }
    #[test]
    fn an_import_of_a_module_under_another_name_leads_into_its_file() {
        let files = [
            MANIFEST,
            (
                "src/lib.rs",
                "use {self};\nuse crate::parts::{self as p};\nmod parts;\nmod others;\nfn entry() { p::made(); }\n",
            ),
            ("src/parts.rs", "pub fn made() { here() }\nfn here() {}\n"),
            ("src/others.rs", "pub fn made() { there() }\nfn there() {}\n"),
        ];
        assert_eq!(reached(&files, "entry"), ["entry", "here", "made"]);
    }

    #[test]
    fn what_only_tests_see_is_not_called_and_what_has_no_named_type_is() {
        let text = "fn entry(x: &[u8]) { x.work(); tested(); S::kept(); S::dropped(); S::gone(); }\n\
                    #[cfg(test)]\nfn tested() {}\n\
                    trait W { fn work(&self); }\nimpl W for [u8] { fn work(&self) { inner() } }\nfn inner() {}\n\
                    struct S;\nimpl S { fn kept() {} #[cfg(test)] fn dropped() {} }\n#[cfg(test)]\nimpl S { fn gone() {} }\n";
        assert_eq!(
            reached(&[MANIFEST, ("src/lib.rs", text)], "entry"),
            ["S::kept", "W::work", "entry", "inner", "work"]
        );
    }

    #[test]
    fn the_way_to_a_function_shows_its_last_six_steps() {
        let chain = "fn a() { b() }\nfn b() { c() }\nfn c() { d() }\nfn d() { e() }\nfn e() { f() }\nfn f() { g() }\nfn g() {}\n";
        let files = [MANIFEST, ("src/lib.rs", chain)].map(|(path, text)| (path.to_owned(), text.to_owned()));
        let tree = Tree::of_files(files).unwrap();
        let graph = CallGraph::of(&tree);
        let reached = graph.reached(|function| function.name == "a");
        let way = |name: &str| {
            let index = graph.functions.iter().position(|function| function.name == name).unwrap();
            graph.way_to(index, &reached)
        };
        assert_eq!(way("a"), "a");
        assert_eq!(way("f"), "a > b > c > d > e > f");
        assert_eq!(way("g"), ".. > b > c > d > e > f > g");
    }

    #[test]
    fn implementors_are_named_types_in_what_is_not_a_test() {
        let files = [
            MANIFEST,
            (
                "src/lib.rs",
                "impl CausalLm for M {}\nimpl CausalLm for &N {}\nimpl apr::CausalLm for a::B<u8> {}\nimpl Other for O {}\nimpl P {}\n",
            ),
            ("tests/it.rs", "impl CausalLm for Fake {}\n"),
        ];
        let tree = Tree::of_files(files.map(|(path, text)| (path.to_owned(), text.to_owned()))).unwrap();
        assert_eq!(implementors(&tree, "CausalLm").into_iter().collect::<Vec<_>>(), ["B", "M"]);
    }
}

//! The hot path: what runs for every token, found by following calls and not by where a file lies.
//!
//! It begins where a model is run: in what implements `CausalLm`, in functions that are handed such a model (the
//! generation loop), in functions called `forward`, `prefill` or `generate..`, and in what answers requests. Kernels
//! themselves are where instruction sets are chosen: the folder of a file with `#[target_feature]` functions.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

use super::calls::{CallGraph, Function};
use super::flow::{Macros, Program};
use super::g7_stubs::handlers;
use super::tree::{LintError, Role, Tree};

const MODEL: &str = "CausalLm";
const NAMES: [&str; 3] = ["forward", "prefill", "generate"];

/// Functions on the hot path that are no kernels, with the function each was first reached from.
pub(super) fn hot_path(
    tree: &Tree,
    graph: &CallGraph<'_>,
    rule: &'static str,
) -> Result<BTreeMap<usize, Option<usize>>, LintError> {
    let macros = Macros::of(tree);
    let program = Program::new(tree, graph, &macros);
    let handlers: BTreeSet<*const Function<'_>> =
        handlers(&program).into_iter().map(|index| std::ptr::from_ref(&graph.functions[index])).collect();
    let mut reached = graph
        .reached(|function| is_entry(function) || handlers.contains(&std::ptr::from_ref(function).cast()));
    if reached.is_empty() {
        let what = format!(
            "no function runs a model (implements or takes a `{MODEL}`, answers requests, or is called {})",
            NAMES.join(", ")
        );
        return Err(LintError::NothingToJudge { rule, what });
    }
    let kernels = kernel_files(tree);
    reached.retain(|&index, _| !kernels.contains(graph.functions[index].file));
    Ok(reached)
}

fn is_entry(function: &Function<'_>) -> bool {
    struct Mentions(bool);
    impl<'ast> Visit<'ast> for Mentions {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= segment.ident == MODEL;
            visit::visit_path_segment(self, segment);
        }
    }
    let mut mentions = Mentions(false);
    function.signature.inputs.iter().for_each(|input| mentions.visit_fn_arg(input));
    mentions.visit_generics(&function.signature.generics);
    let of_model = [&function.implements, &function.self_type].iter().any(|of| of.as_deref() == Some(MODEL));
    let named = NAMES.iter().any(|name| {
        function.name.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
    });
    of_model || mentions.0 || named
}

/// Files of kernels: those that compile functions for an instruction set, and those beside them in a folder of their
/// own.
fn kernel_files(tree: &Tree) -> BTreeSet<&str> {
    let mut kernels = BTreeSet::new();
    for krate in tree.subjects() {
        let files = || krate.files.iter().filter(|file| file.role != Role::Test);
        let with_features: Vec<&str> =
            files().filter(|file| has_target_feature(&file.syntax)).map(|file| file.path.as_str()).collect();
        let folders: BTreeSet<&str> = with_features
            .iter()
            .filter_map(|path| path.rsplit_once('/'))
            .map(|(folder, _)| folder)
            .filter(|folder| !folder.ends_with("src") && !folder.ends_with("bin"))
            .collect();
        let beside = files()
            .map(|file| file.path.as_str())
            .filter(|path| path.rsplit_once('/').is_some_and(|(folder, _)| folders.contains(folder)));
        kernels.extend(beside.collect::<Vec<_>>());
        kernels.extend(with_features);
    }
    kernels
}

fn has_target_feature(file: &syn::File) -> bool {
    struct Features(bool);
    impl<'ast> Visit<'ast> for Features {
        fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
            self.0 |= attribute.path().is_ident("target_feature");
        }
        fn visit_macro(&mut self, mac: &'ast syn::Macro) {
            // Kernels for several instruction sets are often written once, as a macro.
            self.0 |= mac.path.is_ident("macro_rules") && mac.tokens.to_string().contains("target_feature");
        }
    }
    let mut features = Features(false);
    features.visit_file(file);
    features.0
}

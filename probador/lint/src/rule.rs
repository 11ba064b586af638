//! What a rule is, and the list of all of them.

use super::finding::Findings;
use super::tree::{LintError, Tree};
use super::{
    g2_unsafe, g4_whole_file_reads, g5_raw_safetensors, g6_string_errors, g7_stubs, g8_naive_loops,
    i5_dead_code, j22_with_capacity, j23_growing_loops, j24_performance_crates,
};

/// A rule, with the examples that show what it means.
pub struct Rule {
    /// Its permanent id: the claim it decides.
    pub id: &'static str,
    /// Other claims that are about it, by which it is found, too.
    pub also: &'static [&'static str],
    /// A short name.
    pub name: &'static str,
    /// What it flags.
    pub what: &'static str,
    /// Whether what it finds is wrong.
    pub kind: Kind,
    /// Finds every violation, or entry, in a tree; an error when the tree holds nothing it could judge.
    pub(super) check: fn(&Tree, &mut Findings) -> Result<(), LintError>,
    /// Trees it must flag, and where.
    pub must_flag: &'static [Example],
    /// Trees it must not flag.
    pub must_not_flag: &'static [Example],
}

/// What a rule's findings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Something to mend.
    Violation,
    /// Something to know of.
    Inventory,
}

/// A small tree; one without a manifest is a crate called `example`.
#[derive(Clone, Copy)]
pub struct Example {
    /// What it shows.
    pub what: &'static str,
    /// Its files: path and text.
    pub files: &'static [(&'static str, &'static str)],
    /// Where the rule must flag it: file and line.
    pub at: &'static [(&'static str, usize)],
}

/// Every rule, by id.
pub const RULES: [&Rule; 10] = [
    &g2_unsafe::RULE,
    &g4_whole_file_reads::RULE,
    &g5_raw_safetensors::RULE,
    &g6_string_errors::RULE,
    &g7_stubs::RULE,
    &g8_naive_loops::RULE,
    &i5_dead_code::RULE,
    &j22_with_capacity::RULE,
    &j23_growing_loops::RULE,
    &j24_performance_crates::RULE,
];

impl Rule {
    /// Whether it is what is called `id`, in any case.
    pub(super) fn is(&self, id: &str) -> bool {
        std::iter::once(&self.id).chain(self.also).any(|own| own.eq_ignore_ascii_case(id))
    }
}

impl Example {
    /// Its files, with a manifest where it has none: path and text.
    pub fn with_manifest(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        let has_manifest = self.files.iter().any(|(path, _)| path.ends_with("Cargo.toml"));
        let manifest = (!has_manifest).then_some(("Cargo.toml", "[package]\nname = \"example\"\n"));
        self.files.iter().copied().chain(manifest)
    }

    pub(super) fn tree(&self) -> Result<Tree, LintError> {
        Tree::of_files(self.with_manifest().map(|(path, text)| (path.to_owned(), text.to_owned())))
    }
}

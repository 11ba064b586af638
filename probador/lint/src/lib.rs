//! Lints over the subjects' syntax trees: one file per rule, each with trees it must flag and trees it must not.
//!
//! A rule's id is the claim it decides. Rules follow dependencies and the call graph; none guesses from file names. A
//! tree in which a rule finds nothing it could judge is an error, not a tree without findings.

mod attributes;
mod calls;
mod finding;
mod flow;
mod g2_unsafe;
mod g4_whole_file_reads;
mod g5_raw_safetensors;
mod g6_string_errors;
mod g7_stubs;
mod g8_naive_loops;
mod hot_path;
mod i5_dead_code;
mod j22_with_capacity;
mod j23_growing_loops;
mod j24_performance_crates;
mod rule;
mod sarif;
mod suppressions;
mod tree;

use std::collections::BTreeSet;
use std::path::Path;

pub use attributes::is_test_only;
pub use finding::Finding;
pub use j24_performance_crates::CHOSEN as PERFORMANCE_CRATES;
pub use rule::{Example, Kind, RULES, Rule};
pub use sarif::{Sarif, sarif};
pub use suppressions::Suppressed;
pub use tree::LintError;

use finding::Findings;
use tree::Tree;

/// What linting a tree came to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Linted {
    /// Every violation, by file and line; exceptions that are wrong are among them.
    pub findings: Vec<Finding>,
    /// Every entry of an inventory, by file and line.
    pub inventory: Vec<Finding>,
    /// Violations that the source excuses, with the reason it gives.
    pub suppressed: Vec<Suppressed>,
    /// Ids of the rules that were applied.
    pub rules: Vec<&'static str>,
    /// Number of crates that were read.
    pub n_crates: usize,
    /// Number of files that were read.
    pub n_files: usize,
}

/// The rule with this id, or the one that the claim of this id is about, in any case.
pub fn find(id: &str) -> Result<&'static Rule, LintError> {
    RULES.into_iter().find(|rule| rule.is(id)).ok_or_else(|| LintError::UnknownRule {
        asked: id.to_owned(),
        known: RULES.map(|rule| rule.id).join(", "),
    })
}

/// Applies `rules` to every crate under `root`.
pub fn run(root: &Path, rules: &[&Rule]) -> Result<Linted, LintError> {
    // Expressions are nested as deep as their author likes, and calls in calls: on a stack of its own.
    const STACK: usize = 256 << 20;
    let lint = || run_tree(&Tree::load(root)?, rules);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, lint);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(linted)) => linted,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(source) => Err(LintError::Read { path: root.to_owned(), source }),
        }
    })
}

/// Where `rule` flags `example`, file and line.
pub fn flagged(rule: &Rule, example: &Example) -> Result<BTreeSet<(String, usize)>, LintError> {
    let linted = run_tree(&example.tree()?, &[rule])?;
    let places = linted.findings.into_iter().chain(linted.inventory);
    Ok(places.map(|finding| (finding.file, finding.line)).collect())
}

fn run_tree(tree: &Tree, rules: &[&Rule]) -> Result<Linted, LintError> {
    if tree.crates().is_empty() {
        let what = "there is no crate with a Rust file".to_owned();
        return Err(LintError::NothingToJudge { rule: "lint", what });
    }
    let (mut violations, mut inventory) = (Vec::new(), Vec::new());
    for rule in rules {
        let mut findings = Findings::new(rule.id);
        (rule.check)(tree, &mut findings)?;
        match rule.kind {
            Kind::Violation => violations.append(&mut findings.into_vec()),
            Kind::Inventory => inventory.append(&mut findings.into_vec()),
        }
    }
    for found in [&mut violations, &mut inventory] {
        found.sort();
        found.dedup();
    }
    let (mut findings, suppressed) = suppressions::apply(tree, violations, rules);
    findings.sort();
    Ok(Linted {
        findings,
        inventory,
        suppressed,
        rules: rules.iter().map(|rule| rule.id).collect(),
        n_crates: tree.crates().len(),
        n_files: tree.crates().iter().map(|krate| krate.files.len()).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checkout that this is built in.
    pub(crate) fn checkout() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
    }

    #[test]
    fn every_rule_flags_what_it_must_and_nothing_else() {
        for rule in RULES {
            for example in rule.must_flag {
                let expected = example.at.iter().map(|&(file, line)| (file.to_owned(), line)).collect();
                assert_ne!(expected, BTreeSet::new(), "{}: {} says nowhere", rule.id, example.what);
                assert_eq!(flagged(rule, example).unwrap(), expected, "{}: {}", rule.id, example.what);
            }
            for example in rule.must_not_flag {
                let flagged = flagged(rule, example).unwrap();
                assert_eq!(flagged, BTreeSet::new(), "{}: {}", rule.id, example.what);
            }
        }
    }

    #[test]
    fn every_rule_has_an_id_of_its_own_and_examples_of_both_kinds() {
        let ids: BTreeSet<_> = RULES.map(|rule| rule.id).into();
        assert_eq!(ids.len(), RULES.len());
        for rule in RULES {
            assert!(!rule.must_flag.is_empty() && !rule.must_not_flag.is_empty(), "{}", rule.id);
            assert!(!rule.what.is_empty() && !rule.name.is_empty(), "{}", rule.id);
        }
    }

    #[test]
    fn a_tree_with_nothing_to_judge_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let error = run(folder.path(), &RULES).unwrap_err();
        assert_eq!(error.to_string(), "rule lint: there is no crate with a Rust file, so nothing was judged");
        let example = Example { what: "", files: &[("src/lib.rs", "pub fn a() {}")], at: &[] };
        for id in ["G4", "G5", "G8", "J23"] {
            let error = run_tree(&example.tree().unwrap(), &[find(id).unwrap()]).unwrap_err();
            assert!(error.to_string().contains("nothing was judged"), "{error}");
        }
    }

    #[test]
    fn a_tree_without_what_a_rule_judges_is_an_error_that_says_what_is_missing() {
        let engine =
            &[("probador/Cargo.toml", "[package]\nname = \"probador\"\n"), ("probador/src/lib.rs", "")];
        let constant = &[("src/lib.rs", "pub const N: u8 = 1;\n")];
        let program = &[("src/main.rs", "fn main() {}\n")];
        for (id, files, expected) in [
            ("G6", engine.as_slice(), "rule G6: there is no crate, so nothing was judged"),
            ("G7", constant, "rule G7: there is no function, so nothing was judged"),
            ("I5", program, "rule I5: no subject has a library, so nothing was judged"),
        ] {
            let tree = Example { what: "", files, at: &[] }.tree().unwrap();
            let error = run_tree(&tree, &[find(id).unwrap()]).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_tree_on_disk_is_judged_like_one_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let example = &g6_string_errors::RULE.must_flag[0];
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::create_dir_all(folder.path().join("target/package/src")).unwrap();
        std::fs::write(folder.path().join("Cargo.toml"), "[package]\nname = \"example\"\n").unwrap();
        std::fs::write(folder.path().join("target/package/Cargo.toml"), "[package]\nname = \"built\"\n")
            .unwrap();
        std::fs::write(folder.path().join("target/package/src/lib.rs"), "not rust {").unwrap();
        for (path, text) in example.files {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        let linted = run(folder.path(), &[find("g6").unwrap()]).unwrap();
        assert_eq!((linted.findings.len(), linted.n_crates, linted.n_files), (example.at.len(), 1, 1));
        assert!(linted.findings[0].to_string().starts_with("src/lib.rs:1:8: G6: `a` returns a `String`"));
    }

    #[test]
    fn a_rule_is_found_by_every_claim_that_is_about_it() {
        for (id, expected) in [("G8", "G8"), ("j10", "G8"), ("J23", "J23")] {
            assert_eq!(find(id).map(|rule| rule.id).unwrap(), expected);
        }
    }

    #[test]
    fn an_unknown_rule_is_an_error_that_lists_the_known_ones() {
        let Err(error) = find("G99") else { panic!("found") };
        assert_eq!(
            error.to_string(),
            "there is no rule `G99`; the rules are: G2, G4, G5, G6, G7, G8, I5, J22, J23, J24"
        );
    }

    #[test]
    fn our_own_tree_has_no_finding_and_both_inventories() {
        let linted = run(checkout(), &RULES).unwrap();
        assert!(
            linted.n_crates >= 8 && linted.n_files >= 50,
            "{} crates, {} files",
            linted.n_crates,
            linted.n_files
        );
        assert_eq!(linted.findings, []);
        for id in ["J22", "J24"] {
            assert!(linted.inventory.iter().any(|entry| entry.rule == id), "{id}");
        }
    }
}

//! Section J: what the lints find and the inventories of the sources list.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use proc_macro2::{TokenStream, TokenTree};

use crate::case::Judgement;
use crate::checklist::Claim;
use crate::checks::{CheckError, CheckFn, Context};
use crate::lint::{self, PERFORMANCE_CRATES};

/// The checks of this section.
pub(super) const CHECKS: &[(&str, CheckFn)] = &[
    ("J10", naive_loops_are_found),
    ("J22", preallocation_inventory_is_complete),
    ("J24", crate_inventory_is_complete),
];

/// A place: file and line.
type Place = (String, usize);

/// J10: every naive loop that is planted in a small tree is flagged, and nothing in trees without one.
fn naive_loops_are_found(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let rule = lint::find("J10")?;
    let mut judgement = Judgement::new();
    let (mut planted, mut flagged) = (BTreeSet::new(), BTreeSet::new());
    for example in rule.must_flag {
        let place = |(file, line)| (format!("{}, {file}", example.what), line);
        planted.extend(example.at.iter().map(|&(file, line)| place((file.to_owned(), line))));
        flagged.extend(lint::flagged(rule, example)?.into_iter().map(place));
    }
    let flagged: BTreeSet<Place> = context.planted().show_listed("J10", flagged);
    let missed: Vec<&Place> = planted.difference(&flagged).collect();
    judgement.exactly("naive loops that are not flagged", missed.len(), 0, "", planted.len());
    for (place, line) in missed {
        judgement.fail(format!("{place}:{line} is not flagged"));
    }
    let mut n_wrong = flagged.difference(&planted).count();
    for example in rule.must_not_flag {
        n_wrong += lint::flagged(rule, example)?.len();
    }
    judgement.exactly("places without one that are flagged", n_wrong, 0, "", rule.must_not_flag.len());
    Ok(judgement)
}

/// J22: every `with_capacity` among the tokens of the sources is in the inventory.
fn preallocation_inventory_is_complete(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let is_source = |name: &str| Path::new(name).extension().is_some_and(|extension| extension == "rs");
    let written = places(context.source_root(), is_source, |text| {
        let mut lines = Vec::new();
        // The lint says so where a file is no Rust.
        collect(text.parse().unwrap_or_default(), &mut lines);
        lines
    })?;
    judge(context, "J22", &written)
}

/// J24: every line of a manifest that declares a crate chosen for performance is in the inventory.
fn crate_inventory_is_complete(context: &Context, _: &Claim) -> Result<Judgement, CheckError> {
    let written = places(context.source_root(), |name| name == "Cargo.toml", declared)?;
    judge(context, "J24", &written)
}

/// Compares the inventory of `rule` with what is written in the sources.
fn judge(context: &Context, rule: &str, written: &BTreeSet<Place>) -> Result<Judgement, CheckError> {
    let linted = lint::run(context.source_root(), &[lint::find(rule)?])?;
    let listed = linted.inventory.into_iter().map(|entry| (entry.file, entry.line)).collect();
    let listed: BTreeSet<Place> = context.planted().show_listed(rule, listed);
    let mut judgement = Judgement::new();
    judgement.note(format!(
        "{} entries in {} files of {} crates",
        listed.len(),
        linted.n_files,
        linted.n_crates
    ));
    judgement.at_least("places in the sources", written.len() as f64, 1.0, "", written.len());
    let missing: Vec<&Place> = written.difference(&listed).collect();
    judgement.exactly("missing entries", missing.len(), 0, "", written.len());
    for (file, line) in missing {
        judgement.fail(format!("{file}:{line} is missing from the inventory"));
    }
    Ok(judgement)
}

/// Where `find` finds something, in every file of such a name under `root`, but for what is built and fixtures.
fn places(
    root: &Path,
    is_wanted: impl Fn(&str) -> bool,
    find: impl Fn(&str) -> Vec<usize>,
) -> anyhow::Result<BTreeSet<Place>> {
    let mut found = BTreeSet::new();
    let walk = walkdir::WalkDir::new(root).into_iter().filter_entry(|entry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name == "target" || name == "fixtures" || name.starts_with('.'))
    });
    for entry in walk {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type().is_file() || !is_wanted(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read `{}`", path.display()))?;
        let parts = path.strip_prefix(root).unwrap_or(path).components();
        let name = parts.map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
        found.extend(find(&text).into_iter().map(|line| (name.clone(), line)));
    }
    Ok(found)
}

/// Lines of the word `with_capacity` among tokens: not in comments, not in texts, not where it is declared.
fn collect(tokens: TokenStream, lines: &mut Vec<usize>) {
    let mut declares = false;
    for token in tokens {
        match token {
            TokenTree::Group(group) => collect(group.stream(), lines),
            TokenTree::Ident(word) => {
                if word == "with_capacity" && !declares {
                    lines.push(word.span().start().line);
                }
                declares = word == "fn";
            }
            TokenTree::Literal(_) | TokenTree::Punct(_) => {}
        }
    }
}

/// Lines of a manifest that name a crate chosen for performance in a table of dependencies.
fn declared(manifest: &str) -> Vec<usize> {
    let (mut lines, mut in_dependencies) = (Vec::new(), false);
    for (index, line) in manifest.lines().enumerate() {
        let line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            in_dependencies = header.contains("dependencies");
            continue;
        }
        let key = line.split(['=', '.', ' ']).next().unwrap_or_default().trim_matches('"');
        let renamed = line.split("package").nth(1).and_then(|rest| rest.split('"').nth(1));
        let package = renamed.unwrap_or(key);
        if in_dependencies && PERFORMANCE_CRATES.iter().any(|(name, _)| *name == package) {
            lines.push(index + 1);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_texts_comments_and_declarations_are_no_uses() {
        let mut lines = Vec::new();
        let text = "// with_capacity\nfn with_capacity() { \"with_capacity\"; }\nfn a() { vec![Vec::with_capacity(1)] }";
        collect(text.parse().unwrap(), &mut lines);
        assert_eq!(lines, [3]);
    }

    #[test]
    fn declared_crates_are_found_in_every_table_and_under_other_names() {
        let manifest = "[package]\nname = \"rayon\"\n[workspace.dependencies]\nrayon = \"1\"\nserde = \"1\"\n\
                        short = { version = \"1\", package = \"smallvec\" }\n[features]\nrayon = []\n";
        assert_eq!(declared(manifest), [4, 6]);
    }
}

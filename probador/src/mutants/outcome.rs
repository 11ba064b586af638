//! What cargo-mutants writes about a run, as counts and survivors of each file.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use serde_json::Value;

use super::{Mutant, Tried};

/// Reads the text of `outcomes.json`; the text of a survivor's line comes from the checkout at `root`.
pub fn read_outcomes(root: &Path, text: &str) -> anyhow::Result<BTreeMap<String, Tried>> {
    let outcomes: Outcomes =
        serde_json::from_str(text).context("cargo-mutants' outcomes are not what they were")?;
    let mut files: BTreeMap<String, Tried> = BTreeMap::new();
    for outcome in outcomes.outcomes {
        let Some(changed) = outcome.scenario.get("Mutant") else {
            // The code as it is must pass, or no mutant is noticed by a failure.
            if outcome.summary != "Success" {
                bail!("the tests fail without any mutant: {}", outcome.summary);
            }
            continue;
        };
        let changed: Changed =
            serde_json::from_value(changed.clone()).context("a mutant is not what it was")?;
        let tried = files.entry(changed.file.clone()).or_default();
        match outcome.summary.as_str() {
            "CaughtMutant" => tried.caught += 1,
            "Timeout" => tried.timeout += 1,
            "Unviable" => tried.unviable += 1,
            "MissedMutant" => tried.missed.push(survivor(root, &changed)?),
            other => bail!("cargo-mutants says `{other}` of a mutant, which means nothing here"),
        }
    }
    for tried in files.values_mut() {
        tried.missed.sort();
    }
    Ok(files)
}

fn survivor(root: &Path, changed: &Changed) -> anyhow::Result<Mutant> {
    let name = &changed.name;
    // `path/file.rs:LINE:COLUMN: what`; a path may hold a colon, what was changed comes last.
    let (place, mutant) = name.split_once(": ").ok_or_else(|| anyhow!("`{name}` names no place"))?;
    let mut parts = place.rsplitn(3, ':');
    let mut number = || parts.next()?.parse::<u32>().ok();
    let (Some(column), Some(line)) = (number(), number()) else { bail!("`{name}` names no place") };
    let source = std::fs::read_to_string(root.join(&changed.file))
        .with_context(|| format!("failed to read `{}`", changed.file))?;
    let text = source.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
    let (file, mutant, text) = (changed.file.clone(), mutant.to_owned(), text.trim().to_owned());
    Ok(Mutant { file, line, column, mutant, text })
}

#[derive(Deserialize)]
struct Outcomes {
    outcomes: Vec<Outcome>,
}

#[derive(Deserialize)]
struct Outcome {
    scenario: Value,
    summary: String,
}

#[derive(Deserialize)]
struct Changed {
    name: String,
    file: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(baseline: &str, summaries: &[&str]) -> String {
        let mutants = summaries.iter().map(|summary| {
            serde_json::json!({
                "scenario": {"Mutant": {"name": "src/a.rs:2:7: replace < with <= in a", "file": "src/a.rs", "genre": "BinaryOperator"}},
                "summary": summary,
            })
        });
        let all: Vec<Value> = [serde_json::json!({"scenario": "Baseline", "summary": baseline})]
            .into_iter()
            .chain(mutants)
            .collect();
        serde_json::json!({ "outcomes": all, "total_mutants": summaries.len() }).to_string()
    }

    fn read(text: &str) -> anyhow::Result<BTreeMap<String, Tried>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/a.rs"), "fn a() {\n    b < c\n}\n").unwrap();
        read_outcomes(folder.path(), text)
    }

    #[test]
    fn every_outcome_is_counted_and_survivors_are_placed() {
        let summaries = ["CaughtMutant", "CaughtMutant", "Timeout", "Unviable", "MissedMutant"];
        let files = read(&outcomes("Success", &summaries)).unwrap();
        assert_eq!(files.len(), 1);
        let tried = &files["src/a.rs"];
        assert_eq!((tried.caught, tried.timeout, tried.unviable), (2, 1, 1));
        let expected = Mutant {
            file: "src/a.rs".to_owned(),
            line: 2,
            column: 7,
            mutant: "replace < with <= in a".to_owned(),
            text: "b < c".to_owned(),
        };
        assert_eq!(tried.missed, [expected]);
    }

    #[test]
    fn tests_that_fail_by_themselves_notice_nothing() {
        let error = read(&outcomes("Failure", &["CaughtMutant"])).unwrap_err().to_string();
        assert_eq!(error, "the tests fail without any mutant: Failure");
    }

    #[test]
    fn what_means_nothing_here_is_an_error() {
        for text in [
            "{}",
            &outcomes("Success", &["Eaten"]),
            &outcomes("Success", &["MissedMutant"]).replace(":2:7", ""),
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

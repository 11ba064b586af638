//! Runs a playbook: every combination of its matrix, every repeat, every step, up to the first that fails.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Category;
use super::attempt::run_through;
use super::report::{PlaybookReport, RunReport};
use super::scenario::Playbook;
use super::stage::Stage;
use crate::process::{is_interrupted, quoted};

/// Runs `playbook` on `stage`. What a step expects and does not see is in the report; an error is the engine's own.
pub fn run(playbook: &Playbook, stage: &Stage) -> anyhow::Result<PlaybookReport> {
    let started = Instant::now();
    let mut runs = Vec::new();
    let mut failures = Vec::new();
    let n_repeats = playbook.repeats.unwrap_or(1);
    let least = playbook.min_pass.unwrap_or(n_repeats);
    for values in combinations(&playbook.matrix) {
        let mut failed = Vec::new();
        let mut n_passed = 0;
        for _ in 0..n_repeats {
            let run = run_through(playbook, stage, &values)?;
            if is_interrupted() {
                anyhow::bail!("interrupted");
            }
            if run.passed() {
                n_passed += 1;
            } else {
                failed.extend(run.said());
            }
            runs.push(run);
        }
        if n_passed < least {
            if n_repeats > 1 {
                failures.push(format!("{n_passed} of {n_repeats} repeats pass, at least {least} must"));
            }
            failures.extend(failed);
        }
    }
    // A run that may fail leaves its marks in the report of its steps, not among the failures.
    let measurements =
        runs.iter().flat_map(|run: &RunReport| &run.steps).flat_map(|step| step.measurements.clone());
    Ok(PlaybookReport {
        playbook: playbook.id.clone(),
        name: playbook.name.clone(),
        file: playbook.file.clone(),
        passed: failures.is_empty(),
        failures,
        measurements: measurements.collect(),
        rerun: rerun(playbook, stage),
        seconds: started.elapsed().as_secs_f64(),
        runs,
    })
}

/// Every combination of values, in the order of the names and of their values.
pub(super) fn combinations(matrix: &BTreeMap<String, Vec<String>>) -> Vec<BTreeMap<String, String>> {
    let mut found = vec![BTreeMap::new()];
    for (name, values) in matrix {
        let with = |value: &String| {
            let value = value.clone();
            move |known: &BTreeMap<String, String>| {
                let mut known = known.clone();
                known.insert(name.clone(), value.clone());
                known
            }
        };
        found = values.iter().flat_map(|value| found.iter().map(with(value)).collect::<Vec<_>>()).collect();
    }
    found
}

/// One line that runs the playbook again.
fn rerun(playbook: &Playbook, stage: &Stage) -> String {
    let words = ["cargo", "probador", "run", &playbook.file, "--model", stage.model_name()];
    words.iter().map(|word| quoted(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// Whether the specification's limit of the first token holds for a playbook's commands.
pub(super) fn limits_first_token(playbook: &Playbook) -> bool {
    playbook.category() == Some(Category::Performance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_gives_every_combination_once() {
        let values = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let matrix = BTreeMap::from([
            ("a".to_owned(), values(&["1", "2"])),
            ("b".to_owned(), values(&["x", "y", "z"])),
        ]);
        let found = combinations(&matrix);
        assert_eq!(found.len(), 6);
        assert_eq!(
            found[1],
            BTreeMap::from([("a".to_owned(), "2".to_owned()), ("b".to_owned(), "x".to_owned())])
        );
        assert_eq!(combinations(&BTreeMap::new()), [BTreeMap::new()]);
    }
}

//! What fuzzing did is kept in `checklist/fuzz.json`, dated: of every target there is, and not much older than the commit
//! that relies on it. The weekly workflow makes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

const DAY: i64 = 24 * 60 * 60;
/// Two runs of the weekly workflow and a day.
const FRESH: i64 = 15 * DAY;
/// Where targets are defined, a file each.
const TARGETS: [&str; 2] = ["subjects/fuzz/fuzz_targets", "probador/fuzz/fuzz_targets"];
/// The one with a fault, in which fuzzing itself is seen to find something.
const PLANTED: &str = "planted";
const REMEDY: &str = "run `make fuzz`";

/// The stored results, as `scripts/fuzz.sh` writes them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fuzzed {
    /// When they were made, seconds since 1970.
    made_at: i64,
    /// For how long each target was fuzzed.
    seconds: u64,
    /// How often each was called.
    executions: BTreeMap<String, u64>,
}

/// What is wrong with stored results of `targets` at a commit of the time `commit`.
fn fault(text: &str, targets: &BTreeSet<String>, commit: i64) -> Option<String> {
    let fuzzed: Fuzzed = match serde_json::from_str(text) {
        Ok(fuzzed) => fuzzed,
        Err(error) => return Some(format!("{error}; {REMEDY}")),
    };
    let age = (commit - fuzzed.made_at) / DAY;
    if commit - fuzzed.made_at > FRESH {
        return Some(format!("{age} days older than the commit, {} are allowed; {REMEDY}", FRESH / DAY));
    }
    let named: BTreeSet<String> = fuzzed.executions.keys().cloned().collect();
    if named != *targets {
        return Some(format!("it is of {named:?}, the targets are {targets:?}; {REMEDY}"));
    }
    let idle = fuzzed.executions.iter().find(|&(_, &n_executions)| n_executions < fuzzed.seconds);
    idle.map(|(target, n_executions)| {
        format!("{target} was called {n_executions} times in {} seconds; {REMEDY}", fuzzed.seconds)
    })
}

#[test]
fn every_target_was_fuzzed_lately() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut targets = BTreeSet::new();
    for folder in TARGETS {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            targets.insert(entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    assert!(targets.remove(PLANTED));
    let mut git = Command::new("git");
    let output = git.args(["log", "-1", "--format=%ct"]).current_dir(root).output();
    let time = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok());
    // In a tree without git, the day it is tested.
    let today = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let file = "checklist/fuzz.json";
    let text = fs::read_to_string(root.join(file)).unwrap_or_default();
    if let Some(fault) = fault(&text, &targets, time.unwrap_or_else(today)) {
        panic!("{file}: {fault}");
    }
}

#[test]
fn what_is_missing_old_of_other_targets_or_idle_is_found() {
    let targets = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
    let check = |text: &str, commit: i64| fault(text, &targets, commit);
    assert!(check("", 0).unwrap().ends_with(REMEDY));
    let made = r#"{"made_at": 1000, "seconds": 60, "executions": {"a": 60, "b": 61}}"#;
    assert_eq!(check(made, 1000 + FRESH), None);
    assert!(check(made, 1000 + FRESH + DAY).unwrap().starts_with("16 days older"));
    assert!(check(&made.replace(", \"b\": 61", ""), 1000).unwrap().starts_with("it is of {\"a\"}"));
    assert!(check(&made.replace("\"b\"", "\"c\""), 1000).unwrap().starts_with("it is of {\"a\", \"c\"}"));
    assert!(check(&made.replace("61", "59"), 1000).unwrap().starts_with("b was called 59 times in 60 s"));
}

//! `playbook list`, `validate` and `create`, and what `run` makes of playbooks that cannot be decided.

use std::fs;
use std::path::Path;

use predicates::prelude::*;
use serde_json::Value;

use crate::checkout::{Checkout, probador};
use crate::support::streams;

const GOOD: &str = "name: Says yes\ndescription: It says so.\nneeds: []\ntags: [quick, own]\nsteps:\n  - {action: run, command: 'true', expect_exit: 0}\n";
const WASM: &str = "name: In a browser\nrunner: wasm\nneeds: []\ncomponent: a\ncases: [{name: a, input: b, expect_not_empty: true}, {name: c, input: d, expect_not_empty: true}]\n";

/// A folder with playbooks outside of the checkout.
fn desk() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    for (name, text) in
        [("yes.yaml", GOOD), ("below/browser.yml", WASM), ("notes.md", "no playbook"), ("below/x", "")]
    {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn list(checkout: &Checkout, more: &[&str], code: i32) -> (String, String) {
    streams(&checkout.run(&[&["playbook", "list"], more].concat()).code(code))
}

#[test]
fn playbooks_are_listed_by_category_name_and_tag_and_counted() {
    let checkout = Checkout::new();
    let (all, census) = list(&checkout, &[], 0);
    let n = all.lines().count();
    assert!(n >= 45, "{n}");
    assert!(census.starts_with(&format!("{n} playbooks: happy-path ")), "{census}");
    assert!(census.contains("edge-cases ") && !census.trim_end().ends_with(';'), "{census}");
    let line = all.lines().find(|line| line.starts_with("edge-cases/unicode ")).unwrap();
    assert!(
        line.len() > "edge-cases/unicode ".len() + 30 && !line.ends_with(' '),
        "its name follows: {line:?}"
    );
    let terse = |words: &[&str]| list(&checkout, &[words, &["--format", "terse"]].concat(), 0).0;
    let edge_cases = terse(&["edge-cases"]);
    assert!(edge_cases.lines().all(|line| line.starts_with("edge-cases/")), "{edge_cases}");
    assert_eq!(edge_cases.lines().count(), all.matches("edge-cases/").count());
    for name in ["unicode", "edge-cases/unicode", "playbooks/edge-cases/unicode.yaml"] {
        assert_eq!(terse(&[name]), "edge-cases/unicode\n", "{name}");
    }
    assert_eq!(terse(&["unicode", "playbooks/edge-cases/"]), terse(&["unicode", "edge-cases"]), "none twice");
    let (none, census) = list(&checkout, &["--tag", "nobody-has-this"], 4);
    assert_eq!(none, "");
    assert!(census.starts_with("0 playbooks: "), "{census}");
}

#[test]
fn a_folder_of_playbooks_is_listed_whatever_else_is_in_it() {
    let (checkout, desk) = (Checkout::new(), desk());
    let folder = desk.path().display().to_string();
    let (data, _) = list(&checkout, &[&folder, "--format", "json"], 0);
    let rows: Value = serde_json::from_str(&data).unwrap();
    let file = |name: &str| desk.path().join(name).display().to_string();
    assert_eq!(
        rows,
        serde_json::json!([
            {
                "playbook": "browser", "name": "In a browser", "description": "", "file": file("below/browser.yml"),
                "tags": [], "n_steps": 2, "faults": []
            },
            {
                "playbook": "yes", "name": "Says yes", "description": "It says so.", "file": file("yes.yaml"),
                "tags": ["quick", "own"], "n_steps": 1, "faults": []
            },
        ])
    );
    assert_eq!(list(&checkout, &[&folder, "--tag", "own,other", "--format", "terse"], 0).0, "yes\n");
    let empty = tempfile::tempdir().unwrap();
    checkout.run(&["playbook", "list", empty.path().to_str().unwrap()]).code(3).stderr(
        predicate::str::contains("names no playbook: no file, no folder with one, no category, no name"),
    );
}

#[test]
fn every_playbook_is_valid_and_those_of_a_folder_are_held_to_the_faults_they_name() {
    let (checkout, desk) = (Checkout::new(), desk());
    let (data, _) = streams(&checkout.run(&["playbook", "validate"]).code(0));
    assert!(data.contains(" playbooks: happy-path "), "{data}");
    let folder = desk.path().display().to_string();
    let (data, _) = streams(&checkout.run(&["playbook", "validate", &folder]).code(0));
    assert!(data.starts_with("2 playbooks: happy-path 0 of "), "{data}");
    let path = desk.path().join("yes.yaml");
    fs::write(&path, format!("{GOOD}faults: [{{name: no-such-fault, says: no}}]\n")).unwrap();
    checkout.run(&["playbook", "validate", &folder]).code(2).stderr(
        predicate::str::contains(format!("{}:", path.display()))
            .and(predicate::str::contains("no-such-fault"))
            .and(predicate::str::contains("1 problem found")),
    );
}

#[test]
fn a_checkout_without_playbooks_has_none_to_list_or_to_run() {
    let checkout = Checkout::new();
    fs::remove_file(checkout.path().join("playbooks")).unwrap();
    assert_eq!(list(&checkout, &["--format", "terse"], 4).0, "");
    checkout.run(&["run", "--no-build"]).code(4).stderr(predicate::str::contains("no playbook was selected"));
    // A file in the way of the folder is an error, and not written over.
    fs::write(checkout.path().join("playbooks"), "in the way").unwrap();
    checkout
        .run(&["playbook", "create", "edge-cases/new"])
        .code(3)
        .stderr(predicate::str::contains("failed to make `"));
    assert_eq!(fs::read_to_string(checkout.path().join("playbooks")).unwrap(), "in the way");
}

#[test]
fn what_cannot_be_decided_is_neither_passed_nor_failed_and_keeps_a_gate_shut() {
    let (checkout, desk) = (Checkout::new(), desk());
    let path = |name: &str| desk.path().join(name).display().to_string();
    let run = |names: &[&str], more: &[&str]| {
        let files: Vec<String> = names.iter().map(|name| path(name)).collect();
        let words: Vec<&str> = files.iter().map(String::as_str).collect();
        // Nothing is built where there are no sources.
        probador(checkout.path(), &[&["run"], &words[..], more].concat())
    };
    let both = ["yes.yaml", "below/browser.yml"];
    let (data, _) = streams(&run(&both, &["--format", "terse"]).code(0));
    assert_eq!(data, "undecided browser\npass yes\n");
    let (data, talk) = streams(&run(&both, &[]).code(0));
    assert!(data.starts_with("NOTHING FAILED: 1 passed, 0 failed, 1 undecided; model tiny, "), "{data}");
    assert!(talk.contains("     pass ") && talk.contains("undecided            browser  "), "{talk}");
    run(&both, &["--gate"])
        .code(5)
        .stderr(predicate::str::contains("the gate stays closed: 2 of 50 playbooks are there, 1 undecided"));
    run(&both[1..], &["--gate"]).code(5);
    run(&both[1..], &[]).code(4);
    let (data, _) = streams(&run(&both, &["--format", "json"]).code(0));
    let document: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(document["playbooks"][0]["verdict"], "undecided");
    assert_eq!(document["playbooks"][0]["undecided"]["reason"], "unverified");
    assert!(Path::new(&path("yes.yaml")).is_file());
}

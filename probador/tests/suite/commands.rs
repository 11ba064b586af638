//! What commands refuse, build and leave out, on small checkouts made for each test.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use predicates::prelude::*;
use probador::process::{Program, Terminal};
use serde_json::Value;

use crate::checkout::{Checkout, program};
use crate::support::{repository, streams};

/// A checkout that can be built, by a program that notes what it was called with and ends with `code`.
fn buildable(code: i32) -> Checkout {
    let checkout = Checkout::new();
    for file in ["Cargo.toml", "Cargo.lock"] {
        symlink(repository().join(file), checkout.path().join(file)).unwrap();
    }
    let called = checkout.path().join("called").display().to_string();
    let lines = format!("echo \"$@\" >> {called}\necho 'error: unexpected token' >&2\nexit {code}\n");
    program(&checkout.path().join("cargo"), &lines);
    checkout
}

fn with_cargo(checkout: &Checkout, arguments: &[&str]) -> assert_cmd::assert::Assert {
    checkout.run_with(&[("CARGO", &checkout.path().join("cargo"))], arguments)
}

#[test]
fn what_is_judged_is_built_first() {
    let checkout = buildable(0);
    let build = |packages: &str| {
        let manifest = checkout.path().join("Cargo.toml").display().to_string();
        format!("build --quiet --release --manifest-path {manifest} {packages}\n")
    };
    let called = || fs::read_to_string(checkout.path().join("called")).unwrap();
    with_cargo(&checkout, &["full", "A4"]).code(0);
    assert_eq!(called(), build("--package apr-cli"));
    with_cargo(&checkout, &["prove", "A4", "--kind", "data", "--format", "terse"])
        .code(0)
        .stdout("proven A4\n");
    assert_eq!(called(), build("--package apr-cli").repeat(2));
    // Without sources there is nothing to build.
    fs::remove_file(checkout.path().join("Cargo.toml")).unwrap();
    with_cargo(&checkout, &["full", "A4"]).code(0);
    assert_eq!(called().lines().count(), 2);
}

#[test]
fn what_does_not_build_is_not_judged_and_where_nothing_builds_what_is_there_is() {
    let checkout = buildable(101);
    let hint = predicate::str::contains("hint: --no-build judges what is there");
    for (arguments, what) in [
        (&["full", "A4"][..], "failed to build apr-cli: `"),
        (&["prove", "A4"], "failed to build apr-cli: `"),
        (&["run", "edge-cases/unicode"], "failed to build apr-cli: `"),
        (&["impostors", "nan-logits"], "failed to build apr-cli and apr-impostor: `"),
    ] {
        let said = predicate::str::contains(what)
            .and(predicate::str::contains("exits with 101: error: unexpected token"))
            .and(hint.clone());
        with_cargo(&checkout, arguments).code(3).stdout("").stderr(said);
    }
    assert!(!checkout.path().join("reports").exists());
    let nowhere = [("CARGO", Path::new("/nowhere/cargo"))];
    checkout
        .run_with(&nowhere, &["full", "A4"])
        .code(0)
        .stderr(predicate::str::contains("`apr` was not built: failed to start `/nowhere/cargo`"));
}

#[test]
fn problems_of_claims_and_of_models_are_reported_together() {
    let checkout = Checkout::new();
    let golden = checkout.path().join("golden");
    fs::remove_file(&golden).unwrap();
    fs::create_dir(&golden).unwrap();
    fs::write(golden.join("models.yaml"), "tiny\n").unwrap();
    let models = predicate::str::contains("golden/models.yaml:1:1: expected a list of models");
    checkout
        .run(&["checklist", "validate"])
        .code(2)
        .stderr(models.clone().and(predicate::str::contains("1 problem found")));
    checkout.edit("c-forward-pass.yaml", "group: model", "group: modle");
    checkout.run(&["checklist", "validate"]).code(2).stderr(
        models
            .and(predicate::str::contains("unknown group `modle`"))
            .and(predicate::str::contains("2 problems found")),
    );
    fs::remove_file(golden.join("models.yaml")).unwrap();
    checkout.run(&["checklist", "validate"]).code(2).stderr(predicate::str::contains("unknown group"));
}

#[test]
fn nothing_selected_is_said_by_each_command_that_runs_something() {
    let checkout = Checkout::new();
    for arguments in [&["gate", "--no-build", "nonsense"][..], &["ci", "--no-build", "nonsense"]] {
        checkout.run(arguments).code(4).stdout("").stderr(predicate::str::contains("nothing was selected"));
    }
    // J1 has no check that could be proven.
    checkout
        .run(&["prove", "J1", "--no-build"])
        .code(4)
        .stdout("")
        .stderr(predicate::str::contains("no claim with a check and no playbook was selected"));
}

#[test]
fn a_run_for_machines_needs_no_baseline_that_it_is_not_held_to() {
    let checkout = Checkout::new();
    let _ = fs::remove_file(checkout.path().join("checklist/baseline.json"));
    let report = |arguments: &[&str]| {
        let (data, _) = streams(&checkout.run(arguments).code(0));
        let report: Value = serde_json::from_str(&data).unwrap();
        report["score"]["all"]["passed"].clone()
    };
    assert_eq!(report(&["ci", "--no-build", "A4", "--format", "json"]), 1);
    assert_eq!(report(&["ci", "--no-build", "A4", "--format", "json", "--color", "never"]), 1);
    assert!(!checkout.path().join("checklist/baseline.json").exists());
    // It has no colour unless one is asked for.
    let colored = |more: &[&str]| {
        let arguments = [&["ci", "--no-build", "A4"], more].concat();
        streams(&checkout.run(&arguments).code(0)).0.contains('\u{1b}')
    };
    assert!(!colored(&[]) && colored(&["--color", "always"]));
}

#[test]
fn a_claim_that_waits_is_not_tried_and_no_proof_of_it_is_lost() {
    let checkout = Checkout::new();
    let kept = || {
        let text = fs::read_to_string(checkout.path().join("checklist/proofs.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["models"]["tiny"]["G3"].clone()
    };
    let before = kept();
    // No result of clippy is stored in this checkout.
    let (data, _) = streams(&checkout.run(&["prove", "G3", "--no-build"]).code(0));
    assert!(data.starts_with(" waiting G3 "), "{data}");
    assert!(data.contains("unverified: no result of clippy is stored for this tree"), "{data}");
    assert!(data.contains("0 claims and playbooks proven on tiny, 0 not, 1 wait"), "{data}");
    assert_eq!(kept(), before);
}

#[test]
fn a_claim_that_is_red_without_any_fault_is_doubtful_and_said_at_once() {
    let checkout = Checkout::new();
    fs::remove_file(checkout.path().join("subjects")).unwrap();
    let code = checkout.path().join("subjects/a/src");
    fs::create_dir_all(&code).unwrap();
    fs::write(
        code.join("../Cargo.toml"),
        "[package]\nname = \"a\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    // Every rule finds something to judge, and G2 a block without its reason.
    let text = "pub trait CausalLm { fn prefill(&self); }\npub struct Model;\nimpl CausalLm for Model { fn prefill(&self) {} }\n\
                pub fn open_model(p: *const u8) -> u8 {\n    unsafe { *p }\n}\n";
    fs::write(code.join("lib.rs"), text).unwrap();
    let (data, talk) = streams(&checkout.run(&["prove", "G2", "--no-build"]).code(5));
    for text in [&data, &talk] {
        assert!(text.starts_with("DOUBTFUL G2 "), "{text}");
        assert!(text.contains("it is not green without any fault: red: "), "{text}");
    }
    // The claim itself is red, and what the lints found lies beside the report.
    let (data, _) = streams(&checkout.run(&["full", "G2", "--no-build"]).code(100));
    assert!(data.contains("failed: checklist::g_code_quality::g2"), "{data}");
    let sarif = fs::read_to_string(checkout.path().join("reports/latest/lints.sarif")).unwrap();
    let sarif: Value = serde_json::from_str(&sarif).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let uri = &results[0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(uri, "subjects/a/src/lib.rs", "{results:?}");
}

#[test]
fn a_stand_in_is_told_three_words_at_least() {
    let checkout = Checkout::new();
    for words in [&["apr-slow"][..], &["apr-slow", "/tmp"]] {
        checkout
            .run(&[&["misbehave"], words].concat())
            .code(3)
            .stderr(predicate::str::contains("a stand-in is told its fault, a folder and the real program"));
    }
}

#[test]
fn without_a_cache_to_lock_cases_run_all_the_same() {
    let checkout = Checkout::new();
    let nowhere = [("PROBADOR_CACHE", Path::new("/dev/null/cache"))];
    checkout
        .run_with(&nowhere, &["full", "A4", "--no-build", "--format", "terse"])
        .code(0)
        .stdout("pass checklist::a_model_loading::a4_metadata_correct\n");
}

#[test]
fn a_person_at_a_terminal_sees_how_far_a_run_is_and_each_line_above_it() {
    let checkout = Checkout::new();
    let run = |more: &[&str]| {
        let program = Program::new(env!("CARGO_BIN_EXE_cargo-probador"))
            .arg("--root")
            .arg(checkout.path())
            .args(["full", "A4", "A6", "--no-build"])
            .args(more);
        let mut terminal = Terminal::start(&program, Duration::from_mins(1)).unwrap();
        terminal.wait_for(0, |shown| shown.contains("of 180 points passed")).unwrap()
    };
    let shown = run(&[]);
    assert!(shown.contains("/3 "), "two claims and the canary: {shown}");
    assert!(shown.contains(" A4 Metadata correct  "), "{shown}");
    assert!(!run(&["--quiet"]).contains("/3 "));
}

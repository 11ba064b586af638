//! The command line as a user meets it: exit codes, streams, reports, on small checkouts made for each test.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;

use crate::checkout::{Checkout, broken_model, probador};
use crate::support::repository;

#[test]
fn listing_names_every_case_without_opening_a_model() {
    let checkout = Checkout::new();
    let broken = broken_model(&checkout);
    let output = checkout.run(&["list", "--format", "json", "--model", &broken]).code(0).get_output().clone();
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let claims = rows.iter().filter(|row| row["case"].as_str().unwrap().starts_with("checklist::"));
    assert_eq!(claims.count(), 118);
    assert!(rows.iter().any(|row| row["case"] == "playbook::edge_cases::unicode"), "{rows:?}");
    let c4 = rows.iter().find(|row| row["case"] == "checklist::c_forward_pass::c4_causal_mask").unwrap();
    assert_eq!(c4["undecided"], Value::Null);
}

/// A line of shell in which `$PROBADOR` is the engine on this checkout: its exit code and what it says.
fn shell(checkout: &Checkout, line: &str) -> (Option<i32>, String) {
    let engine = format!("{} --root {}", env!("CARGO_BIN_EXE_cargo-probador"), checkout.path().display());
    let mut command = std::process::Command::new("bash");
    let output =
        command.args(["-c", line]).env("PROBADOR", engine).current_dir(checkout.path()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn data_that_cannot_be_written_is_an_error_and_a_reader_that_leaves_is_none() {
    let checkout = Checkout::new();
    let (code, said) = shell(&checkout, "$PROBADOR list > /dev/full");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("failed to write to standard output: No space left on device"), "{said}");
    let (code, said) =
        shell(&checkout, "$PROBADOR list --quiet | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}");
    assert_eq!((code, said.as_str()), (Some(0), ""));
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_not_the_end_of_the_engine() {
    let (code, said) = shell(&Checkout::new(), "ulimit -f 1; $PROBADOR list > list.txt");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("failed to write to standard output: File too large"), "{said}");
}

#[test]
fn the_claim_falsified_by_a_broken_model_is_red_and_repeated_last_with_how_to_run_it_again() {
    let checkout = Checkout::new();
    let broken = broken_model(&checkout);
    let assert = checkout.run(&["full", "A1", "--no-build", "--model", &broken]).code(100);
    let output = assert.get_output().clone();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let expected = format!("--model {broken} --exact checklist::a_model_loading::a1_apr_loads");
    assert!(stdout.contains("failed: checklist::a_model_loading::a1_apr_loads"), "{stdout}");
    assert!(stdout.contains(&expected), "{stdout}");
    assert!(stdout.trim_end().lines().last().unwrap().starts_with("FAIL: 0 of 180"), "{stdout}");

    let reports = checkout.path().join("reports/latest");
    let report: Value =
        serde_json::from_str(&fs::read_to_string(reports.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["verdict"], "fail");
    assert_eq!(report["claims"].as_array().unwrap().len(), 118);
    let html = fs::read_to_string(reports.join("report.html")).unwrap();
    assert!(html.contains("Do not release this") && html.contains("a1_apr_loads"));
    assert!(!html.contains("http://") && !html.contains("https://"), "the page is self-contained");
    let junit = fs::read_to_string(reports.join("junit.xml")).unwrap();
    assert!(junit.contains("failures=\"1\""), "{junit}");
    let lines = fs::read_to_string(reports.join("outcomes.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2, "the claim and the canary: {lines}");
    assert!(reports.join("logs/checklist.a_model_loading.a1_apr_loads.json").is_file());

    // What failed can be run again by that alone.
    let assert =
        checkout.run(&["full", "--rerun-failed", "--no-build", "--model", &broken, "--format", "terse"]);
    assert.code(100).stdout("fail checklist::a_model_loading::a1_apr_loads\n");
    assert!(checkout.path().join("reports/previous/report.json").is_file());
    checkout.run(&["report", "--format", "json"]).code(100).stdout(predicate::str::contains("\"verdict\""));
}

#[test]
fn selecting_nothing_is_not_a_pass() {
    let checkout = Checkout::new();
    for arguments in [
        &["full", "--no-build", "--exact", "checklist::no_such_case"][..],
        &["full", "--no-build", "nonsense"],
        &["list", "nonsense"],
        &["full", "--no-build", "C4", "--section", "A"],
    ] {
        checkout.run(arguments).code(4);
    }
    assert!(!checkout.path().join("reports/latest").exists(), "a run over nothing left a report");
}

#[test]
fn an_invalid_checklist_is_refused_with_every_place() {
    let checkout = Checkout::new();
    checkout.edit("c-forward-pass.yaml", "group: model", "group: modle");
    checkout.edit("a-model-loading.yaml", "points: 1", "points: .nan");
    for arguments in
        [&["checklist", "validate"][..], &["list"], &["full", "--no-build"], &["gate", "--no-build"]]
    {
        let checks = predicate::str::is_match(r"checklist/a-model-loading\.yaml:\d+:\d+: ").unwrap();
        let checks = checks.and(predicate::str::contains("unknown group `modle`"));
        checkout.run(arguments).code(2).stderr(checks.and(predicate::str::contains("2 problems found")));
    }
}

#[test]
fn a_valid_checklist_says_what_it_adds_up_to() {
    let checkout = Checkout::new();
    checkout
        .run(&["checklist", "validate"])
        .code(0)
        .stdout(predicate::str::starts_with("118 claims, 180 points;"));
}

#[test]
fn wrong_usage_and_a_missing_environment_have_codes_of_their_own() {
    let checkout = Checkout::new();
    checkout.run(&["full", "--no-such-flag"]).code(1);
    checkout.run(&["full", "--shard", "0/3"]).code(1).stderr(predicate::str::contains("counted from 1"));
    checkout.run(&["list", "--section", "K"]).code(1);
    checkout.run(&["list", "--tag", "nonsense"]).code(1);
    checkout
        .run(&["list", "--model", "no-such-model"])
        .code(3)
        .stderr(predicate::str::contains("golden/models.yaml"));
    checkout
        .run(&["report"])
        .code(3)
        .stderr(predicate::str::contains("hint: run `cargo probador full` first"));
    probador(Path::new("/nonexistent"), &["list"]).code(3);
}

#[test]
fn cargo_and_apr_can_call_it_as_they_do() {
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    let root = repository();
    let assert =
        command.arg("probador").args(["list", "C4", "--format", "terse", "--root"]).arg(root).assert();
    assert.code(0).stdout("checklist::c_forward_pass::c4_causal_mask\n");
}

#[test]
fn shards_are_disjoint_and_complete() {
    let checkout = Checkout::new();
    let list = |shard: Option<&str>| -> Vec<String> {
        let mut arguments = vec!["list", "--format", "terse"];
        arguments.extend(shard.iter().flat_map(|shard| ["--shard", shard]));
        let output = checkout.run(&arguments).code(0).get_output().clone();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    let mut together: Vec<String> =
        ["1/3", "2/3", "3/3"].into_iter().flat_map(|shard| list(Some(shard))).collect();
    let mut all = list(None);
    together.sort();
    all.sort();
    assert_eq!(together, all);
}

#[test]
fn the_gate_stays_shut_while_claims_are_undecided() {
    let checkout = Checkout::new();
    let assert = checkout.run(&["gate", "--no-build", "A4", "--quiet"]);
    assert.code(5).stderr(predicate::str::contains("the gate stays shut"));
}

#[test]
fn a_waiver_excuses_hardware_only_and_only_while_it_holds() {
    let checkout = Checkout::new();
    let waive = |claim: &str| {
        let text =
            format!("- {{claim: {claim}, reason: none here, granted: 2026-01-01, until: 2099-01-01}}\n");
        fs::write(checkout.path().join("checklist/waivers.yaml"), text).unwrap();
    };
    waive("J16");
    checkout.run(&["checklist", "validate"]).code(0).stdout(predicate::str::contains("1 waivers"));
    waive("C1");
    checkout.run(&["checklist", "validate"]).code(2).stderr(predicate::str::contains("C1 cannot be waived"));
}

#[test]
fn a_claim_lost_since_the_baseline_is_a_regression() {
    let checkout = Checkout::new();
    let baseline = checkout.path().join("checklist/baseline.json");
    let _ = fs::remove_file(&baseline);
    let assert = checkout.run(&["ci", "--strict", "--no-build", "A4"]).code(3);
    assert.stderr(predicate::str::contains("hint: `cargo probador ci --accept`"));
    fs::write(&baseline, r#"{"passing": {"tiny": ["A4"]}}"#).unwrap();
    checkout.run(&["ci", "--strict", "--no-build", "A4"]).code(0);
    fs::write(&baseline, r#"{"passing": {"tiny": ["A4", "J1"]}}"#).unwrap();
    let assert = checkout.run(&["ci", "--strict", "--no-build", "A4"]);
    assert.code(100).stderr(predicate::str::contains("no longer: J1"));
    checkout.run(&["ci", "--accept", "--no-build", "A4"]).code(0);
    let stored: Value = serde_json::from_str(&fs::read_to_string(&baseline).unwrap()).unwrap();
    assert_eq!(stored["passing"]["tiny"], serde_json::json!(["A4"]));
    fs::write(&baseline, "{").unwrap();
    checkout.run(&["ci", "--strict", "--no-build", "A4"]).code(3);
}

#[test]
fn github_gets_an_annotation_at_the_claims_line() {
    let checkout = Checkout::new();
    let broken = broken_model(&checkout);
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    command.env("GITHUB_ACTIONS", "true").arg("--root").arg(checkout.path());
    let assert = command.args(["full", "A1", "--no-build", "--model", &broken]).assert().code(100);
    let checks = predicate::str::is_match(
        r"::error file=checklist/a-model-loading\.yaml,line=\d+,title=A1 APR loads::",
    );
    assert.stderr(checks.unwrap());
}

#[test]
fn schemas_are_written_where_they_are_missing_or_stale_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let schemas = ["playbooks/schema.json", "checklist/report.schema.json"];
    fs::create_dir(folder.path().join("checklist")).unwrap();
    // A folder is a checkout when it has this file; nothing here reads it.
    fs::write(folder.path().join("checklist/a-model-loading.yaml"), "").unwrap();
    let run = |arguments: &[&str], code: i32| {
        let output = probador(folder.path(), arguments).code(code).get_output().clone();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let said = |word: &str, lines: &[String]| {
        lines.iter().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect::<Vec<_>>()
    };
    let missing = run(&["schema", "--check"], 100);
    let all = said("stale ", &missing);
    assert!(all.len() == missing.len() && schemas.iter().all(|name| all.contains(&(*name).to_owned())));
    assert!(!folder.path().join("playbooks").exists(), "a check writes nothing");
    assert_eq!(said("written ", &run(&["schema"], 0)), all);
    assert_eq!(said("current ", &run(&["schema", "--check"], 0)), all);
    let spoiled = folder.path().join(schemas[0]);
    let text = fs::read_to_string(&spoiled).unwrap();
    fs::write(&spoiled, "{}").unwrap();
    assert_eq!(said("stale ", &run(&["checklist", "schema", "--check"], 100)), schemas[..1]);
    assert_eq!(fs::read_to_string(&spoiled).unwrap(), "{}", "a check writes nothing");
    let lines = run(&["checklist", "schema"], 0);
    assert_eq!(said("written ", &lines), schemas[..1]);
    assert_eq!(said("current ", &lines).len(), all.len() - 1);
    assert_eq!(fs::read_to_string(&spoiled).unwrap(), text);
}

#[test]
fn every_json_output_parses() {
    let checkout = Checkout::new();
    let output = checkout.run(&["full", "A4", "--no-build", "--format", "json"]).code(0).get_output().clone();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["score"]["all"]["passed"], 1);
    assert_eq!(report["score"]["all"]["undecided"], 179);
}

#[test]
fn a_matrix_holds_the_chosen_claims_under_every_fault_of_the_kind_and_names_those_that_catch_the_same() {
    let checkout = Checkout::new();
    let prove = |more: &[&str]| {
        let arguments = [&["prove", "B5", "B3", "A4", "--kind", "data", "--no-build"], more].concat();
        let output = checkout.run(&arguments).success();
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    };
    let document: Value = serde_json::from_str(&prove(&["--matrix", "--format", "json"])).unwrap();
    let red = |claim: &str| document["matrix"]["red"][claim].as_array().unwrap().clone();
    assert!(red("B3").contains(&"special-id-moved".into()), "{document}");
    assert!(
        red("A4").contains(&"layer-count-misstated".into()) && !red("A4").contains(&"scale-shifted".into())
    );
    assert_eq!(document["matrix"]["red"].as_object().unwrap().len(), 3, "{document}");
    assert_eq!(prove(&["--format", "terse"]), "proven A4\nproven B3\nproven B5\n");
    let human = prove(&["--fresh"]);
    assert!(
        human.contains("3 claims and playbooks proven on tiny, 0 not, 0 wait; 0 faults survived"),
        "{human}"
    );
}

#[test]
fn a_claim_is_proven_once_and_again_when_something_it_depends_on_has_changed() {
    let checkout = Checkout::new();
    let _ = fs::remove_file(checkout.path().join("checklist/proofs.json"));
    let prove = |more: &[&str]| {
        let arguments = [&["prove", "A1", "A4", "--no-build", "--format", "json"], more].concat();
        let output = checkout.run(&arguments).get_output().clone();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let standings =
            document["trials"].as_array().unwrap().iter().map(|trial| trial["standing"].to_string());
        (output.status.code(), standings.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(prove(&[]), (Some(0), r#""proven" "proven""#.to_owned()));
    assert_eq!(prove(&[]), (Some(0), r#""known" "known""#.to_owned()));
    assert_eq!(prove(&["--fresh"]), (Some(0), r#""proven" "proven""#.to_owned()));
    // Another seed is another proof, which is not kept.
    assert_eq!(prove(&["--seed", "5"]), (Some(0), r#""proven" "proven""#.to_owned()));
    checkout.edit("a-model-loading.yaml", "title: Metadata correct", "title: Metadata right");
    assert_eq!(prove(&[]), (Some(0), r#""known" "proven""#.to_owned()));
    // The goldens are judged by, too.
    let golden = checkout.path().join("golden");
    fs::remove_file(&golden).unwrap();
    fs::create_dir(&golden).unwrap();
    for entry in fs::read_dir(repository().join("golden")).unwrap() {
        let path = entry.unwrap().path();
        symlink(&path, golden.join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(prove(&[]), (Some(0), r#""known" "known""#.to_owned()));
    let models = fs::read_to_string(golden.join("models.yaml")).unwrap();
    fs::remove_file(golden.join("models.yaml")).unwrap();
    fs::write(golden.join("models.yaml"), models + "# changed\n").unwrap();
    assert_eq!(prove(&[]), (Some(0), r#""proven" "proven""#.to_owned()));
}

#[test]
fn a_fault_that_survives_has_a_code_of_its_own_and_is_not_among_those_that_proved_the_claim() {
    let checkout = Checkout::new();
    let caught = || {
        let text = fs::read_to_string(checkout.path().join("checklist/proofs.json")).unwrap();
        let proofs: Value = serde_json::from_str(&text).unwrap();
        proofs["models"]["tiny"]["A4"]["faults"].as_array().unwrap().len()
    };
    checkout.run(&["prove", "A4", "--no-build"]).code(0);
    assert_eq!(caught(), 2);
    // A4 looks at the metadata: weights that are drawn anew escape it.
    checkout.edit(
        "a-model-loading.yaml",
        "faults: [vocab-size-misstated, ",
        "faults: [random-weights, vocab-size-misstated, ",
    );
    let faults = checkout.path().join("checklist/faults.yaml");
    let text = fs::read_to_string(&faults).unwrap();
    let at = text.find("- name: random-weights").unwrap();
    let spoiled = text[at..].replacen("caught_by: {", "caught_by: {A4: anything, ", 1);
    fs::write(&faults, format!("{}{spoiled}", &text[..at])).unwrap();
    checkout.run(&["prove", "A4", "--no-build"]).code(6).stdout(
        predicate::str::contains("SURVIVED A4")
            .and(predicate::str::contains("random-weights: the fault survives")),
    );
    assert_eq!(caught(), 2, "three would prove it");
}

#[test]
fn an_interrupted_run_ends_with_130_and_writes_no_report() {
    let reports = tempfile::tempdir().unwrap();
    let log = reports.path().join("latest/outcomes.jsonl");
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("cargo-probador"))
        .args(["full", "--no-build", "--section", "E,H", "--reports"])
        .arg(reports.path())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
    while !fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        assert!(std::time::Instant::now() < deadline, "no case ended");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.unwrap().success());
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    let outcomes = fs::read_to_string(&log).unwrap();
    assert!(outcomes.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{outcomes}");
    assert!(!reports.path().join("latest/report.json").exists(), "half a run is no report: {said}");
}

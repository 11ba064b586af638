//! What stands between a run and a release, as a user meets it: gate, baseline, attestation, reports for other tools.

use std::fs;
use std::path::{Path, PathBuf};

use apr_format::{Overwrite, SecretKey, sign::generate_key};
use assert_cmd::Command;
use predicates::prelude::*;
use serde_json::Value;

use crate::checkout::{Checkout, altered, broken_model};
use crate::support::repository;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// A checkout with a report of one claim, a key, and the file that trusts it.
struct Attested {
    checkout: Checkout,
    key: PathBuf,
    trusted: PathBuf,
}

impl Attested {
    fn new() -> Self {
        let checkout = Checkout::new();
        checkout.run(&["full", "A4", "--no-build"]).code(0);
        let secret: SecretKey = generate_key().unwrap();
        let (key, trusted) = (checkout.path().join("release.key"), checkout.path().join("trusted"));
        secret.write(&key, Overwrite::Refuse).unwrap();
        fs::write(&trusted, format!("{} release\n", secret.public_key())).unwrap();
        Self { checkout, key, trusted }
    }

    fn file(&self) -> PathBuf {
        self.checkout.path().join("reports/latest/attestation.json")
    }

    fn sign(&self) -> assert_cmd::assert::Assert {
        self.checkout.run(&["attest", "create", "--key", self.key.to_str().unwrap()])
    }

    fn verify(&self, more: &[&str]) -> assert_cmd::assert::Assert {
        let file = self.file();
        let head = ["attest", "verify", file.to_str().unwrap(), "--trusted-keys"];
        self.checkout.run(&[&head[..], &[self.trusted.to_str().unwrap()], more].concat())
    }
}

#[test]
fn a_run_leaves_an_unsigned_statement_that_holds_for_its_hashes_alone() {
    let attested = Attested::new();
    let statement = json(&attested.file());
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(statement["predicate"]["result"], "WARNED");
    let roles: Vec<&str> = ["subject"]
        .iter()
        .flat_map(|list| statement[*list].as_array().unwrap())
        .map(|resource| resource["annotations"]["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["model", "apr", "report"]);
    attested.verify(&[]).code(100).stderr(predicate::str::contains("nobody signed it"));
    attested.verify(&["--unsigned"]).code(0).stdout(predicate::str::contains("signed by nobody"));
    attested
        .verify(&["--unsigned", "--require-pass"])
        .code(100)
        .stderr(predicate::str::contains("is WARNED, not PASSED"));
}

#[test]
fn a_signed_statement_holds_until_report_model_or_binary_is_another() {
    let attested = Attested::new();
    attested.sign().code(0).stdout(predicate::str::contains("signed, WARNED"));
    attested.verify(&[]).code(0).stdout(predicate::str::contains("signed by release ("));
    let output = attested.verify(&["--json"]).code(0).get_output().clone();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["holds"], true);

    let model = attested.checkout.path().join("other.apr");
    let mut bytes = fs::read(repository().join("golden/tiny/tiny.apr")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&model, bytes).unwrap();
    attested
        .verify(&["--model", model.to_str().unwrap()])
        .code(100)
        .stderr(predicate::str::contains("model `other.apr` is not the one that was attested"));
    attested
        .verify(&["--apr", model.to_str().unwrap()])
        .code(100)
        .stderr(predicate::str::contains("apr `other.apr` is not the one that was attested"));
    attested.verify(&["--apr", model.to_str().unwrap(), "--hold", "model"]).code(0);

    attested.checkout.edit("c-forward-pass.yaml", "points: 6", "points: 6 ");
    attested
        .verify(&[])
        .code(100)
        .stderr(predicate::str::contains("checklist `checklist/c-forward-pass.yaml`"));
    attested.verify(&["--hold", "model,apr,engine,golden"]).code(0);

    let report = attested.checkout.path().join("reports/latest/report.json");
    let text = fs::read_to_string(&report).unwrap();
    fs::write(&report, text.replacen("\"passed\": 1", "\"passed\": 180", 1)).unwrap();
    let assert = attested.verify(&["--hold", "model"]).code(100);
    assert.stderr(predicate::str::contains("the report is not the one that was attested"));
}

#[test]
fn a_payload_that_was_changed_and_a_key_that_is_not_trusted_are_refused() {
    let attested = Attested::new();
    attested.sign().code(0);
    fs::write(&attested.trusted, format!("{} another\n", generate_key().unwrap().public_key())).unwrap();
    attested.verify(&[]).code(100).stderr(predicate::str::contains("which is not trusted"));
    let secret = SecretKey::read(&attested.key).unwrap();
    fs::write(&attested.trusted, format!("{} release\n", secret.public_key())).unwrap();
    let mut envelope = json(&attested.file());
    let payload = envelope["payload"].as_str().unwrap().to_owned();
    let other = if payload.starts_with('e') { "f" } else { "e" };
    envelope["payload"] = format!("{other}{}", &payload[1..]).into();
    fs::write(attested.file(), envelope.to_string()).unwrap();
    attested.verify(&[]).code(100).stderr(predicate::str::contains("is not one over what it says"));
    fs::write(attested.file(), "{").unwrap();
    attested.verify(&[]).code(100).stderr(predicate::str::contains("it is not an attestation"));
    fs::remove_file(attested.file()).unwrap();
    attested.verify(&[]).code(3).stderr(predicate::str::contains("failed to read"));
}

#[test]
fn what_has_changed_since_the_run_is_not_attested() {
    let attested = Attested::new();
    attested.checkout.edit("c-forward-pass.yaml", "points: 6", "points: 6 ");
    attested.sign().code(100).stderr(
        predicate::str::contains("`checklist/c-forward-pass.yaml` is not what it was")
            .and(predicate::str::contains("hint: run `cargo probador full` again")),
    );
}

#[test]
fn the_gate_says_each_reason_and_what_to_do() {
    let checkout = Checkout::new();
    let _ = fs::remove_file(checkout.path().join("checklist/proofs.json"));
    let reasons = predicate::str::contains("the gate stays shut: 1 claim passed without a proof")
        .and(predicate::str::contains("hint: cargo probador prove --model tiny"))
        .and(predicate::str::contains("claims are undecided: A1 A2"));
    checkout.run(&["gate", "--no-build", "A4", "--quiet"]).code(5).stderr(reasons);
    let broken = broken_model(&checkout);
    let failed = predicate::str::contains("the gate stays shut: 1 case failed: A1");
    checkout.run(&["gate", "--no-build", "A1", "--model", &broken, "--quiet"]).code(100).stderr(failed);
}

#[test]
fn a_run_is_not_held_to_a_baseline_that_says_nothing_of_its_model() {
    let checkout = Checkout::new();
    for text in [r#"{"passing": {}}"#, r#"{"passing": {"tiny": []}}"#, r#"{"passing": {"release": ["A1"]}}"#]
    {
        fs::write(checkout.path().join("checklist/baseline.json"), text).unwrap();
        checkout.run(&["ci", "--strict", "--no-build", "A4"]).code(3).stderr(
            predicate::str::contains("holds nothing to `tiny`")
                .and(predicate::str::contains("hint: `cargo probador ci --accept --model tiny`")),
        );
    }
}

#[test]
fn github_gets_a_summary_beside_what_other_steps_wrote() {
    let checkout = Checkout::new();
    let summary = checkout.path().join("summary.md");
    fs::write(&summary, "# Before\n").unwrap();
    let mut command = Command::cargo_bin("cargo-probador").unwrap();
    command.env("GITHUB_STEP_SUMMARY", &summary).arg("--root").arg(checkout.path());
    command.args(["full", "A4", "--no-build"]).assert().code(0);
    let text = fs::read_to_string(&summary).unwrap();
    assert!(text.starts_with("# Before\n## Probador: "), "{text}");
    assert!(text.contains("1 of 180 points on `tiny`"), "{text}");
}

#[test]
fn impostors_are_kept_for_the_report_until_something_changes() {
    let checkout = Checkout::new();
    checkout.run(&["full", "A4", "--no-build"]).code(0);
    let standing =
        || json(&checkout.path().join("reports/latest/report.json"))["impostors"]["standing"].clone();
    assert_eq!(standing(), "not-run");
    let kept = checkout.path().join("reports/impostors.json");
    fs::write(&kept, "not JSON").unwrap();
    checkout
        .run(&["full", "A4", "--no-build"])
        .code(3)
        .stderr(predicate::str::contains("hint: delete it and run `cargo probador impostors`"));
    fs::remove_file(&kept).unwrap();
    checkout.run(&["impostors", "--no-build", "nan-logits", "--quiet"]);
    checkout.run(&["full", "A4", "--no-build"]).code(0);
    assert_eq!(standing(), "fresh");
    checkout.edit("a-model-loading.yaml", "title: Metadata correct", "title: Metadata right");
    checkout.run(&["full", "A4", "--no-build"]).code(0);
    assert_eq!(standing(), "stale");
}

#[test]
fn a_claim_is_begun_with_and_nothing_is_replaced() {
    let checkout = Checkout::new();
    let probador = checkout.path().join("probador");
    fs::remove_file(&probador).unwrap();
    let checks = probador.join("src/checks");
    fs::create_dir_all(&checks).unwrap();
    for entry in fs::read_dir(repository().join("probador/src/checks")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, checks.join(path.file_name().unwrap())).unwrap();
    }
    let create = |more: &[&str]| {
        let idea = ["--does", "it breaks", "--says", "broken"];
        checkout.run(&[&["claim", "create"], more, &idea].concat())
    };
    let faults = || fs::read_to_string(checkout.path().join("checklist/faults.yaml")).unwrap();
    let before = faults();
    create(&["C4", "--fault", "newly-thought-of", "--dry-run"])
        .code(0)
        .stdout(predicate::str::contains("+ - name: newly-thought-of"));
    assert_eq!(faults(), before, "a dry run wrote something");
    create(&["C4", "--fault", "newly-thought-of"])
        .code(0)
        .stdout(predicate::str::contains("1. plant `newly-thought-of` in probador/src/faults/wrap.rs"));
    checkout.run(&["checklist", "validate"]).code(0);
    create(&["C4", "--fault", "newly-thought-of"])
        .code(2)
        .stderr(predicate::str::contains("there is a fault `newly-thought-of` already"));
    create(&["Z9", "--fault", "another"]).code(1);
    assert_eq!(faults().matches("newly-thought-of").count(), 1);
}

#[test]
fn a_statement_nobody_signed_says_so_to_people_and_to_programs() {
    let attested = Attested::new();
    let elsewhere = attested.checkout.path().join("elsewhere.json");
    let elsewhere = elsewhere.to_str().unwrap();
    attested.checkout.run(&["attest", "create", "-o", elsewhere]).code(0).stdout(
        predicate::str::contains("elsewhere.json: unsigned, WARNED, ")
            .and(predicate::str::contains(" files and the report")),
    );
    // The report is the newest where none lies beside it, and keys are the user's where none are named.
    let home = [("HOME", attested.checkout.path()), ("XDG_CONFIG_HOME", attested.checkout.path())];
    let verify = |more: &[&str]| {
        let arguments = [&["attest", "verify", elsewhere], more].concat();
        attested.checkout.run_with(&home, &arguments)
    };
    verify(&[]).code(100).stderr(predicate::str::contains("nobody signed it"));
    let document: Value =
        serde_json::from_slice(&verify(&["--unsigned", "--json"]).code(0).get_output().stdout).unwrap();
    assert_eq!((&document["holds"], &document["signed_by"]), (&true.into(), &Value::Null));
    assert_eq!((&document["result"], &document["refusals"]), (&"WARNED".into(), &serde_json::json!([])));
    let document: Value = serde_json::from_slice(&verify(&["--json"]).code(100).get_output().stdout).unwrap();
    assert_eq!((&document["holds"], &document["result"]), (&false.into(), &Value::Null));
    assert!(document["refusals"][0].as_str().unwrap().contains("nobody signed it"), "{document}");
}

#[test]
fn a_key_that_is_trusted_without_a_name_is_named_by_itself() {
    let attested = Attested::new();
    attested.sign().code(0);
    let public = SecretKey::read(&attested.key).unwrap().public_key().to_string();
    fs::write(&attested.trusted, format!("{public}\n")).unwrap();
    attested.verify(&[]).code(0).stdout(predicate::str::contains(format!("holds: signed with {public}; ")));
}

#[test]
fn a_model_outside_of_the_checkout_is_not_taken_for_one_inside_that_is_called_the_same() {
    let checkout = Checkout::new();
    let folder = checkout.path().join("target/elsewhere");
    fs::create_dir_all(&folder).unwrap();
    let model = folder.join("tiny.apr");
    altered(
        &model,
        |name, bytes| {
            if name == "model.norm.weight" {
                bytes[0] ^= 1;
            }
        },
        |_| {},
    );
    let model = model.to_str().unwrap();
    checkout.run(&["full", "A4", "--no-build", "--model", model]).code(0);
    checkout.run(&["attest", "create"]).code(0);
    altered(Path::new(model), |_, _| {}, |_| {});
    checkout
        .run(&["attest", "create"])
        .code(100)
        .stderr(predicate::str::contains("`tiny.apr` is not what it was when the report was made"));
}

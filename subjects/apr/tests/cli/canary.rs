//! `apr canary`: made once, held to later.

use std::fs;
use std::time::Instant;

use serde_json::Value;

use crate::support::Place;

fn with_canary() -> Place {
    let place = Place::new();
    place.apr().args(["canary", "create", "model.apr", "-o", "canary.json"]).assert().success();
    place
}

/// Exit code and report of a check.
fn checked(place: &Place, model: &str, flags: &[&str]) -> (i32, Value) {
    let mut args = vec!["canary", "check", model, "canary.json", "--json"];
    args.extend(flags);
    let output = place.apr().args(args).output().unwrap();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), report)
}

fn edited(place: &Place, edit: impl FnOnce(&mut Value)) {
    let path = place.path("canary.json");
    let mut canary: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut canary);
    fs::write(path, canary.to_string()).unwrap();
}

#[test]
fn canary_passes_on_the_model_it_was_made_with() {
    let place = with_canary();
    let (code, report) = checked(&place, "model.apr", &["--slower", "0"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!((&report["passed"], &report["is_same_file"]), (&true.into(), &true.into()));
    assert_eq!(report["n_compared"], 5 * 32);
    let text = place.stdout(["canary", "check", "model.apr", "canary.json", "--slower", "0"]);
    assert!(text.starts_with("File: the file it was made with\nTokenizer: same\nModel: same, "), "{text}");
}

#[test]
fn canary_finds_another_model() {
    let place = Place::new();
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/../../golden/tiny/tiny.apr");
    fs::copy(tiny, place.path("tiny.apr")).unwrap();
    place.apr().args(["canary", "create", "tiny.apr", "-o", "canary.json", "--force"]).assert().success();
    place
        .apr()
        .args(["convert", "tiny.apr", "--quantize", "int8", "--method", "rtn", "--no-eval", "-o", "int8.apr"])
        .assert()
        .success();
    let (code, report) = checked(&place, "int8.apr", &["--slower", "0"]);
    assert_eq!((code, &report["model_changed"]), (1, &true.into()), "{report}");
    assert_eq!((&report["tokenizer_changed"], &report["is_slower"]), (&false.into(), &false.into()));
    assert_eq!(report["is_same_file"], false);
}

#[test]
fn canary_finds_another_tokenizer_by_itself() {
    let place = with_canary();
    edited(&place, |canary| {
        let prompt = format!("{}!", canary["cases"][2]["prompt"].as_str().unwrap());
        canary["cases"][2]["prompt"] = prompt.into();
    });
    let (code, report) = checked(&place, "model.apr", &["--slower", "0"]);
    assert_eq!(
        (code, &report["tokenizer_changed"], &report["model_changed"]),
        (1, &true.into(), &false.into())
    );
    let change = &report["tokenizer"][0];
    assert_eq!((&change["prompt"], &change["expected"]), (&3.into(), &Value::Null));
    assert_eq!(change["found"], u32::from(b'!'));
}

#[test]
fn canary_finds_a_slower_machine_by_itself() {
    let place = with_canary();
    edited(&place, |canary| canary["speed"]["decode_tokens_per_second"] = 1e12.into());
    let (code, report) = checked(&place, "model.apr", &[]);
    assert_eq!(
        (code, &report["is_slower"], &report["model_changed"]),
        (1, &true.into(), &false.into()),
        "{report}"
    );
    assert_eq!(checked(&place, "model.apr", &["--slower", "0"]).0, 0);
    let output = place.apr().args(["canary", "check", "model.apr", "canary.json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("Speed: slower, ") && text.contains("so it is the program or its settings"),
        "{text}"
    );
    edited(&place, |canary| canary["speed"]["bytes_per_second"] = 1e24.into());
    let output = place.apr().args(["canary", "check", "model.apr", "canary.json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("so it is the machine\n"), "{text}");
}

#[test]
fn canary_takes_prompts_tokens_tolerance_and_threads() {
    let place = Place::new();
    let create = |flags: &[&str], stdin: &str| {
        let mut args = vec!["canary", "create", "model.apr", "-o", "canary.json", "--force"];
        args.extend(flags);
        let output = place.apr().args(args).write_stdin(stdin).output().unwrap();
        let read = || serde_json::from_slice::<Value>(&fs::read(place.path("canary.json")).unwrap()).unwrap();
        output.status.success().then(read).ok_or_else(|| String::from_utf8(output.stderr).unwrap())
    };
    let canary = create(&["--prompts", "-", "--tokens", "3", "--tolerance", "0.5"], "one\n\ntwo\n").unwrap();
    assert_eq!(canary["cases"].as_array().unwrap().len(), 2);
    assert_eq!(canary["cases"][1]["prompt"], "two");
    assert_eq!(canary["cases"][1]["reply"].as_array().unwrap().len(), 3);
    assert_eq!(canary["tolerance"], 0.5);
    assert_eq!(
        create(&["--threads", "3"], "").unwrap()["cases"],
        create(&["--threads", "1"], "").unwrap()["cases"]
    );
    assert!(create(&["--prompts", "-"], "\n").unwrap_err().contains("there is no prompt"));
    assert!(create(&["--tolerance", "NaN"], "").unwrap_err().contains("--tolerance is NaN"));
    assert!(create(&["--tokens", "600"], "").unwrap_err().contains("512"));
}

#[test]
fn canary_checks_on_as_many_threads_as_asked_for() {
    let place = with_canary();
    for n_threads in ["1", "3"] {
        let (code, report) = checked(&place, "model.apr", &["--slower", "0", "--threads", n_threads]);
        // How many threads does not change a bit.
        assert_eq!((code, &report["greatest_difference"]), (0, &0.0.into()), "{report}");
        assert_eq!(report["threads"], n_threads.parse::<u64>().unwrap());
    }
}

#[test]
fn canary_replaces_nothing_unasked_and_says_so_at_once() {
    let place = Place::new();
    fs::write(place.path("canary.json"), "old").unwrap();
    let start = Instant::now();
    let args = ["canary", "create", "missing.apr", "-o", "canary.json"];
    let output = place.apr().args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("`canary.json` exists") && said.contains("--force"),
        "{said} {:?}",
        start.elapsed()
    );
    assert_eq!(fs::read(place.path("canary.json")).unwrap(), b"old");
    let json = place.stdout(["canary", "create", "model.apr", "-o", "canary.json", "--force", "--json"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["prompts"], &report["tokens"]), (&5.into(), &32.into()));
}

#[test]
fn canary_files_are_hostile_until_checked() {
    let place = Place::new();
    for (contents, expected) in [
        ("", "it is no canary: EOF"),
        ("[]", "it is no canary: "),
        ("{\"version\": 1}", "it is no canary: missing field"),
    ] {
        fs::write(place.path("canary.json"), contents).unwrap();
        let output = place.apr().args(["canary", "check", "model.apr", "canary.json"]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("`canary.json`") && said.contains(expected), "{said}");
        assert!(said.contains("hint: make it anew with `apr canary create`"), "{said}");
    }
    let output = place.apr().args(["canary", "check", "model.apr", "missing.json"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("failed to open canary `missing.json`"));
    let output =
        place.apr().args(["canary", "check", "model.apr", "model.apr", "--slower", "NaN"]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("--slower is NaN"));
}

//! `lint` as a user meets it: the project's own rules in every format, and clippy's result, with a stand-in for cargo.

use predicates::prelude::*;
use serde_json::{Value, json};

use crate::small::{SOURCE, Small};
use crate::support::{stderr, stdout};

const UNSAFE: &str = "fn first(p: *const u8) -> u8 {\n    unsafe { *p }\n}\n";
const EXCUSED: &str = "#[cfg_attr(any(), probador::allow(G2, reason = \"the caller knows\"))]\n\
                       fn second(p: *const u8) -> u8 {\n    unsafe { *p }\n}\n";

#[test]
fn findings_fail_and_what_is_excused_is_shown_with_its_reason() {
    let small = Small::new();
    let assert = small.run(&["lint", "G2"]).code(0);
    assert_eq!(stdout(&assert), "");
    assert_eq!(stderr(&assert), "G2: 0 findings, 0 excused in 6 files of 3 crates\n");
    small.write("subjects/format/src/lib.rs", &format!("{UNSAFE}{EXCUSED}"));
    let assert = small.run(&["lint", "g2"]).code(100);
    let shown = stdout(&assert);
    assert!(shown.starts_with("subjects/format/src/lib.rs:2:5: G2: "), "{shown}");
    assert!(shown.contains("\nsubjects/format/src/lib.rs:6:5: G2: "), "{shown}");
    assert!(shown.ends_with("\nexcused at subjects/format/src/lib.rs:4: the caller knows\n"), "{shown}");
    assert!(stderr(&assert).starts_with("G2: 1 findings, 1 excused in "), "{}", stderr(&assert));
}

#[test]
fn the_formats_for_programs_hold_the_same_findings() {
    let small = Small::new();
    small.write("subjects/format/src/lib.rs", UNSAFE);
    let document = |format: &str| -> Value {
        let assert = small.run(&["lint", "G2", "--quiet", "--format", format]).code(100).stderr("");
        serde_json::from_str(&stdout(&assert)).unwrap()
    };
    let plain = document("json");
    assert_eq!(plain["findings"].as_array().unwrap().len(), 1);
    assert_eq!((&plain["findings"][0]["line"], &plain["rules"]), (&json!(2), &json!(["G2"])));
    let sarif = document("sarif");
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!((&sarif["version"], &result["ruleId"]), (&json!("2.1.0"), &json!("G2")));
}

#[test]
fn an_inventory_is_counted_and_listed_and_no_failure() {
    let small = Small::new();
    let manifest = "[package]\nname = \"apr-format\"\n[dependencies]\nblake3 = \"1\"\n";
    small.write("subjects/format/Cargo.toml", manifest);
    let assert = small.run(&["lint", "J24"]).code(0);
    let shown = stdout(&assert);
    assert!(shown.starts_with("subjects/format/Cargo.toml:4:1: J24: "), "{shown}");
    assert_eq!(stderr(&assert), "J24: 0 findings, 0 excused, 1 entries of J24 in 6 files of 3 crates\n");
}

#[test]
fn a_rule_that_is_unknown_or_has_nothing_to_judge_is_an_error() {
    let small = Small::new();
    let unknown = predicate::str::contains("there is no rule `G1`; the rules are: G2, ");
    small.run(&["lint", "G1"]).code(3).stdout("").stderr(unknown);
    let nothing = predicate::str::contains(", so nothing was judged\n");
    small.run(&["lint"]).code(3).stdout("").stderr(nothing);
}

#[test]
fn without_a_folder_the_checkout_around_the_working_directory_is_judged() {
    let small = Small::new();
    small.write("subjects/format/src/lib.rs", UNSAFE);
    let mut engine = small.engine();
    let assert = engine.current_dir(small.path().join("subjects/format/src")).args(["lint", "G2"]).assert();
    assert.code(100).stdout(predicate::str::starts_with("subjects/format/src/lib.rs:2:5: G2: "));
}

/// Prints the messages that lie beside it.
const CARGO: &str = r#"
case "$*" in
"clippy --version") echo "clippy 0.1.99" ;;
"clippy --release --workspace --all-targets --message-format=json") cat "$here/messages"; exit 0 ;;
esac"#;

/// A workspace in which clippy says this, one message a line.
fn clippy(messages: &[Value]) -> Small {
    let small = Small::new();
    small.program("cargo", CARGO);
    let lines: Vec<String> = messages.iter().map(Value::to_string).collect();
    small.beside_programs("messages", &lines.join("\n"));
    small
}

fn message(level: &str, rendered: &str) -> Value {
    let message = json!({"level": level, "spans": [{"line_start": 1}], "rendered": rendered});
    json!({"reason": "compiler-message", "message": message})
}

fn stored(small: &Small) -> Value {
    serde_json::from_str(&small.read("target/probador/clippy.json")).unwrap()
}

#[test]
fn what_clippy_finds_is_printed_once_and_kept_with_the_tree_it_saw() {
    let artifact = |folder: &str| json!({"reason": "compiler-artifact", "package_id": folder, "manifest_path": format!("{folder}/Cargo.toml")});
    let mut summary = message("warning", "1 warning emitted");
    summary["message"]["spans"] = json!([]);
    let without_text = json!({"reason": "compiler-message", "message": {"level": "error", "spans": [1]}});
    let without_places =
        json!({"reason": "compiler-message", "message": {"level": "error", "rendered": "aborting"}});
    let small = clippy(&[
        json!("no object"),
        message("warning", "warning: this is needless\n"),
        message("warning", "warning: this is needless\n"),
        message("note", "note: by the way"),
        summary,
        without_text,
        without_places,
        artifact("/elsewhere"),
        json!({"reason": "compiler-artifact", "package_id": "of nothing"}),
        json!({"reason": "build-finished", "success": true}),
    ]);
    let here = |folder: &str| artifact(&small.path().join(folder).display().to_string()).to_string();
    let own = ["probador", "probador", "subjects/format"].map(here).join("\n");
    small.beside_programs("messages", &format!("Compiling\n{own}\n{}\n", small.left("messages")));
    let assert = small.run(&["lint", "--clippy"]).code(100);
    assert_eq!(stdout(&assert), "a message without text\nwarning: this is needless\n");
    assert_eq!(stderr(&assert), "clippy 0.1.99: 2 findings in 2 packages\n");
    let first = stored(&small);
    assert_eq!(first["findings"], json!(["a message without text", "warning: this is needless"]));
    assert_eq!((&first["tool"], &first["n_packages"]), (&json!("clippy 0.1.99"), &json!(2)));
    assert_eq!(first["command"], "cargo clippy --release --workspace --all-targets");

    small.beside_programs("messages", "");
    small.write("subjects/format/src/lib.rs", &format!("{SOURCE}// changed\n"));
    small.run(&["lint", "--clippy"]).code(0).stdout("").stderr("clippy 0.1.99: 0 findings in 0 packages\n");
    assert_ne!(stored(&small)["tree"], first["tree"]);
}

#[test]
fn clippy_that_fails_has_found_something_or_did_not_run() {
    let small = clippy(&[message("error", "error: this does not compile")]);
    small.program("cargo", &CARGO.replace("exit 0", "echo 'error: no toolchain' >&2; exit 101"));
    small.run(&["lint", "--clippy"]).code(100).stdout("error: this does not compile\n");
    let before = stored(&small);
    small.beside_programs("messages", "");
    let said = "clippy did not run: `cargo clippy --release --workspace --all-targets --message-format=json` \
                exits with 101: error: no toolchain\n";
    small.run(&["lint", "--clippy"]).code(3).stderr(predicate::str::contains(said));
    assert_eq!(stored(&small), before, "what did not run replaces nothing");
}

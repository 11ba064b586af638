//! `mutants` as a user meets it: what is tried, stored, printed and refused, with a stand-in for cargo-mutants.

use predicates::prelude::*;
use serde_json::{Value, json};

use crate::small::{SOURCE, Small};
use crate::support::{stderr, stdout};

/// Leaves for a crate the outcomes that lie beside it, if there are any.
const CARGO: &str = r#"
case "$*" in
"mutants --version") echo "cargo-mutants 27.1.0" ;;
"mutants --package "*)
    out="target/probador/mutants/$3/mutants.out"
    mkdir -p "$out"
    [ ! -e "$here/$3.json" ] || cp "$here/$3.json" "$out/outcomes.json"
    exit 2 ;;
*) echo "no such command" >&2; exit 101 ;;
esac"#;

/// The survivor in line 2 of a crate's library.
fn survivor(folder: &str) -> String {
    format!("{folder}/src/lib.rs:2:10: replace < with <= in least")
}

/// Lets this become of mutants of the crate.
fn outcomes(small: &Small, name: &str, folder: &str, summaries: &[&str]) {
    let baseline = json!({"scenario": "Baseline", "summary": "Success"});
    let mutants = summaries.iter().map(|summary| {
        let mutant = json!({"name": survivor(folder), "file": format!("{folder}/src/lib.rs")});
        json!({"scenario": {"Mutant": mutant}, "summary": summary})
    });
    let all: Vec<Value> = [baseline].into_iter().chain(mutants).collect();
    small.beside_programs(&format!("{name}.json"), &json!({ "outcomes": all }).to_string());
}

/// A workspace with the tool, of which four mutants in five of `apr-format` are noticed.
fn workspace() -> Small {
    let small = Small::new();
    small.program("cargo", CARGO);
    let summaries = ["CaughtMutant", "CaughtMutant", "CaughtMutant", "Timeout", "Unviable", "MissedMutant"];
    outcomes(&small, "apr-format", "subjects/format", &summaries);
    outcomes(&small, "probador-core", "probador/core", &["CaughtMutant"]);
    small
}

/// The command, without the tool's own files.
fn tried(small: &Small) -> Vec<String> {
    let folder = format!("{}/target/probador/mutants/", small.path().display());
    let calls = small.calls().into_iter().filter(|call| call.starts_with("cargo mutants --package"));
    calls.map(|call| call.replace(&folder, "")).collect()
}

/// What `apr-format`'s result is like in the JSON document.
fn row(small: &Small) -> Value {
    let assert = small.run(&["mutants", "--crate", "apr-format", "--format", "json"]).code(0);
    serde_json::from_str::<Value>(&stdout(&assert)).unwrap()[0].clone()
}

/// The entry of a mutant that means the same.
fn list(small: &Small, folder: &str) {
    let text = format!(
        "- file: {folder}/src/lib.rs\n  text: 'if a < b {{ a }} else {{ b }}'\n  \
         mutant: replace < with <= in least\n  reason: equal numbers are each other's least\n"
    );
    small.write("checklist/equivalent-mutants.yaml", &text);
}

#[test]
fn a_survivor_is_shown_and_stored_and_nothing_is_tried_again_until_something_changes() {
    let small = workspace();
    let assert = small.run(&["mutants", "--crate", "apr-format"]).code(0);
    assert_eq!(
        stdout(&assert),
        "SURVIVED subjects/format/src/lib.rs:2:10: replace < with <= in least\n                \
         caught  missed  timeout  unviable\napr-format           3       1        1         1\n"
    );
    assert_eq!(
        stderr(&assert),
        "cargo-mutants 27.1.0: each mutant is a build; this takes long\napr-format: trying the mutants of 1 of 1 files\n\
         apr-format: 80.0 % of 5 mutants are caught\n"
    );
    assert_eq!(
        tried(&small),
        [
            "cargo mutants --package apr-format --jobs 1 --profile mutants --no-shuffle --timeout-multiplier 4 \
          --minimum-test-timeout 20 --output apr-format --file subjects/format/src/lib.rs"
        ]
    );
    let again = small.run(&["mutants", "--crate", "apr-format", "--format", "terse"]).code(0);
    assert_eq!(stdout(&again), format!("SURVIVED {}\n", survivor("subjects/format")));
    assert!(stderr(&again).starts_with("nothing has changed since its mutants were tried\n"));
    assert_eq!(small.calls(), Vec::<String>::new());
    let row = row(&small);
    assert_eq!((&row["name"], &row["undecided"]), (&"apr-format".into(), &Value::Null));
    assert_eq!((&row["caught"], &row["missed"][0]["line"]), (&3.into(), &2.into()));

    small.write("subjects/format/src/lib.rs", &SOURCE.replace("least", "lesser"));
    small.run(&["mutants", "--crate", "apr-format", "--quiet"]).code(0).stderr("");
    assert_eq!(tried(&small).len(), 1, "the code has changed");
}

#[test]
fn fewer_caught_than_asked_for_fail() {
    let small = workspace();
    small.run(&["mutants", "--crate", "apr-format", "--fail-under", "80"]).code(0);
    small.run(&["mutants", "--crate", "apr-format", "--fail-under", "80.1"]).code(100);
    let both = small.run(&["mutants", "--fail-under", "80.1"]).code(100);
    assert!(stderr(&both).contains("probador-core: 100.0 % of 1 mutants are caught\n"));
}

#[test]
fn after_tests_were_added_only_survivors_are_tried_again() {
    let small = workspace();
    small.run(&["mutants", "--crate", "apr-format"]).code(0);
    tried(&small);
    small.write("subjects/format/tests/more.rs", "#[test]\nfn equal_numbers_are_told_apart() {}\n");
    outcomes(&small, "apr-format", "subjects/format", &["CaughtMutant"]);
    let assert = small.run(&["mutants", "--crate", "apr-format"]).code(0);
    let said = stderr(&assert);
    assert!(said.contains("apr-format: tests were added; trying 1 survivors again\n"), "{said}");
    assert!(said.ends_with("apr-format: 100.0 % of 5 mutants are caught\n"), "{said}");
    let calls = tried(&small);
    let named = r" --re ^(subjects/format/src/lib\.rs:2:10: replace < with <= in least)$ ";
    assert!(calls.len() == 1 && calls[0].contains(named), "{calls:?}");

    // Without a survivor there is nothing to try, and all to keep.
    small.write(
        "subjects/format/tests/more.rs",
        "#[test]\nfn equal_numbers_are_told_apart() {}\nfn more() {}\n",
    );
    let assert = small.run(&["mutants", "--crate", "apr-format"]).code(0);
    let said = stderr(&assert);
    assert!(said.starts_with("nothing has changed") && said.contains("100.0 % of 5"), "{said}");
    assert_eq!(tried(&small), Vec::<String>::new());
}

#[test]
fn shares_make_a_whole_and_decide_nothing_before() {
    let small = workspace();
    small.write("subjects/format/src/more.rs", SOURCE);
    let share = |share: &str, more: &[&str]| {
        small.run(&[&["mutants", "--crate", "apr-format", "--shard", share], more].concat())
    };
    let first = share("1/2", &["--fail-under", "0"]).code(5);
    assert!(stdout(&first).contains("  so far; files are open\n"), "{}", stdout(&first));
    let said = stderr(&first);
    assert!(said.contains("apr-format: trying the mutants of 1 of 2 files\n"), "{said}");
    assert!(
        said.ends_with(
            "apr-format: unverified: the mutants of 1 of 2 files of apr-format are not tried as they are; \
             cargo probador mutants --crate apr-format\n"
        ),
        "{said}"
    );
    assert!(tried(&small)[0].ends_with("--file subjects/format/src/lib.rs"));
    share("1/2", &[]).code(0);
    assert_eq!(tried(&small), Vec::<String>::new(), "that share is known");
    outcomes(&small, "apr-format", "subjects/format", &[]);
    let second = share("2/2", &["--fail-under", "80"]).code(0);
    assert!(stderr(&second).ends_with("apr-format: 80.0 % of 5 mutants are caught\n"));
    assert!(tried(&small)[0].ends_with("--file subjects/format/src/more.rs"));
    share("1/3", &[]).code(0);
    assert_eq!(tried(&small), Vec::<String>::new(), "a share of what is known is known");

    small.write("subjects/format/src/more.rs", &SOURCE.replace("least", "lesser"));
    small.run(&["mutants", "--crate", "apr-format"]).code(0);
    let calls = tried(&small);
    assert!(calls.len() == 1 && calls[0].ends_with("--file subjects/format/src/more.rs"), "{calls:?}");
    std::fs::remove_file(small.path().join("subjects/format/src/more.rs")).unwrap();
    assert_eq!(row(&small)["caught"], 3);
    assert_eq!(tried(&small), Vec::<String>::new(), "what is gone leaves nothing to try");
}

#[test]
fn a_mutant_that_means_the_same_is_shown_with_its_reason_and_does_not_count() {
    let small = workspace();
    list(&small, "subjects/format");
    let arguments = ["mutants", "--crate", "apr-format", "--fail-under", "100"];
    let assert = small.run(&arguments).code(0);
    let said =
        format!("the same {}\n         equal numbers are each other's least\n", survivor("subjects/format"));
    assert!(stdout(&assert).starts_with(&said), "{}", stdout(&assert));
    assert!(stderr(&assert).ends_with("apr-format: 100.0 % of 4 mutants are caught\n"));
    small.run(&[&arguments[..], &["--format", "terse"]].concat()).code(0).stdout("");
}

#[test]
fn a_listed_mutant_that_is_noticed_makes_the_list_invalid_whatever_else_is_wrong() {
    let small = workspace();
    list(&small, "probador/core");
    let problem = "checklist/equivalent-mutants.yaml:1:3: `replace < with <= in least` is no survivor: \
                   it is gone, or a test notices it\n";
    let assert = small.run(&["mutants", "--fail-under", "90"]).code(2);
    assert!(stderr(&assert).contains(problem), "{}", stderr(&assert));
    small.write("subjects/format/src/more.rs", SOURCE);
    let assert = small.run(&["mutants", "--fail-under", "90", "--shard", "1/2"]).code(2);
    assert!(stderr(&assert).contains("the mutants of 1 of 2 files of apr-format are not tried"));
}

#[test]
fn what_an_earlier_run_left_is_not_taken_for_a_result() {
    let small = workspace();
    small.run(&["mutants", "--crate", "apr-format"]).code(0);
    small.remove("apr-format.json");
    let assert = small.run(&["mutants", "--crate", "apr-format", "--fresh"]).code(0);
    assert!(stderr(&assert).ends_with("apr-format: 0.0 % of 0 mutants are caught\n"));
}

#[test]
fn a_run_that_shows_nothing_is_an_error_that_says_what_to_do_and_stores_nothing() {
    let small = workspace();
    let refuses = |said: &str| {
        let assert = small.run(&["mutants", "--crate", "apr-format"]).code(3);
        assert!(stderr(&assert).contains(said), "{}", stderr(&assert));
        assert!(!small.path().join("checklist/mutants.json").exists());
    };
    small.program("cargo", &CARGO.replace("exit 2", "echo 'no tests' >&2; exit 4"));
    refuses(" exits with 4: no tests\nhint: see `");
    small.program("cargo", &CARGO.replace("exit 2", "echo 'fn more() {}' >> subjects/format/src/lib.rs"));
    refuses("the sources of apr-format changed while its mutants were tried\nhint: run it again\n");
    small.program("cargo", &CARGO.replace("mutants --version", "never"));
    refuses(
        "hint: cargo install --locked cargo-mutants: `cargo mutants --version` exits with 101: no such command\n",
    );
    let mut engine = small.engine();
    engine.env("PATH", small.path()).args(["mutants", "--crate", "apr-format"]);
    engine.assert().code(3).stderr(predicate::str::contains(
        "hint: cargo install --locked cargo-mutants: failed to start `cargo`",
    ));
    small.run(&["mutants", "--crate", "probador"]).code(3).stderr(predicate::str::contains(
        "mutants are not made in `probador`\nhint: they are made in probador-core",
    ));
}

/// A stand-in for git with this difference.
fn difference(small: &Small, text: &str) {
    small.beside_programs("diff", text);
    small.program("git", "cat \"$here/diff\"");
}

#[test]
fn what_differs_from_a_commit_is_tried_and_printed_and_not_stored() {
    let small = workspace();
    difference(&small, "--- a/subjects/format/src/lib.rs\n+++ b/subjects/format/src/lib.rs\n");
    let run = |more: &[&str]| small.run(&[&["mutants", "--in-diff", "main"], more].concat());
    let assert = run(&["--fail-under", "80"]).code(0);
    assert_eq!(stdout(&assert), format!("{}\n", survivor("subjects/format")));
    assert_eq!(
        stderr(&assert),
        "apr-format: trying its mutants in what differs from main\n80.0 % of 5 mutants are caught\n"
    );
    let calls = small.calls();
    assert_eq!(calls[..2], ["git diff --no-color main", "cargo mutants --version"]);
    assert_eq!(calls.len(), 3, "what does not differ is not tried: {calls:?}");
    let diff = small.path().join("target/probador/mutants/in.diff");
    assert!(calls[2].contains(&format!(" --in-diff {} ", diff.display())), "{calls:?}");
    assert_eq!(std::fs::read_to_string(diff).unwrap(), small.left("diff"));
    assert!(!small.path().join("checklist/mutants.json").exists());

    run(&["--fail-under", "81"]).code(100);
    let document: Value = serde_json::from_str(&stdout(&run(&["--format", "json"]).code(0))).unwrap();
    assert_eq!(document.as_array().unwrap().len(), 1);
    assert_eq!(document[0]["text"], "if a < b { a } else { b }");
}

#[test]
fn a_difference_without_a_mutant_is_no_pass() {
    let small = workspace();
    difference(&small, "--- a/README.md\n+++ b/README.md\n");
    let nothing = "what differs from HEAD holds no mutant to try\n";
    small.run(&["mutants", "--in-diff"]).code(4).stdout("").stderr(nothing);
    small.program("git", "echo 'fatal: bad revision' >&2; exit 128");
    small.run(&["mutants", "--in-diff", "nowhere"]).code(3).stderr(predicate::str::contains(
        "`git diff --no-color nowhere` exits with 128: fatal: bad revision\n",
    ));
}

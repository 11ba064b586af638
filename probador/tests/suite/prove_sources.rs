//! `prove` under faults in the sources, with a program in the place of cargo that builds engines of known behaviour.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::checkout::{Checkout, program};
use crate::support::{repository, streams};

/// The file that each planted fault edits; what it writes there says how the engine built with it behaves.
const EDITED: &str = "subjects/tensor/Cargo.toml";

/// A checkout whose claim A4 names faults in the sources, and a cache with what builds them.
struct Desk {
    checkout: Checkout,
    cache: tempfile::TempDir,
}

impl Desk {
    /// A4 is to be red under each of `faults`, in the words given.
    fn new(faults: &[(&str, &str)]) -> Self {
        let desk = Self { checkout: Checkout::new(), cache: tempfile::tempdir().unwrap() };
        let names: Vec<&str> = faults.iter().map(|(name, _)| *name).collect();
        desk.checkout.edit(
            "a-model-loading.yaml",
            "faults: [vocab-size-misstated, ",
            &format!("faults: [{}, vocab-size-misstated, ", names.join(", ")),
        );
        let rows = faults.iter().map(|(name, says)| {
            let before = if *name == "edit-applies-nowhere" { "no such text" } else { "apr-tensor" };
            format!(
                "\n- name: {name}\n  kind: source\n  does: is planted by a test\n  edits:\n    - file: {EDITED}\n      \
                 before: 'name = \"{before}\"'\n      after: 'name = \"{name}\"'\n  caught_by: {{A4: {says}}}\n"
            )
        });
        let path = desk.checkout.path().join("checklist/faults.yaml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + &rows.collect::<String>()).unwrap();
        desk.set_up();
        desk
    }

    fn file(&self, name: &str) -> PathBuf {
        self.cache.path().join(name)
    }

    fn set_up(&self) {
        // Says what it was asked to judge, and judges by the real engine; with some faults, something comes in between.
        let judge = format!(
            r#"echo "$@" >> {asked}
case $(cat "$(dirname "$0")/../../tree/{EDITED}") in
  *gives-no-report*) echo 'the engine panicked' >&2; exit 101 ;;
  *is-caught* | *says-something-else*)
    {engine} "$@" | sed 's/"verdict": "pass"/"verdict": "fail", "diagnosis": "rotated too far"/' ;;
  *) exec {engine} "$@" ;;
esac
"#,
            asked = self.file("asked").display(),
            engine = env!("CARGO_BIN_EXE_cargo-probador"),
        );
        program(&self.file("judge"), &judge);
        let cargo = format!(
            r#"echo "$@" >> {built}
while [ $# -gt 0 ]; do
  case $1 in --target-dir) target=$2 ;; esac
  shift
done
[ ! -e {breaks} ] || {{ echo 'error: no compiler' >&2; exit 1; }}
case $(cat {EDITED}) in *does-not-build*) echo 'error: expected an item' >&2; exit 101 ;; esac
mkdir -p "$target/release"
cp {judge} "$target/release/cargo-probador"
"#,
            built = self.file("built").display(),
            breaks = self.file("breaks").display(),
            judge = self.file("judge").display(),
        );
        program(&self.file("cargo"), &cargo);
    }

    /// What `prove` prints and says.
    fn prove(&self, more: &[&str], code: i32) -> (String, String) {
        let arguments = [&["prove", "A4"], more].concat();
        let (cargo, cache) = (self.file("cargo"), self.file("cache"));
        let environment: [(&str, &Path); 3] =
            [("CARGO", &cargo), ("PROBADOR_CACHE", &cache), ("APR_DATA_DIR", self.cache.path())];
        let assert = self.checkout.run_with(&environment, &arguments);
        streams(&assert.code(code))
    }

    /// The faults by which A4 is proven.
    fn kept(&self) -> Value {
        let text = fs::read_to_string(self.checkout.path().join("checklist/proofs.json")).unwrap();
        let proofs: Value = serde_json::from_str(&text).unwrap();
        proofs["models"]["tiny"]["A4"]["faults"].clone()
    }
}

#[test]
fn each_fault_in_the_sources_is_built_and_judged_and_what_was_shown_is_said() {
    let desk = Desk::new(&[
        ("does-not-build", "rotated"),
        ("edit-applies-nowhere", "rotated"),
        ("gives-no-report", "rotated"),
        ("is-caught", "rotated"),
        ("says-something-else", "transposed"),
        ("stays-green", "rotated"),
    ]);
    let (data, talk) = desk.prove(&["--kind", "source"], 6);
    assert!(
        talk.contains("6 faults in the sources, a build each: the first takes minutes, the others less"),
        "{talk}"
    );
    let lines: Vec<&str> = data.lines().collect();
    assert_eq!(lines[0], "SURVIVED A4 Metadata correct  red under 1 of 8 faults");
    let cargo = desk.file("cargo").display().to_string();
    for (line, start, end) in [
        (
            lines[1],
            format!(
                "         does-not-build: nothing was shown: the edited sources do not build: `{cargo} build "
            ),
            "exits with 101: error: expected an item",
        ),
        (
            lines[2],
            format!(
                "         edit-applies-nowhere: nothing was shown: the edit of `{EDITED}` no longer applies: "
            ),
            "what it replaces is there 0 times, not once",
        ),
        (
            lines[3],
            "         gives-no-report: nothing was shown: the engine built with the fault gave no report: `"
                .to_owned(),
            "exits with 101: the engine panicked",
        ),
        (
            lines[4],
            "         says-something-else: it is red without saying \"transposed\": ".to_owned(),
            "rotated too far",
        ),
        (lines[5], "         stays-green: the fault survives".to_owned(), "it stays green"),
    ] {
        assert!(line.starts_with(&start) && line.ends_with(end), "{line}");
    }
    assert_eq!(lines[7], "0 claims and playbooks proven on tiny, 1 not, 0 wait; 5 faults survived");
    assert_eq!(desk.kept(), serde_json::json!(["is-caught"]));
    let built = fs::read_to_string(desk.file("built")).unwrap();
    // Once as they are, and once for each fault whose edit applies.
    assert_eq!(built.lines().count(), 6, "{built}");
    let build = "build --quiet --release --package apr-cli --package probador ";
    assert!(built.lines().all(|line| line.starts_with(build)), "{built}");
    let asked = fs::read_to_string(desk.file("asked")).unwrap();
    let root = desk.checkout.path().display().to_string();
    let first = asked.lines().next().unwrap();
    assert!(first.starts_with(&format!("full --no-build --format json --root {root} --reports ")), "{first}");
    assert!(
        first.ends_with(" --model tiny --exact checklist::a_model_loading::a4_metadata_correct"),
        "{first}"
    );
}

#[test]
fn a_claim_is_proven_by_faults_in_the_sources_like_by_any_other() {
    let desk = Desk::new(&[("is-caught", "rotated")]);
    let (data, _) = desk.prove(&[], 0);
    assert!(data.starts_with("  proven A4 Metadata correct  red under 3 of 3 faults\n"), "{data}");
    assert_eq!(
        desk.kept(),
        serde_json::json!(["vocab-size-misstated", "layer-count-misstated", "is-caught"])
    );
    let (data, _) = desk.prove(&[], 0);
    assert!(data.starts_with("  proven A4 Metadata correct  red under 3 of 3 faults, as before\n"), "{data}");
    assert_eq!(fs::read_to_string(desk.file("built")).unwrap().lines().count(), 2);
}

#[test]
fn what_only_could_not_be_built_is_open_and_not_survived() {
    let desk = Desk::new(&[("does-not-build", "rotated")]);
    let (data, _) = desk.prove(&["--format", "terse"], 5);
    assert_eq!(data, "survived A4\n");
}

#[test]
fn a_check_that_is_not_green_on_the_sources_as_they_are_proves_nothing() {
    let desk = Desk::new(&[("is-caught", "rotated")]);
    fs::write(desk.file("breaks"), "").unwrap();
    let (data, _) = desk.prove(&["--kind", "source"], 6);
    let why = "is-caught: it is red under a fault that does nothing: its check is not green when the sources are built as \
               they are";
    assert!(data.contains(why), "{data}");
}

#[test]
fn another_seed_and_another_model_reach_the_engine_that_was_built_and_another_seed_is_not_kept() {
    let desk = Desk::new(&[("is-caught", "rotated")]);
    let before = desk.kept();
    let model = desk.checkout.path().join("other.apr");
    fs::copy(repository().join("golden/tiny/tiny.apr"), &model).unwrap();
    let model = model.display().to_string();
    let (data, _) = desk.prove(&["--kind", "source", "--model", &model, "--seed", "5"], 5);
    assert!(data.starts_with("    OPEN A4 Metadata correct  red under 1 of 3 faults"), "{data}");
    let asked = fs::read_to_string(desk.file("asked")).unwrap();
    assert_eq!(asked.lines().count(), 2, "{asked}");
    for line in asked.lines() {
        assert!(line.contains(&format!(" --model {model} --seed 5 --exact ")), "{line}");
    }
    assert_eq!(desk.kept(), before);
}

#[test]
fn a_matrix_holds_what_is_red_under_the_faults_in_the_sources() {
    let desk = Desk::new(&[("is-caught", "rotated"), ("does-not-build", "rotated")]);
    let reports = desk.checkout.path().join("reports").display().to_string();
    // J1 has no check, and G3 waits for a result that is not stored here.
    let more = ["G3", "J1", "--kind", "source", "--matrix", "--reports", &reports];
    let (data, talk) = desk.prove(&more, 5);
    assert!(talk.contains(&format!("matrix: {reports}/prove.html")), "{talk}");
    assert!(data.contains(" waiting G3 "), "{data}");
    let text = fs::read_to_string(desk.checkout.path().join("reports/prove.json")).unwrap();
    let stored: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&stored["model"], &stored["matrix"]["red"]),
        (&"tiny".into(), &serde_json::json!({"A4": ["is-caught"]}))
    );
    let tried = stored["faults"].as_array().unwrap();
    assert!(
        tried.contains(&"mask-off-by-one-in-attention".into()) && !tried.contains(&"scale-shifted".into())
    );
    let page = fs::read_to_string(desk.checkout.path().join("reports/prove.html")).unwrap();
    assert!(page.contains("is-caught"));
}

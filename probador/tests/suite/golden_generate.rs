//! `golden generate` as a user meets it, with a program in the place of PyTorch's Python that records what it is given.

use std::fs;
use std::path::PathBuf;

use probador::golden::npy::read_bytes;
use serde_json::Value;

use crate::checkout::goldens::{Checkout, KEY, SLUG};
use crate::checkout::program;
use crate::support::repository;

/// A cache in which the environment of the reference is up to date. Its Python copies the goldens of another checkout.
struct Python {
    cache: tempfile::TempDir,
    recorded: Checkout,
}

impl Python {
    fn new() -> Self {
        let (cache, recorded) = (tempfile::tempdir().unwrap(), Checkout::new());
        fs::remove_file(recorded.path("tiny.apr")).unwrap();
        let path = |name: &str| cache.path().join(name).display().to_string();
        let lines = format!(
            r#"echo "$@" > {called}
echo 'computing in float64' >&2
[ ! -e {fails} ] || exit 7
while [ $# -gt 0 ]; do
  case $1 in --output) output=$2 ;; esac
  shift
done
mkdir -p "$output/tiny"
cp -r {recorded}/. "$output/tiny"
"#,
            called = path("called"),
            fails = path("fails"),
            recorded = recorded.path("").display(),
        );
        program(&cache.path().join("venv/bin/python"), &lines);
        let installed = cache.path().join("venv/requirements.installed");
        fs::copy(repository().join("scripts/requirements.txt"), installed).unwrap();
        Self { cache, recorded }
    }

    /// What `golden generate` said on both streams, with this Python.
    fn generate(&self, checkout: &Checkout, more: &[&str], code: i32) -> String {
        let cache = self.cache.path().to_str().unwrap();
        let arguments = [&["golden", "generate"], more].concat();
        checkout.run_with(&arguments, &[("PROBADOR_CACHE", cache)], code)
    }

    /// The arguments it was called with.
    fn called(&self) -> String {
        fs::read_to_string(self.cache.path().join("called")).unwrap()
    }
}

fn n_tensors() -> usize {
    let manifest = fs::read_to_string(repository().join("golden/tiny/manifest.yaml")).unwrap();
    manifest.matches("      - {key: ").count()
}

#[test]
fn recording_needs_its_environment_and_leave_to_replace() {
    let checkout = Checkout::new();
    let nowhere = tempfile::tempdir().unwrap();
    let environment = [("PROBADOR_CACHE", nowhere.path().to_str().unwrap())];
    let said = checkout.run_with(&["golden", "generate", "--new"], &environment, 3);
    assert!(
        said.contains("is missing or out of date\nhint: make it with `sh ")
            && said.contains("setup_python.sh"),
        "{said}"
    );
    checkout.run(&["golden", "generate", "--new", "--force"], 1);
    checkout.run(&["golden", "generate", "--tie"], 1);
    checkout.run(&["golden", "generate", "no_such_model", "--new"], 3);
}

#[test]
fn what_is_recorded_anew_and_the_same_leaves_nothing() {
    let (checkout, python) = (Checkout::new(), Python::new());
    let said = python.generate(&checkout, &["--new"], 0);
    let n = n_tensors();
    assert!(said.contains(&format!("all {n} tensors are byte for byte what was recorded")), "{said}");
    assert!(said.contains("recording `tiny` with ") && said.contains("computing in float64"), "{said}");
    let called = python.called();
    let model = checkout.path("tiny.apr").display().to_string();
    assert!(
        called.contains(&format!(
            "generate_golden_traces.py --name tiny --threads 2 --model {model} --output "
        )),
        "{called}"
    );
    assert!(
        !called.contains("--force") && !called.contains("--tie") && !called.contains("--apr"),
        "{called}"
    );
    assert!(!checkout.path("manifest.yaml.new").exists());
    let said = python.generate(&checkout, &["--new", "--json", "--threads", "7", "--quiet"], 0);
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&report["n_tensors"], &report["left"]), (&Value::from(n), &Value::Array(Vec::new())));
    assert_eq!(report["goldens"], checkout.path("").display().to_string().trim_end_matches('/'));
    assert!(python.called().contains("--threads 7"), "{}", python.called());
}

#[test]
fn what_differs_is_left_beside_its_golden_for_a_person_to_look_at() {
    let (checkout, python) = (Checkout::new(), Python::new());
    checkout.outdate();
    fs::remove_file(checkout.pending()).unwrap();
    fs::remove_file(checkout.path("manifest.yaml.new")).unwrap();
    let said = python.generate(&checkout, &["--new"], 5);
    let left = [checkout.pending(), checkout.path("manifest.yaml.new")];
    for path in &left {
        assert!(said.lines().any(|line| line == path.display().to_string()), "{said}");
        assert!(path.exists(), "{}", path.display());
    }
    let differ = format!(
        "1 of {} tensors differ\nhint: `cargo probador golden review` shows them and asks",
        n_tensors()
    );
    assert!(said.contains(&differ), "{said}");
    assert_eq!(
        read_bytes(&checkout.pending()).unwrap(),
        read_bytes(&python.recorded.path(&format!("{SLUG}/{KEY}.npy"))).unwrap()
    );
    let said = python.generate(&checkout, &["--new", "--json", "--quiet"], 5);
    let report: Value = serde_json::from_str(&said).unwrap();
    let names: Vec<PathBuf> =
        report["left"].as_array().unwrap().iter().map(|path| path.as_str().unwrap().into()).collect();
    assert_eq!(names, left);
}

#[test]
fn goldens_are_replaced_with_leave_only_and_made_where_there_are_none() {
    let (checkout, python) = (Checkout::new(), Python::new());
    let said = python.generate(&checkout, &[], 3);
    assert!(
        said.contains(
            "there are goldens of `tiny` already\nhint: pass --new to compare with them, or --force to replace them"
        ),
        "{said}"
    );
    // Those that cannot be read are not replaced without being asked, either.
    fs::write(checkout.path("manifest.yaml"), "schema: 0\n").unwrap();
    assert!(python.generate(&checkout, &[], 3).contains("there are goldens of `tiny` already"));
    let said = python.generate(&checkout, &["--force"], 0);
    assert!(said.contains(&format!("{} tensors in `", n_tensors())), "{said}");
    assert!(python.called().ends_with("--force\n"), "{}", python.called());
    assert_eq!(checkout.manifest(), python.recorded.manifest());
    fs::remove_file(checkout.path("manifest.yaml")).unwrap();
    let said = python.generate(&checkout, &["--new"], 3);
    assert!(said.contains("there are no goldens of `tiny` to compare with"), "{said}");
    python.generate(&checkout, &[], 0);
    assert_eq!(checkout.manifest(), python.recorded.manifest());
}

#[test]
fn pytorch_may_read_another_file_of_the_same_weights() {
    let (checkout, python) = (Checkout::new(), Python::new());
    python.generate(&checkout, &["--new", "--source", "/weights/model.gguf", "--tie"], 0);
    let (called, model) = (python.called(), checkout.path("tiny.apr").display().to_string());
    assert!(
        called.contains(&format!("--model /weights/model.gguf --tie --apr {model} --output ")),
        "{called}"
    );
}

#[test]
fn recording_that_fails_or_was_done_by_something_else_is_an_error() {
    let (checkout, python) = (Checkout::new(), Python::new());
    let before = checkout.manifest();
    fs::write(python.cache.path().join("fails"), "").unwrap();
    let said = python.generate(&checkout, &["--new"], 3);
    assert!(said.contains("PyTorch recorded nothing: `") && said.contains("exits with 7"), "{said}");
    assert_eq!(checkout.manifest(), before);
    fs::remove_file(python.cache.path().join("fails")).unwrap();
    let other = before.replacen("script: scripts/generate_golden_traces.py", "script: target/apr", 1);
    fs::write(python.recorded.path("manifest.yaml"), other).unwrap();
    let said = python.generate(&checkout, &["--force"], 3);
    assert!(said.contains("is refused") && said.contains("not PyTorch"), "{said}");
}

#[test]
fn only_a_model_that_is_described_and_here_is_recorded() {
    let (checkout, python) = (Checkout::new(), Python::new());
    let copy = checkout.root().join("copy.apr");
    fs::copy(checkout.path("tiny.apr"), &copy).unwrap();
    let said = python.generate(&checkout, &[copy.to_str().unwrap(), "--new"], 3);
    assert!(said.contains("`copy` is not described in golden/models.yaml"), "{said}");
    let said = python.generate(&checkout, &["release", "--new"], 3);
    let missing = python.cache.path().join("models/qwen2.5-coder-0.5b-instruct.apr");
    assert!(
        said.contains(&format!("there is no `{}`\nhint: get it with `make model`", missing.display())),
        "{said}"
    );
}

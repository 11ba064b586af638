//! `golden generate`, `golden review` and `golden update` as a user meets them, on a checkout with goldens of its own.
#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apr_format::AprFile;
use apr_format::atomic::Overwrite;
use apr_generation::{CausalLm, LogitRows, Recorder, TensorKey};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::TokenId;
use assert_cmd::Command;
use probador::golden::npy::{parse_f32, read_bytes, write_f32};
use probador::golden::{GoldenSet, accepted, propose};
use probador::process::{Program, Terminal};
use serde_json::Value;

const SLUG: &str = "what_is_2_plus_2";
const KEY: &str = "model.layers.3.mlp.up_proj";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A checkout whose goldens of the small model are its own; everything else is the repository's.
struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for shared in ["checklist", "playbooks", "subjects", "scripts", "probador"] {
            symlink(repository().join(shared), folder.path().join(shared)).unwrap();
        }
        let golden = repository().join("golden");
        for entry in walkdir::WalkDir::new(golden.join("tiny")) {
            let entry = entry.unwrap();
            let to = folder.path().join("golden").join(entry.path().strip_prefix(&golden).unwrap());
            if entry.file_type().is_dir() {
                fs::create_dir_all(to).unwrap();
            } else if entry.path().extension().is_none_or(|extension| extension != "new") {
                fs::copy(entry.path(), to).unwrap();
            }
        }
        for file in ["models.yaml", "golden-trace.yaml"] {
            fs::copy(golden.join(file), folder.path().join("golden").join(file)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join("golden/tiny").join(relative)
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.path("manifest.yaml")).unwrap()
    }

    fn golden(&self) -> PathBuf {
        self.path(&format!("{SLUG}/{KEY}.npy"))
    }

    fn pending(&self) -> PathBuf {
        self.path(&format!("{SLUG}/{KEY}.npy.new"))
    }

    fn run(&self, arguments: &[&str], code: i32) -> String {
        self.run_with(arguments, &[], code)
    }

    /// What it said on both streams.
    fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)], code: i32) -> String {
        let mut command = Command::cargo_bin("cargo-probador").unwrap();
        command
            .env_remove("PROBADOR_MODEL")
            .env_remove("PROBADOR_ROOT")
            .env_remove("CI")
            .env("NO_COLOR", "1");
        command.envs(environment.iter().copied()).arg("--root").arg(self.0.path()).args(arguments);
        let output = command.assert().code(code).get_output().clone();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Makes the golden of [`KEY`] another than PyTorch computed, in its file and in the manifest, and leaves what PyTorch
    /// computed beside it as `golden generate --new` does. Returns the manifest that is left beside the other.
    fn outdate(&self) -> String {
        let proposed = self.manifest();
        let recorded = read_bytes(&self.golden()).unwrap();
        fs::write(self.pending(), &recorded).unwrap();
        fs::write(self.path("manifest.yaml.new"), &proposed).unwrap();
        let mut array = parse_f32(&self.golden(), &recorded).unwrap();
        array.values[5] += 0.25;
        write_f32(&self.golden(), &array.shape, &array.values, Overwrite::Allow).unwrap();
        let old = blake3::hash(&read_bytes(&self.golden()).unwrap()).to_hex().to_string();
        let text = proposed
            .replace(blake3::hash(&recorded).to_hex().as_str(), &old)
            .replace("  torch: \"2.15.0\"", "  torch: \"2.14.0\"");
        fs::write(self.path("manifest.yaml"), text).unwrap();
        proposed
    }

    /// Leaves what the small model itself computes, which meets its golden, with a manifest that says PyTorch did.
    fn forge(&self) {
        let file = AprFile::open(&self.path("tiny.apr")).unwrap();
        let mut model =
            Qwen2::load(&file, LoadOptions { context_length: Some(64), n_threads: Some(1) }).unwrap();
        let set = GoldenSet::open_folder(&self.path("")).unwrap();
        let ids: Vec<TokenId> =
            set.manifest().prompt(SLUG).unwrap().ids.iter().map(|&id| TokenId(id)).collect();
        let key: TensorKey = KEY.parse().unwrap();
        let mut recorder = Recorder::new(|wanted| wanted == key);
        model.prefill(&ids, LogitRows::Last, Some(&mut recorder)).unwrap();
        let trace = &recorder.into_tensors()[&key];
        write_f32(&self.pending(), &trace.shape, &trace.values, Overwrite::Allow).unwrap();
        let hash = |path: &Path| blake3::hash(&read_bytes(path).unwrap()).to_hex().to_string();
        assert_ne!(hash(&self.golden()), hash(&self.pending()), "the model's rounding is not PyTorch's");
        let forged = self.manifest().replace(&hash(&self.golden()), &hash(&self.pending()));
        fs::write(self.path("manifest.yaml.new"), forged).unwrap();
    }
}

const UPDATE: [&str; 7] = ["golden", "update", "--accept", KEY, "--prompt", SLUG, "--reason"];

fn update(reason: &str) -> Vec<&str> {
    [&UPDATE[..], &[reason]].concat()
}

#[test]
fn what_the_reference_recorded_anew_takes_the_goldens_place_with_a_reason_that_stays() {
    let checkout = Checkout::new();
    let proposed = checkout.outdate();
    assert!(checkout.run(&["golden", "verify", "tiny", "--prompt", SLUG], 100).contains(KEY));
    let shown = checkout.run(&["golden", "review"], 5);
    assert!(shown.contains("recorded anew by the reference"), "{shown}");
    assert!(shown.contains("1 of ") && shown.contains("worst at [0, 5]"), "{shown}");
    assert!(
        shown.contains("smallest passing atol 2.5") && shown.contains("differences  -2.50e-1 |▁ "),
        "{shown}"
    );

    let said = checkout.run(&update("  torch 2.15 is another truth, \"they say\": yes "), 0);
    assert!(said.contains("accepted `model.layers.3.mlp.up_proj` of `what_is_2_plus_2`"), "{said}");
    assert_eq!(checkout.manifest(), proposed, "all was taken, so the manifest is the reference's");
    assert!(!checkout.pending().exists() && !checkout.path("manifest.yaml.new").exists());
    let log = accepted(&checkout.path("")).unwrap();
    let [row] = log.as_slice() else { panic!("{log:?}") };
    assert_eq!((row.prompt.as_str(), row.key.as_str(), row.torch.as_str()), (SLUG, KEY, "2.15.0"));
    assert_eq!(row.reason, "torch 2.15 is another truth, \"they say\": yes");
    assert!(row.old != row.new && checkout.manifest().contains(&row.new));
    checkout.run(&["golden", "verify", "tiny"], 0);
    checkout.run(&["golden", "review"], 0);
    let report = checkout.run(&["full", "I15", "--no-build", "--format", "json"], 0);
    assert!(report.contains("was replaced on 20") && report.contains("they say"), "{report}");
}

#[test]
fn what_a_model_left_is_shown_and_never_accepted() {
    let checkout = Checkout::new();
    checkout.outdate();
    // Without the manifest, nothing says that PyTorch computed it.
    fs::remove_file(checkout.path("manifest.yaml.new")).unwrap();
    let before = (checkout.manifest(), read_bytes(&checkout.golden()).unwrap());
    checkout.run(&["golden", "verify", "tiny", "--prompt", SLUG, "--key", KEY], 100);
    assert!(checkout.run(&["golden", "review"], 5).contains("left by a model that misses the golden"));
    let said = checkout.run(&update("it looks right to me"), 2);
    assert!(said.contains("it is what the model under test computed"), "{said}");
    assert_eq!((checkout.manifest(), read_bytes(&checkout.golden()).unwrap()), before);
    assert!(checkout.pending().exists() && !checkout.path("accepted.yaml").exists());
}

#[test]
fn a_models_own_output_that_pretends_to_be_pytorchs_is_refused_though_it_meets_the_golden() {
    let checkout = Checkout::new();
    checkout.forge();
    let before = (checkout.manifest(), read_bytes(&checkout.golden()).unwrap());
    let shown = checkout.run(&["golden", "review"], 5);
    assert!(shown.contains("recorded anew by the reference") && shown.contains(", 0 of "), "{shown}");
    let said = checkout.run(&update("trust me"), 2);
    assert!(said.contains("the engine's own float64 reference computes another"), "{said}");
    assert_eq!((checkout.manifest(), read_bytes(&checkout.golden()).unwrap()), before);
    assert!(!checkout.path("accepted.yaml").exists());
}

#[test]
fn a_proposal_by_another_producer_for_another_model_or_by_other_scripts_is_refused() {
    for (from, to, why) in [
        ("  script: scripts/generate_golden_traces.py", "  script: target/release/apr", "not PyTorch"),
        ("  dtype: float64", "  dtype: float32", "the truth is float64"),
        ("  script_blake3: \"2", "  script_blake3: \"3", "has changed since"),
        ("  weights: \"1", "  weights: \"2", "the model changed since"),
        ("max_deviation: \"5%\"", "max_deviation: \"6%\"", "what is asked for changed since"),
        ("    ids: [3169, 263,", "    ids: [3169, 264,", "the prompts or their ids changed since"),
    ] {
        let checkout = Checkout::new();
        let proposed = checkout.outdate();
        assert!(proposed.contains(from), "{from}");
        fs::write(checkout.path("manifest.yaml.new"), proposed.replacen(from, to, 1)).unwrap();
        let before = checkout.manifest();
        let said = checkout.run(&update("because"), 2);
        assert!(said.contains(why), "{why}: {said}");
        assert_eq!(checkout.manifest(), before);
        assert!(checkout.pending().exists() && !checkout.path("accepted.yaml").exists());
    }
}

#[test]
fn no_reason_no_file_and_ci_change_nothing() {
    let checkout = Checkout::new();
    checkout.run(&update("because"), 4);
    checkout.outdate();
    let before = checkout.manifest();
    for reason in ["", "   ", "two\nlines"] {
        assert!(checkout.run(&update(reason), 1).contains("the reason"), "{reason:?}");
    }
    checkout.run(&UPDATE[..6], 1);
    checkout.run(&["golden", "update", "--accept", "logits", "--reason", "because"], 4);
    checkout.run(&["golden", "update", "--accept", KEY, "--prompt", "no_such", "--reason", "because"], 3);
    for arguments in
        [update("because"), vec!["golden", "generate", "--new"], vec!["golden", "generate", "--force"]]
    {
        assert!(checkout.run_with(&arguments, &[("CI", "true")], 3).contains("in CI"));
    }
    checkout.run_with(&["golden", "review"], &[("CI", "true")], 5);
    assert_eq!(checkout.manifest(), before);
    assert!(checkout.pending().exists());
}

#[test]
fn a_log_that_cannot_be_read_is_not_written_over() {
    let checkout = Checkout::new();
    checkout.outdate();
    fs::write(checkout.path("accepted.yaml"), "- {date: \"2026-01-01\", key: x}\n").unwrap();
    let said = checkout.run(&update("because"), 3);
    assert!(said.contains("accepted.yaml:1:3: ") && said.contains("`reason`"), "{said}");
    assert!(checkout.pending().exists());
    let said = checkout.run(&["full", "I15", "--no-build"], 100);
    assert!(said.contains("the log of what was accepted cannot be read"), "{said}");
}

#[test]
fn json_describes_each_pending_tensor_and_asks_nothing() {
    let checkout = Checkout::new();
    checkout.outdate();
    let shown = checkout.run(&["golden", "review", "--json"], 5);
    let rows: Value = serde_json::from_str(&shown).unwrap();
    let row = &rows[0];
    assert_eq!((&row["author"], &row["key"]), (&Value::from("reference"), &Value::from(KEY)));
    assert_eq!((&row["difference"]["n_mismatched"], &row["problem"]), (&Value::from(1), &Value::Null));
    assert!(row["golden"]["mean"].is_number() && row["found"]["std"].is_number(), "{row}");
    let counts = row["differences"]["counts"].as_array().unwrap();
    let n: u64 = counts.iter().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(Value::from(n), row["difference"]["n"]);
}

#[test]
fn a_person_at_a_terminal_is_asked_and_obeyed() {
    let checkout = Checkout::new();
    let proposed = checkout.outdate();
    // Beside another golden lies what a model left.
    let other = checkout.path("unicode/logits.npy.new");
    fs::copy(checkout.path("what_is_2_plus_2/logits.npy"), &other).unwrap();
    let program = Program::new(assert_cmd::cargo::cargo_bin("cargo-probador"))
        .arg("--root")
        .arg(checkout.0.path())
        .args(["golden", "review"]);
    let mut terminal = Terminal::start(&program, Duration::from_mins(1)).unwrap();
    terminal.wait_for(0, |shown| shown.contains("(a)ccept it")).unwrap();
    terminal.send("a\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("why is the truth another now?")).unwrap();
    terminal.send("\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("the reason is empty")).unwrap();
    terminal.send("a newer torch\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("(k)eep the golden and remove this")).unwrap();
    terminal.send("a\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("is never a golden")).unwrap();
    terminal.send("k\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("all decided")).unwrap();
    assert!(!other.exists() && !checkout.pending().exists());
    assert_eq!(checkout.manifest(), proposed);
    assert_eq!(accepted(&checkout.path("")).unwrap()[0].reason, "a newer torch");
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
fn what_differs_is_left_beside_its_golden_and_what_does_not_is_not() {
    let (checkout, recorded) = (Checkout::new(), Checkout::new());
    let left = || {
        let set = GoldenSet::open_folder(&checkout.path("")).unwrap();
        propose(&set, &recorded.path("")).map(|files| files.len())
    };
    assert_eq!(left().unwrap(), 0);
    assert!(!checkout.path("manifest.yaml.new").exists());

    // Another value, and a golden that is damaged: both, and the manifest.
    checkout.outdate();
    fs::remove_file(checkout.pending()).unwrap();
    fs::remove_file(checkout.path("manifest.yaml.new")).unwrap();
    fs::write(checkout.path("unicode/logits.npy"), "no array").unwrap();
    assert_eq!(left().unwrap(), 3);
    assert!(checkout.pending().exists() && checkout.path("unicode/logits.npy.new").exists());
    checkout.run(&["golden", "update", "--accept", "*", "--reason", "a newer torch, and a broken disk"], 0);
    assert_eq!(checkout.manifest(), recorded.manifest());
    checkout.run(&["golden", "verify", "tiny"], 0);

    let other =
        recorded.manifest().replacen("script: scripts/generate_golden_traces.py", "script: target/apr", 1);
    fs::write(recorded.path("manifest.yaml"), other.as_str()).unwrap();
    assert!(left().unwrap_err().to_string().contains("not PyTorch"));
    let other = checkout.manifest().replacen("    ids: [3169, 263,", "    ids: [3169, 264,", 1);
    fs::write(recorded.path("manifest.yaml"), other).unwrap();
    assert!(left().unwrap_err().to_string().contains("the prompts or their ids changed"));
}

#[test]
fn keeping_a_golden_leaves_its_manifest_as_it_was() {
    let checkout = Checkout::new();
    checkout.outdate();
    let before = checkout.manifest();
    let set = GoldenSet::open_folder(&checkout.path("")).unwrap();
    let looked_at = probador::golden::pending(&set).unwrap();
    probador::golden::keep(&set, &looked_at[0]).unwrap();
    assert_eq!(checkout.manifest(), before);
    assert!(!checkout.pending().exists() && !checkout.path("manifest.yaml.new").exists());
    assert!(!checkout.path("accepted.yaml").exists());
}

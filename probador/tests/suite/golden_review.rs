//! `golden review` and `golden update` as a user meets them, on a checkout with goldens of its own.

use std::fs;
use std::time::Duration;

use probador::golden::npy::read_bytes;
use probador::golden::{GoldenSet, accepted, propose};
use probador::process::{Program, Terminal};
use serde_json::Value;

use crate::checkout::altered;
use crate::checkout::goldens::{Checkout, KEY, SLUG};

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
        .arg(checkout.root())
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

fn terminal(checkout: &Checkout) -> Terminal {
    let program = Program::new(assert_cmd::cargo::cargo_bin("cargo-probador"))
        .arg("--root")
        .arg(checkout.root())
        .args(["golden", "review"]);
    Terminal::start(&program, Duration::from_mins(1)).unwrap()
}

#[test]
fn what_is_skipped_or_not_looked_at_stays_undecided() {
    let checkout = Checkout::new();
    checkout.outdate();
    let other = checkout.path("unicode/logits.npy.new");
    fs::copy(checkout.path("what_is_2_plus_2/logits.npy"), &other).unwrap();
    let before = (checkout.manifest(), read_bytes(&checkout.golden()).unwrap());
    let mut terminal = terminal(&checkout);
    terminal.wait_for(0, |shown| shown.contains("(a)ccept it")).unwrap();
    terminal.send("s\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("(k)eep the golden and remove this")).unwrap();
    terminal.send("q\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("2 of 2 undecided")).unwrap();
    assert!(other.exists() && checkout.pending().exists());
    assert_eq!((checkout.manifest(), read_bytes(&checkout.golden()).unwrap()), before);
}

#[test]
fn what_a_person_accepts_is_refused_all_the_same_where_the_reference_computes_another() {
    let checkout = Checkout::new();
    checkout.forge();
    let mut terminal = terminal(&checkout);
    terminal.wait_for(0, |shown| shown.contains("(a)ccept it")).unwrap();
    terminal.send("a\n").unwrap();
    terminal.wait_for(0, |shown| shown.contains("why is the truth another now?")).unwrap();
    terminal.send("trust me\n").unwrap();
    let shown = terminal.wait_for(0, |shown| shown.contains("1 of 1 undecided")).unwrap();
    assert!(shown.contains("the engine's own float64 reference computes another"), "{shown}");
    assert!(checkout.pending().exists() && !checkout.path("accepted.yaml").exists());
}

#[test]
fn what_was_accepted_is_described_in_json() {
    let checkout = Checkout::new();
    checkout.outdate();
    let arguments = [&["--quiet"], &update("a newer torch")[..], &["--json"]].concat();
    let rows: Value = serde_json::from_str(&checkout.run(&arguments, 0)).unwrap();
    let [row] = rows.as_array().unwrap().as_slice() else { panic!("{rows}") };
    for (name, expected) in [("prompt", SLUG), ("key", KEY), ("torch", "2.15.0"), ("reason", "a newer torch")]
    {
        assert_eq!(row[name], expected, "{row}");
    }
    let logged = &accepted(&checkout.path("")).unwrap()[0];
    assert_eq!((&row["old"], &row["new"]), (&Value::from(&*logged.old), &Value::from(&*logged.new)));
    assert_eq!(row["date"], logged.date.to_string());
    assert_eq!(checkout.run(&["golden", "review", "--json"], 0), "[]\n");
}

#[test]
fn nothing_is_accepted_for_weights_that_are_not_those_of_the_goldens() {
    let checkout = Checkout::new();
    checkout.outdate();
    // The sign of one half-precision value.
    let edit = |name: &str, bytes: &mut [u8]| {
        if name == "model.layers.2.mlp.up_proj.weight" {
            bytes[1] ^= 0x80;
        }
    };
    altered(&checkout.path("tiny.apr"), edit, |_| {});
    let said = checkout.run(&update("because"), 3);
    assert!(said.contains("holds other weights than the goldens were recorded from"), "{said}");
    assert!(said.contains("hint: record the goldens as a whole: `golden generate --force`"), "{said}");
    fs::remove_file(checkout.path("tiny.apr")).unwrap();
    let said = checkout.run(&update("because"), 3);
    assert!(said.contains("the model `tiny` is needed to check what is accepted"), "{said}");
    assert!(checkout.pending().exists() && !checkout.path("accepted.yaml").exists());
}

#[test]
fn what_lies_beside_a_golden_that_is_damaged_is_shown_without_a_comparison() {
    let checkout = Checkout::new();
    checkout.outdate();
    fs::write(checkout.golden(), "no array").unwrap();
    let shown = checkout.run(&["golden", "review"], 5);
    assert!(shown.contains("has BLAKE3 ") && shown.contains("the manifest says"), "{shown}");
    assert!(shown.contains("  new     mean ") && !shown.contains("  golden  mean "), "{shown}");
    let rows: Value = serde_json::from_str(&checkout.run(&["golden", "review", "--json"], 5)).unwrap();
    assert_eq!((&rows[0]["difference"], &rows[0]["golden"]), (&Value::Null, &Value::Null));
    assert!(rows[0]["problem"].as_str().unwrap().contains("has BLAKE3"), "{rows}");
}

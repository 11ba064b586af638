//! `golden verify` as a user meets it: which goldens a model is held to, and what is said when they may not be its own.

use std::fs;

use predicates::prelude::*;

use crate::checkout::{Checkout, altered, broken_model, goldens};
use crate::support::streams;

#[test]
fn goldens_of_other_weights_or_another_tokenizer_are_taken_with_a_note() {
    let checkout = goldens::Checkout::new();
    let text = checkout.manifest();
    let line = |key: &str| {
        let start = text.find(&format!("  {key}: ")).unwrap();
        text[start..].lines().next().unwrap().to_owned()
    };
    let text = text.replacen(&line("weights"), &format!("  weights: {:?}", "1".repeat(64)), 1).replacen(
        &line("tokenizer"),
        &format!("  tokenizer: {:?}", "2".repeat(64)),
        1,
    );
    fs::write(checkout.path("manifest.yaml"), text).unwrap();
    let said = checkout.run(&["golden", "verify", "--prompt", "unicode", "--key", "logits"], 0);
    assert!(
        said.contains("note: the goldens of `tiny` were recorded from other weights than these"),
        "{said}"
    );
    assert!(said.contains("note: the goldens of `tiny` were recorded with another tokenizer"), "{said}");
}

#[test]
fn a_folder_of_goldens_may_be_named_beside_a_model_that_is_known() {
    let checkout = Checkout::new();
    let folder = checkout.path().join("golden/tiny");
    let folder = folder.to_str().unwrap();
    let select = ["--prompt", "unicode", "--key", "logits"];
    let (data, _) = streams(
        &checkout.run(&[&["golden", "verify", folder, "--model", "tiny"], &select[..]].concat()).code(0),
    );
    assert!(data.starts_with("pass  unicode  logits: "), "{data}");
    let empty = tempfile::tempdir().unwrap();
    checkout
        .run(&["golden", "verify", empty.path().to_str().unwrap(), "--model", "tiny"])
        .code(3)
        .stderr(predicate::str::contains("holds no goldens recorded from"));
}

#[test]
fn a_model_that_is_not_here_says_how_to_get_it_and_one_without_goldens_how_to_record_them() {
    let checkout = Checkout::new();
    let cache = tempfile::tempdir().unwrap();
    checkout
        .run_with(&[("PROBADOR_CACHE", cache.path())], &["golden", "verify", "release"])
        .code(3)
        .stderr(predicate::str::contains("cannot open the model `release`; get it with `make model`"));
    checkout
        .run(&["golden", "verify", &broken_model(&checkout)])
        .code(3)
        .stderr(predicate::str::contains("error: cannot open the model: "));
    // The same weights are found by what they hash to, others are not.
    let path = checkout.path().join("copy.apr");
    altered(&path, |_, _| {}, |_| {});
    let select = ["--prompt", "unicode", "--key", "logits"];
    let verify = |code: i32| {
        let arguments = [&["golden", "verify", path.to_str().unwrap()], &select[..]].concat();
        streams(&checkout.run(&arguments).code(code))
    };
    assert!(verify(0).0.starts_with("pass  unicode  logits: "));
    let edit = |name: &str, bytes: &mut [u8]| {
        if name == "model.norm.weight" {
            bytes.fill(0);
        }
    };
    altered(&path, edit, |_| {});
    let (_, talk) = verify(3);
    assert!(talk.contains(&format!("no goldens were recorded from `{}`", path.display())), "{talk}");
    assert!(
        talk.contains("hint: record them with scripts/generate_golden_traces.py, or name a folder"),
        "{talk}"
    );
}

#[test]
fn a_model_that_predicts_nothing_misses_the_likeliest_ids_and_leaves_what_it_computed_unless_in_ci() {
    let checkout = goldens::Checkout::new();
    let path = checkout.root().join("blank.apr");
    let edit = |name: &str, bytes: &mut [u8]| {
        if name == "model.norm.weight" {
            bytes.fill(0);
        }
    };
    altered(&path, edit, |_| {});
    let folder = checkout.path("");
    let arguments = [
        "golden",
        "verify",
        folder.to_str().unwrap(),
        "--model",
        path.to_str().unwrap(),
        "--prompt",
        "unicode",
        "--key",
        "logits",
    ];
    let left = checkout.path("unicode/logits.npy.new");
    let said = checkout.run_with(&arguments, &[("CI", "true")], 100);
    assert!(said.contains("FAIL  unicode  top-k: 0."), "{said}");
    assert!(said.contains("FAIL  unicode  perplexity: "), "{said}");
    assert!(!left.exists() && !said.contains("left `"), "{said}");
    // These mean that it is none.
    for (ci, is_left) in [("", true), ("false", true)] {
        let said = checkout.run_with(&arguments, &[("CI", ci)], 100);
        assert_eq!((left.exists(), said.contains("left `")), (is_left, is_left), "{said}");
        fs::remove_file(&left).unwrap();
    }
}

#[test]
fn a_manifest_that_is_no_text_is_an_error_of_the_environment() {
    let checkout = goldens::Checkout::new();
    fs::write(checkout.path("manifest.yaml"), b"schema: \xff\n").unwrap();
    let folder = checkout.path("");
    let model = checkout.path("tiny.apr");
    let arguments = ["golden", "verify", folder.to_str().unwrap(), "--model", model.to_str().unwrap()];
    let said = checkout.run(&arguments, 3);
    assert!(said.contains("failed to read `") && said.contains("manifest.yaml`"), "{said}");
}

//! `trace bisect` as a user meets it where not everything was recorded, or something is missing.

use std::fs;
use std::path::PathBuf;

use predicates::prelude::*;

use crate::checkout::{Checkout, altered, broken_model};
use crate::support::{repository, streams};

/// A copy of the small model, not known by any name, whose gate projection of a middle layer has a wrong sign here and there.
fn damaged(checkout: &Checkout) -> PathBuf {
    let path = checkout.path().join("damaged.apr");
    let edit = |name: &str, bytes: &mut [u8]| {
        if name == "model.layers.3.mlp.gate_proj.weight" {
            bytes.iter_mut().skip(1).step_by(20).for_each(|byte| *byte ^= 0x80);
        }
    };
    altered(&path, edit, |_| {});
    path
}

/// What it prints and says of the damaged model and the prompt of which only some tensors are recorded.
fn bisect(checkout: &Checkout, more: &[&str]) -> (String, String) {
    let (model, goldens) = (damaged(checkout), checkout.path().join("golden/tiny"));
    let arguments = ["trace", "bisect", model.to_str().unwrap(), "--goldens", goldens.to_str().unwrap()];
    let arguments = [&arguments[..], &["--prompt", "long_prompt"], more].concat();
    streams(&checkout.run(&arguments).code(100))
}

#[test]
fn what_was_not_recorded_is_filled_in_by_the_reference_on_the_model_of_the_goldens() {
    let checkout = Checkout::new();
    let (data, talk) = bisect(&checkout, &[]);
    let tiny = checkout.path().join("golden/tiny/tiny.apr");
    let note =
        format!("note: not everything is recorded: filled in by the reference on `{}`", tiny.display());
    assert!(talk.contains(&note), "{talk}");
    assert_eq!(data.lines().last(), Some("FAIL: layer 3, gate_proj"), "{data}");
}

#[test]
fn a_reference_that_does_not_reproduce_what_was_recorded_is_no_help() {
    let checkout = Checkout::new();
    let model = damaged(&checkout).display().to_string();
    let (data, talk) = bisect(&checkout, &["--reference", &model]);
    assert!(
        talk.contains(&format!("note: `{model}` is no help: the reference computes another `")),
        "{talk}"
    );
    assert!(
        talk.contains(
            "note: not everything is recorded, and no model at hand reproduces what is: the part may stay unknown\n\
             hint: name a good model with `--reference`"
        ),
        "{talk}"
    );
    assert_eq!(data.lines().last(), Some("FAIL: layer 3, a part that is not known"), "{data}");
    // Where the model of the goldens is not here, only the one in doubt is left to ask.
    let golden = checkout.path().join("golden");
    fs::remove_file(&golden).unwrap();
    fs::create_dir(&golden).unwrap();
    let from = repository().join("golden");
    for file in ["models.yaml", "golden-trace.yaml"] {
        fs::copy(from.join(file), golden.join(file)).unwrap();
    }
    fs::create_dir(golden.join("tiny")).unwrap();
    for part in ["manifest.yaml", "long_prompt"] {
        std::os::unix::fs::symlink(from.join("tiny").join(part), golden.join("tiny").join(part)).unwrap();
    }
    let (_, talk) = bisect(&checkout, &[]);
    assert_eq!(talk.matches("is no help").count(), 1, "{talk}");
    assert!(talk.contains(&format!("note: `{model}` is no help")), "{talk}");
}

#[test]
fn a_model_that_cannot_be_opened_or_holds_fewer_positions_is_refused() {
    let checkout = Checkout::new();
    let cache = tempfile::tempdir().unwrap();
    checkout
        .run_with(&[("PROBADOR_CACHE", cache.path())], &["trace", "bisect", "release"])
        .code(3)
        .stderr(predicate::str::contains("cannot open the model `release`; get it with `make model`"));
    let broken = broken_model(&checkout);
    checkout
        .run(&["trace", "bisect", &broken])
        .code(3)
        .stderr(predicate::str::contains("error: cannot open the model: "));
    let short = checkout.path().join("short.apr");
    altered(&short, |_, _| {}, |metadata| metadata.config.max_position_embeddings = 4);
    let goldens = checkout.path().join("golden/tiny");
    let arguments = [
        "trace",
        "bisect",
        short.to_str().unwrap(),
        "--goldens",
        goldens.to_str().unwrap(),
        "--prompt",
        "unicode",
    ];
    checkout
        .run(&arguments)
        .code(3)
        .stderr(predicate::str::is_match(r"the prompt has \d+ tokens, `.*short\.apr` holds 4").unwrap());
    checkout
        .run(&["trace", "bisect", "--text", "x", "--reference", &broken])
        .code(3)
        .stderr(predicate::str::contains(format!("cannot evaluate `{broken}` as the reference")));
}

//! The fingerprint of weights: what PyTorch's script computed, and of the weights alone.

use std::path::Path;

use apr_format::{AprFile, Check};

/// Of the tiny model, as `scripts/train_tiny.py` printed it and `golden/models.yaml` keeps it.
const TINY: &str = "1afac639eeae5ea379a69a8da761237865ac566e342297f0f88740d544b9c6cd";

#[test]
fn weights_have_the_fingerprint_that_another_program_computed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/tiny/tiny.apr");
    let file = AprFile::open(&path).unwrap();
    assert_eq!(file.weights_fingerprint(), TINY);
    assert_eq!(file.weights_fingerprint(), TINY, "asked again");
}

#[test]
fn every_check_has_a_name() {
    let names = Check::ALL.map(|check| check.to_string());
    let expected = [
        "header",
        "metadata",
        "index",
        "padding",
        "root-hash",
        "tensor-hashes",
        "checksum",
        "signature",
        "tokenizer",
        "shapes",
        "values",
    ];
    assert_eq!(names, expected);
    assert_eq!(format!("{:>8}", Check::Index), "   index", "names can be lined up");
}

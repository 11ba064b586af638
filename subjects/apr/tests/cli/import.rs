//! Importing a model from the command line; formats and their faults are `apr-interop`'s own tests.

use std::fs;

use crate::support::{Place, checkpoint, untied_checkpoint};

#[test]
fn summary_says_what_was_imported() {
    let place = Place::new();
    untied_checkpoint(&place.path("checkpoint"), 1);
    let args = ["import", "checkpoint", "-o", "new.apr", "--dtype", "f32"];
    insta::assert_snapshot!(place.run(args), @r"
    exit: 0
    --- stdout
    ✓ Read safetensors: checkpoint (194 kB)
    ✓ Converted F16 to F32, rounding to nearest even
    ✓ Model saved: new.apr (391 kB)
    Architecture: qwen2
    Tensors: 27
    Parameters: 95.8K (95,808)
    Time: [SECONDS]
    Root hash: [HASH]
    Weights: [HASH]
    --- stderr
    hashing the source (194 kB)
    importing checkpoint (192 kB)
    ");
    let value = place.json(["import", "checkpoint", "-o", "new.apr", "--force", "--json"]);
    assert_eq!(value["n_parameters"], place.json(["inspect", "new.apr", "--json"])["n_parameters"]);
    assert_eq!(value["file_size"], place.path("new.apr").metadata().unwrap().len());
    assert_eq!(value["root_hash"], place.json(["inspect", "new.apr", "--json"])["root_hash"]);
}

#[test]
fn same_source_gives_the_same_file() {
    let place = Place::new();
    checkpoint(&place.path("checkpoint"), 1);
    place.apr().args(["import", "checkpoint", "-o", "a.apr"]).assert().success();
    place.apr().args(["import", "checkpoint", "-o", "b.apr"]).assert().success();
    assert_eq!(fs::read(place.path("a.apr")).unwrap(), fs::read(place.path("b.apr")).unwrap());
}

#[test]
fn tying_leaves_one_matrix() {
    let place = Place::new();
    untied_checkpoint(&place.path("checkpoint"), 1);
    place.apr().args(["import", "checkpoint", "-o", "apart.apr"]).assert().success();
    place.apr().args(["import", "checkpoint", "-o", "tied.apr", "--tie-embeddings"]).assert().success();
    assert!(place.stdout(["tensors", "apart.apr"]).contains("lm_head.weight"));
    assert!(!place.stdout(["tensors", "tied.apr"]).contains("lm_head.weight"));
    assert!(place.stdout(["inspect", "tied.apr"]).contains("Embeddings: tied"));
}

#[test]
fn source_that_cannot_be_read_leaves_nothing() {
    let place = Place::new();
    checkpoint(&place.path("checkpoint"), 1);
    let weights = fs::read(place.path("checkpoint/model.safetensors")).unwrap();
    fs::write(place.path("checkpoint/model.safetensors"), &weights[..weights.len() - 10]).unwrap();
    place.apr().args(["import", "checkpoint", "-o", "new.apr"]).assert().code(1);
    place.apr().args(["import", "checkpoint", "-o", "new.apr", "--arch", "llama"]).assert().code(1);
    assert_eq!(place.names(), ["checkpoint", "model.apr"]);
}

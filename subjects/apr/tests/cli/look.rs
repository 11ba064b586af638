//! Looking at a model: inspect, validate, tensors.

use std::fs;

use crate::support::{Place, VOCAB_SIZE};

#[test]
fn inspect_shows_what_the_specification_shows() {
    insta::assert_snapshot!(Place::new().run(["inspect", "model.apr"]), @r"
    exit: 0
    --- stdout
    Model: model
    Architecture: qwen2 (decoder-only)
    Parameters: 78.9K (78,912)
    Layers: 2
    Hidden: 64
    Feed-forward: 96
    Heads: 4 (2 KV)
    Head size: 16
    Vocab: 264
    Context: 512
    RoPE theta: 10000
    Norm epsilon: 1e-6
    Embeddings: tied to the head
    Dtype: float16
    Size: 166 kB (165,572 bytes)
    Tensors: 26
    Root hash: [HASH]
    Weights: [HASH]
    Signature: unsigned
    Source: checkpoint (safetensors)
    Source file: model.safetensors, 160 kB, SHA-256 [HASH]
    Made by: apr import [VERSION]
    Tokenizer: embedded, 3.05 kB, BLAKE3 [HASH]
    Chat template: embedded, 167 characters
    --- stderr
    ");
}

#[test]
fn inspect_json_has_the_same_facts() {
    let value = Place::new().json(["inspect", "model.apr", "--json"]);
    assert_eq!(value["config"]["num_layers"], 2);
    assert_eq!(value["config"]["vocab_size"], VOCAB_SIZE);
    assert_eq!(value["signature"]["state"], "unsigned");
    assert_eq!(value["dtypes"]["F16"], value["n_tensors"]);
    assert_eq!(value["root_hash"].as_str().unwrap().len(), 64);
}

#[test]
fn valid_model_is_called_valid_check_by_check() {
    insta::assert_snapshot!(Place::new().run(["validate", "model.apr"]), @r"
    exit: 0
    --- stdout
    ✓ Header: VALID
    ✓ Metadata: VALID
    ✓ Index: VALID
    ✓ Padding: VALID
    ✓ Root hash: VALID (BLAKE3 [HASH])
    ✓ Tensor hashes: VALID (26 tensors)
    ✓ Checksum: VALID (CRC32; root [HASH]...)
    - Signature: not checked, it is not signed
    ✓ Tokenizer: VALID
    ✓ Shapes: All match config (26/26 tensors present)
    ✓ Values: No NaN/Inf detected
    ✓ model.apr: VALID
    --- stderr
    ");
}

#[test]
fn quality_is_a_sum_of_its_tests() {
    let place = Place::new();
    let value = place.json(["validate", "model.apr", "--quality", "--json"]);
    let quality = &value["quality"];
    let earned = quality["tests"].as_array().unwrap().iter().filter(|test| test["earned"] == true);
    let sum: u64 = earned.map(|test| test["points"].as_u64().unwrap()).sum();
    assert_eq!(quality["score"].as_u64().unwrap(), sum);
    let text = place.stdout(["validate", "model.apr", "--quality"]);
    assert!(text.contains(&format!("Quality Score: {sum}/100")), "{text}");
}

/// The root defect of tools like this one: a check that succeeds on what it did not check.
#[test]
fn damaged_file_is_never_called_valid() {
    let place = Place::new();
    let whole = fs::read(place.path("model.apr")).unwrap();
    let n = whole.len();
    let mut damaged: Vec<(String, Vec<u8>)> = [0, 3, 63, 64, 200, n / 2, n - 4, n - 1]
        .map(|end| (format!("cut to {end}"), whole[..end].to_vec()))
        .into();
    damaged.push(("with a byte more".to_owned(), [&whole[..], &[0]].concat()));
    for at in (0..n).step_by(n / 40) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        damaged.push((format!("byte {at} flipped"), bytes));
    }
    for (what, bytes) in damaged {
        fs::write(place.path("damaged.apr"), bytes).unwrap();
        for json in [&[][..], &["--json"][..]] {
            let output =
                place.apr().args(["validate", "damaged.apr", "--quality"]).args(json).output().unwrap();
            let stdout = String::from_utf8(output.stdout).unwrap();
            assert_eq!(output.status.code(), Some(1), "{what}: {stdout}");
            assert!(
                !stdout.contains("damaged.apr: VALID") && !stdout.contains("\"valid\": true"),
                "{what}: {stdout}"
            );
            assert!(
                !stdout.contains("Score: 100/100") && !stdout.contains("\"score\": 100"),
                "{what}: {stdout}"
            );
        }
    }
}

#[test]
fn everything_that_is_wrong_is_listed() {
    let place = Place::new();
    let mut bytes = fs::read(place.path("model.apr")).unwrap();
    let n = bytes.len();
    bytes[n - 100] ^= 1;
    bytes[n - 2] ^= 1;
    fs::write(place.path("damaged.apr"), bytes).unwrap();
    let shown = place.run(["validate", "damaged.apr"]);
    assert!(shown.starts_with("exit: 1\n"), "{shown}");
    assert!(shown.contains("✗ Tensor hashes: FAILED\n    error: tensor `"), "{shown}");
    assert!(shown.contains("✗ Checksum: FAILED\n    error: the file has CRC32 "), "{shown}");
    assert!(shown.contains("damaged.apr: not valid, 2 errors"), "{shown}");
}

#[test]
fn damaged_model_is_not_run() {
    let place = Place::new();
    let mut bytes = fs::read(place.path("model.apr")).unwrap();
    let n = bytes.len();
    bytes[n - 100] ^= 1;
    fs::write(place.path("damaged.apr"), bytes).unwrap();
    let output = place.apr().args(["chat", "damaged.apr"]).write_stdin("Hi").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    place.apr().args(["trace", "damaged.apr", "--prompt", "Hi", "--export", "out"]).assert().code(1);
    assert!(!place.path("out").exists());
}

#[test]
fn tensors_are_listed_with_shapes_and_statistics() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(["tensors", "model.apr", "--filter", "layers.0.", "--stats"]), @r"
    exit: 0
    --- stdout
    model.layers.0.input_layernorm.weight           [64]      F16   mean=1.000  std=0.000  min=1.000  max=1.000
    model.layers.0.mlp.down_proj.weight             [64, 96]  F16   mean=-0.002  std=0.289  min=-0.500  max=0.500
    model.layers.0.mlp.gate_proj.weight             [96, 64]  F16   mean=-0.004  std=0.287  min=-0.500  max=0.500
    model.layers.0.mlp.up_proj.weight               [96, 64]  F16   mean=-0.003  std=0.287  min=-0.500  max=0.500
    model.layers.0.post_attention_layernorm.weight  [64]      F16   mean=1.000  std=0.000  min=1.000  max=1.000
    model.layers.0.self_attn.k_proj.bias            [32]      F16   mean=1.000  std=0.000  min=1.000  max=1.000
    model.layers.0.self_attn.k_proj.weight          [32, 64]  F16   mean=-0.010  std=0.288  min=-0.500  max=0.499
    model.layers.0.self_attn.o_proj.weight          [64, 64]  F16   mean=0.010  std=0.292  min=-0.500  max=0.499
    model.layers.0.self_attn.q_proj.bias            [64]      F16   mean=1.000  std=0.000  min=1.000  max=1.000
    model.layers.0.self_attn.q_proj.weight          [64, 64]  F16   mean=0.002  std=0.287  min=-0.499  max=0.500
    model.layers.0.self_attn.v_proj.bias            [32]      F16   mean=1.000  std=0.000  min=1.000  max=1.000
    model.layers.0.self_attn.v_proj.weight          [32, 64]  F16   mean=7.76e-4  std=0.294  min=-0.500  max=0.500
    --- stderr
    12 of 26 tensors, 62.0 kB
    ");
    assert_eq!(place.stdout(["tensors", "model.apr"]).lines().count(), 26);
    insta::assert_snapshot!(place.run(["tensors", "model.apr", "--filter", "nothing"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `model.apr` has no tensor whose name contains `nothing`
    hint: without --filter, all are listed
    ");
}

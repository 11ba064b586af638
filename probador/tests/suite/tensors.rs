//! `golden verify`, `trace diff` and `tensor ..` as a user meets them: exit codes, streams, files left and not left.

use std::fs;
use std::path::Path;

use apr_format::atomic::Overwrite;
use probador::golden::npy::write_f32;
use serde_json::Value;

use crate::support::{copy_folder, in_folder, repository, stdout, tiny};

fn json(assert: &assert_cmd::assert::Assert) -> Value {
    serde_json::from_str(&stdout(assert)).unwrap()
}

fn folder(parent: &Path, name: &str, tensors: &[(&str, &[f32])]) {
    fs::create_dir(parent.join(name)).unwrap();
    for (tensor, values) in tensors {
        write_f32(
            &parent.join(name).join(format!("{tensor}.npy")),
            &[values.len()],
            values,
            Overwrite::Refuse,
        )
        .unwrap();
    }
}

/// A copy of the small model's goldens in `folder`, without its model.
fn copy_goldens(folder: &Path) {
    copy_folder(&repository().join("golden/tiny"), folder, |file| !file.ends_with("tiny.apr"));
}

#[test]
fn the_small_model_meets_every_golden() {
    let found = json(&in_folder(&repository(), &["golden", "verify", "tiny", "--json"]).code(0));
    assert_eq!((&found["passed"], &found["n_failed"]), (&Value::Bool(true), &Value::from(0)));
    assert!(found["n_compared"].as_u64().unwrap() > 1_000_000, "{}", found["n_compared"]);
    let lines = stdout(
        &in_folder(&repository(), &["golden", "verify", "--prompt", "unicode", "--key", "logits"]).code(0),
    );
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.starts_with("pass  unicode  logits: max_abs "), "{lines}");
}

#[test]
fn a_model_with_one_weight_changed_misses_its_goldens() {
    let scratch = tempfile::tempdir().unwrap();
    copy_goldens(&scratch.path().join("goldens"));
    let file = apr_format::AprFile::open(&tiny()).unwrap();
    let specs = file.entries().iter().map(|entry| apr_format::TensorSpec {
        name: entry.name.clone(),
        dtype: entry.dtype,
        shape: entry.shape.clone(),
    });
    let path = scratch.path().join("changed.apr");
    let mut writer =
        apr_format::AprWriter::create(&path, file.metadata().clone(), specs.collect(), Overwrite::Refuse)
            .unwrap();
    for entry in file.entries() {
        let mut bytes = file.tensor(&entry.name).unwrap().bytes().to_vec();
        if entry.name == "model.layers.2.mlp.up_proj.weight" {
            // The sign of one half-precision value.
            bytes[1] ^= 0x80;
        }
        writer.write_tensor(&entry.name, &bytes).unwrap();
    }
    writer.finish().unwrap();

    let arguments = ["golden", "verify", "--model", path.to_str().unwrap(), "goldens", "--prompt", "unicode"];
    let lines = stdout(&in_folder(scratch.path(), &arguments).code(100));
    let first = lines.lines().find(|line| line.starts_with("FAIL")).unwrap();
    assert!(
        first.contains("model.layers.2.mlp.up_proj: out of tolerance")
            && first.contains("smallest passing atol"),
        "{first}"
    );
    assert!(first.contains("(position "), "{first}");
    let pending = scratch.path().join("goldens/unicode/model.layers.2.mlp.up_proj.npy.new");
    assert!(pending.is_file(), "what the model computed is left beside the golden");

    let mended = ["golden", "verify", "--model", tiny().to_str().unwrap(), "goldens", "--prompt", "unicode"]
        .map(str::to_owned);
    let mended: Vec<&str> = mended.iter().map(String::as_str).collect();
    in_folder(scratch.path(), &mended).code(0);
    assert!(!pending.exists(), "and removed once the golden is met");
}

#[test]
fn goldens_that_cannot_be_trusted_have_exit_codes_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    copy_goldens(scratch.path());
    let tiny = tiny();
    let verify = |code: i32| {
        let assert = in_folder(scratch.path(), &["golden", "verify", "--model", tiny.to_str().unwrap(), "."])
            .code(code);
        let output = assert.get_output();
        String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
    };
    verify(0);
    fs::write(scratch.path().join("unicode/logits.npy"), "no array").unwrap();
    assert!(verify(100).contains("logits.npy` has BLAKE3"));
    fs::remove_file(scratch.path().join("unicode/logits.npy")).unwrap();
    assert!(verify(100).contains("failed to read `./unicode/logits.npy`"));
    let manifest = scratch.path().join("manifest.yaml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replacen("dtype: float64", "dtype: float32", 1)).unwrap();
    assert!(verify(2).contains("the truth is float64"));
    fs::write(&manifest, text.replacen("schema: 1", "schema: 1\ncolour: red", 1)).unwrap();
    assert!(verify(2).contains("manifest.yaml:"));
    assert!(
        in_folder(&repository(), &["golden", "verify", "--key", "no.such.key"])
            .code(4)
            .get_output()
            .stdout
            .is_empty()
    );
    in_folder(&repository(), &["golden", "verify", "--prompt", "no_such_prompt"]).code(3);
}

#[test]
fn folders_are_compared_tensor_by_tensor() {
    let scratch = tempfile::tempdir().unwrap();
    folder(scratch.path(), "a", &[("logits", &[1.0, 2.0]), ("input_ids", &[1.0])]);
    folder(scratch.path(), "b", &[("logits", &[1.0, 2.00005]), ("input_ids", &[1.0])]);
    in_folder(scratch.path(), &["trace", "diff", "a", "b"]).code(0);
    let lines =
        stdout(&in_folder(scratch.path(), &["trace", "diff", "a", "b", "--tolerance", "1e-6"]).code(100));
    assert!(lines.starts_with("FAIL  logits: ") && lines.contains("worst at [1]"), "{lines}");
    in_folder(scratch.path(), &["trace", "diff", "a", "b", "--tolerance", "0,1e-4"]).code(0);
    for wrong in ["-1", "nan", "tight"] {
        in_folder(scratch.path(), &["trace", "diff", "a", "b", &format!("--tolerance={wrong}")]).code(1);
    }
    in_folder(scratch.path(), &["trace", "diff", "a", "b", "--key", "nothing"]).code(4);
    in_folder(scratch.path(), &["trace", "diff", "a", "nowhere"]).code(3);
}

#[test]
fn missing_tensors_other_ids_and_nan_are_failures_at_any_tolerance() {
    let scratch = tempfile::tempdir().unwrap();
    folder(scratch.path(), "a", &[("logits", &[1.0]), ("input_ids", &[1.0])]);
    folder(scratch.path(), "fewer", &[("logits", &[1.0])]);
    folder(scratch.path(), "other", &[("logits", &[1.0]), ("input_ids", &[2.0])]);
    folder(scratch.path(), "broken", &[("logits", &[f32::NAN]), ("input_ids", &[1.0])]);
    for (a, b, why) in [
        ("a", "fewer", "missing in the second"),
        ("fewer", "a", "missing in the first"),
        ("a", "other", "input_ids: max_abs 1"),
        ("a", "broken", "no tolerance would pass"),
        ("broken", "broken", "no tolerance would pass"),
    ] {
        let lines =
            stdout(&in_folder(scratch.path(), &["trace", "diff", a, b, "--tolerance", "1e30"]).code(100));
        assert!(lines.contains(why), "{a} {b}: {lines}");
    }
}

#[test]
fn differences_are_written_to_a_folder_that_was_not_there() {
    let scratch = tempfile::tempdir().unwrap();
    folder(scratch.path(), "a", &[("logits", &[1.0, 2.5])]);
    folder(scratch.path(), "b", &[("logits", &[1.0, 2.0])]);
    let found =
        json(&in_folder(scratch.path(), &["trace", "diff", "a", "b", "-o", "diff", "--json"]).code(100));
    let written: Value =
        serde_json::from_slice(&fs::read(scratch.path().join("diff/report.json")).unwrap()).unwrap();
    assert_eq!(written, found);
    assert_eq!(found["tensors"][0]["worst"]["index"], serde_json::json!([1]));
    let difference = probador::golden::npy::read_numbers(&scratch.path().join("diff/logits.npy")).unwrap();
    assert_eq!(
        difference.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
        [0.0_f64, 0.5].map(f64::to_bits)
    );
    for target in ["diff", "a"] {
        in_folder(scratch.path(), &["trace", "diff", "a", "b", "-o", target]).code(3);
    }
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn a_models_tensors_are_exported_compared_and_described() {
    let scratch = tempfile::tempdir().unwrap();
    let tiny = tiny();
    let tiny = tiny.to_str().unwrap();
    let names = stdout(
        &in_folder(scratch.path(), &["tensor", "export", tiny, "-o", "w", "--key", "layers.0."]).code(0),
    );
    assert_eq!(names.lines().count(), 12, "{names}");
    in_folder(scratch.path(), &["tensor", "export", tiny, "-o", "w"]).code(3);
    in_folder(scratch.path(), &["tensor", "compare", "w", tiny, "--key", "layers.0."]).code(0);
    in_folder(scratch.path(), &["tensor", "compare", "w", tiny]).code(100);
    in_folder(scratch.path(), &["tensor", "compare", tiny, tiny]).code(0);

    let path = scratch.path().join("w/model.layers.0.mlp.up_proj.weight.npy");
    let mut array = probador::golden::npy::parse_f32(&path, &fs::read(&path).unwrap()).unwrap();
    array.values[7] = f32::NAN;
    write_f32(&path, &array.shape, &array.values, Overwrite::Allow).unwrap();
    let lines = stdout(
        &in_folder(scratch.path(), &["tensor", "compare", "w", tiny, "--key", "up_proj", "--key", "nothing"])
            .code(100),
    );
    assert!(lines.contains("FAIL  model.layers.0.mlp.up_proj.weight"), "{lines}");

    let found =
        json(&in_folder(scratch.path(), &["tensor", "stats", "w", "--key", "up_proj", "--json"]).code(0));
    let row = &found["tensors"][0];
    assert_eq!((&row["n_nan"], &row["dtype"]), (&Value::from(1), &Value::from("<f4")));
    assert!(row["std"].as_f64().unwrap() > 0.0 && row["quantiles"].as_array().unwrap().len() == 7, "{row}");
    let lines = stdout(&in_folder(scratch.path(), &["tensor", "stats", tiny]).code(0));
    assert_eq!(lines.lines().count(), 75, "a heading and 74 tensors");
    in_folder(scratch.path(), &["tensor", "stats", tiny, "--key", "nothing"]).code(4);
    let arguments = ["tensor", "stats", tiny, "--key", "layers.0.mlp.up_proj", "--histogram", "--heatmap"];
    let lines = stdout(&in_folder(scratch.path(), &arguments).code(0));
    let bars: Vec<&str> = lines.lines().filter(|line| line.contains('|')).collect();
    assert_eq!(bars.len(), 1 + 16, "a histogram and sixteen rows of a heatmap: {lines}");
    assert!(bars[0].contains('█') && bars[1..].iter().any(|line| line.contains('▓')), "{lines}");
    let found = json(&in_folder(scratch.path(), &[&arguments[..], &["--json"]].concat()).code(0));
    let counts = found["tensors"][0]["histogram"]["counts"].as_array().unwrap();
    let n: u64 = counts.iter().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(Value::from(n), found["tensors"][0]["n"], "every value is in a bin");
    assert_eq!(found["tensors"][0]["heatmap"]["n_columns"], 64);

    let page = ["tensor", "stats", tiny, "--key", "layers.0.", "--html", "page.html"];
    in_folder(scratch.path(), &page).code(0);
    let html = fs::read_to_string(scratch.path().join("page.html")).unwrap();
    assert_eq!((html.matches("<section>").count(), html.matches("<svg").count()), (12, 12 + 7));
    assert!(!html.contains("http") && html.contains("prefers-color-scheme: dark"));
    in_folder(scratch.path(), &page).code(3);
    in_folder(scratch.path(), &[&page[..], &["--force"]].concat()).code(0);
    fs::write(scratch.path().join("broken.apr"), "no model").unwrap();
    in_folder(scratch.path(), &["tensor", "stats", "broken.apr"]).code(3);
}

#[test]
fn what_is_exported_and_compared_can_be_read_by_programs() {
    let scratch = tempfile::tempdir().unwrap();
    let tiny = tiny();
    let tiny = tiny.to_str().unwrap();
    let export = ["tensor", "export", tiny, "-o", "w", "--key", "*.layers.0.*norm*"];
    let found = json(&in_folder(scratch.path(), &[&export[..], &["--json"]].concat()).code(0));
    let norms = ["input_layernorm.weight", "post_attention_layernorm.weight"]
        .map(|norm| format!("model.layers.0.{norm}"));
    assert_eq!(found, serde_json::json!({"folder": "w", "tensors": norms}));
    let nothing =
        in_folder(scratch.path(), &["tensor", "export", tiny, "-o", "x", "--key", "nothing"]).code(4);
    let said = String::from_utf8(nothing.get_output().stderr.clone()).unwrap();
    assert!(said.contains("no tensor was selected\nhint: leave out `--key` to select all"), "{said}");
    assert!(!scratch.path().join("x").exists());

    let compare = |code: i32, more: &[&str]| {
        let arguments = [&["tensor", "compare", "w", tiny, "--json"], more].concat();
        json(&in_folder(scratch.path(), &arguments).code(code))
    };
    let found = compare(0, &["--key", "*.layers.0.*norm*"]);
    assert_eq!((&found["passed"], &found["n_failed"]), (&Value::Bool(true), &Value::from(0)));
    assert_eq!((&found["a"], &found["b"]), (&Value::from("w"), &Value::from(tiny)));
    let found = compare(100, &[]);
    assert_eq!((&found["passed"], &found["n_failed"]), (&Value::Bool(false), &Value::from(72)));
}

#[test]
fn a_tensor_whose_name_could_leave_the_folder_is_not_exported() {
    use apr_format::{AprWriter, Metadata, TensorSpec};
    use apr_tensor::DType;
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("model.apr");
    let specs = vec![TensorSpec { name: "a b".into(), dtype: DType::F32, shape: vec![1] }];
    let mut writer = AprWriter::create(&path, Metadata::default(), specs, Overwrite::Refuse).unwrap();
    writer.write_tensor("a b", &1.0_f32.to_le_bytes()).unwrap();
    writer.finish().unwrap();
    let assert = in_folder(scratch.path(), &["tensor", "export", "model.apr", "-o", "w"]).code(3);
    let said = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    assert!(said.contains("tensor `a b` of `model.apr` cannot be a file's name"), "{said}");
    assert!(!scratch.path().join("w").exists());
}

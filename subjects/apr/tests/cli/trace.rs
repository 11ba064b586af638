//! Tensors of a forward pass in `.npy` files.

use std::fs;
use std::path::Path;

use ndarray::{Array1, Array2, Axis, concatenate};
use ndarray_npy::read_npy;

use crate::support::{IM_END, IM_START, N_HEADS, N_LAYERS, Place, VOCAB_SIZE};

fn floats(folder: &Path, name: &str) -> Array2<f32> {
    read_npy(folder.join(format!("{name}.npy"))).unwrap()
}

fn ids(folder: &Path) -> Vec<i64> {
    read_npy::<_, Array1<i64>>(folder.join("input_ids.npy")).unwrap().to_vec()
}

#[test]
fn every_tensor_is_exported_with_its_shape() {
    let place = Place::new();
    place.apr().args(["trace", "model.apr", "--prompt", "Hello", "--export", "out"]).assert().success();
    let folder = place.path("out");
    assert_eq!(ids(&folder), [72, 101, 108, 108, 111]);
    assert_eq!(floats(&folder, "logits").shape(), [5, VOCAB_SIZE]);
    assert_eq!(floats(&folder, "model.embed_tokens").shape(), [5, 64]);
    assert_eq!(floats(&folder, "model.norm").shape(), [5, 64]);
    assert_eq!(floats(&folder, "model.layers.1").shape(), [5, 64]);
    assert_eq!(floats(&folder, "model.layers.1.self_attn.k_proj").shape(), [5, 32]);
    assert_eq!(floats(&folder, "model.layers.0.mlp.gate_proj").shape(), [5, 96]);
    // The lower triangle: 1 + 2 + 3 + 4 + 5 pairs.
    assert_eq!(floats(&folder, "model.layers.0.self_attn.scores").shape(), [N_HEADS, 15]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 4 + 11 * N_LAYERS);
}

#[test]
fn long_prompt_in_pieces_gives_what_its_parts_give() {
    let place = Place::new();
    // Longer than the piece that is evaluated at a time.
    let text: String = ('a'..='z').cycle().take(300).collect();
    fs::write(place.path("prompt"), &text).unwrap();
    place
        .apr()
        .args(["trace", "model.apr", "--prompt-file", "prompt", "--export", "long"])
        .assert()
        .success();
    place
        .apr()
        .args(["trace", "model.apr", "--prompt", &text[..200], "--export", "short"])
        .assert()
        .success();
    let (long, short) = (place.path("long"), place.path("short"));
    for name in ["logits", "model.layers.0.self_attn.q_proj", "model.layers.1", "model.norm"] {
        let (long, short) = (floats(&long, name), floats(&short, name));
        assert_eq!(long.slice(ndarray::s![..200, ..]), short, "{name}");
        assert_eq!(long.nrows(), 300);
    }
    let scores = "model.layers.1.self_attn.scores";
    let n_pairs = 200 * 201 / 2;
    assert_eq!(floats(&long, scores).slice(ndarray::s![.., ..n_pairs]), floats(&short, scores));
    assert_eq!(floats(&long, scores).ncols(), 300 * 301 / 2);
    assert!(floats(&long, scores).iter().filter(|value| **value == 0.0).count() < 10);
}

#[test]
fn logits_of_the_last_position_are_the_last_row_of_all() {
    let place = Place::new();
    place.apr().args(["trace", "model.apr", "--prompt", "Hello", "--export", "all"]).assert().success();
    place
        .apr()
        .args(["trace", "model.apr", "--prompt", "Hello", "--logits", "last", "--export", "last"])
        .assert()
        .success();
    let (all, last) = (floats(&place.path("all"), "logits"), floats(&place.path("last"), "logits"));
    assert_eq!(last.shape(), [1, VOCAB_SIZE]);
    assert_eq!(all.index_axis(Axis(0), 4), last.index_axis(Axis(0), 0));
}

#[test]
fn ids_are_taken_as_they_are() {
    let place = Place::new();
    place.apr().args(["trace", "model.apr", "--ids", "72,101,257", "--export", "out"]).assert().success();
    assert_eq!(ids(&place.path("out")), [72, 101, 257]);
    insta::assert_snapshot!(place.run(["trace", "model.apr", "--ids", "72,264", "--export", "bad"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: token id 264 is outside the model's vocabulary of 264
    hint: ids go from 0 to 263
    ");
    place.apr().args(["trace", "model.apr", "--ids", "1,-2", "--export", "bad"]).assert().code(2);
    assert!(!place.path("bad").exists());
}

#[test]
fn chat_template_surrounds_the_prompt_and_control_text_stays_text() {
    let place = Place::new();
    place
        .apr()
        .args(["trace", "model.apr", "--prompt", "<|im_end|>", "--chat", "--export", "out"])
        .assert()
        .success();
    let ids = ids(&place.path("out"));
    let (start, end) = (IM_START as i64, IM_END as i64);
    let bytes = |text: &str| text.bytes().map(i64::from).collect::<Vec<_>>();
    let expected = concatenate(
        Axis(0),
        &[
            Array1::from(vec![start]).view(),
            Array1::from(bytes("user\n<|im_end|>")).view(),
            Array1::from(vec![end, 10, start]).view(),
            Array1::from(bytes("assistant\n")).view(),
        ],
    );
    assert_eq!(ids, expected.unwrap().to_vec());
}

#[test]
fn chosen_keys_are_exported_and_no_others() {
    let place = Place::new();
    let args = [
        "trace",
        "model.apr",
        "--prompt",
        "Hi",
        "--export",
        "out",
        "--keys",
        "layers.0.self_attn.q",
        "--keys",
        "*.norm",
    ];
    place.apr().args(args).assert().success();
    let mut names = crate::support::names(&place.path("out"));
    names.sort();
    assert_eq!(
        names,
        ["input_ids.npy", "logits.npy", "model.layers.0.self_attn.q_proj.npy", "model.norm.npy"]
    );
    insta::assert_snapshot!(
        place.run(["trace", "model.apr", "--prompt", "Hi", "--export", "no", "--keys", "layers.7."]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: no tensor matches `layers.7.`
    hint: keys look like `model.layers.0.self_attn.q_proj`; `*` stands for anything, and a pattern without `*` matches anywhere in the key
    "
    );
    assert!(!place.path("no").exists());
}

#[test]
fn prompt_without_tokens_and_prompt_beyond_the_context_are_refused() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(["trace", "model.apr", "--prompt", "", "--export", "out"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the prompt is empty: there is nothing to evaluate
    hint: give --prompt some text
    ");
    let long = "x".repeat(513);
    insta::assert_snapshot!(place.run(["trace", "model.apr", "--prompt", &long, "--export", "out"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: the prompt has 513 tokens, `model.apr` was made for a context of 512
    hint: give it a shorter prompt
    ");
    assert!(!place.path("out").exists());
}

#[test]
fn folder_is_replaced_only_when_asked_and_only_when_it_is_an_export() {
    let place = Place::new();
    let trace = |prompt: &str, force: bool| {
        let mut command = place.apr();
        command.args(["trace", "model.apr", "--prompt", prompt, "--export", "out"]);
        if force {
            command.arg("--force");
        }
        command.output().unwrap().status.code().unwrap()
    };
    assert_eq!(trace("a", false), 0);
    assert_eq!(trace("bc", false), 1);
    assert_eq!(ids(&place.path("out")), [97]);
    assert_eq!(trace("bc", true), 0);
    assert_eq!(ids(&place.path("out")), [98, 99]);
    fs::write(place.path("out/thesis.txt"), "years of work").unwrap();
    assert_eq!(trace("a", true), 1);
    assert_eq!(ids(&place.path("out")), [98, 99]);
    assert_eq!(place.names(), ["model.apr", "out"]);
}

#[test]
fn summary_names_the_likeliest_next_tokens() {
    let place = Place::new();
    let value = place.json(["trace", "model.apr", "--prompt", "Hi", "--export", "out", "--json"]);
    let logits = floats(&place.path("out"), "logits");
    let last = logits.row(1);
    let best = (0..VOCAB_SIZE).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
    assert_eq!(value["next"][0]["id"], best);
    let sum: f64 = last.iter().map(|&logit| f64::from(logit - last[best]).exp()).sum();
    let probability = value["next"][0]["probability"].as_f64().unwrap();
    assert!((probability - 1.0 / sum).abs() < 1e-9, "{probability} {sum}");
    assert_eq!(value["n_files"], fs::read_dir(place.path("out")).unwrap().count());
    assert_eq!(value["ids"], serde_json::json!([72, 105]));
}

//! Paths that are not names people choose, files that must not be lost, and errors that say which file.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;

use crate::support::{Place, checkpoint};

/// A name that is no UTF-8.
fn odd() -> OsString {
    OsString::from_vec(b"odd-\xff.apr".to_vec())
}

#[test]
fn path_that_is_not_utf8_works_everywhere() {
    let place = Place::new();
    fs::copy(place.path("model.apr"), place.path(odd())).unwrap();
    let odd = odd();
    let os = OsStr::new;
    let folder = OsStr::from_bytes(b"out-\xff");
    let key = OsStr::from_bytes(b"key-\xff");
    let signed = OsStr::from_bytes(b"signed-\xff.apr");
    let source = OsStr::from_bytes(b"source-\xff");
    let imported = OsStr::from_bytes(b"imported-\xff.apr");
    checkpoint(&place.path(source), 1);
    let commands: Vec<Vec<&OsStr>> = vec![
        vec![os("import"), source, os("-o"), imported],
        vec![os("import"), source, os("-o"), imported, os("--force"), os("--json")],
        vec![os("inspect"), &odd],
        vec![os("inspect"), &odd, os("--json")],
        vec![os("validate"), &odd],
        vec![os("validate"), &odd, os("--json")],
        vec![os("tensors"), &odd],
        vec![os("tokenize"), &odd, os("--text"), os("Hi")],
        vec![os("trace"), &odd, os("--prompt"), os("Hi"), os("--export"), folder],
        vec![
            os("trace"),
            &odd,
            os("--prompt"),
            os("Hi"),
            os("--export"),
            folder,
            os("--force"),
            os("--json"),
        ],
        vec![os("keygen"), os("-o"), key],
        vec![os("sign"), &odd, os("--key"), key, os("-o"), signed, os("--json")],
    ];
    for args in commands {
        let output = place.apr().args(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        if args.contains(&os("--json")) {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
            assert!(parsed.is_ok(), "{args:?}");
        }
    }
    assert!(place.path(folder).join("logits.npy").exists() && place.path(signed).exists());
    place.apr().arg("chat").arg(&odd).args(["--max-tokens", "1"]).write_stdin("Hi").assert().success();
}

#[test]
fn file_named_like_a_flag_is_a_file() {
    let place = Place::new();
    fs::copy(place.path("model.apr"), place.path("-x")).unwrap();
    let plain = place.stdout(["inspect", "./-x"]);
    assert!(plain.contains("Layers: 2"), "{plain}");
    assert_eq!(place.stdout(["inspect", "--", "-x"]), plain);
    place.apr().args(["keygen", "-o", "-k"]).assert().code(2);
    place.apr().args(["keygen", "-o", "./-k"]).assert().success();
    place.apr().args(["sign", "--key=./-k", "--output=./-s", "--", "-x"]).assert().success();
    assert!(place.path("-s").exists());
}

#[test]
fn existing_output_is_kept_unless_forced() {
    let place = Place::new();
    checkpoint(&place.path("checkpoint"), 1);
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    fs::write(place.path("mine"), "years of work").unwrap();
    let commands: [&[&str]; 3] = [
        &["import", "checkpoint", "-o", "mine"],
        &["sign", "model.apr", "--key", "key", "-o", "mine"],
        &["keygen", "-o", "mine"],
    ];
    for args in commands {
        let output = place.apr().args(args).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(stderr.contains("`mine` already exists"), "{args:?}: {stderr}");
        assert_eq!(fs::read(place.path("mine")).unwrap(), b"years of work");
    }
    for args in &commands[..2] {
        fs::write(place.path("mine"), "years of work").unwrap();
        place.apr().args(*args).arg("--force").assert().success();
        place.apr().args(["validate", "mine"]).assert().success();
    }
    // Keys cannot be made again; nothing forces their loss.
    place.apr().args(["keygen", "-o", "mine", "--force"]).assert().code(2);
}

#[test]
fn output_that_is_the_input_is_refused_under_any_name() {
    let place = Place::new();
    place.apr().args(["keygen", "-o", "key"]).assert().success();
    checkpoint(&place.path("checkpoint"), 1);
    fs::hard_link(place.path("model.apr"), place.path("linked.apr")).unwrap();
    symlink("checkpoint", place.path("alias")).unwrap();
    let before = fs::read(place.path("model.apr")).unwrap();
    let weights = fs::read(place.path("checkpoint/model.safetensors")).unwrap();
    let commands: [&[&str]; 4] = [
        &["sign", "model.apr", "--key", "key", "-o", "./model.apr", "--force"],
        &["sign", "model.apr", "--key", "key", "-o", "linked.apr", "--force"],
        &["import", "checkpoint", "-o", "alias/model.safetensors", "--force"],
        &[
            "import",
            "checkpoint/model.safetensors",
            "--arch",
            "qwen2",
            "-o",
            "checkpoint/model.safetensors",
            "--force",
        ],
    ];
    for args in commands {
        let output = place.apr().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(fs::read(place.path("model.apr")).unwrap(), before);
    assert_eq!(fs::read(place.path("checkpoint/model.safetensors")).unwrap(), weights);
}

#[test]
fn link_is_never_written_through() {
    let place = Place::new();
    checkpoint(&place.path("checkpoint"), 1);
    fs::write(place.path("victim"), "years of work").unwrap();
    symlink("victim", place.path("out.apr")).unwrap();
    for force in [&[][..], &["--force"][..]] {
        place.apr().args(["import", "checkpoint", "-o", "out.apr"]).args(force).assert().code(1);
        assert_eq!(fs::read(place.path("victim")).unwrap(), b"years of work");
    }
}

#[test]
fn error_names_the_file_what_is_wrong_and_what_to_do() {
    let place = Place::new();
    insta::assert_snapshot!(place.run(["inspect", "gone.apr"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: failed to open `gone.apr`: No such file or directory (os error 2)
    hint: check the path
    ");
    fs::write(place.path("short.apr"), "APR").unwrap();
    insta::assert_snapshot!(place.run(["inspect", "short.apr"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `short.apr` is not a usable .apr file: it ends after 3 bytes, the header needs 64
    hint: the file is cut short; fetch or import it again
    ");
    fs::write(place.path("weights.gguf"), "GGUF").unwrap();
    insta::assert_snapshot!(place.run(["chat", "weights.gguf"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `weights.gguf` is not a usable .apr file: it ends after 4 bytes, the header needs 64
    hint: the file is cut short; fetch or import it again
    ");
    insta::assert_snapshot!(place.run(["import", "gone", "-o", "x.apr"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `gone` does not exist
    hint: give a .gguf or .safetensors file, a directory with config.json, or hf://org/repo
    ");
    insta::assert_snapshot!(place.run(["import", "model.apr", "-o", "x.apr"]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: `model.apr` is neither a GGUF nor a safetensors file
    hint: it is imported already; `apr inspect` shows it
    ");
    insta::assert_snapshot!(place.run(["inspect", "."]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: failed to open `.`: it is not a regular file
    ");
    assert!(!place.path("x.apr").exists());
}

#[test]
fn name_in_a_file_cannot_steer_the_terminal() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"a\x1b]0;owned\x07.apr");
    let output = place.apr().arg("inspect").arg(name).output().unwrap();
    assert!(!output.stderr.contains(&0x1b) && !output.stderr.contains(&7));
    assert!(String::from_utf8_lossy(&output.stderr).contains("\\u{1b}]0;owned\\u{7}"));
}

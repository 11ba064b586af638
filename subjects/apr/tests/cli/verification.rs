//! Handing over to the engine: the same arguments, the same exit code.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Place, apr, place_of_counts};

/// A place where `bin/apr` has no engine beside it.
fn alone() -> Place {
    let place = Place::new();
    fs::create_dir(place.path("bin")).unwrap();
    shell(&["cp", apr().to_str().unwrap(), place.path("bin/apr").to_str().unwrap()]);
    place
}

/// An engine that says what it was asked and exits with 100.
fn engine(folder: &Path) {
    executable(folder, "#!/bin/sh\nprintf '%s\\n' \"$@\" \"${CARGO_TERM_COLOR-unset}\"\nexit 100\n");
}

/// A `cargo-probador` with this text.
fn executable(folder: &Path, text: &str) {
    let path = folder.join("cargo-probador");
    shell(&["sh", "-c", "printf '%s' \"$0\" > \"$1\" && chmod 755 \"$1\"", text, path.to_str().unwrap()]);
}

/// Runs a command that writes an executable. A file that this process wrote itself could still be open in a child of
/// another test, and an executable that is open for writing cannot be started.
fn shell(command: &[&str]) {
    assert!(Command::new(command[0]).args(&command[1..]).status().unwrap().success(), "{command:?}");
}

fn run(place: &Place, args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = assert_cmd::Command::new(place.path("bin/apr"));
    let path = format!("{}:/usr/bin:/bin", place.path("path").display());
    command.current_dir(place.path(".")).env_clear().env("PATH", path).envs(place_of_counts());
    let output = command.args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn engine_beside_gets_the_arguments_and_gives_the_exit_code() {
    let place = alone();
    engine(&place.path("bin"));
    let cases: [(&[&str], &str); 7] = [
        (&["probador", "full", "--section", "C", "--", "-x"], "full\n--section\nC\n--\n-x\nunset\n"),
        (&["probador", "full", "--help"], "full\n--help\nunset\n"),
        (&["diff", "a/", "b/", "--tolerance", "1e-4"], "trace\ndiff\n--tolerance\n1e-4\n--\na/\nb/\nunset\n"),
        (
            &["test-model", "m.apr", "--golden-trace", "golden/"],
            "golden\nverify\n--model\nm.apr\n--\ngolden/\nunset\n",
        ),
        (&["diff", "a/", "b/", "--json"], "trace\ndiff\n--json\n--\na/\nb/\nunset\n"),
        (
            &["test-model", "m.apr", "--golden-trace", "g", "--json"],
            "golden\nverify\n--model\nm.apr\n--json\n--\ng\nunset\n",
        ),
        (&["--color", "never", "probador", "list"], "list\nnever\n"),
    ];
    for (args, expected) in cases {
        assert_eq!(run(&place, args), (Some(100), expected.to_owned(), String::new()), "{args:?}");
    }
}

#[test]
fn engine_on_path_is_found_too() {
    let place = alone();
    fs::create_dir(place.path("path")).unwrap();
    engine(&place.path("path"));
    assert_eq!(run(&place, &["probador", "list"]).0, Some(100));
}

#[test]
fn missing_engine_is_an_error_with_a_remedy() {
    let place = alone();
    for args in [&["probador", "full"][..], &["diff", "a", "b"], &["test-model", "m", "--golden-trace", "g"]]
    {
        let (code, stdout, stderr) = run(&place, args);
        assert_eq!((code, stdout.as_str()), (Some(1), ""));
        assert!(
            stderr.contains("is neither beside `apr`") && stderr.contains("\nhint: build it with "),
            "{stderr}"
        );
    }
}

#[test]
fn engine_that_cannot_start_is_named() {
    let place = alone();
    executable(&place.path("bin"), "#!/nonexistent/interpreter\n");
    let (code, _, stderr) = run(&place, &["probador", "full"]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with("error: failed to run `") && stderr.contains("cargo-probador"), "{stderr}");
}

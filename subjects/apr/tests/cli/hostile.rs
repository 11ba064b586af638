//! The corpus of hostile files through the program: each is refused by name, with nothing left behind.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::support::Place;

/// The files of one format; there must be some.
fn files(format: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/hostile").join(format);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 10, "{} files of {format}", files.len());
    files
}

fn is_sound(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "sound")
}

/// Runs `apr` with these arguments on `file`: success for a sound one; else exit code 1, the file named, in good time.
fn check(file: &Path, command: impl FnOnce(&mut assert_cmd::Command)) {
    let started = Instant::now();
    let place = Place::new();
    let mut program = place.apr();
    command(&mut program);
    let output = program.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(started.elapsed() < Duration::from_secs(20), "{} took {:?}", file.display(), started.elapsed());
    let expected = i32::from(!is_sound(file));
    assert_eq!(output.status.code(), Some(expected), "{}: {said}", file.display());
    let all = said + &String::from_utf8_lossy(&output.stdout);
    let name = file.file_name().unwrap().to_string_lossy();
    assert!(all.contains(&*name) && !all.contains("panicked"), "{name}: {all}");
}

#[test]
fn hostile_gguf_files_are_not_imported() {
    let folder = tempfile::tempdir().unwrap();
    for file in files("gguf") {
        let out = folder.path().join("out.apr");
        check(&file, |apr| {
            apr.arg("import").arg(&file).arg("-o").arg(&out);
        });
        assert_eq!(out.exists(), is_sound(&file), "{}", file.display());
        if is_sound(&file) {
            std::fs::remove_file(&out).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{} leaves a file", file.display());
    }
}

#[test]
fn hostile_apr_files_are_neither_valid_nor_chatted_with() {
    for file in files("apr") {
        check(&file, |apr| {
            apr.arg("validate").arg(&file);
        });
        // The sound one holds no chat template.
        if !is_sound(&file) {
            check(&file, |apr| {
                apr.args(["chat", "--max-tokens", "1"]).arg(&file).write_stdin("x");
            });
        }
    }
}

//! The corpus of hostile tokenizers and templates: the sound one of each works, and every other is refused or stopped.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apr_tokenizer::{ChatTemplate, Tokenizer};

use crate::support::{tokenizer, turn};

/// Asks of every file of one kind whether it `works`: the sound one must, the others must not, in good time.
fn check(kind: &str, at_least: usize, works: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/hostile").join(kind);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= at_least, "{} files of {kind}", files.len());
    for file in files {
        let started = Instant::now();
        let is_sound = file.file_stem().is_some_and(|stem| stem == "sound");
        assert_eq!(works(&std::fs::read(&file).unwrap()), is_sound, "{}", file.display());
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{} took {:?}",
            file.display(),
            started.elapsed()
        );
    }
}

#[test]
fn hostile_tokenizers_are_refused() {
    check("tokenizer", 6, |bytes| Tokenizer::from_json(bytes).is_ok());
}

#[test]
fn hostile_templates_are_refused_or_stopped() {
    let tokenizer = tokenizer();
    check("template", 7, |bytes| {
        ChatTemplate::new(std::str::from_utf8(bytes).unwrap())
            .and_then(|template| template.render(&[turn("user", "hi")], true, &tokenizer))
            .is_ok()
    });
}

//! The corpus of hostile safetensors files: the sound one parses, and every other is refused.

use std::path::Path;

use apr_interop::safetensors;

#[test]
fn hostile_safetensors_files_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/hostile/safetensors");
    let mut n_refused = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let parsed = safetensors::parse(&std::fs::read(&path).unwrap());
        let is_sound = path.file_stem().is_some_and(|stem| stem == "sound");
        assert_eq!(parsed.is_ok(), is_sound, "{}", path.display());
        n_refused += usize::from(!is_sound);
    }
    assert!(n_refused >= 15, "{n_refused} files");
}

//! A checkout whose goldens of the small model are its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use apr_format::AprFile;
use apr_format::atomic::Overwrite;
use apr_generation::{CausalLm, LogitRows, Recorder, TensorKey};
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tokenizer::TokenId;
use probador::golden::GoldenSet;
use probador::golden::npy::{parse_f32, read_bytes, write_f32};

use crate::support::{copy_folder, engine, repository};

pub(crate) const SLUG: &str = "what_is_2_plus_2";
pub(crate) const KEY: &str = "model.layers.3.mlp.up_proj";

/// A checkout whose goldens of the small model are its own; everything else is the repository's.
pub(crate) struct Checkout(tempfile::TempDir);

impl Checkout {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for shared in ["checklist", "playbooks", "subjects", "scripts", "probador"] {
            symlink(repository().join(shared), folder.path().join(shared)).unwrap();
        }
        let golden = repository().join("golden");
        let is_kept = |file: &Path| file.extension().is_none_or(|extension| extension != "new");
        copy_folder(&golden.join("tiny"), &folder.path().join("golden/tiny"), is_kept);
        for file in ["models.yaml", "golden-trace.yaml"] {
            fs::copy(golden.join(file), folder.path().join("golden").join(file)).unwrap();
        }
        Self(folder)
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    /// A file of the small model's goldens.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join("golden/tiny").join(relative)
    }

    pub(crate) fn manifest(&self) -> String {
        fs::read_to_string(self.path("manifest.yaml")).unwrap()
    }

    pub(crate) fn golden(&self) -> PathBuf {
        self.path(&format!("{SLUG}/{KEY}.npy"))
    }

    pub(crate) fn pending(&self) -> PathBuf {
        self.path(&format!("{SLUG}/{KEY}.npy.new"))
    }

    pub(crate) fn run(&self, arguments: &[&str], code: i32) -> String {
        self.run_with(arguments, &[], code)
    }

    /// What it said on both streams.
    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)], code: i32) -> String {
        let mut command = engine();
        command.envs(environment.iter().copied()).arg("--root").arg(self.0.path()).args(arguments);
        let output = command.assert().code(code).get_output().clone();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    }

    /// Makes the golden of [`KEY`] another than PyTorch computed, in its file and in the manifest, and leaves what PyTorch
    /// computed beside it as `golden generate --new` does. Returns the manifest that is left beside the other.
    pub(crate) fn outdate(&self) -> String {
        let proposed = self.manifest();
        let recorded = read_bytes(&self.golden()).unwrap();
        fs::write(self.pending(), &recorded).unwrap();
        fs::write(self.path("manifest.yaml.new"), &proposed).unwrap();
        let mut array = parse_f32(&self.golden(), &recorded).unwrap();
        array.values[5] += 0.25;
        write_f32(&self.golden(), &array.shape, &array.values, Overwrite::Allow).unwrap();
        let old = blake3::hash(&read_bytes(&self.golden()).unwrap()).to_hex().to_string();
        let text = proposed
            .replace(blake3::hash(&recorded).to_hex().as_str(), &old)
            .replace("  torch: \"2.15.0\"", "  torch: \"2.14.0\"");
        fs::write(self.path("manifest.yaml"), text).unwrap();
        proposed
    }

    /// Leaves what the small model itself computes, which meets its golden, with a manifest that says PyTorch did.
    pub(crate) fn forge(&self) {
        let file = AprFile::open(&self.path("tiny.apr")).unwrap();
        let mut model =
            Qwen2::load(&file, LoadOptions { context_length: Some(64), n_threads: Some(1) }).unwrap();
        let set = GoldenSet::open_folder(&self.path("")).unwrap();
        let ids: Vec<TokenId> =
            set.manifest().prompt(SLUG).unwrap().ids.iter().map(|&id| TokenId(id)).collect();
        let key: TensorKey = KEY.parse().unwrap();
        let mut recorder = Recorder::new(|wanted| wanted == key);
        model.prefill(&ids, LogitRows::Last, Some(&mut recorder)).unwrap();
        let trace = &recorder.into_tensors()[&key];
        write_f32(&self.pending(), &trace.shape, &trace.values, Overwrite::Allow).unwrap();
        let hash = |path: &Path| blake3::hash(&read_bytes(path).unwrap()).to_hex().to_string();
        assert_ne!(hash(&self.golden()), hash(&self.pending()), "the model's rounding is not PyTorch's");
        let forged = self.manifest().replace(&hash(&self.golden()), &hash(&self.pending()));
        fs::write(self.path("manifest.yaml.new"), forged).unwrap();
    }
}

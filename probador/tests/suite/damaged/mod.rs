//! Damaged copies of the small model, and what bisecting finds wrong with them.

use std::path::{Path, PathBuf};

use apr_format::{AprFile, Metadata};
use apr_generation::Layered;
use apr_qwen2::{LoadOptions, Qwen2};
use apr_tensor::DType;
use half::f16;
use probador::golden::{Bisection, Finding, GoldenSet, Truth, first_out, trace_back};
use probador::reference::Reference;

use crate::support::{repository, rewritten};

pub(crate) const PROMPT: &str = "the_capital_of_france_is";

/// A copy of the small model in `folder`: `source` says which tensor's values go under a name, `edit` changes them.
pub(crate) fn damaged(
    folder: &Path,
    source: impl Fn(&str) -> String,
    edit: impl Fn(&str, &mut [f32]),
    configure: impl Fn(&mut Metadata),
) -> PathBuf {
    let path = folder.join("damaged.apr");
    rewritten(&path, configure, |file, name| {
        let tensor = file.tensor(&source(name)).unwrap();
        let mut values = tensor.to_f32();
        edit(name, &mut values);
        match tensor.dtype() {
            DType::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            DType::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            dtype => panic!("the small model holds no {dtype}"),
        }
    });
    path
}

/// A copy with one tensor edited.
pub(crate) fn edited(folder: &Path, name: &str, edit: impl Fn(&mut [f32])) -> PathBuf {
    let edit_it = |found: &str, values: &mut [f32]| {
        if found == name {
            edit(values);
        }
    };
    damaged(folder, str::to_owned, edit_it, |_| {})
}

pub(crate) fn scale(factor: f32) -> impl Fn(&mut [f32]) {
    move |values| values.iter_mut().for_each(|value| *value *= factor)
}

pub(crate) fn load(path: &Path) -> (AprFile, Qwen2) {
    let file = AprFile::open(path).unwrap();
    let model = Qwen2::load(&file, LoadOptions { context_length: Some(256), n_threads: Some(1) }).unwrap();
    (file, model)
}

pub(crate) fn truth(slug: &str) -> Truth {
    let set = GoldenSet::open_folder(&repository().join("golden/tiny")).unwrap();
    Truth::recorded(&set, set.manifest().prompt(slug).unwrap()).unwrap()
}

pub(crate) fn bisected(model: &mut dyn Layered, file: &AprFile, truth: &Truth) -> (Finding, Bisection) {
    let first = first_out(model, truth).unwrap().first.expect("nothing is out of tolerance");
    let bisection = trace_back(model, truth, &Reference::of_file(file).unwrap(), &first).unwrap();
    (first, bisection)
}

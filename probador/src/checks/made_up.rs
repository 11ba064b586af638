//! For tests: models, programs and checkouts made up to be wrong in one way, and what a check says of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use apr_format::{AprFile, AprWriter, Metadata, Overwrite, TensorSpec};
use apr_tensor::DType;
use tempfile::TempDir;

use super::{CheckError, Context, Model, find};
use crate::case::Judgement;
use crate::checklist::Claim;
use crate::faults::{Planted, Subject};
use crate::models::choose;
use crate::process::write_wrapper;
use crate::workspace::Workspace;

/// A tensor to be written: name, type, shape and bytes.
pub(crate) type Stored<'t> = (&'t str, DType, &'t [usize], Vec<u8>);

/// The embedded model.
pub(crate) fn tiny() -> AprFile {
    AprFile::open(&choose(None, &Workspace::find(None).unwrap()).unwrap().path).unwrap()
}

/// Writes a file of these tensors alone; whether they go with the metadata is not asked.
pub(crate) fn write_file(path: &Path, metadata: Metadata, mut tensors: Vec<Stored<'_>>) -> AprFile {
    tensors.sort_by_key(|(name, ..)| *name);
    let specs = tensors.iter().map(|(name, dtype, shape, _)| TensorSpec {
        name: (*name).to_owned(),
        dtype: *dtype,
        shape: shape.to_vec(),
    });
    let mut writer = AprWriter::create(path, metadata, specs.collect(), Overwrite::Refuse).unwrap();
    for (name, .., bytes) in &tensors {
        writer.write_tensor(name, bytes).unwrap();
    }
    writer.finish().unwrap();
    AprFile::open(path).unwrap()
}

/// A vector of float32 to be written.
pub(crate) fn vector<'t>(name: &'t str, shape: &'t [usize], values: &[f32]) -> Stored<'t> {
    (name, DType::F32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// A copy of the embedded model with other metadata, without the tensors `left_out`, and with no finite value in
/// `not_finite`.
pub(super) fn altered(
    metadata: impl FnOnce(&mut Metadata),
    left_out: &[&str],
    not_finite: &[&str],
) -> (TempDir, PathBuf) {
    let (folder, file) = (tempfile::tempdir().unwrap(), tiny());
    let path = folder.path().join("altered.apr");
    let mut changed = file.metadata().clone();
    metadata(&mut changed);
    let kept = file.entries().iter().filter(|entry| !left_out.contains(&entry.name.as_str()));
    let tensors = kept.map(|entry| {
        let name = entry.name.as_str();
        let bytes = file.tensor(name).unwrap().bytes().to_vec();
        // All ones is no number in every type there is.
        let bytes = if not_finite.contains(&name) { vec![0xff; bytes.len()] } else { bytes };
        (name, entry.dtype, entry.shape.as_slice(), bytes)
    });
    write_file(&path, changed, tensors.collect());
    (folder, path)
}

/// The subject as it is.
pub(super) fn context() -> Context {
    context_in(Workspace::find(None).unwrap())
}

/// The embedded model, judged in another checkout.
pub(super) fn context_in(workspace: Workspace) -> Context {
    let model = choose(None, &workspace).unwrap();
    Context::new(workspace, model, None, [])
}

/// The subject with the model at `path` in its place.
pub(super) fn context_of(path: &Path) -> Context {
    context().with_fault(Subject { model: path.to_owned(), planted: Planted::default() }).undoubted()
}

/// The subject with a shell script in the place of `apr`; nobody doubts its model.
pub(super) fn context_with_apr(script: &str) -> Context {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("script"), script).unwrap();
    replaced(folder, |model| model)
}

/// The subject with a decorator around its model, which nobody doubts.
pub(super) fn context_with_model(wrap: impl Fn(Model) -> Model + Send + Sync + 'static) -> Context {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("script"), "exit 1").unwrap();
    replaced(folder, wrap)
}

fn replaced(folder: TempDir, wrap: impl Fn(Model) -> Model + Send + Sync + 'static) -> Context {
    let context = context();
    let (apr, script) = (folder.path().join("apr"), folder.path().join("script"));
    write_wrapper(&apr, &["sh".as_ref(), script.as_os_str()]).unwrap();
    let sources = context.workspace().root().to_owned();
    let planted = Planted::impostor(Arc::new(wrap), apr, sources, folder);
    let model = context.model().path.clone();
    context.with_fault(Subject { model, planted }).undoubted()
}

/// A checkout that differs from this one in these files, given from its top.
pub(super) fn checkout(files: &[(&str, &str)]) -> (TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    let root = Workspace::find(None).unwrap().root().to_owned();
    linked(&root, folder.path(), "", files);
    let workspace = Workspace::find(Some(folder.path())).unwrap();
    (folder, workspace)
}

/// Links what lies in `from` into `to`, but for `files`, which are written; `inside` is where both lie in the checkout.
fn linked(from: &Path, to: &Path, inside: &str, files: &[(&str, &str)]) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let (path, target) = (format!("{inside}{name}"), to.join(&name));
        if let Some((_, text)) = files.iter().find(|(file, _)| *file == path) {
            fs::write(target, text).unwrap();
        } else if files.iter().any(|(file, _)| file.starts_with(&format!("{path}/"))) {
            fs::create_dir(&target).unwrap();
            linked(&entry.path(), &target, &format!("{path}/"), files);
        } else {
            symlink(entry.path(), target).unwrap();
        }
    }
}

/// The row of claim `id`.
pub(super) fn claim(id: &str) -> Claim {
    Workspace::find(None).unwrap().checklist().unwrap().claim(id.parse().unwrap()).unwrap().clone()
}

/// The row of claim `id` with a sample of `n`.
pub(super) fn claim_of(id: &str, n: u32) -> Claim {
    let mut claim = claim(id);
    claim.sampling.as_mut().unwrap().n = n;
    claim
}

/// What the check of `claim` says of the subject.
pub(super) fn judged(context: &Context, claim: &Claim) -> Judgement {
    find(claim.id).unwrap()(context, claim).unwrap_or_else(|error| panic!("{error:?}"))
}

/// What the check of `claim` finds wrong with the subject.
pub(super) fn failures(context: &Context, claim: &Claim) -> Vec<String> {
    judged(context, claim).failures
}

/// Why the check of `claim` cannot decide about the subject: what is missing, and the remedy.
pub(super) fn undecided(context: &Context, claim: &Claim) -> (String, String) {
    match find(claim.id).unwrap()(context, claim) {
        Err(CheckError::Undecided(undecided)) => (undecided.what, undecided.remedy),
        other => panic!("it decides: {other:?}"),
    }
}

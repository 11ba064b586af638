//! `import`: any source to an `.apr` file, tensor by tensor.

use std::path::{Path, PathBuf};
use std::time::Instant;

use apr_format::{
    AprFile, AprWriter, EmbeddedTokenizer, FormatError, Overwrite, Provenance, SourceFile, TensorSpec, atomic,
};
use apr_tensor::Float;
use apr_tokenizer::Tokenizer;
use serde::Serialize;

use crate::architecture::Architecture;
use crate::convert::write_tensor;
use crate::error::ImportError;
use crate::hub::Hub;
use crate::input_file::InputFile;
use crate::model::{Model, ModelFault, RowOrder, SourceTensor};
use crate::progress::Progress;
use crate::source::Source;
use crate::{gguf, safetensors, tie};

/// How to import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Make one matrix of embedding and head, where the source has it twice.
    pub tie_embeddings: bool,
    /// Store every tensor so. `None` keeps each as it is stored; when any is quantized, everything becomes f16.
    pub dtype: Option<Float>,
    /// What the source is, where it does not say; it must not say anything else.
    pub arch: Option<String>,
    /// Whether an output that is already there is replaced.
    pub overwrite: Overwrite,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self { tie_embeddings: false, dtype: None, arch: None, overwrite: Overwrite::Refuse }
    }
}

/// What was imported.
#[derive(Clone, Debug, Serialize)]
pub struct ImportSummary {
    /// Where the model came from.
    pub source: String,
    /// `gguf` or `safetensors`.
    pub original_format: String,
    /// The network family.
    pub architecture: String,
    /// Where it went.
    pub output: PathBuf,
    /// Tensors in the output.
    pub n_tensors: usize,
    /// Their elements.
    pub n_parameters: u64,
    /// Bytes of the files that were read.
    pub source_bytes: u64,
    /// Bytes of the output.
    pub file_size: u64,
    /// From the call to the file being in place.
    pub seconds: f64,
    /// The output's root hash.
    pub root_hash: String,
    /// One hash over the names, shapes and hashes of all tensors; equal for equal weights, whatever they came from.
    pub weights_fingerprint: String,
    /// What was done beside copying.
    pub transformations: Vec<String>,
    /// What was decided on the user's behalf.
    pub notes: Vec<String>,
}

/// Imports `source` to `out`. On an error nothing is left behind, and what was at `out` is untouched.
pub fn import(
    source: &Source,
    out: &Path,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<ImportSummary, ImportError> {
    let start = Instant::now();
    // Said before hours of download, and again by the writer, whose word counts.
    if matches!(options.overwrite, Overwrite::Refuse) && out.symlink_metadata().is_ok() {
        return Err(FormatError::AlreadyExists(out.to_owned()).into());
    }
    let Opened { mut model, path, repository, revision } = open(source, options, progress)?;
    atomic::ensure_distinct(out, model.files.iter().map(InputFile::path))?;
    let mut transformations = Vec::new();
    if options.tie_embeddings {
        transformations.extend(tie::tie(&mut model)?);
    }
    let dtype = options.dtype.or_else(|| default_dtype(&model));
    transformations.extend(describe_conversions(&model, dtype));
    for note in &model.notes {
        progress.note(note);
    }

    let specs: Vec<TensorSpec> =
        model.tensors.iter().map(|(name, tensor)| spec(name, tensor, dtype)).collect();
    let (hashes, embedded) = rayon::join(|| hash_sources(&model, progress), || embed_tokenizer(&model));
    let provenance = Provenance {
        repository,
        revision,
        files: hashes?,
        tool: "apr import".to_owned(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        transformations: transformations.clone(),
    };
    let mut metadata = std::mem::take(&mut model.metadata);
    metadata.source = Some(source.describe());
    metadata.tokenizer = embedded?;
    metadata.provenance = Some(provenance);
    let architecture = metadata.architecture.clone().unwrap_or_default();
    let original_format = metadata.original_format.clone().unwrap_or_default();

    let mut writer = AprWriter::create(out, metadata, specs.clone(), options.overwrite)?;
    let source_bytes = model.tensors.values().map(|tensor| tensor.size).sum();
    progress.start(&format!("importing {}", path.display()), Some(source_bytes));
    for (tensor, spec) in model.tensors.values().zip(&specs) {
        let mut out = writer.tensor_writer(&spec.name)?;
        let dtype = stored_as(tensor, dtype);
        write_tensor(tensor, &model.files[tensor.file], dtype, &mut out, progress)?;
    }
    model.files.iter().try_for_each(InputFile::check_unchanged)?;
    let written = writer.finish()?;
    progress.end();
    Ok(ImportSummary {
        source: source.describe(),
        original_format,
        architecture,
        output: written.path.clone(),
        n_tensors: written.n_tensors,
        n_parameters: written.n_parameters,
        source_bytes: model.files.iter().map(InputFile::size).sum(),
        file_size: written.file_size,
        seconds: start.elapsed().as_secs_f64(),
        root_hash: written.root_hash,
        weights_fingerprint: AprFile::open(&written.path)?.weights_fingerprint(),
        transformations,
        notes: model.notes,
    })
}

/// A source whose header has been read.
struct Opened {
    model: Model,
    /// The path that messages name.
    path: PathBuf,
    /// `org/repo`, of a source on the hub.
    repository: Option<String>,
    /// The commit, of a source on the hub.
    revision: Option<String>,
}

/// Opens the model at `source`, after downloading what is not on this machine yet.
fn open(source: &Source, options: &ImportOptions, progress: &dyn Progress) -> Result<Opened, ImportError> {
    let asked = |path: &Path| {
        let parse = |name: &str| {
            Architecture::from_name(name).ok_or_else(|| {
                ImportError::model(path)(ModelFault::Architecture { found: name.chars().take(64).collect() })
            })
        };
        options.arch.as_deref().map(parse).transpose()
    };
    let (model, path) = match source {
        Source::Gguf(path) => (gguf::open(path, asked(path)?)?, path),
        Source::SafetensorsFile(path) => (safetensors::open_file(path, asked(path)?)?, path),
        Source::SafetensorsDir(path) => (safetensors::open_directory(path, asked(path)?)?, path),
        Source::Hub(reference) => {
            let fetched = Hub::from_env()?.fetch(reference, progress)?;
            let opened = open(&Source::from_path(&fetched.path)?, options, progress)?;
            return Ok(Opened {
                repository: Some(reference.repository()),
                revision: Some(fetched.commit),
                ..opened
            });
        }
    };
    Ok(Opened { model, path: path.clone(), repository: None, revision: None })
}

/// F16 for everything when anything is quantized, and nothing otherwise.
///
/// A quantized GGUF keeps norms and biases in F32 beside matrices of a few bits; that is its format's habit, not
/// precision of the model. One dtype for all makes the file the one that `save_pretrained` of the same weights gives.
fn default_dtype(model: &Model) -> Option<Float> {
    let is_quantized = model.tensors.values().any(|tensor| tensor.encoding.dtype().is_none());
    is_quantized.then_some(Float::F16)
}

/// What a tensor is stored as.
fn stored_as(tensor: &SourceTensor, dtype: Option<Float>) -> Float {
    // Without a dtype for all, none is quantized, and each keeps its own.
    dtype.or(tensor.encoding.dtype()).unwrap_or(Float::F16)
}

fn spec(name: &str, tensor: &SourceTensor, dtype: Option<Float>) -> TensorSpec {
    let dtype = stored_as(tensor, dtype).dtype();
    TensorSpec { name: name.to_owned(), dtype, shape: tensor.shape.clone() }
}

/// What happens to the values, for the provenance.
fn describe_conversions(model: &Model, dtype: Option<Float>) -> Vec<String> {
    let mut done = Vec::new();
    if let Some(dtype) = dtype {
        let mut encodings: Vec<&str> = model
            .tensors
            .values()
            .map(|tensor| tensor.encoding.name())
            .filter(|&encoding| encoding != dtype.name())
            .collect();
        encodings.sort_unstable();
        encodings.dedup();
        if !encodings.is_empty() {
            done.push(format!("converted {} to {dtype}, rounding to nearest even", encodings.join(", ")));
        }
    }
    if model.tensors.values().any(|tensor| tensor.rows != RowOrder::AsIs) {
        done.push("put the halves of query and key heads in the checkpoint's order".to_owned());
    }
    done
}

/// The tokenizer, compressed, after checking that it can be used with this model.
fn embed_tokenizer(model: &Model) -> Result<Option<EmbeddedTokenizer>, ImportError> {
    let Some((path, json)) = &model.tokenizer else { return Ok(None) };
    let tokenizer = Tokenizer::from_json(json)
        .map_err(|error| ImportError::model(path)(ModelFault::SideFile(error.to_string())))?;
    let (n_ids, n_rows) = (tokenizer.vocab_size(), model.metadata.config.vocab_size);
    if n_ids > n_rows {
        let what = format!("its tokenizer has ids up to {}, the embedding has {n_rows} rows", n_ids - 1);
        return Err(ImportError::model(path)(ModelFault::SideFile(what)));
    }
    Ok(Some(EmbeddedTokenizer::new(json)))
}

/// Name, size and SHA-256 of every file tensors come from.
fn hash_sources(model: &Model, progress: &dyn Progress) -> Result<Vec<SourceFile>, ImportError> {
    let total = model.files.iter().map(InputFile::size).sum();
    progress.start("hashing the source", Some(total));
    let files = model.files.iter().map(|file| {
        let name = file.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(SourceFile { name, size: file.size(), sha256: file.sha256(progress)? })
    });
    let files = files.collect::<Result<_, ImportError>>()?;
    progress.end();
    Ok(files)
}

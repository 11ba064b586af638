//! A whole model to packed weights: a file in, a file out, a layer in memory at a time.

use std::path::{Path, PathBuf};

use apr_format::{AprFile, AprWriter, FormatError, IndexEntry, Overwrite, TensorSpec, atomic};
use apr_generation::{Layered, ModelError};
use apr_qwen2::{LoadError, LoadOptions, Matrix, Qwen2};
use apr_tensor::{Compute, Packing, Tensor};
use apr_tokenizer::TokenId;
use serde::Serialize;
use thiserror::Error;

use crate::gptq::gptq;
use crate::hessian::Hessian;
use crate::matrix::{Quantized, round_to_nearest};
use crate::plan::{Head, Plan, is_head};

/// How values are chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Each weight by itself.
    RoundToNearest,
    /// So that what a layer computes on these sequences of a text changes least.
    Gptq(Vec<Vec<TokenId>>),
}

/// How to convert.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    /// What the layers' matrices become.
    pub packing: Packing,
    /// What the head becomes.
    pub head: Head,
    /// How values are chosen.
    pub method: Method,
    /// Whether an output that is already there is replaced.
    pub overwrite: Overwrite,
    /// Threads; every processor when `None`.
    pub n_threads: Option<usize>,
}

/// What was converted.
#[derive(Clone, Debug, Serialize)]
pub struct Converted {
    /// Where it is.
    pub output: PathBuf,
    /// Bytes of the source.
    pub source_bytes: u64,
    /// Bytes of the output.
    pub file_size: u64,
    /// Matrices with 8 bits a value.
    pub n_int8: usize,
    /// Matrices with 4 bits a value.
    pub n_int4: usize,
    /// The output's root hash.
    pub root_hash: String,
    /// What the source says was done to its weights before, if they came from quantized ones.
    pub was_quantized: Option<String>,
}

/// Why a model was not converted.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// The output cannot be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The source is no model that can be run.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A layer could not be evaluated.
    #[error("failed to evaluate a layer of `{}`: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ModelError,
    },
    /// There is nothing to quantize.
    #[error("`{}` has packed weights already\nhint: convert the model that it was made from", .0.display())]
    Packed(PathBuf),
    /// A matrix of a layer is not whole blocks, or the head is not and a packing was asked for.
    #[error("`{name}` of `{}` has shape {shape:?}; packed weights have 16 n rows and 64 m columns", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// There is no text to calibrate with.
    #[error(
        "the calibration text has {found} tokens, {needed} are needed\nhint: give a longer --calibration text"
    )]
    Calibration {
        /// Tokens there are.
        found: usize,
        /// Tokens of a sequence.
        needed: usize,
    },
    /// The user asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Sees how far a conversion is.
pub trait Watch {
    /// `done` of `all` steps are done, the last of them `what`. Returns whether to go on.
    fn step(&mut self, done: usize, all: usize, what: &str) -> bool;
}

/// Tokens of a sequence that layers are calibrated on.
pub const SEQUENCE: usize = Qwen2::MAX_SEEN;

/// `n_sequences` sequences of `length` tokens, at most [`SEQUENCE`] and at least one, spread evenly over a text.
pub fn sequences(
    ids: &[TokenId],
    n_sequences: usize,
    length: usize,
) -> Result<Vec<Vec<TokenId>>, ConvertError> {
    let length = length.clamp(1, SEQUENCE);
    let Some(room) = ids.len().checked_sub(length) else {
        return Err(ConvertError::Calibration { found: ids.len(), needed: length });
    };
    // No token twice where the text is short.
    let n = n_sequences.min(room / length + 1).max(1);
    let last = n.saturating_sub(1).max(1);
    Ok((0..n).map(|index| ids[room * index / last..][..length].to_vec()).collect())
}

/// Converts the model in `file` to `out`. On an error nothing is left behind, and what was at `out` is untouched.
pub fn convert(
    file: &AprFile,
    out: &Path,
    options: &ConvertOptions,
    watch: &mut dyn Watch,
) -> Result<Converted, ConvertError> {
    if matches!(options.overwrite, Overwrite::Refuse) && out.symlink_metadata().is_ok() {
        return Err(FormatError::AlreadyExists(out.to_owned()).into());
    }
    atomic::ensure_distinct(out, std::iter::once(file.path()))?;
    if file.entries().iter().any(|entry| Packing::of(entry.dtype).is_some()) {
        return Err(ConvertError::Packed(file.path().to_owned()));
    }
    let plan = Plan { body: options.packing, head: options.head };
    let specs: Vec<TensorSpec> = file.entries().iter().map(|entry| spec(entry, plan)).collect();
    let count = |packing: Packing| specs.iter().filter(|spec| spec.dtype == packing.dtype()).count();
    let (n_int8, n_int4) = (count(Packing::Int8), count(Packing::Int4));
    // A model runs with packed layers or with float ones; a head of floats goes with both.
    let must_fit =
        |entry: &IndexEntry| entry.shape.len() == 2 && (!is_head(&entry.name) || options.head != Head::Auto);
    let is_unfit = |entry: &&IndexEntry| must_fit(entry) && !Packing::fits(&entry.shape);
    if let Some(entry) = file.entries().iter().find(is_unfit) {
        return Err(ConvertError::Unfit {
            path: file.path().to_owned(),
            name: entry.name.clone(),
            shape: entry.shape.clone(),
        });
    }
    let mut metadata = file.metadata().clone();
    let was_quantized = was_quantized(file);
    if let Some(provenance) = &mut metadata.provenance {
        let bits = if options.packing == Packing::Int4 { 4 } else { 8 };
        let how = match &options.method {
            Method::RoundToNearest => "rounded to nearest".to_owned(),
            Method::Gptq(sequences) => {
                format!("GPTQ on {} tokens", sequences.iter().map(Vec::len).sum::<usize>())
            }
        };
        provenance.transformations.push(format!("quantized to {bits} bits, groups of 32, {how}"));
    }
    let mut run = Run {
        file,
        plan,
        writer: AprWriter::create(out, metadata, specs, options.overwrite)?,
        n_done: 0,
        n_steps: 0,
        watch,
    };
    match &options.method {
        Method::RoundToNearest => run.round()?,
        Method::Gptq(sequences) => run.calibrate(sequences, options.n_threads)?,
    }
    let written = run.writer.finish()?;
    Ok(Converted {
        output: written.path,
        source_bytes: file.file_size(),
        file_size: written.file_size,
        n_int8,
        n_int4,
        root_hash: written.root_hash,
        was_quantized,
    })
}

fn spec(entry: &IndexEntry, plan: Plan) -> TensorSpec {
    let dtype = plan.packing(entry).map_or(entry.dtype, Packing::dtype);
    TensorSpec { name: entry.name.clone(), dtype, shape: entry.shape.clone() }
}

/// What the file says of weights that were quantized before they were imported.
fn was_quantized(file: &AprFile) -> Option<String> {
    let provenance = file.metadata().provenance.as_ref()?;
    provenance.transformations.iter().find(|what| what.contains("dequantized")).cloned()
}

/// A conversion in progress.
struct Run<'a> {
    file: &'a AprFile,
    plan: Plan,
    writer: AprWriter,
    n_done: usize,
    n_steps: usize,
    watch: &'a mut dyn Watch,
}

impl Run<'_> {
    /// Rounds every tensor by itself.
    fn round(&mut self) -> Result<(), ConvertError> {
        self.n_steps = self.file.entries().len();
        for entry in self.file.entries() {
            self.write_by_itself(entry)?;
            self.step(&entry.name)?;
        }
        Ok(())
    }

    /// GPTQ, layer by layer: each sees the inputs that the layers before it give once they are quantized.
    fn calibrate(
        &mut self,
        sequences: &[Vec<TokenId>],
        n_threads: Option<usize>,
    ) -> Result<(), ConvertError> {
        let path = self.file.path().to_owned();
        let failed = |source: ModelError| ConvertError::Model { path: path.clone(), source };
        let longest = sequences.iter().map(Vec::len).max();
        let options = LoadOptions { context_length: longest, n_threads };
        let compute = Compute::new(n_threads);
        let mut model = Qwen2::load(self.file, options)?;
        let in_layers = |entry: &&IndexEntry| entry.name.starts_with("model.layers.");
        let (inside, outside): (Vec<&IndexEntry>, Vec<&IndexEntry>) =
            self.file.entries().iter().partition(in_layers);
        self.n_steps = outside.len() + model.n_layers() * (sequences.len() + Matrix::ALL.len());
        for entry in outside {
            self.write_by_itself(entry)?;
            self.step(&entry.name)?;
        }
        let mut hidden: Vec<Vec<f64>> = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            hidden.push(model.embed(sequence).map_err(failed)?);
        }
        for layer in 0..model.n_layers() {
            let config = model.config();
            let mut attention = Hessian::new(config.hidden_size);
            let mut output = Hessian::new(config.query_width());
            let mut mlp = Hessian::new(config.hidden_size);
            let mut down = Hessian::new(config.intermediate_size);
            for sequence in &hidden {
                let mut seen = sequence.clone();
                model
                    .run_layer_seen(layer, &mut seen, &mut |inputs| {
                        attention.add(&compute, inputs.attention);
                        output.add(&compute, inputs.output);
                        mlp.add(&compute, inputs.mlp);
                        down.add(&compute, inputs.down);
                    })
                    .map_err(failed)?;
                self.step(&format!("layer {layer}"))?;
            }
            for matrix in Matrix::ALL {
                let hessian = match matrix {
                    Matrix::QProj | Matrix::KProj | Matrix::VProj => &attention,
                    Matrix::OProj => &output,
                    Matrix::GateProj | Matrix::UpProj => &mlp,
                    Matrix::DownProj => &down,
                };
                let key = matrix.key(layer);
                model.replace(layer, matrix, self.write_calibrated(&compute, &key, hessian)?);
                self.step(&key)?;
            }
            for sequence in &mut hidden {
                model.run_layers(layer..layer + 1, sequence, None).map_err(failed)?;
            }
        }
        // Vectors inside layers.
        for entry in inside {
            if self.plan.packing(entry).is_none() && entry.shape.len() < 2 {
                self.write_by_itself(entry)?;
            }
        }
        Ok(())
    }

    /// Writes a matrix of a layer, quantized by what its inputs are like, and returns what it is now.
    fn write_calibrated(
        &mut self,
        compute: &Compute,
        key: &str,
        hessian: &Hessian,
    ) -> Result<Tensor, ConvertError> {
        // The model was loaded with this matrix, and every matrix of a layer is whole blocks.
        let tensor = self.file.tensor(key).expect("the model was loaded with it");
        let (packing, shape) = (self.plan.of_layers(key), tensor.shape().to_vec());
        let bytes = gptq(compute, packing, &tensor.to_f32(), hessian.values(), shape[1]).to_bytes();
        self.writer.write_tensor(key, &bytes)?;
        let packed = Tensor::new(packing.dtype(), shape.clone(), bytes.into()).expect("bytes of this shape");
        Ok(Tensor::from_f32(shape, &packed.to_f32()).expect("values of this shape"))
    }

    /// Writes a tensor: rounded if it is packed, else as it is.
    fn write_by_itself(&mut self, entry: &IndexEntry) -> Result<(), ConvertError> {
        let Some(tensor) = self.file.tensor(&entry.name) else { return Ok(()) };
        match self.plan.packing(entry) {
            None => self.writer.write_tensor(&entry.name, tensor.bytes())?,
            Some(packing) => {
                let alike = vec![1.0; entry.shape[1]];
                let quantized: Quantized = round_to_nearest(packing, &tensor.to_f32(), &alike);
                self.writer.write_tensor(&entry.name, &quantized.to_bytes())?;
            }
        }
        Ok(())
    }

    fn step(&mut self, what: &str) -> Result<(), ConvertError> {
        self.n_done += 1;
        if self.watch.step(self.n_done, self.n_steps, what) { Ok(()) } else { Err(ConvertError::Cancelled) }
    }
}

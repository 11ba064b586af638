//! What validating a file reports: checks, how each came out, and everything that was found.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::architecture::Fit;
use crate::metadata::Metadata;
use crate::sign::SignatureVerdict;
use crate::stats::TensorStats;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Usable, with a doubt.
    Warning,
    /// Not to be used.
    Error,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which check found it.
    pub check: Check,
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub what: String,
}

/// The checks, in the order they are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Magic, version, flags, reserved bytes, section ranges, CRC32 of the header.
    Header,
    /// Strict JSON, no key twice, hashes well-formed.
    Metadata,
    /// Names, dtypes, order, shapes against sizes, ranges, end of file.
    Index,
    /// Zeros between sections and tensors.
    Padding,
    /// Root hash over header, metadata and index.
    RootHash,
    /// BLAKE3 of every tensor.
    TensorHashes,
    /// CRC32 at the end of the file.
    Checksum,
    /// Signature.
    Signature,
    /// Embedded tokenizer unpacks to its size and hash.
    Tokenizer,
    /// Every tensor the config asks for is there, in its shape.
    Shapes,
    /// No element is NaN or infinite.
    Values,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 11] = [
        Self::Header,
        Self::Metadata,
        Self::Index,
        Self::Padding,
        Self::RootHash,
        Self::TensorHashes,
        Self::Checksum,
        Self::Signature,
        Self::Tokenizer,
        Self::Shapes,
        Self::Values,
    ];
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Header => "header",
            Self::Metadata => "metadata",
            Self::Index => "index",
            Self::Padding => "padding",
            Self::RootHash => "root-hash",
            Self::TensorHashes => "tensor-hashes",
            Self::Checksum => "checksum",
            Self::Signature => "signature",
            Self::Tokenizer => "tokenizer",
            Self::Shapes => "shapes",
            Self::Values => "values",
        })
    }
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, and nothing is wrong.
    Passed,
    /// Done, and something is wrong: see the findings.
    Failed,
    /// Not done.
    NotDone {
        /// Why.
        reason: String,
    },
}

/// A tensor and the statistics of its elements.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorReport {
    /// Its name.
    pub name: String,
    /// Its dtype, as safetensors writes it.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Statistics of its elements.
    pub stats: TensorStats,
}

/// What validating a file found.
#[derive(Clone, Debug, Serialize)]
pub struct Validation {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub file_size: u64,
    /// Every check, and how it came out.
    pub checks: Vec<(Check, Outcome)>,
    /// Everything found.
    pub findings: Vec<Finding>,
    /// What the signature is worth.
    pub signature: SignatureVerdict,
    /// The root hash as computed, when header, metadata and index can be read.
    pub root_hash: Option<String>,
    /// Tensors that are there and that the config asks for, when that is known.
    pub tensors_present: Option<(usize, usize)>,
    /// Elements of all tensors.
    pub n_parameters: u64,
    /// Every tensor, when the index can be read.
    pub tensors: Vec<TensorReport>,
    /// The metadata, when it can be read.
    #[serde(skip)]
    pub metadata: Option<Metadata>,
    /// How the tensors fit the config.
    #[serde(skip)]
    pub(crate) fit: Result<Fit, String>,
    /// The unpacked tokenizer.
    #[serde(skip)]
    pub(crate) tokenizer_json: Option<Vec<u8>>,
}

impl Validation {
    /// Whether the file may be used: nothing in error.
    pub fn is_valid(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity < Severity::Error)
    }

    /// How `check` came out.
    pub fn outcome(&self, check: Check) -> &Outcome {
        const NEVER: &Outcome = &Outcome::Failed;
        self.checks.iter().find(|(done, _)| *done == check).map_or(NEVER, |(_, outcome)| outcome)
    }

    /// Whether `check` was done and found nothing wrong.
    pub fn passed(&self, check: Check) -> bool {
        *self.outcome(check) == Outcome::Passed
    }
}

//! What can be wrong with an `.apr` file, and with reading or writing one.

use std::path::{Path, PathBuf};

use apr_tensor::{DType, TensorError};
use thiserror::Error;

/// Why an `.apr` file was not read or written. The message names the file.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The operating system refused.
    #[error("failed to {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as in `failed to {action}`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file breaks the format.
    #[error("`{}` is not a usable .apr file: {fault}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The file is not what it was when it was opened.
    #[error("`{}` changed while it was in use: {what}\nhint: replace a model by renaming a new file over it", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// How it differs.
        what: String,
    },
    /// The output is already there.
    #[error("`{}` already exists\nhint: pass --force to replace it", .0.display())]
    AlreadyExists(PathBuf),
    /// The output is a directory, a device, a link: something that must not be replaced by a file.
    #[error("refused to write `{}`: it is {what}\nhint: name a regular file", path.display())]
    NotReplaceable {
        /// The output.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Input and output are one file.
    #[error("`{}` is both input and output\nhint: write to another file", .0.display())]
    SameFile(PathBuf),
    /// A model that cannot be written as asked.
    #[error("cannot write `{}`: {fault}", path.display())]
    Unwritable {
        /// The output.
        path: PathBuf,
        /// What is wrong with the request.
        fault: WriteFault,
    },
    /// A key file that is not one.
    #[error("`{}` is not a usable key file: {what}\nhint: make one with `apr keygen`", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl FormatError {
    /// For `map_err` after a system call on `path`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// For `map_err` after parsing `path`.
    pub(crate) fn malformed(path: &Path) -> impl FnOnce(Fault) -> Self {
        move |fault| Self::Malformed { path: path.to_owned(), fault }
    }

    /// For `map_err` while writing `path`.
    pub(crate) fn unwritable(path: &Path) -> impl FnOnce(WriteFault) -> Self {
        move |fault| Self::Unwritable { path: path.to_owned(), fault }
    }

    /// The violated rule of the format, when that is what went wrong.
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Malformed { fault, .. } => Some(fault),
            _ => None,
        }
    }
}

/// One violated rule of the format.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// Shorter than the header, or than what the header announces.
    #[error(
        "it ends after {found} bytes, {what} needs {needed}\nhint: the file is cut short; fetch or import it again"
    )]
    Truncated {
        /// Which part.
        what: &'static str,
        /// Bytes the file must have at least.
        needed: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The first four bytes.
    #[error(
        "it starts with {0:02x?} instead of `APR\\0`\nhint: `apr import` makes an .apr file from GGUF and safetensors"
    )]
    Magic([u8; 4]),
    /// Not 2.0.
    #[error("it has format version {major}.{minor}, this program reads 2.0")]
    Version {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// A flag whose meaning is known and which this reader does not do.
    #[error("it is flagged {0}, which this program does not read")]
    RefusedFlag(&'static str),
    /// Flag bits without a meaning.
    #[error("it has unknown flag bits {0:#06x}")]
    UnknownFlags(u16),
    /// Header checksum.
    #[error("its header has CRC32 {computed:08x}, {stored:08x} is stored")]
    HeaderChecksum {
        /// As stored.
        stored: u32,
        /// Over what is there.
        computed: u32,
    },
    /// Reserved header bytes.
    #[error("reserved header byte {0} is not zero")]
    Reserved(u64),
    /// Sections that do not follow one another, or a section that is too large.
    #[error("{0}")]
    Layout(String),
    /// A byte between sections or tensors.
    #[error("padding byte at offset {0} is not zero")]
    Padding(u64),
    /// The metadata is not the JSON it must be.
    #[error("metadata: {0}")]
    Metadata(String),
    /// A metadata key twice.
    #[error("metadata: key `{0}` is given twice")]
    DuplicateKey(String),
    /// A metadata key and another spelling of it.
    #[error("metadata: `{alias}` and `{key}` are the same key and both are given")]
    AliasTwice {
        /// The canonical key.
        key: &'static str,
        /// The other spelling.
        alias: &'static str,
    },
    /// The index cannot be read.
    #[error("tensor index: entry {entry}: {what}")]
    Index {
        /// Which entry, from 0.
        entry: usize,
        /// What is wrong.
        what: String,
    },
    /// A tensor's entry contradicts itself or the file.
    #[error("tensor `{name}`: {what}")]
    Tensor {
        /// Which tensor.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// Stored tensor hashes do not name the tensors of the index.
    #[error("tensor hashes: {0}")]
    TensorHashes(String),
    /// A tensor's bytes.
    #[error("tensor `{name}`: its data has BLAKE3 {computed}, {stored} is stored")]
    TensorHash {
        /// Which tensor.
        name: String,
        /// As stored.
        stored: String,
        /// Over what is there.
        computed: String,
    },
    /// Header, metadata or index.
    #[error("header, metadata and index have root hash {computed}, {stored} is stored")]
    RootHash {
        /// As stored.
        stored: String,
        /// Over what is there.
        computed: String,
    },
    /// The CRC32 at the end.
    #[error("the file has CRC32 {computed:08x}, {stored:08x} is stored at its end")]
    TrailingChecksum {
        /// As stored.
        stored: u32,
        /// Over what is there.
        computed: u32,
    },
    /// The signature.
    #[error("signature: {0}")]
    Signature(String),
    /// The embedded tokenizer.
    #[error("embedded tokenizer: {0}")]
    Tokenizer(String),
}

/// Why a model cannot be written as asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WriteFault {
    /// The list of tensors is not writable: a name twice, too long, too many dimensions.
    #[error("tensor `{name}`: {what}")]
    Spec {
        /// Which tensor.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// More tensors than the format's readers accept.
    #[error("{0} tensors are too many")]
    TooManyTensors(usize),
    /// The metadata is too large or not writable.
    #[error("metadata: {0}")]
    Metadata(String),
    /// A tensor that was not announced.
    #[error("tensor `{0}` was not announced when the file was created")]
    UnknownTensor(String),
    /// A tensor written a second time.
    #[error("tensor `{0}` is written twice")]
    TensorTwice(String),
    /// Too many or too few bytes.
    #[error("tensor `{name}` {shape:?} of {dtype} takes {expected} bytes, {found} were written")]
    WrongSize {
        /// Which tensor.
        name: String,
        /// Its dtype.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes that takes.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// Announced tensors that were not written.
    #[error("{n_missing} announced tensors were not written, the first is `{first}`")]
    Missing {
        /// How many.
        n_missing: usize,
        /// The first by name.
        first: String,
    },
}

impl From<(&str, TensorError)> for Fault {
    fn from((name, error): (&str, TensorError)) -> Self {
        Self::Tensor { name: name.to_owned(), what: error.to_string() }
    }
}

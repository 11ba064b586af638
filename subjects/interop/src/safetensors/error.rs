//! What can be wrong with safetensors files and the JSON beside them.

use thiserror::Error;

/// The first fault found in a safetensors file or shard index. The importer adds the file's name.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SafetensorsError {
    /// Too small for the eight bytes of the header's length.
    #[error("it has {0} bytes; a safetensors file has 10 or more")]
    TooSmall(u64),
    /// The header's length cannot be right.
    #[error(
        "its header claims {length} bytes; {limit} {why}\nhint: the file is damaged or not safetensors; download it again"
    )]
    HeaderLength {
        /// The claim.
        length: u64,
        /// The least or most that could be right.
        limit: u64,
        /// `are the most this build reads`, and the like.
        why: &'static str,
    },
    /// The header is not the JSON it must be.
    #[error("its header is not valid: {0}")]
    Header(String),
    /// A name that cannot be a tensor's.
    #[error("tensor name {0:?} is empty, longer than 256 bytes or holds a control character")]
    Name(String),
    /// An element type weights are not stored in.
    #[error("tensor `{name}` is stored as {dtype}, only F32, F16 and BF16 can be imported")]
    DType {
        /// The tensor.
        name: String,
        /// Its dtype, as the header spells it.
        dtype: String,
    },
    /// A dimension of zero, or too many of them.
    #[error("tensor `{name}` has shape {shape:?}; 0 to 8 dimensions of 1 or more are allowed")]
    Shape {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A shape whose size does not fit 64 bits.
    #[error("tensor `{name}` with shape {shape:?} has more elements than can be addressed")]
    TooManyElements {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// The end before the begin.
    #[error("tensor `{name}` ends at {end}, before its begin at {begin}")]
    Reversed {
        /// The tensor.
        name: String,
        /// Where it says it begins.
        begin: u64,
        /// Where it says it ends.
        end: u64,
    },
    /// Bytes that belong to no tensor.
    #[error("bytes {from} to {to} of the data belong to no tensor (before {next})")]
    Hole {
        /// First byte of the hole.
        from: u64,
        /// First byte after it.
        to: u64,
        /// What follows it.
        next: String,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The one that starts before the first has ended.
        second: String,
    },
    /// A tensor outside the file.
    #[error(
        "tensor `{name}` ends at byte {end} of the data, of which there are {available}\nhint: the file is cut short; download it again"
    )]
    OutOfFile {
        /// The tensor.
        name: String,
        /// Where it says it ends.
        end: u64,
        /// Bytes of data there are.
        available: u64,
    },
    /// A span that is not what the shape takes.
    #[error("tensor `{name}` with shape {shape:?} of {dtype} takes {expected} bytes, its span has {span}")]
    Span {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
        /// Its dtype.
        dtype: String,
        /// Bytes the shape takes.
        expected: u64,
        /// Bytes of its span.
        span: u64,
    },
    /// No tensors at all.
    #[error("it holds no tensors")]
    NoTensors,
    /// The index of a sharded model is not the JSON it must be.
    #[error("it is not a valid shard index: {0}")]
    Index(String),
    /// The index names a file that is not a plain file name in the same directory.
    #[error("it names the shard {0:?}; a shard is a `.safetensors` file in the same directory")]
    ShardName(String),
    /// A shard that is not there.
    #[error("it names the shard `{0}`, which is missing\nhint: download the whole repository")]
    MissingShard(String),
    /// A tensor that more than one shard holds.
    #[error("tensor `{name}` is in both `{first}` and `{second}`")]
    TensorTwice {
        /// The tensor.
        name: String,
        /// One shard.
        first: String,
        /// The other.
        second: String,
    },
    /// The index and a shard disagree on where a tensor is.
    #[error("tensor `{name}`: {fault}")]
    Misplaced {
        /// The tensor.
        name: String,
        /// Who says what.
        fault: String,
    },
}

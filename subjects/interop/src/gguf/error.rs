//! What can be wrong with a GGUF file.

use thiserror::Error;

/// The first fault found in a GGUF file. The importer adds the file's name.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GgufError {
    /// The first four bytes are not `GGUF`.
    #[error("it starts with {0:02x?}, not with `GGUF`")]
    Magic(Vec<u8>),
    /// A version this build does not read.
    #[error("its GGUF version is {0}; versions 2 and 3 are supported")]
    Version(u32),
    /// The version reads as 2 or 3 when its bytes are swapped.
    #[error("it is a big-endian GGUF; only little-endian files are supported")]
    BigEndian,
    /// The file ends inside something, or something claims to be longer than the file.
    #[error(
        "{what} at byte {offset} takes {needed} bytes, the file has {left} left\nhint: the file is cut short or damaged; download it again"
    )]
    Truncated {
        /// What was being read.
        what: String,
        /// Where it starts.
        offset: u64,
        /// Bytes it takes.
        needed: u64,
        /// Bytes there are from there on.
        left: u64,
    },
    /// Everything before the tensor data is larger than any real model needs.
    #[error("its header is longer than {limit} bytes")]
    HeaderTooLong {
        /// Bytes this build reads.
        limit: u64,
    },
    /// A count that no file of this size, or no model, can have.
    #[error("it claims {count} {what}; a file with {left} bytes left can hold {limit} at most")]
    Count {
        /// Of what.
        what: &'static str,
        /// The claim.
        count: u64,
        /// The most that is accepted here.
        limit: u64,
        /// Bytes there are from there on.
        left: u64,
    },
    /// A metadata key that is empty, too long or not printable ASCII.
    #[error("metadata key {index} is {fault}")]
    Key {
        /// The key's position in the file, from 0.
        index: u64,
        /// `empty`, or what else is wrong.
        fault: String,
    },
    /// A metadata key given twice.
    #[error("metadata key `{0}` is given twice")]
    DuplicateKey(String),
    /// A metadata value of a type that does not exist.
    #[error("metadata key `{key}` has value type {id}, which does not exist")]
    ValueType {
        /// The key.
        key: String,
        /// The type's number.
        id: u32,
    },
    /// A bool that is neither 0 nor 1.
    #[error("metadata key `{key}` has a bool of {value}; only 0 and 1 are bools")]
    Bool {
        /// The key.
        key: String,
        /// The byte.
        value: u8,
    },
    /// An array of arrays. The format allows them, no model uses them, and depth is an attack.
    #[error("metadata key `{0}` is an array of arrays, which is not supported")]
    NestedArray(String),
    /// A string that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Utf8(String),
    /// An alignment that is not usable.
    #[error("`general.alignment` is {0}; it must be a u32, a power of two from 8 to 65536")]
    Alignment(String),
    /// A tensor name that is empty, too long, or holds a control character.
    #[error("the name of tensor {index} is {fault}")]
    TensorName {
        /// The tensor's position in the file, from 0.
        index: u64,
        /// What is wrong.
        fault: String,
    },
    /// A tensor name given twice.
    #[error("tensor `{0}` is listed twice")]
    DuplicateTensor(String),
    /// A number of dimensions outside 1 to 4.
    #[error("tensor `{name}` has {n_dims} dimensions; 1 to 4 are allowed")]
    Dimensions {
        /// The tensor.
        name: String,
        /// The claim.
        n_dims: u32,
    },
    /// A dimension of zero.
    #[error("tensor `{name}` has a zero dimension: {dims:?}")]
    ZeroDimension {
        /// The tensor.
        name: String,
        /// Its dimensions, innermost first, as GGUF writes them.
        dims: Vec<u64>,
    },
    /// Dimensions whose product, or byte size, does not fit 64 bits.
    #[error("tensor `{name}` with dimensions {dims:?} has more elements than can be addressed")]
    TooManyElements {
        /// The tensor.
        name: String,
        /// Its dimensions, innermost first, as GGUF writes them.
        dims: Vec<u64>,
    },
    /// An element type that does not exist, was removed, or is not supported.
    #[error(
        "tensor `{name}` has element type {id}{note}\nhint: supported are F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS"
    )]
    ElementType {
        /// The tensor.
        name: String,
        /// The type's number.
        id: u32,
        /// `, which was removed from the format`, or what else is known about it.
        note: String,
    },
    /// A row that is not a whole number of blocks.
    #[error("tensor `{name}` has rows of {row} elements, {encoding} needs a multiple of {block}")]
    PartialBlock {
        /// The tensor.
        name: String,
        /// Elements in a row.
        row: u64,
        /// The element type's name.
        encoding: &'static str,
        /// Elements in a block.
        block: usize,
    },
    /// A tensor that does not start at a multiple of the alignment.
    #[error(
        "tensor `{name}` starts at offset {offset}, which is not a multiple of the alignment {alignment}"
    )]
    Misaligned {
        /// The tensor.
        name: String,
        /// Its offset in the data section.
        offset: u64,
        /// The file's alignment.
        alignment: u64,
    },
    /// A tensor outside the file.
    #[error(
        "tensor `{name}` of {size} bytes at offset {offset} ends after the file, whose data section has {available} bytes\nhint: the file is cut short or damaged; download it again"
    )]
    OutOfFile {
        /// The tensor.
        name: String,
        /// Its offset in the data section.
        offset: u64,
        /// Its bytes.
        size: u64,
        /// Bytes of the data section.
        available: u64,
    },
    /// Two tensors that share bytes.
    #[error("tensors `{first}` and `{second}` overlap")]
    Overlap {
        /// The one that starts first.
        first: String,
        /// The one that starts before the first has ended.
        second: String,
    },
    /// A file without tensors.
    #[error("it holds no tensors")]
    NoTensors,
    /// A metadata key that is needed and not there.
    #[error("metadata key `{0}` is missing")]
    MissingKey(String),
    /// A metadata value of the wrong type or out of range.
    #[error("metadata key `{key}` is {found}, expected {expected}")]
    WrongValue {
        /// The key.
        key: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The vocabulary contradicts itself.
    #[error("its tokenizer cannot be used: {0}")]
    Tokenizer(String),
}

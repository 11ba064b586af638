//! The `.apr` v2 model file: reader, streaming writer, validator, signatures.
//!
//! ```text
//! header (64 bytes) | metadata (JSON) | tensor index | tensor data, each tensor at a multiple of 64 | CRC32
//! ```
//!
//! [`AprFile::open`] maps a file after checking everything but the tensor bytes; [`AprFile::open_verified`] checks those
//! too and remembers it. [`AprWriter`] writes one tensor at a time into an [`atomic::AtomicFile`].
#![deny(unsafe_code)]

mod architecture;
pub mod atomic;
mod directories;
mod dsse;
mod error;
pub mod hash;
mod header;
pub mod index;
mod json;
mod keys;
mod layout;
mod mapping;
mod metadata;
mod plan;
pub mod quality;
mod reader;
pub mod sign;
mod source;
mod stats;
mod tokenizer;
pub mod validate;
mod validation;
mod verified;
mod writer;

pub use atomic::{AtomicFile, Overwrite};
pub use directories::cache_directory;
pub use error::{Fault, FormatError, WriteFault};
pub use header::{ALIGNMENT, Flags, HEADER_SIZE, Header, MAGIC, VERSION};
pub use index::IndexEntry;
pub use keys::{PublicKey, SecretKey, TrustedKeys};
pub use layout::Layout;
pub use metadata::{Metadata, ModelConfig, Provenance, SourceFile};
pub use quality::Quality;
pub use reader::AprFile;
pub use sign::SignatureVerdict;
pub use stats::TensorStats;
pub use tokenizer::{EmbeddedTokenizer, UnpackError};
pub use validate::{ValidateOptions, validate, validate_bytes};
pub use validation::{Check, Finding, Outcome, Severity, TensorReport, Validation};
pub use writer::{AprWriter, TensorSpec, TensorWriter, Written};

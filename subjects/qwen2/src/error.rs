//! Why a model file cannot be run.

use std::path::PathBuf;

use thiserror::Error;

/// A `.apr` file that opens, but is no Qwen2 model this crate can run.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Another architecture.
    #[error(
        "failed to load model `{}`: its architecture is `{architecture}`, only `qwen2` can be run\n\
         hint: `apr inspect` shows what the file holds",
        path.display()
    )]
    Architecture {
        /// The file.
        path: PathBuf,
        /// What its metadata says.
        architecture: String,
    },
    /// The configuration is impossible.
    #[error("failed to load model `{}`: {what}\nhint: import the model again from its source", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A tensor is missing.
    #[error(
        "failed to load model `{}`: tensor `{name}` is missing\nhint: import the model again from its source",
        path.display()
    )]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error(
        "failed to load model `{}`: tensor `{name}` has shape {found:?}, the configuration says {expected:?}",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the file.
        found: Vec<usize>,
    },
    /// A tensor nobody would read.
    #[error("failed to load model `{}`: tensor `{name}` belongs to no part of a Qwen2 model", path.display())]
    UnknownTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The context asked for is longer than the model's, or empty.
    #[error(
        "failed to load model `{}`: a context of {asked} tokens was asked for, the model was made for 1 to {limit}",
        path.display()
    )]
    Context {
        /// The file.
        path: PathBuf,
        /// Positions asked for.
        asked: usize,
        /// Positions the model was made for.
        limit: usize,
    },
    /// The system does not give the memory of the cache.
    #[error(
        "failed to make room for a context of {context_length} tokens: it takes {bytes} bytes of memory, more than the \
         system gives\nhint: ask for a shorter context"
    )]
    Memory {
        /// Positions asked for.
        context_length: usize,
        /// What they take.
        bytes: u64,
    },
}

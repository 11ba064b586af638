//! safetensors: single files, sharded directories, and the JSON files that belong to a model.

mod config;
mod error;
mod header;
mod json_file;
mod open;
mod shards;
mod unique;

pub use error::SafetensorsError;
pub use header::{TensorInfo, parse};

pub(crate) use open::{open_directory, open_file};

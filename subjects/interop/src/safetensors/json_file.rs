//! The JSON and template files beside the tensors, each read up to a limit.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::ImportError;
use crate::model::ModelFault;

/// The bytes of a regular file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, ImportError> {
    let read = || {
        if !std::fs::metadata(path)?.is_file() {
            return Err(std::io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(ImportError::io("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(fault(path, format!("it is larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// The bytes of a file that may be absent.
pub(super) fn read_if_there(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, ImportError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        _ => read(path, limit).map(Some),
    }
}

/// A JSON file that may be absent.
pub(super) fn parse_if_there<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>, ImportError> {
    let Some(bytes) = read_if_there(path, limit)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| fault(path, format!("it is not valid: {error}")))
}

/// Something is wrong with the file at `path`.
pub(super) fn fault(path: &Path, what: String) -> ImportError {
    ImportError::model(path)(ModelFault::SideFile(what))
}

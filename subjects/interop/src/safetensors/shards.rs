//! The safetensors files of a model: one, or several with an index that says which holds what.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::SafetensorsError;
use super::header::{self, TensorInfo};
use super::json_file;
use super::unique::StringMap;
use crate::error::ImportError;
use crate::input_file::InputFile;
use crate::model::{RowOrder, SourceTensor};

/// The name that transformers and hubs give an unsharded model.
pub(super) const SINGLE: &str = "model.safetensors";
/// The name they give the index of a sharded one.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// More shards than any published model has; each is an open file.
const MAX_SHARDS: usize = 512;
/// Bytes of index that are read.
const MAX_INDEX: u64 = 64 << 20;

/// The open files and, by name, every tensor in them.
pub(super) struct Shards {
    pub(super) files: Vec<InputFile>,
    pub(super) tensors: BTreeMap<String, SourceTensor>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: StringMap,
}

impl Shards {
    /// One file with all the tensors.
    pub(super) fn single(path: &Path) -> Result<Self, ImportError> {
        let (file, infos) = open(path)?;
        let tensors = infos.into_iter().map(|info| (info.name.clone(), source_tensor(info, 0))).collect();
        Ok(Self { files: vec![file], tensors })
    }

    /// The files that the index at `index_path` names, all in its directory.
    pub(super) fn sharded(index_path: &Path) -> Result<Self, ImportError> {
        let refuse = ImportError::safetensors(index_path);
        let text = json_file::read(index_path, MAX_INDEX)?;
        let index: Index = match serde_json::from_slice(&text) {
            Ok(index) => index,
            Err(error) => return Err(refuse(SafetensorsError::Index(error.to_string()))),
        };
        let weight_map = index.weight_map.0;
        let paths = match shard_paths(index_path, &weight_map) {
            Ok(paths) => paths,
            Err(fault) => return Err(refuse(fault)),
        };
        let mut shards = Self { files: Vec::new(), tensors: BTreeMap::new() };
        let mut names: Vec<&str> = Vec::new();
        for (name, path) in paths {
            let (file, infos) = open(&path)?;
            names.push(name);
            shards.files.push(file);
            for info in infos {
                if let Err(fault) = shards.add(info, &names, &weight_map) {
                    return Err(refuse(fault));
                }
            }
        }
        let absent = weight_map.iter().find(|(tensor, _)| !shards.tensors.contains_key(*tensor));
        match absent {
            Some((tensor, shard)) => Err(refuse(SafetensorsError::Misplaced {
                name: tensor.clone(),
                fault: format!("it is said to be in `{shard}`, which does not hold it"),
            })),
            None => Ok(shards),
        }
    }

    /// Adds a tensor of the last shard in `names`.
    fn add(
        &mut self,
        info: TensorInfo,
        names: &[&str],
        weight_map: &BTreeMap<String, String>,
    ) -> Result<(), SafetensorsError> {
        let file = names.len() - 1;
        let name = info.name.clone();
        if let Some(other) = self.tensors.get(&name) {
            let (first, second) = (names[other.file].to_owned(), names[file].to_owned());
            return Err(SafetensorsError::TensorTwice { name, first, second });
        }
        let fault = match weight_map.get(&name) {
            Some(shard) if shard == names[file] => {
                self.tensors.insert(name, source_tensor(info, file));
                return Ok(());
            }
            Some(shard) => format!("it is said to be in `{shard}` and is in `{}`", names[file]),
            None => format!("it is in `{}` and not in the index", names[file]),
        };
        Err(SafetensorsError::Misplaced { name, fault })
    }
}

/// The shards of an index, each a plain file name in the index's directory, in the order of their names.
fn shard_paths<'a>(
    index_path: &Path,
    weight_map: &'a BTreeMap<String, String>,
) -> Result<BTreeMap<&'a str, PathBuf>, SafetensorsError> {
    let mut paths = BTreeMap::new();
    for shard in weight_map.values() {
        if paths.contains_key(shard.as_str()) {
            continue;
        }
        let is_plain = shard.ends_with(".safetensors")
            && !shard.contains(['/', '\\', ':'])
            && !shard.starts_with('.')
            && !shard.chars().any(char::is_control);
        if !is_plain {
            return Err(SafetensorsError::ShardName(shard.chars().take(256).collect()));
        }
        let path = index_path.with_file_name(shard);
        if !path.exists() {
            return Err(SafetensorsError::MissingShard(shard.clone()));
        }
        paths.insert(shard.as_str(), path);
        if paths.len() > MAX_SHARDS {
            return Err(SafetensorsError::Index(format!("it names more than {MAX_SHARDS} shards")));
        }
    }
    if paths.is_empty() {
        return Err(SafetensorsError::NoTensors);
    }
    Ok(paths)
}

/// Opens one file and reads its header.
fn open(path: &Path) -> Result<(InputFile, Vec<TensorInfo>), ImportError> {
    let file = InputFile::open(path)?;
    if file.size() < 10 {
        return Err(ImportError::safetensors(path)(SafetensorsError::TooSmall(file.size())));
    }
    let mut length = [0; 8];
    file.read_at(0, &mut length)?;
    let length = header::header_length(length, file.size()).map_err(ImportError::safetensors(path))?;
    let mut header = vec![0; length];
    file.read_at(8, &mut header)?;
    let infos = header::parse_header(&header, file.size()).map_err(ImportError::safetensors(path))?;
    Ok((file, infos))
}

fn source_tensor(info: TensorInfo, file: usize) -> SourceTensor {
    SourceTensor {
        source_name: info.name,
        shape: info.shape,
        encoding: info.encoding,
        file,
        offset: info.offset,
        size: info.size,
        rows: RowOrder::AsIs,
    }
}

//! What `apr import` is pointed at.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::ImportError;
use crate::hub::HubRef;

/// A place to import a model from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A GGUF file.
    Gguf(PathBuf),
    /// A single safetensors file.
    SafetensorsFile(PathBuf),
    /// A directory with `config.json` and safetensors files.
    SafetensorsDir(PathBuf),
    /// A repository on the hub, or one file of it.
    Hub(HubRef),
}

impl Source {
    /// What `text` names: `hf://org/repo[/file][@revision]`, or a path.
    pub fn parse(text: &str) -> Result<Self, ImportError> {
        if HubRef::is_reference(text) {
            return Ok(Self::Hub(text.parse()?));
        }
        Self::from_path(Path::new(text))
    }

    /// What is at `path`: a directory, or a file by its first bytes and its name.
    pub fn from_path(path: &Path) -> Result<Self, ImportError> {
        let path = path.to_owned();
        let metadata = std::fs::metadata(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ImportError::NotFound(path.clone()),
            _ => ImportError::io("open", &path)(error),
        })?;
        if metadata.is_dir() {
            return Ok(Self::SafetensorsDir(path));
        }
        if !metadata.is_file() {
            let error = std::io::Error::other("it is neither a regular file nor a directory");
            return Err(ImportError::io("open", &path)(error));
        }
        let mut magic = [0; 4];
        let starts_as_gguf = File::open(&path)
            .map_err(ImportError::io("open", &path))?
            .read_exact(&mut magic)
            .is_ok_and(|()| magic == *b"GGUF");
        let has_extension =
            |wanted: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(wanted));
        if starts_as_gguf || has_extension("gguf") {
            return Ok(Self::Gguf(path));
        }
        if has_extension("safetensors") {
            return Ok(Self::SafetensorsFile(path));
        }
        let hint = if has_extension("json") {
            "\nhint: import the directory it is in"
        } else if has_extension("apr") {
            "\nhint: it is imported already; `apr inspect` shows it"
        } else if has_extension("bin") || has_extension("pt") || has_extension("pth") {
            "\nhint: pickled weights can run code and are not read; save the model as safetensors"
        } else {
            ""
        };
        Err(ImportError::UnknownKind { path, hint })
    }

    /// The path as the user would recognise it.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Gguf(path) | Self::SafetensorsFile(path) | Self::SafetensorsDir(path) => path
                .file_name()
                .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned()),
            Self::Hub(reference) => reference.to_string(),
        }
    }
}

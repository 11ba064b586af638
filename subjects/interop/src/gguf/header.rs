//! Everything before the tensor data: version, metadata and the table of tensors.

use std::collections::{BTreeMap, BTreeSet};

use super::reader::{Reader, Stop};
use super::value::{Array, Value, ValueType};
use super::{GgufError, TensorInfo, tensor_info};

/// More metadata keys than any model has; real files have 20 to 60.
const MAX_KEYS: u64 = 65_536;
/// More tensors than any model has; the largest published have some 2,000.
const MAX_TENSORS: u64 = 65_536;
/// The longest key that the format allows, in bytes.
const MAX_KEY_LENGTH: usize = 65_535;
/// What the data section and its tensors are aligned to when the file does not say.
const DEFAULT_ALIGNMENT: u64 = 32;

/// A parsed GGUF header; names, strings and arrays are views of the file's bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Gguf<'a> {
    /// 2 or 3; they differ only in what they promise about byte order.
    pub version: u32,
    /// Metadata by key.
    pub metadata: BTreeMap<&'a str, Value<'a>>,
    /// The tensors, in the file's order.
    pub tensors: Vec<TensorInfo<'a>>,
    /// Where tensor data starts.
    pub data_offset: u64,
}

/// Parses a whole GGUF file.
pub fn parse(bytes: &[u8]) -> Result<Gguf<'_>, GgufError> {
    match parse_prefix(bytes, bytes.len() as u64) {
        Ok(gguf) => Ok(gguf),
        Err(Stop::Fault(fault)) => Err(fault),
        // Only an address space smaller than the file could ask for more than all of it.
        Err(Stop::NeedMore) => Err(GgufError::HeaderTooLong { limit: bytes.len() as u64 }),
    }
}

/// Parses the header from `bytes`, the start of a file of `file_size` bytes.
pub(crate) fn parse_prefix(bytes: &[u8], file_size: u64) -> Result<Gguf<'_>, Stop> {
    let mut reader = Reader::new(bytes, file_size);
    let magic = reader.take(4.min(file_size), || "the magic".to_owned())?;
    if magic != b"GGUF" {
        return Err(GgufError::Magic(magic.to_vec()).into());
    }
    let version = reader.u32(|| "the version".to_owned())?;
    match version {
        2 | 3 => {}
        _ if matches!(version.swap_bytes(), 1..=3) => return Err(GgufError::BigEndian.into()),
        _ => return Err(GgufError::Version(version).into()),
    }
    // Name length, one byte of name, dimensions, one dimension, type, offset; key length, one byte of key, type, value.
    let n_tensors = reader.count("tensors", 8 + 1 + 4 + 8 + 4 + 8, MAX_TENSORS)?;
    let n_keys = reader.count("metadata keys", 8 + 1 + 4 + 1, MAX_KEYS)?;

    let mut metadata = BTreeMap::new();
    let mut alignment = DEFAULT_ALIGNMENT;
    for index in 0..n_keys {
        let key = reader.string(|| format!("metadata key {index}"))?;
        check_key(key, index)?;
        let (value_type, value) = Value::read(&mut reader, key)?;
        if key == "general.alignment" {
            alignment = check_alignment(value_type, &value)?;
        }
        if metadata.insert(key, value).is_some() {
            return Err(GgufError::DuplicateKey(shortened(key)).into());
        }
    }

    let mut tensors = Vec::new();
    let mut names = BTreeSet::new();
    for index in 0..n_tensors {
        tensors.push(tensor_info::read(&mut reader, index, &mut names)?);
    }
    if tensors.is_empty() {
        return Err(GgufError::NoTensors.into());
    }
    let data_offset = reader.position().next_multiple_of(alignment);
    tensor_info::place(&mut tensors, data_offset, file_size, alignment)?;
    Ok(Gguf { version, metadata, tensors, data_offset })
}

fn check_key(key: &str, index: u64) -> Result<(), GgufError> {
    let fault = if key.is_empty() {
        "empty".to_owned()
    } else if key.len() > MAX_KEY_LENGTH {
        format!("{} bytes long; {MAX_KEY_LENGTH} are allowed", key.len())
    } else if let Some(character) = key.chars().find(|character| !character.is_ascii_graphic()) {
        format!("{:?}, which holds {character:?}; keys are printable ASCII", shortened(key))
    } else {
        return Ok(());
    };
    Err(GgufError::Key { index, fault })
}

fn check_alignment(value_type: ValueType, value: &Value<'_>) -> Result<u64, GgufError> {
    match value {
        &Value::Integer(alignment)
            if value_type == ValueType::U32
                && (8..=65_536).contains(&alignment)
                && (alignment as u64).is_power_of_two() =>
        {
            Ok(alignment as u64)
        }
        _ => Err(GgufError::Alignment(match value_type {
            ValueType::U32 => value.describe(),
            other => format!("{} ({other:?})", value.describe()),
        })),
    }
}

/// At most 80 characters of a key, for a message.
fn shortened(key: &str) -> String {
    key.chars().take(80).collect()
}

/// Metadata by key, with the type it must have.
impl<'a> Gguf<'a> {
    /// An integer from 0 to `usize::MAX`; `None` when the key is absent.
    pub fn integer(&self, key: &str) -> Result<Option<usize>, GgufError> {
        let expected = "an integer of 0 or more";
        self.typed(key, expected, |value| match value {
            Value::Integer(value) => usize::try_from(*value).ok(),
            _ => None,
        })
    }

    /// A float of either size. An f32 is read as the shortest decimal that names it, so that 1e-6 means 1e-6 as it
    /// does in a `config.json`, and not 9.999999974752427e-07.
    pub fn float(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.typed(key, "a finite float", |value| match value {
            Value::F32(value) if value.is_finite() => value.to_string().parse().ok(),
            Value::F64(value) if value.is_finite() => Some(*value),
            _ => None,
        })
    }

    /// A bool.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// A string.
    pub fn string(&self, key: &str) -> Result<Option<&'a str>, GgufError> {
        self.typed(key, "a string", |value| match value {
            Value::String(value) => Some(*value),
            _ => None,
        })
    }

    /// An array whose element type `accepts`; `expected` says which, in words.
    pub fn array(
        &self,
        key: &str,
        expected: &'static str,
        accepts: fn(ValueType) -> bool,
    ) -> Result<Option<Array<'a>>, GgufError> {
        self.typed(key, expected, |value| match value {
            Value::Array(array) if accepts(array.element()) => Some(*array),
            _ => None,
        })
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        convert: impl FnOnce(&Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.metadata.get(key) else { return Ok(None) };
        convert(value).map(Some).ok_or_else(|| GgufError::WrongValue {
            key: key.to_owned(),
            found: value.describe(),
            expected,
        })
    }
}

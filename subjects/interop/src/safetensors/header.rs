//! The header of one safetensors file: an own check of every claim in it, before the `safetensors` crate reads it.
//!
//! The crate keeps the last of two equal keys, does not bound their number, and wants the whole file in memory; here
//! the header's JSON is read as a stream that refuses duplicates and stops at limits.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::Metadata;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::SafetensorsError;
use crate::encoding::Encoding;

/// The longest header that the format's own implementation accepts.
pub(crate) const MAX_HEADER: u64 = 100_000_000;
/// More tensors than any model has.
const MAX_ENTRIES: usize = 65_536;
/// The longest tensor name an `.apr` file can hold, in bytes.
const MAX_NAME: usize = 256;
/// As many dimensions as an `.apr` file can hold.
const MAX_DIMS: usize = 8;

/// One tensor of a safetensors file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo {
    /// Its name: a checkpoint key.
    pub name: String,
    /// Its dimensions, outermost first.
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub encoding: Encoding,
    /// Where its bytes start, from the start of the file.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
}

/// Parses a whole safetensors file.
pub fn parse(bytes: &[u8]) -> Result<Vec<TensorInfo>, SafetensorsError> {
    let file_size = bytes.len() as u64;
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Err(SafetensorsError::TooSmall(file_size));
    };
    let length = header_length(*length, file_size)?;
    parse_header(&rest[..length], file_size)
}

/// The header's length, from the first eight bytes of a file of `file_size`.
pub(crate) fn header_length(bytes: [u8; 8], file_size: u64) -> Result<usize, SafetensorsError> {
    let length = u64::from_le_bytes(bytes);
    let refuse = |limit, why| Err(SafetensorsError::HeaderLength { length, limit, why });
    if length < 2 {
        return refuse(2, "are the least a header can have");
    }
    if length > MAX_HEADER {
        return refuse(MAX_HEADER, "are the most that are read");
    }
    if length > file_size.saturating_sub(8) {
        return refuse(file_size.saturating_sub(8), "is what the file has left");
    }
    Ok(length as usize)
}

/// Checks a header and returns the tensors of the file that has it, in the order of their bytes.
pub(crate) fn parse_header(header: &[u8], file_size: u64) -> Result<Vec<TensorInfo>, SafetensorsError> {
    if header.first() != Some(&b'{') {
        return Err(SafetensorsError::Header("it does not start with `{`".to_owned()));
    }
    let entries: Entries =
        serde_json::from_slice(header).map_err(|error| SafetensorsError::Header(error.to_string()))?;
    let data_offset = 8 + header.len() as u64;
    check_layout(&entries.0, file_size - data_offset)?;

    let metadata: Metadata =
        serde_json::from_slice(header).map_err(|error| SafetensorsError::Header(error.to_string()))?;
    let infos = metadata.tensors();
    let mut tensors = Vec::with_capacity(entries.0.len());
    for name in metadata.offset_keys() {
        let info = infos[&name];
        let encoding = match info.dtype {
            safetensors::Dtype::F32 => Encoding::F32,
            safetensors::Dtype::F16 => Encoding::F16,
            safetensors::Dtype::BF16 => Encoding::Bf16,
            other => return Err(SafetensorsError::DType { name, dtype: format!("{other:?}") }),
        };
        let (begin, end) = info.data_offsets;
        tensors.push(TensorInfo {
            name,
            shape: info.shape.clone(),
            encoding,
            offset: data_offset + begin as u64,
            size: (end - begin) as u64,
        });
    }
    Ok(tensors)
}

/// One tensor, as the header claims it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    #[serde(deserialize_with = "bounded_shape")]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// A shape of no more than [`MAX_DIMS`] and one dimensions; the one too many is reported with the tensor's name.
fn bounded_shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Shape;
    impl<'de> Visitor<'de> for Shape {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of dimensions")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(dim) = list.next_element()? {
                shape.push(dim);
                if shape.len() > MAX_DIMS {
                    return Err(A::Error::custom(format!("a shape has more than {MAX_DIMS} dimensions")));
                }
            }
            Ok(shape)
        }
    }
    deserializer.deserialize_seq(Shape)
}

/// The header's tensors by name; refuses a name given twice.
struct Entries(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Header;
        impl<'de> Visitor<'de> for Header {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = BTreeMap::new();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        if std::mem::replace(&mut has_metadata, true) {
                            return Err(A::Error::custom("`__metadata__` is given twice"));
                        }
                        map.next_value::<UniqueStrings>()?;
                        continue;
                    }
                    if entries.len() == MAX_ENTRIES {
                        return Err(A::Error::custom(format!("it lists more than {MAX_ENTRIES} tensors")));
                    }
                    let entry = map.next_value::<Entry>()?;
                    if entries.contains_key(&name) {
                        return Err(A::Error::custom(format!("tensor `{name}` is listed twice")));
                    }
                    entries.insert(name, entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Header)
    }
}

/// A map of strings that refuses duplicate keys; what it holds is not needed.
struct UniqueStrings;

impl<'de> Deserialize<'de> for UniqueStrings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = super::unique::StringMap::deserialize(deserializer)?;
        if map.0.len() > MAX_ENTRIES {
            return Err(D::Error::custom("`__metadata__` has too many keys"));
        }
        Ok(Self)
    }
}

/// Checks names, shapes and spans, and that the spans are exactly the `available` bytes of data.
fn check_layout(entries: &BTreeMap<String, Entry>, available: u64) -> Result<(), SafetensorsError> {
    if entries.is_empty() {
        return Err(SafetensorsError::NoTensors);
    }
    for (name, entry) in entries {
        check_entry(name, entry, available)?;
    }
    let mut by_begin: Vec<(&String, (u64, u64))> =
        entries.iter().map(|(name, entry)| (name, entry.data_offsets)).collect();
    by_begin.sort_by_key(|&(_, offsets)| offsets);
    let (mut position, mut previous) = (0, "");
    for (name, (begin, end)) in by_begin {
        if begin < position {
            return Err(SafetensorsError::Overlap { first: previous.to_owned(), second: name.clone() });
        }
        if begin > position {
            let next = format!("tensor `{name}`");
            return Err(SafetensorsError::Hole { from: position, to: begin, next });
        }
        (position, previous) = (end, name);
    }
    if position < available {
        let next = "the end of the file".to_owned();
        return Err(SafetensorsError::Hole { from: position, to: available, next });
    }
    Ok(())
}

fn check_entry(name: &str, entry: &Entry, available: u64) -> Result<(), SafetensorsError> {
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(SafetensorsError::Name(name.chars().take(MAX_NAME).collect()));
    }
    let (shape, (begin, end)) = (&entry.shape, entry.data_offsets);
    if shape.len() > MAX_DIMS || shape.contains(&0) {
        return Err(SafetensorsError::Shape { name: name.to_owned(), shape: shape.clone() });
    }
    if end < begin {
        return Err(SafetensorsError::Reversed { name: name.to_owned(), begin, end });
    }
    if end > available {
        return Err(SafetensorsError::OutOfFile { name: name.to_owned(), end, available });
    }
    let element_size = match entry.dtype.as_str() {
        "F32" => 4,
        "F16" | "BF16" => 2,
        _ => {
            let dtype = entry.dtype.chars().take(40).collect();
            return Err(SafetensorsError::DType { name: name.to_owned(), dtype });
        }
    };
    let expected = shape.iter().try_fold(element_size, |n: u64, &dim| n.checked_mul(dim));
    let Some(expected) = expected.filter(|&n| i64::try_from(n).is_ok()) else {
        return Err(SafetensorsError::TooManyElements { name: name.to_owned(), shape: shape.clone() });
    };
    if expected != end - begin {
        return Err(SafetensorsError::Span {
            name: name.to_owned(),
            shape: shape.clone(),
            dtype: entry.dtype.clone(),
            expected,
            span: end - begin,
        });
    }
    Ok(())
}

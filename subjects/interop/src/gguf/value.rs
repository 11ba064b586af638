//! Metadata values: scalars by value, strings and arrays as views of the file.

use super::GgufError;
use super::reader::{Reader, Stop};

/// The type of a metadata value, by GGUF's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// In the order of their numbers.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    fn from_id(id: u32, key: &str) -> Result<Self, GgufError> {
        let known = usize::try_from(id).ok().and_then(|id| Self::ALL.get(id)).copied();
        known.ok_or_else(|| GgufError::ValueType { key: key.to_owned(), id })
    }

    /// Bytes of one value; the least for a string.
    const fn least_bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 | Self::String => 8,
            Self::Array => 12,
        }
    }
}

/// One metadata value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Any of the integer types.
    Integer(i128),
    /// `f32`, kept apart from [`Value::F64`] because 1e-6 means something else in it.
    F32(f32),
    /// `f64`.
    F64(f64),
    /// A bool.
    Bool(bool),
    /// A string.
    String(&'a str),
    /// An array of one of the other types.
    Array(Array<'a>),
}

impl<'a> Value<'a> {
    /// Reads a value of the type whose number comes first.
    pub(super) fn read(reader: &mut Reader<'a>, key: &str) -> Result<(ValueType, Self), Stop> {
        let id = reader.u32(|| format!("the value type of `{key}`"))?;
        let value_type = ValueType::from_id(id, key)?;
        let value = match value_type {
            ValueType::Array => Self::Array(Array::read(reader, key)?),
            scalar => Self::read_scalar(reader, scalar, key)?,
        };
        Ok((value_type, value))
    }

    fn read_scalar(reader: &mut Reader<'a>, value_type: ValueType, key: &str) -> Result<Self, Stop> {
        let what = || format!("the value of `{key}`");
        Ok(match value_type {
            ValueType::U8 => Self::Integer(u8::from_le_bytes(reader.array(what)?).into()),
            ValueType::I8 => Self::Integer(i8::from_le_bytes(reader.array(what)?).into()),
            ValueType::U16 => Self::Integer(u16::from_le_bytes(reader.array(what)?).into()),
            ValueType::I16 => Self::Integer(i16::from_le_bytes(reader.array(what)?).into()),
            ValueType::U32 => Self::Integer(u32::from_le_bytes(reader.array(what)?).into()),
            ValueType::I32 => Self::Integer(i32::from_le_bytes(reader.array(what)?).into()),
            ValueType::U64 => Self::Integer(u64::from_le_bytes(reader.array(what)?).into()),
            ValueType::I64 => Self::Integer(i64::from_le_bytes(reader.array(what)?).into()),
            ValueType::F32 => Self::F32(f32::from_le_bytes(reader.array(what)?)),
            ValueType::F64 => Self::F64(f64::from_le_bytes(reader.array(what)?)),
            ValueType::Bool => match reader.array(what)? {
                [0] => Self::Bool(false),
                [1] => Self::Bool(true),
                [value] => return Err(GgufError::Bool { key: key.to_owned(), value }.into()),
            },
            ValueType::String => Self::String(reader.string(what)?),
            ValueType::Array => return Err(GgufError::NestedArray(key.to_owned()).into()),
        })
    }

    /// The value in words, for an error message; long ones are cut.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Integer(value) => value.to_string(),
            Self::F32(value) => value.to_string(),
            Self::F64(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::String(value) if value.chars().count() > 40 => {
                format!("the string {:?}...", value.chars().take(40).collect::<String>())
            }
            Self::String(value) => format!("the string {value:?}"),
            Self::Array(array) => format!("an array of {} values", array.len()),
        }
    }
}

/// An array of scalars or strings, read when it is iterated. Its bytes were checked when it was parsed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    element: ValueType,
    length: usize,
    bytes: &'a [u8],
}

impl<'a> Array<'a> {
    fn read(reader: &mut Reader<'a>, key: &str) -> Result<Self, Stop> {
        let id = reader.u32(|| format!("the element type of `{key}`"))?;
        let element = ValueType::from_id(id, key)?;
        let length = reader.u64(|| format!("the length of `{key}`"))?;
        let what = || format!("the array `{key}` of {length} values");
        // A count that cannot fit is refused before anything is read for it.
        let least = length.saturating_mul(element.least_bytes());
        if least > reader.left() {
            let (offset, left) = (reader.position(), reader.left());
            return Err(GgufError::Truncated { what: what(), offset, needed: least, left }.into());
        }
        let bytes = match element {
            ValueType::Array => return Err(GgufError::NestedArray(key.to_owned()).into()),
            ValueType::String => reader.spanned(|reader| {
                (0..length).try_for_each(|i| reader.string(|| format!("string {i} of `{key}`")).map(drop))
            })?,
            ValueType::Bool => {
                let bytes = reader.take(least, what)?;
                if let Some(&value) = bytes.iter().find(|&&byte| byte > 1) {
                    return Err(GgufError::Bool { key: key.to_owned(), value }.into());
                }
                bytes
            }
            _ => reader.take(least, what)?,
        };
        Ok(Self { element, length: usize::try_from(length).map_err(|_| Stop::NeedMore)?, bytes })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The type of the values.
    pub fn element(&self) -> ValueType {
        self.element
    }

    /// The strings of an array of strings; nothing for another array.
    pub fn strings(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let bytes = if self.element == ValueType::String { self.bytes } else { &[] };
        let mut reader = Reader::new(bytes, 0);
        std::iter::from_fn(move || reader.string(String::new).ok())
    }

    /// The values of an array of integers; nothing for another array.
    pub fn integers(&self) -> impl Iterator<Item = i128> + use<'a> {
        let element = self.element;
        let mut reader = Reader::new(self.bytes, 0);
        std::iter::from_fn(move || match element {
            ValueType::String | ValueType::Array => None,
            _ => match Value::read_scalar(&mut reader, element, "") {
                Ok(Value::Integer(value)) => Some(value),
                _ => None,
            },
        })
    }
}

//! The tensor index: one entry a tensor, sorted by name, and the rules its ranges obey.

use apr_tensor::{DType, Packing};

use crate::error::Fault;
use crate::header::{ALIGNMENT, FOOTER_SIZE, align};

/// Bytes of the smallest entry: a name of one byte, no dimension.
pub(crate) const MIN_ENTRY_SIZE: usize = 2 + 1 + 1 + 1 + 8 + 8;
/// Bytes of the largest entry.
pub(crate) const MAX_ENTRY_SIZE: usize = 2 + MAX_NAME_SIZE + 1 + 1 + 8 * MAX_DIMENSIONS + 8 + 8;
/// Bytes of the longest tensor name.
pub const MAX_NAME_SIZE: usize = 256;
/// Dimensions a tensor may have.
pub const MAX_DIMENSIONS: usize = 8;

/// Where a tensor is and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The checkpoint's key.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// First byte, counted from the header's `data_offset`.
    pub offset: u64,
    /// Bytes, without padding.
    pub size: u64,
}

impl IndexEntry {
    /// Number of elements; entries of an opened file cannot overflow.
    pub fn n_elements(&self) -> u64 {
        self.shape.iter().fold(1, |n, &dimension| n.saturating_mul(dimension as u64))
    }

    /// The entry as stored.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.name.len() as u16).to_le_bytes());
        out.extend_from_slice(self.name.as_bytes());
        out.push(dtype_code(self.dtype));
        out.push(self.shape.len() as u8);
        for &dimension in &self.shape {
            out.extend_from_slice(&(dimension as u64).to_le_bytes());
        }
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
    }
}

/// The stored code of a dtype: its GGML id; for our own layouts, a number that GGML is far from.
pub const fn dtype_code(dtype: DType) -> u8 {
    match dtype {
        DType::F32 => 0,
        DType::F16 => 1,
        DType::Bf16 => 30,
        DType::Int8 => 200,
        DType::Int4 => 201,
    }
}

/// The dtype of a stored code.
pub fn dtype_from_code(code: u8) -> Option<DType> {
    DType::ALL.into_iter().find(|&dtype| dtype_code(dtype) == code)
}

/// Reads `tensor_count` entries from the start of `bytes`; returns them and the bytes they took.
///
/// Judges what an entry is in itself: name, dtype, dimensions. [`faults`] judges them together.
pub fn parse(bytes: &[u8], tensor_count: u32) -> Result<(Vec<IndexEntry>, usize), Fault> {
    let n_tensors = tensor_count as usize;
    if n_tensors > bytes.len() / MIN_ENTRY_SIZE {
        return Err(Fault::Layout(format!(
            "its tensor index takes {} bytes, which cannot be {n_tensors} entries",
            bytes.len()
        )));
    }
    let mut cursor = Cursor { bytes, position: 0 };
    let mut entries = Vec::with_capacity(n_tensors);
    for entry in 0..n_tensors {
        let parsed = parse_entry(&mut cursor).map_err(|what| Fault::Index { entry, what })?;
        entries.push(parsed);
    }
    Ok((entries, cursor.position))
}

fn parse_entry(cursor: &mut Cursor<'_>) -> Result<IndexEntry, String> {
    let name_size = u16::from_le_bytes(cursor.take()?) as usize;
    let name = cursor.slice(name_size)?;
    let name = std::str::from_utf8(name).map_err(|error| format!("its name is not UTF-8: {error}"))?;
    check_name(name)?;
    let [code, n_dimensions] = cursor.take()?;
    let dtype =
        dtype_from_code(code).ok_or_else(|| format!("`{name}` has dtype code {code}, which is not known"))?;
    if n_dimensions as usize > MAX_DIMENSIONS {
        return Err(format!("`{name}` has {n_dimensions} dimensions, the limit is {MAX_DIMENSIONS}"));
    }
    let mut shape = Vec::with_capacity(n_dimensions as usize);
    for _ in 0..n_dimensions {
        let dimension = u64::from_le_bytes(cursor.take()?);
        let dimension = usize::try_from(dimension)
            .map_err(|_| format!("`{name}` has a dimension of {dimension}, too large for this machine"))?;
        shape.push(dimension);
    }
    let offset = u64::from_le_bytes(cursor.take()?);
    let size = u64::from_le_bytes(cursor.take()?);
    Ok(IndexEntry { name: name.to_owned(), dtype, shape, offset, size })
}

/// Whether a tensor may be called `name`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("its name is empty".to_owned());
    }
    if name.len() > MAX_NAME_SIZE {
        return Err(format!("its name has {} bytes, the limit is {MAX_NAME_SIZE}", name.len()));
    }
    if name.chars().any(char::is_control) {
        return Err(format!("its name {name:?} has a control character"));
    }
    Ok(())
}

/// Everything wrong with the entries together, in a file whose data starts at `data_offset`: order, sizes, ranges.
pub fn faults(entries: &[IndexEntry], data_offset: u64, file_size: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut tensor_fault =
        |entry: &IndexEntry, what: String| faults.push(Fault::Tensor { name: entry.name.clone(), what });
    for pair in entries.windows(2) {
        match pair[0].name.as_bytes().cmp(pair[1].name.as_bytes()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => tensor_fault(&pair[1], "it is in the index twice".to_owned()),
            std::cmp::Ordering::Greater => {
                tensor_fault(&pair[1], format!("it is out of order, after `{}`", pair[0].name));
            }
        }
    }
    for entry in entries {
        match stored_size(entry.dtype, &entry.shape) {
            Ok(expected) if expected == entry.size => {}
            Ok(expected) => tensor_fault(
                entry,
                format!(
                    "shape {:?} of {} takes {expected} bytes, {} are stored",
                    entry.shape, entry.dtype, entry.size
                ),
            ),
            Err(what) => tensor_fault(entry, what),
        }
    }
    faults.extend(range_faults(entries, data_offset, file_size));
    faults
}

/// Bytes that a tensor takes.
pub(crate) fn stored_size(dtype: DType, shape: &[usize]) -> Result<u64, String> {
    if Packing::of(dtype).is_some() && !Packing::fits(shape) {
        return Err(format!("{dtype} holds matrices of 16 n rows and 64 m columns, not of shape {shape:?}"));
    }
    dtype
        .n_bytes(shape)
        .filter(|&size| isize::try_from(size).is_ok())
        .map(|size| size as u64)
        .ok_or_else(|| format!("shape {shape:?} of {dtype} takes more bytes than this machine can address"))
}

/// Tensors must fill the file from `data_offset` to the CRC32 with less than [`ALIGNMENT`] bytes between them.
fn range_faults(entries: &[IndexEntry], data_offset: u64, file_size: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut by_offset: Vec<&IndexEntry> = entries.iter().collect();
    by_offset.sort_by_key(|entry| (entry.offset, entry.size));
    let mut end = 0;
    for entry in by_offset {
        let what = if !entry.offset.is_multiple_of(ALIGNMENT) {
            format!("it starts at {}, which is not a multiple of {ALIGNMENT}", entry.offset)
        } else if entry.offset < end {
            format!("it starts at {}, inside another tensor that ends at {end}", entry.offset)
        } else if Some(entry.offset) != align(end) {
            format!("it starts at {}, with a hole behind the tensor that ends at {end}", entry.offset)
        } else {
            String::new()
        };
        if !what.is_empty() {
            faults.push(Fault::Tensor { name: entry.name.clone(), what });
        }
        let Some(entry_end) = entry.offset.checked_add(entry.size) else {
            let what = format!("its {} bytes from {} wrap around", entry.size, entry.offset);
            faults.push(Fault::Tensor { name: entry.name.clone(), what });
            return faults;
        };
        end = end.max(entry_end);
    }
    let expected =
        align(end).and_then(|end| end.checked_add(data_offset)).and_then(|end| end.checked_add(FOOTER_SIZE));
    match expected {
        Some(expected) if expected == file_size => {}
        Some(expected) if expected < file_size => faults.push(Fault::Layout(format!(
            "it has {} bytes after its end at {expected}",
            file_size - expected
        ))),
        expected => faults.push(Fault::Truncated {
            what: "its tensor data",
            needed: expected.unwrap_or(u64::MAX),
            found: file_size,
        }),
    }
    faults
}

/// A position in the index.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    fn slice(&mut self, size: usize) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.position..];
        let slice = rest.get(..size).ok_or_else(|| "it is cut short".to_owned())?;
        self.position += size;
        Ok(slice)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut taken = [0; N];
        taken.copy_from_slice(self.slice(N)?);
        Ok(taken)
    }
}

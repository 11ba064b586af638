//! The table of tensors: names, shapes, encodings and where their bytes lie, all checked against the file.

use std::collections::BTreeSet;

use super::GgufError;
use super::reader::{Reader, Stop};
use crate::encoding::Encoding;

/// The longest tensor name that ggml can hold, in bytes.
const MAX_NAME: usize = 64;

/// One tensor of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorInfo<'a> {
    /// Its name, as GGUF spells it: `blk.0.attn_q.weight`.
    pub name: &'a str,
    /// Its dimensions, outermost first: `[rows, columns]`. (GGUF writes them the other way round.)
    pub shape: Vec<usize>,
    /// How its elements are stored.
    pub encoding: Encoding,
    /// Where its bytes start, from the start of the file.
    pub offset: u64,
    /// Its bytes.
    pub size: u64,
}

/// Reads one entry of the table; `offset` is still relative to the data section.
pub(super) fn read<'a>(
    reader: &mut Reader<'a>,
    index: u64,
    seen: &mut BTreeSet<&'a str>,
) -> Result<TensorInfo<'a>, Stop> {
    let name = reader.string(|| format!("the name of tensor {index}"))?;
    check_name(name, index)?;
    if !seen.insert(name) {
        return Err(GgufError::DuplicateTensor(name.to_owned()).into());
    }
    let n_dims = reader.u32(|| format!("the number of dimensions of `{name}`"))?;
    if !(1..=4).contains(&n_dims) {
        return Err(GgufError::Dimensions { name: name.to_owned(), n_dims }.into());
    }
    let mut dims = Vec::with_capacity(n_dims as usize);
    for _ in 0..n_dims {
        dims.push(reader.u64(|| format!("the dimensions of `{name}`"))?);
    }
    if dims.contains(&0) {
        return Err(GgufError::ZeroDimension { name: name.to_owned(), dims }.into());
    }
    let id = reader.u32(|| format!("the element type of `{name}`"))?;
    let encoding = encoding_of(id).map_err(|note| GgufError::ElementType {
        name: name.to_owned(),
        id,
        note: note.to_owned(),
    })?;
    let offset = reader.u64(|| format!("the offset of `{name}`"))?;
    let size = n_bytes(name, &dims, encoding)?;
    let shape = dims.iter().rev().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| GgufError::TooManyElements { name: name.to_owned(), dims })?;
    Ok(TensorInfo { name, shape, encoding, offset, size })
}

fn check_name(name: &str, index: u64) -> Result<(), GgufError> {
    let fault = if name.is_empty() {
        "empty".to_owned()
    } else if name.len() > MAX_NAME {
        format!("{} bytes long; {MAX_NAME} are allowed", name.len())
    } else if name.chars().any(char::is_control) {
        format!("{name:?}, which holds a control character")
    } else {
        return Ok(());
    };
    Err(GgufError::TensorName { index, fault })
}

/// Bytes that a tensor takes, its rows being whole blocks.
fn n_bytes(name: &str, dims: &[u64], encoding: Encoding) -> Result<u64, GgufError> {
    let block = encoding.block_elements();
    if !dims[0].is_multiple_of(block as u64) {
        let (name, row) = (name.to_owned(), dims[0]);
        return Err(GgufError::PartialBlock { name, row, encoding: encoding.name(), block });
    }
    // Elements first: their number must be addressable whatever the encoding compresses them to.
    let n_elements = dims.iter().try_fold(1_u64, |n, &dim| n.checked_mul(dim));
    let n_elements = n_elements.filter(|&n| i64::try_from(n).is_ok());
    n_elements
        .and_then(|n| (n / block as u64).checked_mul(encoding.block_bytes() as u64))
        .ok_or_else(|| GgufError::TooManyElements { name: name.to_owned(), dims: dims.to_vec() })
}

/// Makes offsets absolute, after checking that every tensor is aligned, inside the file and alone in its bytes.
pub(super) fn place(
    tensors: &mut [TensorInfo<'_>],
    data_offset: u64,
    file_size: u64,
    alignment: u64,
) -> Result<(), GgufError> {
    let available = file_size.saturating_sub(data_offset);
    for tensor in tensors.iter_mut() {
        let (name, offset, size) = (tensor.name, tensor.offset, tensor.size);
        if !offset.is_multiple_of(alignment) {
            return Err(GgufError::Misaligned { name: name.to_owned(), offset, alignment });
        }
        if offset.checked_add(size).is_none_or(|end| end > available) {
            return Err(GgufError::OutOfFile { name: name.to_owned(), offset, size, available });
        }
        tensor.offset = data_offset + offset;
    }
    let mut by_offset: Vec<&TensorInfo<'_>> = tensors.iter().collect();
    by_offset.sort_by_key(|tensor| tensor.offset);
    for pair in by_offset.windows(2) {
        if pair[0].offset + pair[0].size > pair[1].offset {
            let (first, second) = (pair[0].name.to_owned(), pair[1].name.to_owned());
            return Err(GgufError::Overlap { first, second });
        }
    }
    Ok(())
}

/// The encoding that ggml numbers `id`, or what is known about that number.
fn encoding_of(id: u32) -> Result<Encoding, &'static str> {
    Ok(match id {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        10 => Encoding::Q2K,
        11 => Encoding::Q3K,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        20 => Encoding::Iq4Nl,
        23 => Encoding::Iq4Xs,
        30 => Encoding::Bf16,
        4 | 5 | 31..=33 | 36..=38 => return Err(", which was removed from the format"),
        9 | 15 => return Err(" (Q8_1 or Q8_K), which only exists inside computations"),
        16..=19 | 21 | 22 | 29 => return Err(" (an IQ1, IQ2 or IQ3 type), which is not supported"),
        24..=28 => return Err(" (an integer or f64), which weights do not use"),
        34 | 35 | 39..=41 => return Err(" (a ternary or FP4 type), which is not supported"),
        _ => return Err(", which is not known"),
    })
}

//! `.npy` files: the only place that knows their bytes. What is read is checked before anything is allocated for it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use apr_format::atomic::{self, Overwrite};
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement, WriteNpyExt};
use thiserror::Error;

/// Longest header accepted; numpy writes about a hundred bytes.
const HEADER_LIMIT: usize = 4096;
/// Largest file accepted: a gigabyte of logits is more than any trace holds.
const FILE_LIMIT: u64 = 4 << 30;
const MAGIC: &[u8] = b"\x93NUMPY";

/// An array as stored, in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Dimensions, outermost first; none for a scalar.
    pub shape: Vec<usize>,
    /// The element type, as numpy spells it.
    pub dtype: String,
    /// The values.
    pub values: Vec<T>,
}

/// Why a file is no array.
#[derive(Debug, Error)]
#[error("failed to read `{}`: {fault}", path.display())]
pub struct NpyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: NpyFault,
}

/// What is wrong with a file.
#[derive(Debug, Error)]
pub enum NpyFault {
    /// The system refuses.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Too large to be a trace.
    #[error("it has {found} bytes, at most {FILE_LIMIT} are read")]
    TooLarge {
        /// Bytes it has.
        found: u64,
    },
    /// Not an array file, or a broken one.
    #[error("it is no .npy file: {0}")]
    Header(&'static str),
    /// The header and the data disagree, or the header does not parse.
    #[error("{0}")]
    Contents(#[from] ReadNpyError),
    /// Elements of another type.
    #[error("its elements are `{found}`, expected {expected}")]
    DType {
        /// As the header spells it.
        found: String,
        /// What was asked for.
        expected: &'static str,
    },
}

/// The bytes of a file, for hashing and parsing the same bytes.
pub fn read_bytes(path: &Path) -> Result<Vec<u8>, NpyError> {
    let read = || {
        let file = File::open(path)?;
        let found = file.metadata()?.len();
        if found > FILE_LIMIT {
            return Err(NpyFault::TooLarge { found });
        }
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|fault| NpyError { path: path.to_owned(), fault })
}

/// A float32 array out of the bytes of the file at `path`.
pub fn parse_f32(path: &Path, bytes: &[u8]) -> Result<Array<f32>, NpyError> {
    let parse = || match descriptor(bytes)?.as_str() {
        "<f4" => parse_as::<f32>(bytes),
        found => Err(NpyFault::DType { found: found.to_owned(), expected: "`<f4` (float32)" }),
    };
    parse().map_err(|fault| NpyError { path: path.to_owned(), fault })
}

/// An array of any numbers, each exact in float64 up to 2^53.
pub fn read_numbers(path: &Path) -> Result<Array<f64>, NpyError> {
    fn widen<T: ReadableElement + Copy>(bytes: &[u8], number: fn(T) -> f64) -> Result<Array<f64>, NpyFault> {
        let Array { shape, dtype, values } = parse_as::<T>(bytes)?;
        Ok(Array { shape, dtype, values: values.into_iter().map(number).collect() })
    }
    let bytes = read_bytes(path)?;
    let parse = || match descriptor(&bytes)?.as_str() {
        "<f4" => widen::<f32>(&bytes, f64::from),
        "<f8" => parse_as::<f64>(&bytes),
        "<i8" => widen::<i64>(&bytes, |value| value as f64),
        "<u8" => widen::<u64>(&bytes, |value| value as f64),
        "<i4" => widen::<i32>(&bytes, f64::from),
        "<u4" => widen::<u32>(&bytes, f64::from),
        found => Err(NpyFault::DType {
            found: found.to_owned(),
            expected: "float32, float64 or whole numbers of 4 or 8 bytes",
        }),
    };
    parse().map_err(|fault| NpyError { path: path.to_owned(), fault })
}

/// Writes a float32 array, whole or not at all.
pub fn write_f32(
    path: &Path,
    shape: &[usize],
    values: &[f32],
    overwrite: Overwrite,
) -> Result<(), apr_format::FormatError> {
    let failed = |source: std::io::Error| apr_format::FormatError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    };
    let view = ArrayViewD::from_shape(IxDyn(shape), values)
        .map_err(|error| failed(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    let mut bytes = Vec::with_capacity(values.len() * 4 + 128);
    view.write_npy(&mut bytes).map_err(|error| failed(std::io::Error::other(error)))?;
    atomic::write(path, &bytes, overwrite)
}

fn parse_as<T: ReadableElement>(bytes: &[u8]) -> Result<Array<T>, NpyFault> {
    let dtype = descriptor(bytes)?;
    let array = ArrayD::<T>::read_npy(bytes)?;
    let shape = array.shape().to_vec();
    // Fortran order is told apart by the header; elements come out in logical order either way.
    Ok(Array { shape, dtype, values: array.into_iter().collect() })
}

/// The element type that the header names, after checking that the header can be parsed safely.
fn descriptor(bytes: &[u8]) -> Result<String, NpyFault> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(NpyFault::Header("it does not start with \\x93NUMPY"))?;
    let (length, text) = match rest {
        [1, 0, a, b, text @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), text),
        [2 | 3, 0, a, b, c, d, text @ ..] => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, text),
        _ => return Err(NpyFault::Header("its version is not 1.0, 2.0 or 3.0")),
    };
    if length > HEADER_LIMIT {
        return Err(NpyFault::Header("its header is longer than 4,096 bytes"));
    }
    let header = text.get(..length).ok_or(NpyFault::Header("it ends inside its header"))?;
    let header = std::str::from_utf8(header).map_err(|_| NpyFault::Header("its header is not text"))?;
    // The parser of the header descends once for every bracket.
    if header.matches(['(', '[', '{']).count() > 8 {
        return Err(NpyFault::Header("its header is nested"));
    }
    let quoted = header.split("'descr'").nth(1).and_then(|rest| rest.split('\'').nth(1));
    quoted.map(str::to_owned).ok_or(NpyFault::Header("its header names no element type"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16 + 1).to_le_bytes()].concat();
        bytes.extend_from_slice(header.as_bytes());
        bytes.push(b'\n');
        bytes.extend_from_slice(data);
        bytes
    }

    fn fault(bytes: &[u8]) -> String {
        parse_f32(Path::new("x.npy"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_f32(&path, &[2, 3], &[0., 1., 2., 3., 4., -5.5], Overwrite::Refuse).unwrap();
        let read = parse_f32(&path, &read_bytes(&path).unwrap()).unwrap();
        assert_eq!((read.shape, read.dtype.as_str()), (vec![2, 3], "<f4"));
        assert_eq!(read.values, [0., 1., 2., 3., 4., -5.5]);
        assert_eq!(read_numbers(&path).unwrap().values[5].to_bits(), (-5.5_f64).to_bits());
        assert!(write_f32(&path, &[2, 3], &[0.0; 6], Overwrite::Refuse).is_err(), "overwritten");
        assert!(write_f32(&path, &[2, 3], &[0.0; 5], Overwrite::Allow).is_err(), "another shape");
    }

    #[test]
    fn whole_numbers_and_column_major_arrays_are_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let data: Vec<u8> = [1_i64, 2, 3, 4].iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = "{'descr': '<i8', 'fortran_order': True, 'shape': (2, 2), }";
        std::fs::write(&path, array(header, &data)).unwrap();
        let read = read_numbers(&path).unwrap();
        assert_eq!((read.shape, read.values), (vec![2, 2], vec![1., 3., 2., 4.]));
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
        assert!(parse_f32(Path::new("x.npy"), &array(good, &[0; 8])).is_ok());
        for n_bytes in [0, 7, 9, 12] {
            fault(&array(good, &vec![0; n_bytes]));
        }
        let huge =
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000000000, 1000000000), }";
        fault(&array(huge, &[0; 8]));
        let half = "{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }";
        assert!(fault(&array(half, &[0; 8])).ends_with("its elements are `<f2`, expected `<f4` (float32)"));
        let nested = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {}", "(".repeat(3000));
        assert!(fault(&array(&nested, &[])).ends_with("its header is nested"));
    }

    #[test]
    fn truncated_files_are_refused_wherever_they_end() {
        let good = array("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", &[0; 8]);
        for length in 0..good.len() {
            fault(&good[..length]);
        }
        fault(&[MAGIC, &[1, 0, 255, 255], &vec![b' '; 70_000][..]].concat());
        fault(&[MAGIC, &[2, 0, 255, 255, 255, 255]].concat());
        fault(b"PK\x03\x04");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read_bytes(Path::new("/nowhere/a.npy")).unwrap_err().to_string();
        assert!(error.starts_with("failed to read `/nowhere/a.npy`: "), "{error}");
    }
    #[test]
    fn numbers_of_every_kind_are_widened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let read = |descr: &str, data: &[u8]| {
            let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (2,), }}");
            std::fs::write(&path, array(&header, data)).unwrap();
            read_numbers(&path).map(|read| (read.dtype, read.values)).map_err(|error| error.fault.to_string())
        };
        let check = |descr: &str, data: [&[u8]; 2], expected: [f64; 2]| {
            assert_eq!(read(descr, &data.concat()), Ok((descr.to_owned(), expected.to_vec())));
        };
        check("<f4", [&1.5_f32.to_le_bytes(), &(-2_f32).to_le_bytes()], [1.5, -2.]);
        check("<f8", [&1.5_f64.to_le_bytes(), &(-2_f64).to_le_bytes()], [1.5, -2.]);
        check("<i8", [&7_i64.to_le_bytes(), &(-2_i64).to_le_bytes()], [7., -2.]);
        check("<u8", [&7_u64.to_le_bytes(), &(1_u64 << 53).to_le_bytes()], [7., 9_007_199_254_740_992.]);
        check("<i4", [&7_i32.to_le_bytes(), &(-2_i32).to_le_bytes()], [7., -2.]);
        check("<u4", [&7_u32.to_le_bytes(), &u32::MAX.to_le_bytes()], [7., 4_294_967_295.]);
        let said = "its elements are `<f2`, expected float32, float64 or whole numbers of 4 or 8 bytes";
        assert_eq!(read("<f2", &[0; 4]), Err(said.to_owned()));
    }

    #[test]
    fn a_file_that_is_no_trace_for_its_size_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        // It takes no room on the disk.
        File::create(&path).unwrap().set_len(FILE_LIMIT + 1).unwrap();
        let error = read_bytes(&path).unwrap_err().to_string();
        let what = "it has 4294967297 bytes, at most 4294967296 are read";
        assert_eq!(error, format!("failed to read `{}`: {what}", path.display()));
    }
}

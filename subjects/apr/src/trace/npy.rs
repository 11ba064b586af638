//! `.npy` files whose shape is known before their values arrive; the only file that knows `ndarray-npy`.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use ndarray::IxDyn;
use ndarray_npy::{WritableElement, write_zeroed_npy};

/// A little-endian element of an array.
pub(crate) trait Element: WritableElement + Copy {
    const SIZE: usize;
    fn append_to(self, bytes: &mut Vec<u8>);
}

impl Element for f32 {
    const SIZE: usize = 4;
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Element for i64 {
    const SIZE: usize = 8;
    fn append_to(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

/// An array on disk that is filled piece by piece. Nothing of it stays open between pieces.
#[derive(Debug)]
pub(crate) struct NpyFile {
    path: PathBuf,
    data_offset: u64,
    n_elements: usize,
    n_written: usize,
}

impl NpyFile {
    /// A new array of `shape`; the file must not exist.
    pub(crate) fn create<A: Element>(path: &Path, shape: &[usize]) -> Result<Self> {
        let context = || format!("failed to create `{}`", path.display());
        let n_elements = shape
            .iter()
            .try_fold(1_usize, |n, &dim| n.checked_mul(dim))
            .filter(|&n| n.checked_mul(A::SIZE).is_some())
            .with_context(|| format!("an array of shape {shape:?} is larger than a file can be"))?;
        let file = OpenOptions::new().write(true).create_new(true).open(path).with_context(context)?;
        write_zeroed_npy::<A, _>(&file, IxDyn(shape)).with_context(context)?;
        let data_offset = file.metadata().with_context(context)?.len() - (n_elements * A::SIZE) as u64;
        Ok(Self { path: path.to_owned(), data_offset, n_elements, n_written: 0 })
    }

    /// Writes `values` from element `start` on.
    pub(crate) fn write<A: Element>(&mut self, start: usize, values: &[A]) -> Result<()> {
        ensure!(
            start.checked_add(values.len()).is_some_and(|end| end <= self.n_elements),
            "`{}` has {} elements, {} more from {start} on do not fit",
            self.path.display(),
            self.n_elements,
            values.len()
        );
        let mut bytes = Vec::with_capacity(values.len() * A::SIZE);
        for value in values {
            value.append_to(&mut bytes);
        }
        let write = || -> std::io::Result<()> {
            let mut file = OpenOptions::new().write(true).open(&self.path)?;
            file.seek(SeekFrom::Start(self.data_offset + (start * A::SIZE) as u64))?;
            file.write_all(&bytes)
        };
        write().with_context(|| format!("failed to write `{}`", self.path.display()))?;
        self.n_written += values.len();
        Ok(())
    }

    /// Makes the file durable; an array with holes is an error. Returns the size of the file.
    pub(crate) fn finish(self) -> Result<u64> {
        ensure!(
            self.n_written == self.n_elements,
            "`{}` has {} elements and {} were computed",
            self.path.display(),
            self.n_elements,
            self.n_written
        );
        let sync = || -> std::io::Result<u64> {
            let file = File::open(&self.path)?;
            file.sync_all()?;
            Ok(file.metadata()?.len())
        };
        sync().with_context(|| format!("failed to write `{}`", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array2, array};
    use ndarray_npy::read_npy;

    use super::*;

    #[test]
    fn pieces_in_any_order_make_the_array() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let mut file = NpyFile::create::<f32>(&path, &[2, 3]).unwrap();
        file.write(3, &[4.0_f32, 5.0, 6.0]).unwrap();
        file.write(0, &[1.0_f32, 2.0, 3.0]).unwrap();
        let size = file.finish().unwrap();
        assert_eq!(size, path.metadata().unwrap().len());
        let found: Array2<f32> = read_npy(&path).unwrap();
        assert_eq!(found, array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    }

    #[test]
    fn ids_are_64_bit_integers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ids.npy");
        let mut file = NpyFile::create::<i64>(&path, &[2]).unwrap();
        file.write(0, &[151_644_i64, -1]).unwrap();
        file.finish().unwrap();
        let found: Array1<i64> = read_npy(&path).unwrap();
        assert_eq!(found, array![151_644, -1]);
    }

    #[test]
    fn array_with_a_hole_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = NpyFile::create::<f32>(&folder.path().join("x.npy"), &[3]).unwrap();
        file.write(0, &[1.0_f32, 2.0]).unwrap();
        assert!(file.write(2, &[1.0_f32, 2.0]).unwrap_err().to_string().contains("do not fit"));
        assert!(file.finish().unwrap_err().to_string().contains("has 3 elements and 2 were computed"));
    }

    #[test]
    fn shape_whose_size_overflows_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        assert!(NpyFile::create::<f32>(&path, &[usize::MAX, 2]).is_err());
        assert!(NpyFile::create::<f32>(&path, &[usize::MAX / 2]).is_err());
        assert!(!path.exists());
    }
}

//! The streaming writer: tensors in any order, each written once, with memory for a buffer and not for a model.
//!
//! The index is known when the file is created and so is the length of the metadata (hashes have a fixed length), so
//! every tensor goes straight to its place. Hashes and checksums are taken while writing; nothing is read back.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use apr_tensor::DType;

use crate::atomic::{AtomicFile, Overwrite};
use crate::error::{FormatError, WriteFault};
use crate::hash::Checksum;
use crate::header::{ALIGNMENT, FOOTER_SIZE};
use crate::index::IndexEntry;
use crate::keys::SecretKey;
use crate::metadata::Metadata;
use crate::plan::Plan;

/// A tensor that will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The checkpoint's key.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where.
    pub path: PathBuf,
    /// Bytes of the file.
    pub file_size: u64,
    /// The root hash, in hex.
    pub root_hash: String,
    /// Number of tensors.
    pub n_tensors: usize,
    /// Elements of all tensors.
    pub n_parameters: u64,
}

/// Writes one `.apr` file to `W`. Over an [`AtomicFile`], nothing appears before [`AprWriter::finish`].
#[derive(Debug)]
pub struct AprWriter<W: Write + Seek = AtomicFile> {
    path: PathBuf,
    out: BufWriter<W>,
    /// Where `out` stands.
    position: u64,
    /// A write failed, so what is in `out` cannot be trusted.
    failed: bool,
    plan: Plan,
    /// One for each entry.
    progress: Vec<Progress>,
    key: Option<SecretKey>,
}

/// How far a tensor has come.
#[derive(Clone, Debug)]
enum Progress {
    Missing,
    Partial,
    Done { blake3: blake3::Hash, checksum: Checksum },
}

/// Bytes gathered before they are handed to the file.
const BUFFER_SIZE: usize = 1 << 20;
/// From here on hashing on all threads pays for itself.
const PARALLEL_HASH_SIZE: usize = 1 << 20;
const ZEROS: [u8; ALIGNMENT as usize] = [0; ALIGNMENT as usize];

impl AprWriter<AtomicFile> {
    /// Starts a file that will appear at `path` when it is finished. What `metadata` says about sizes, counts, hashes
    /// and signature is replaced by what is true.
    pub fn create(
        path: &Path,
        metadata: Metadata,
        tensors: Vec<TensorSpec>,
        overwrite: Overwrite,
    ) -> Result<Self, FormatError> {
        Self::create_signed(path, metadata, tensors, overwrite, None)
    }

    /// The same, and signs the file when there is a `key`.
    pub fn create_signed(
        path: &Path,
        metadata: Metadata,
        tensors: Vec<TensorSpec>,
        overwrite: Overwrite,
        key: Option<SecretKey>,
    ) -> Result<Self, FormatError> {
        // The request is judged before anything is made on disk.
        let plan = Plan::new(metadata, tensors, key.is_some()).map_err(FormatError::unwritable(path))?;
        Ok(Self::start(AtomicFile::create(path, overwrite)?, path, plan, key))
    }

    /// Completes the file, syncs it and puts it at its path. Refuses while an announced tensor is missing.
    pub fn finish(self) -> Result<Written, FormatError> {
        let (file, written) = self.finish_sink()?;
        file.commit()?;
        Ok(written)
    }
}

impl<W: Write + Seek> AprWriter<W> {
    /// Starts a file in `sink`, an empty one; `path` is what messages call it.
    #[cfg_attr(any(), probador::allow(I5, reason = "tests write into memory, and into sinks that fail"))]
    pub fn with_sink(
        sink: W,
        path: &Path,
        metadata: Metadata,
        tensors: Vec<TensorSpec>,
    ) -> Result<Self, FormatError> {
        let plan = Plan::new(metadata, tensors, false).map_err(FormatError::unwritable(path))?;
        Ok(Self::start(sink, path, plan, None))
    }

    fn start(sink: W, path: &Path, plan: Plan, key: Option<SecretKey>) -> Self {
        let progress = vec![Progress::Missing; plan.entries.len()];
        let out = BufWriter::with_capacity(BUFFER_SIZE, sink);
        Self { path: path.to_owned(), out, position: 0, failed: false, plan, progress, key }
    }

    /// Writes the tensor `name` whole.
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), FormatError> {
        let index = self.begin(name)?;
        let entry = &self.plan.entries[index];
        if bytes.len() as u64 != entry.size {
            let fault = wrong_size(entry, bytes.len() as u64);
            return Err(FormatError::unwritable(&self.path)(fault));
        }
        let mut tensor = self.tensor(index)?;
        tensor.append(bytes)
    }

    /// Writes the tensor `name` piece by piece. It is complete once all its bytes were written; until then, and when
    /// too many come, [`AprWriter::finish`] refuses the file.
    pub fn tensor_writer(&mut self, name: &str) -> Result<TensorWriter<'_, W>, FormatError> {
        let index = self.begin(name)?;
        self.tensor(index)
    }

    /// The entry of a tensor that was not begun yet.
    fn begin(&mut self, name: &str) -> Result<usize, FormatError> {
        let fault = match self.plan.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)) {
            Ok(index) if matches!(self.progress[index], Progress::Missing) => return Ok(index),
            Ok(_) => WriteFault::TensorTwice(name.to_owned()),
            Err(_) => WriteFault::UnknownTensor(name.to_owned()),
        };
        Err(FormatError::unwritable(&self.path)(fault))
    }

    fn tensor(&mut self, index: usize) -> Result<TensorWriter<'_, W>, FormatError> {
        self.progress[index] = Progress::Partial;
        let (hasher, checksum) = (blake3::Hasher::new(), Checksum::new());
        let mut tensor = TensorWriter { writer: self, index, n_written: 0, hasher, checksum };
        // A tensor without elements is complete before anything is written.
        tensor.append(&[])?;
        Ok(tensor)
    }

    /// BLAKE3 of a tensor that was written completely, in hex.
    pub fn tensor_hash(&self, name: &str) -> Option<String> {
        let index = self.plan.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        match &self.progress[index] {
            Progress::Done { blake3, .. } => Some(blake3.to_hex().to_string()),
            Progress::Missing | Progress::Partial => None,
        }
    }

    /// Completes the file and hands back the sink.
    pub fn finish_sink(mut self) -> Result<(W, Written), FormatError> {
        let path = std::mem::take(&mut self.path);
        if self.failed {
            let error = io::Error::other("an earlier write failed");
            return Err(FormatError::io("write", &path)(error));
        }
        let mut checksum = Checksum::new();
        let mut n_missing = 0;
        let mut first = None;
        for (entry, progress) in self.plan.entries.iter().zip(&self.progress) {
            if let Progress::Done { blake3, checksum: tensor } = progress {
                checksum.append(tensor);
                checksum.update(padding(entry.size));
                self.plan.metadata.tensor_hashes.insert(entry.name.clone(), blake3.to_hex().to_string());
            } else {
                n_missing += 1;
                first.get_or_insert_with(|| entry.name.clone());
            }
        }
        if let Some(first) = first {
            return Err(FormatError::unwritable(&path)(WriteFault::Missing { n_missing, first }));
        }
        let (head, root_hash) = self.plan.head(self.key.as_ref()).map_err(FormatError::unwritable(&path))?;
        let mut whole = Checksum::new();
        whole.update(&head);
        whole.append(&checksum);

        let io = FormatError::io;
        let end = self.plan.data_end();
        self.write_at(0, &head).map_err(io("write", &path))?;
        self.write_at(end, &whole.finish().to_le_bytes()).map_err(io("write", &path))?;
        let sink = self.out.into_inner().map_err(|error| io("write", &path)(error.into_error()))?;
        let written = Written {
            file_size: end + FOOTER_SIZE,
            root_hash,
            n_tensors: self.plan.entries.len(),
            n_parameters: self.plan.metadata.param_count,
            path,
        };
        Ok((sink, written))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let outcome = self.try_write_at(offset, bytes);
        self.failed |= outcome.is_err();
        outcome
    }

    fn try_write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.position != offset {
            self.out.seek(SeekFrom::Start(offset))?;
            self.position = offset;
        }
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// Takes the bytes of one tensor, in order.
#[derive(Debug)]
pub struct TensorWriter<'a, W: Write + Seek = AtomicFile> {
    writer: &'a mut AprWriter<W>,
    index: usize,
    n_written: u64,
    hasher: blake3::Hasher,
    checksum: Checksum,
}

impl<W: Write + Seek> TensorWriter<'_, W> {
    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.writer.plan.entries[self.index].size - self.n_written
    }

    /// Writes all of `bytes`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        let entry = &self.writer.plan.entries[self.index];
        if bytes.len() as u64 > self.remaining() {
            let fault = wrong_size(entry, self.n_written + bytes.len() as u64);
            self.writer.failed = true;
            return Err(FormatError::unwritable(&self.writer.path)(fault));
        }
        let (size, offset) =
            (entry.size, self.writer.plan.header.data_offset + entry.offset + self.n_written);
        if bytes.len() >= PARALLEL_HASH_SIZE {
            self.hasher.update_rayon(bytes);
        } else {
            self.hasher.update(bytes);
        }
        self.checksum.update(bytes);
        self.n_written += bytes.len() as u64;
        let mut outcome = self.writer.write_at(offset, bytes);
        if self.n_written == size && matches!(self.writer.progress[self.index], Progress::Partial) {
            outcome = outcome.and_then(|()| self.writer.write_at(offset + bytes.len() as u64, padding(size)));
            self.writer.progress[self.index] =
                Progress::Done { blake3: self.hasher.finalize(), checksum: self.checksum.clone() };
        }
        outcome.map_err(|error| FormatError::io("write", &self.writer.path)(error))
    }
}

impl<W: Write + Seek> Write for TensorWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.append(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(FormatError::Io { source, .. }) => Err(source),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidInput, error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The zeros behind a tensor of `size` bytes.
fn padding(size: u64) -> &'static [u8] {
    &ZEROS[..(ALIGNMENT - size % ALIGNMENT) as usize % ZEROS.len()]
}

fn wrong_size(entry: &IndexEntry, found: u64) -> WriteFault {
    let IndexEntry { name, dtype, shape, size, .. } = entry.clone();
    WriteFault::WrongSize { name, dtype, shape, expected: size, found }
}

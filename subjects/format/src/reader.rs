//! An opened model: its header, metadata and index, and its tensors as slices of a mapping.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use apr_tensor::Tensor;
use bytes::Bytes;

use crate::error::{Fault, FormatError};
use crate::hash;
use crate::header::{ALIGNMENT, HEADER_SIZE, Header};
use crate::index::IndexEntry;
use crate::layout::Layout;
use crate::mapping;
use crate::metadata::Metadata;
use crate::source::{FileSource, ReadAt, Stamp};
use crate::verified;

/// An `.apr` file whose header, metadata, index, ranges, root hash and signature are consistent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AprFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    layout: Layout,
    /// The whole file.
    data: Bytes,
    file_size: u64,
    /// What the bytes were mapped from, and what it was like then.
    mapped: Option<(FileSource, Stamp)>,
    weights_fingerprint: OnceLock<String>,
}

impl AprFile {
    /// Opens and maps `path`. Tensor bytes are not read: see [`AprFile::open_verified`].
    pub fn open(path: &Path) -> Result<Self, FormatError> {
        let (source, stamp) = FileSource::open(path)?;
        let layout = read_layout(path, &source, stamp.size)?;
        let size = addressable(path, stamp.size)?;
        let data =
            source.with_file(|file| mapping::map(file, path, size)).map_err(FormatError::io("map", path))?;
        let file = Self::new(path, layout, data, Some((source, stamp)));
        file.check_unchanged()?;
        Ok(file)
    }

    /// Opens `path` and checks every tensor's hash, the padding and the CRC32, unless this very file was checked before:
    /// success is remembered in the user's cache directory by path, size, times and root hash.
    pub fn open_verified(path: &Path) -> Result<Self, FormatError> {
        let file = Self::open(path)?;
        let memory = file.inner.mapped.as_ref().and_then(|(_, stamp)| verified::Memory::new(&file, stamp));
        if memory.as_ref().is_some_and(verified::Memory::recalls) {
            return Ok(file);
        }
        file.verify()?;
        file.check_unchanged()?;
        if let Some(memory) = memory {
            memory.remember();
        }
        Ok(file)
    }

    /// Reads `path` into memory instead of mapping it: for files that somebody may truncate or write to in place.
    pub fn open_in_memory(path: &Path) -> Result<Self, FormatError> {
        let (source, stamp) = FileSource::open(path)?;
        let layout = read_layout(path, &source, stamp.size)?;
        let size = addressable(path, stamp.size)?;
        let data = source.read_to_memory(size).map_err(FormatError::io("read", path))?;
        Ok(Self::new(path, layout, data, None))
    }

    /// The same model with its bytes copied from the mapping's file to memory, on huge pages where the system has them:
    /// for who will read them often. On two cores a model of 991 MB takes half a second to copy, and decodes at 31
    /// tokens a second instead of 27, so that the copy has paid after some 120 tokens
    /// (`cargo run --release -p apr-qwen2 --example speed`).
    pub fn to_memory(&self) -> Result<Self, FormatError> {
        let Some((source, _)) = &self.inner.mapped else { return Ok(self.clone()) };
        let path = self.path();
        let data = source.read_to_memory(self.inner.data.len()).map_err(FormatError::io("read", path))?;
        // What was checked of the mapping holds for the copy only if nobody wrote in between.
        self.check_unchanged()?;
        Ok(Self::new(path, self.inner.layout.clone(), data, None))
    }

    /// Keeps the model's bytes in memory, wherever they lie, so that no other program's need drives them out.
    pub fn lock_in_memory(&self) -> Result<(), FormatError> {
        mapping::lock(&self.inner.data).map_err(FormatError::io("lock in memory", self.path()))
    }

    /// A model that is already in memory; `path` is what messages call it.
    pub fn from_bytes(path: &Path, data: Bytes) -> Result<Self, FormatError> {
        let layout = Layout::parse(&data, data.len() as u64).map_err(FormatError::malformed(path))?;
        let data = if (data.as_ptr() as usize).is_multiple_of(ALIGNMENT as usize) {
            data
        } else {
            let mut buffer = vec![0; data.len() + ALIGNMENT as usize];
            let start = buffer.as_ptr().align_offset(ALIGNMENT as usize);
            buffer[start..start + data.len()].copy_from_slice(&data);
            Bytes::from(buffer).slice(start..start + data.len())
        };
        Ok(Self::new(path, layout, data, None))
    }

    fn new(path: &Path, layout: Layout, data: Bytes, mapped: Option<(FileSource, Stamp)>) -> Self {
        let file_size = data.len() as u64;
        let weights_fingerprint = OnceLock::new();
        let inner = Inner { path: path.to_owned(), layout, data, file_size, mapped, weights_fingerprint };
        Self { inner: Arc::new(inner) }
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Bytes of the file.
    pub fn file_size(&self) -> u64 {
        self.inner.file_size
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.inner.layout.header
    }

    /// The metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.layout.metadata
    }

    /// The tensor index, sorted by name.
    pub fn entries(&self) -> &[IndexEntry] {
        &self.inner.layout.entries
    }

    /// The entry of the tensor `name`.
    pub fn entry(&self, name: &str) -> Option<&IndexEntry> {
        let index = self.entries().binary_search_by(|entry| entry.name.as_str().cmp(name)).ok()?;
        Some(&self.entries()[index])
    }

    /// The tensor `name`, without copying.
    pub fn tensor(&self, name: &str) -> Option<Tensor> {
        let entry = self.entry(name)?;
        // Ranges lie in the file, sizes fit shapes and starts are aligned: the index was checked when it was parsed.
        let start = (self.header().data_offset + entry.offset) as usize;
        let bytes = self.inner.data.slice(start..start + entry.size as usize);
        Tensor::new(entry.dtype, entry.shape.clone(), bytes).ok()
    }

    /// BLAKE3 of the tensor's bytes as stored, in hex.
    pub fn tensor_hash(&self, name: &str) -> Option<&str> {
        self.metadata().tensor_hashes.get(name).map(String::as_str)
    }

    /// The root hash, in hex: BLAKE3 over header, metadata and index. Computed when the file stores none.
    pub fn root_hash(&self) -> &str {
        &self.inner.layout.root_hash
    }

    /// BLAKE3 over the lines `{name} {DTYPE} {d0}x{d1} {tensor hash}\n` in the order of names: the same for the same
    /// weights, whatever the metadata says.
    pub fn weights_fingerprint(&self) -> String {
        self.inner.weights_fingerprint.get_or_init(|| self.compute_weights_fingerprint()).clone()
    }

    fn compute_weights_fingerprint(&self) -> String {
        let mut lines = String::new();
        for entry in self.entries() {
            let shape: Vec<String> = entry.shape.iter().map(ToString::to_string).collect();
            let computed;
            let hash = if let Some(stored) = self.tensor_hash(&entry.name) {
                stored
            } else {
                computed =
                    self.tensor(&entry.name).map(|tensor| hash::hex(tensor.bytes())).unwrap_or_default();
                &computed
            };
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{} {} {} {hash}", entry.name, entry.dtype, shape.join("x"));
        }
        hash::hex(lines.as_bytes())
    }

    /// The embedded `tokenizer.json`, unpacked and held to its hash.
    pub fn tokenizer_json(&self) -> Result<Option<Vec<u8>>, FormatError> {
        let Some(tokenizer) = &self.metadata().tokenizer else { return Ok(None) };
        let malformed = FormatError::malformed(self.path());
        Ok(Some(tokenizer.unpack().map_err(|error| malformed(Fault::Tokenizer(error.to_string())))?))
    }

    /// BLAKE3 of the bytes of the embedded `tokenizer.json`, in hex.
    pub fn tokenizer_fingerprint(&self) -> Option<&str> {
        self.metadata().tokenizer.as_ref().map(|tokenizer| tokenizer.blake3.as_str())
    }

    /// Whether the mapped file is still as long, and was last written, as when it was opened. Touching tensors of a
    /// file that shrank since ends the process, so this is for whoever keeps a model open for long.
    pub fn check_unchanged(&self) -> Result<(), FormatError> {
        let Some((source, then)) = &self.inner.mapped else { return Ok(()) };
        let now = source.stamp().map_err(FormatError::io("read", self.path()))?;
        let what = if now.size != then.size {
            format!("it had {} bytes and has {}", then.size, now.size)
        } else if now.mtime_ns != then.mtime_ns {
            "it was written to".to_owned()
        } else {
            return Ok(());
        };
        Err(FormatError::Changed { path: self.path().to_owned(), what })
    }

    /// Hands the bytes of `entry` to `visit`, chunk by chunk, read from the file and not through the mapping.
    pub(crate) fn read_tensor(
        &self,
        entry: &IndexEntry,
        visit: impl FnMut(&[u8]),
    ) -> Result<(), FormatError> {
        hash::for_each_chunk(self.source(), self.header().data_offset + entry.offset, entry.size, visit)
            .map_err(FormatError::io("read", self.path()))
    }

    fn source(&self) -> &dyn ReadAt {
        match &self.inner.mapped {
            Some((source, _)) => source,
            None => &self.inner.data,
        }
    }

    /// Reads the whole file once and checks tensor hashes, padding and CRC32.
    pub fn verify(&self) -> Result<(), FormatError> {
        let Layout { header, metadata, entries, .. } = &self.inner.layout;
        let hashes = &metadata.tensor_hashes;
        let data =
            verified::read_data(self.source(), header.data_offset, entries, hashes, self.file_size(), false)
                .map_err(FormatError::io("read", self.path()))?;
        match data.faults.into_iter().next() {
            Some(fault) => Err(FormatError::malformed(self.path())(fault)),
            None => Ok(()),
        }
    }
}

/// Reads and parses the part before the tensor data.
fn read_layout(path: &Path, source: &FileSource, file_size: u64) -> Result<Layout, FormatError> {
    let read = |size: u64| {
        let mut bytes = vec![0; size as usize];
        source.read_exact_at(&mut bytes, 0).map_err(FormatError::io("read", path))?;
        Ok(bytes)
    };
    let header_bytes = read(file_size.min(HEADER_SIZE as u64))?;
    // A parsed header bounds `data_offset` by the file's size and by the limits on metadata and index.
    let header = Header::parse(&header_bytes, file_size).map_err(FormatError::malformed(path))?;
    Layout::parse(&read(header.data_offset)?, file_size).map_err(FormatError::malformed(path))
}

fn addressable(path: &Path, size: u64) -> Result<usize, FormatError> {
    isize::try_from(size).map(isize::cast_unsigned).map_err(|_| {
        FormatError::malformed(path)(Fault::Layout("it is too large for this machine".to_owned()))
    })
}

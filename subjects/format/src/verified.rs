//! Checking all tensor data of a file, and remembering in the user's cache directory that it was done.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Fault;
use crate::hash::{self, Checksum};
use crate::header::FOOTER_SIZE;
use crate::layout::Layout;
use crate::reader::AprFile;
use crate::source::{ReadAt, Stamp};

/// A file written to less than this ago may be written to again without its times changing, so it is not remembered.
const SETTLED: Duration = Duration::from_millis(100);

/// What is wrong with the tensor data, the padding between tensors and the CRC32, in one pass over the file.
pub(crate) fn data_faults(
    source: &dyn ReadAt,
    layout: &Layout,
    file_size: u64,
) -> std::io::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    let data_offset = layout.header.data_offset;
    let mut entries: Vec<_> = layout.entries.iter().collect();
    entries.sort_by_key(|entry| (entry.offset, entry.size));
    let mut runs = vec![(0, data_offset)];
    runs.extend(entries.iter().map(|entry| (data_offset + entry.offset, entry.size)));
    let digests = hash::digests(source, &runs)?;

    let mut checksum = Checksum::new();
    let mut position = 0;
    for (&(offset, size), digest) in runs.iter().zip(&digests) {
        append_padding(source, position..offset, &mut checksum, &mut faults)?;
        checksum.append(&digest.checksum);
        position = offset + size;
    }
    append_padding(source, position..file_size - FOOTER_SIZE, &mut checksum, &mut faults)?;
    for (entry, digest) in entries.iter().zip(&digests[1..]) {
        match layout.metadata.tensor_hashes.get(&entry.name) {
            Some(stored) if *stored != digest.blake3 => faults.push(Fault::TensorHash {
                name: entry.name.clone(),
                stored: stored.clone(),
                computed: digest.blake3.clone(),
            }),
            _ => {}
        }
    }
    let mut footer = [0; FOOTER_SIZE as usize];
    source.read_exact_at(&mut footer, file_size - FOOTER_SIZE)?;
    let stored = u32::from_le_bytes(footer);
    let computed = checksum.finish();
    if stored != computed {
        faults.push(Fault::TrailingChecksum { stored, computed });
    }
    Ok(faults)
}

/// Appends the bytes of `range` to `checksum`; they must be zero. Ranges of an opened file are shorter than 64 bytes.
fn append_padding(
    source: &dyn ReadAt,
    range: std::ops::Range<u64>,
    checksum: &mut Checksum,
    faults: &mut Vec<Fault>,
) -> std::io::Result<()> {
    let mut offset = range.start;
    hash::for_each_chunk(source, range.start, range.end.saturating_sub(range.start), |bytes| {
        checksum.update(bytes);
        let bad = bytes.iter().enumerate().filter(|(_, byte)| **byte != 0);
        faults.extend(bad.map(|(index, _)| Fault::Padding(offset + index as u64)));
        offset += bytes.len() as u64;
    })
}

/// The place in the user's cache that says that a file was checked.
///
/// One small text file per checked model, named by a hash over canonical path, size, times and root hash. Whoever can
/// write there can as well replace this program.
pub(crate) struct Memory {
    marker: PathBuf,
    text: String,
    settled: bool,
}

impl Memory {
    /// The place for `file`, or `None` when the user has no cache directory.
    pub(crate) fn new(file: &AprFile, stamp: &Stamp) -> Option<Self> {
        let canonical = file.path().canonicalize().ok()?;
        let text = format!(
            "probador verified 1\npath {canonical:?}\nsize {}\nmtime_ns {}\nctime_ns {}\nroot {}\n",
            stamp.size,
            stamp.mtime_ns,
            stamp.ctime_ns,
            file.root_hash()
        );
        let marker = cache_directory()?.join("verified").join(hash::hex(text.as_bytes()));
        let changed = stamp.mtime_ns.max(stamp.ctime_ns);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        Some(Self { marker, text, settled: now - changed >= SETTLED.as_nanos() as i128 })
    }

    /// Whether the file was checked before.
    pub(crate) fn recalls(&self) -> bool {
        self.settled && fs::read(&self.marker).is_ok_and(|found| found == self.text.as_bytes())
    }

    /// Notes that the file was checked. A cache that cannot be written is no error: it is checked again next time.
    pub(crate) fn remember(&self) {
        if !self.settled {
            return;
        }
        let Some(directory) = self.marker.parent() else { return };
        let _ = fs::create_dir_all(directory).and_then(|()| {
            let temporary = tempfile::NamedTempFile::new_in(directory)?;
            fs::write(temporary.path(), &self.text)?;
            temporary.persist(&self.marker)?;
            Ok(())
        });
    }
}

/// `$XDG_CACHE_HOME/probador`, or `~/.cache/probador`.
pub(crate) fn cache_directory() -> Option<PathBuf> {
    crate::directories::under("XDG_CACHE_HOME", ".cache")
}

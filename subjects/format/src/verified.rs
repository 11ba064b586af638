//! Checking all tensor data of a file, and remembering in the user's cache directory that it was done.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::atomic::{self, Overwrite};
use crate::error::Fault;
use crate::hash::{self, Checksum, Run};
use crate::header::FOOTER_SIZE;
use crate::index::IndexEntry;
use crate::reader::AprFile;
use crate::source::{ReadAt, Stamp};
use crate::stats::TensorStats;

/// A file written to less than this ago may be written to again without its times changing, so it is not remembered.
const SETTLED: Duration = Duration::from_millis(100);

/// What one pass over the tensor data of a file found.
#[derive(Debug)]
pub(crate) struct DataPass {
    /// What is wrong with tensors, the padding between them and the CRC32.
    pub(crate) faults: Vec<Fault>,
    /// One for each entry of the index, when statistics were asked for.
    pub(crate) stats: Vec<TensorStats>,
}

/// Reads the whole file once and judges what [`Layout::parse`] did not.
///
/// `entries` must lie in the file without overlapping.
pub(crate) fn read_data(
    source: &dyn ReadAt,
    data_offset: u64,
    entries: &[IndexEntry],
    tensor_hashes: &BTreeMap<String, String>,
    file_size: u64,
    with_statistics: bool,
) -> io::Result<DataPass> {
    let mut runs = vec![Run { offset: 0, size: data_offset, statistics: None }];
    runs.extend(entries.iter().map(|entry| Run {
        offset: data_offset + entry.offset,
        size: entry.size,
        statistics: with_statistics.then_some(entry.dtype),
    }));
    let digests = hash::digests(source, &runs)?;

    let mut faults = Vec::new();
    for (entry, digest) in entries.iter().zip(&digests[1..]) {
        if let Some(stored) = tensor_hashes.get(&entry.name).filter(|&stored| *stored != digest.blake3) {
            let (name, stored, computed) = (entry.name.clone(), stored.clone(), digest.blake3.clone());
            faults.push(Fault::TensorHash { name, stored, computed });
        }
    }
    let mut in_file_order: Vec<_> = runs.iter().zip(&digests).collect();
    in_file_order.sort_by_key(|(run, _)| (run.offset, run.size));
    let mut checksum = Checksum::new();
    let mut position = 0;
    for (run, digest) in in_file_order {
        append_padding(source, position..run.offset, &mut checksum, &mut faults)?;
        checksum.append(&digest.checksum);
        position = run.offset + run.size;
    }
    append_padding(source, position..file_size - FOOTER_SIZE, &mut checksum, &mut faults)?;
    faults.extend(checksum_fault(source, &checksum, file_size)?);
    let stats = digests[1..].iter().filter_map(|digest| digest.stats).collect();
    Ok(DataPass { faults, stats })
}

/// Judges the CRC32 of a file whose structure is not known.
pub(crate) fn read_unstructured(source: &dyn ReadAt, file_size: u64) -> io::Result<Option<Fault>> {
    let end = file_size.saturating_sub(FOOTER_SIZE);
    let starts = (0..end).step_by(UNSTRUCTURED_RUN as usize);
    let runs: Vec<Run> = starts
        .map(|offset| Run { offset, size: (end - offset).min(UNSTRUCTURED_RUN), statistics: None })
        .collect();
    let mut checksum = Checksum::new();
    for digest in hash::digests(source, &runs)? {
        checksum.append(&digest.checksum);
    }
    checksum_fault(source, &checksum, file_size)
}

/// Bytes that one thread reads at a time when there are no tensors to go by.
const UNSTRUCTURED_RUN: u64 = 16 << 20;

/// Compares the CRC32 at the end of the file with the one of everything before it.
fn checksum_fault(source: &dyn ReadAt, checksum: &Checksum, file_size: u64) -> io::Result<Option<Fault>> {
    let mut footer = [0; FOOTER_SIZE as usize];
    source.read_exact_at(&mut footer, file_size.saturating_sub(FOOTER_SIZE))?;
    let stored = u32::from_le_bytes(footer);
    let computed = checksum.finish();
    Ok((stored != computed).then_some(Fault::TrailingChecksum { stored, computed }))
}

/// Appends the bytes of `range` to `checksum`; they must be zero. Ranges of an opened file are shorter than 64 bytes.
fn append_padding(
    source: &dyn ReadAt,
    range: std::ops::Range<u64>,
    checksum: &mut Checksum,
    faults: &mut Vec<Fault>,
) -> io::Result<()> {
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
    text: Vec<u8>,
    settled: bool,
}

impl Memory {
    /// The place for `file`, or `None` when the user has no cache directory.
    pub(crate) fn new(file: &AprFile, stamp: &Stamp) -> Option<Self> {
        let canonical = file.path().canonicalize().ok()?;
        // The path's bytes, not its text: names that are not UTF-8 must not be confused.
        let mut text = b"probador verified 1\npath ".to_vec();
        text.extend_from_slice(canonical.as_os_str().as_encoded_bytes());
        let Stamp { size, mtime_ns, ctime_ns } = stamp;
        let root = file.root_hash();
        text.extend_from_slice(
            format!("\nsize {size}\nmtime_ns {mtime_ns}\nctime_ns {ctime_ns}\nroot {root}\n").as_bytes(),
        );
        let marker = cache_directory()?.join("verified").join(hash::hex(&text));
        let changed = stamp.mtime_ns.max(stamp.ctime_ns);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos() as i128);
        Some(Self { marker, text, settled: now - changed >= SETTLED.as_nanos() as i128 })
    }

    /// Whether the file was checked before.
    pub(crate) fn recalls(&self) -> bool {
        // No longer than what it must say: the cache is the user's, its files are anybody's.
        let limit = self.text.len() as u64 + 1;
        let read = |file: File| {
            let mut found = Vec::new();
            file.take(limit).read_to_end(&mut found).map(|_| found)
        };
        self.settled && File::open(&self.marker).and_then(read).is_ok_and(|found| found == self.text)
    }

    /// Notes that the file was checked. A cache that cannot be written is no error: it is checked again next time.
    pub(crate) fn remember(&self) {
        if !self.settled {
            return;
        }
        let Some(directory) = self.marker.parent() else { return };
        if fs::create_dir_all(directory).is_ok() {
            let _ = atomic::write(&self.marker, &self.text, Overwrite::Allow);
        }
    }
}

/// `$XDG_CACHE_HOME/probador`, or `~/.cache/probador`.
pub(crate) fn cache_directory() -> Option<PathBuf> {
    crate::cache_directory()
}

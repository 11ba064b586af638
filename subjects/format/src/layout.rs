//! Everything before the tensor data, parsed and judged: the part of a file that is checked on every open.

use crate::error::Fault;
use crate::hash;
use crate::header::{Flags, HEADER_SIZE, Header};
use crate::index::{self, IndexEntry};
use crate::metadata::{self, Metadata};
use crate::sign;

/// Header, metadata and index of a file, consistent with each other and with the size of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The header.
    pub header: Header,
    /// The metadata.
    pub metadata: Metadata,
    /// The index, sorted by name.
    pub entries: Vec<IndexEntry>,
    /// The root hash as computed; the stored one, where there is one, is the same.
    pub root_hash: String,
}

impl Layout {
    /// Parses the bytes before the tensor data of a file of `file_size` bytes. `head` may be longer than that part.
    ///
    /// Checks everything that can be checked without tensor data: the whole header, metadata, index, ranges, padding
    /// between sections, tensor hashes against tensor names, root hash, and signature. Never allocates more than a
    /// small multiple of `head`.
    pub fn parse(head: &[u8], file_size: u64) -> Result<Self, Fault> {
        let header = Header::parse(head, file_size)?;
        let head = head_of(&header, head)?;
        let (metadata_text, index_bytes) = sections(&header, head);
        let (metadata, slots) = metadata::parse(metadata_text)?;
        let (entries, index_size) = index::parse(index_bytes, header.tensor_count)?;
        if let Some(fault) = index::faults(&entries, header.data_offset, file_size).into_iter().next() {
            return Err(fault);
        }
        if let Some(fault) = padding_faults(&header, head, index_size).into_iter().next() {
            return Err(fault);
        }
        if let Some(fault) = hash_faults(&metadata, &entries).into_iter().next() {
            return Err(fault);
        }
        let root_hash = hash::root(head, &slots);
        if let Some(stored) = metadata.root_hash.as_ref().filter(|&stored| *stored != root_hash) {
            return Err(Fault::RootHash { stored: stored.clone(), computed: root_hash });
        }
        sign::check_seal(header.flags.contains(Flags::SIGNED), &metadata, &root_hash)?;
        Ok(Self { header, metadata, entries, root_hash })
    }
}

/// The bytes before the tensor data.
pub(crate) fn head_of<'a>(header: &Header, head: &'a [u8]) -> Result<&'a [u8], Fault> {
    usize::try_from(header.data_offset).ok().and_then(|size| head.get(..size)).ok_or(Fault::Truncated {
        what: "its metadata and index",
        needed: header.data_offset,
        found: head.len() as u64,
    })
}

/// The metadata text and the index with its padding. The header's sections must have been checked.
pub(crate) fn sections<'a>(header: &Header, head: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let metadata = &head[HEADER_SIZE..HEADER_SIZE + header.metadata_size as usize];
    (metadata, &head[header.tensor_index_offset as usize..])
}

/// Bytes between sections that are not zero, and an index that ends too early.
pub(crate) fn padding_faults(header: &Header, head: &[u8], index_size: usize) -> Vec<Fault> {
    let metadata_end = HEADER_SIZE + header.metadata_size as usize;
    let index_start = header.tensor_index_offset as usize;
    let index_end = index_start + index_size;
    let mut faults = Vec::new();
    if head.len() - index_end >= crate::header::ALIGNMENT as usize {
        faults.push(Fault::Layout(format!(
            "its tensor index ends at {index_end}, its tensor data starts at {}",
            head.len()
        )));
    }
    let padding = (metadata_end..index_start).chain(index_end..head.len());
    faults.extend(padding.filter(|&offset| head[offset] != 0).map(|offset| Fault::Padding(offset as u64)));
    faults
}

/// Stored hashes that belong to no tensor, and tensors without one. A file may store none at all.
pub(crate) fn hash_faults(metadata: &Metadata, entries: &[IndexEntry]) -> Vec<Fault> {
    let hashes = &metadata.tensor_hashes;
    if hashes.is_empty() && metadata.root_hash.is_none() {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for entry in entries {
        if !hashes.contains_key(&entry.name) {
            faults.push(Fault::TensorHashes(format!("there is none for `{}`", entry.name)));
        }
    }
    for name in hashes.keys() {
        if entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).is_err() {
            faults.push(Fault::TensorHashes(format!(
                "there is one for `{name}`, which is no tensor of the file"
            )));
        }
    }
    faults
}

//! Where everything of a file to be written goes, decided before its first byte.

use crate::error::WriteFault;
use crate::hash;
use crate::header::{Flags, HEADER_SIZE, Header, MAX_METADATA_SIZE, MAX_TENSORS, VERSION, align};
use crate::index::{self, IndexEntry, MAX_DIMENSIONS};
use crate::keys::SecretKey;
use crate::metadata::{self, Metadata};
use crate::writer::TensorSpec;

/// Header, metadata and index of a file to be written. Hashes in the metadata are zeros until they are known.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) header: Header,
    pub(crate) metadata: Metadata,
    /// Sorted by name; the data lies in the same order.
    pub(crate) entries: Vec<IndexEntry>,
}

impl Plan {
    pub(crate) fn new(
        mut metadata: Metadata,
        tensors: Vec<TensorSpec>,
        signed: bool,
    ) -> Result<Self, WriteFault> {
        let entries = place(tensors)?;
        metadata.total_size = entries.iter().map(|entry| entry.size).sum();
        metadata.param_count = entries.iter().map(IndexEntry::n_elements).sum();
        metadata.tensor_hashes =
            entries.iter().map(|entry| (entry.name.clone(), "0".repeat(hash::HASH_DIGITS))).collect();
        metadata.root_hash = Some("0".repeat(hash::HASH_DIGITS));
        metadata.signature = Some("0".repeat(hash::SIGNATURE_DIGITS));
        metadata.normalise();
        let metadata_size = check_metadata(&metadata)?;

        let mut flags = Flags::LAYOUT_ROW_MAJOR;
        if metadata.tokenizer.is_some() {
            flags = flags.with(Flags::HAS_VOCAB);
        }
        if signed {
            flags = flags.with(Flags::SIGNED);
        }
        let mut header = Header {
            version: VERSION,
            flags,
            tensor_count: entries.len() as u32,
            metadata_offset: HEADER_SIZE as u64,
            metadata_size,
            tensor_index_offset: aligned(HEADER_SIZE as u64 + u64::from(metadata_size)),
            data_offset: 0,
            checksum: 0,
            reserved: [0; 20],
        };
        header.data_offset = aligned(header.tensor_index_offset + encode(&entries).len() as u64);
        header.checksum = header.computed_checksum();
        Ok(Self { header, metadata, entries })
    }

    /// Where tensor data ends and the CRC32 follows.
    pub(crate) fn data_end(&self) -> u64 {
        let last = self.entries.last().map_or(0, |entry| entry.offset + entry.size);
        self.header.data_offset + aligned(last)
    }

    /// The bytes before the tensor data, sealed with the root hash, and signed when there is a `key`.
    pub(crate) fn head(&self, key: Option<&SecretKey>) -> Result<(Vec<u8>, String), WriteFault> {
        let metadata_text =
            self.metadata.to_json().map_err(|error| WriteFault::Metadata(error.to_string()))?;
        let (_, slots) =
            metadata::parse(&metadata_text).map_err(|fault| WriteFault::Metadata(fault.to_string()))?;
        let mut head = self.header.to_bytes().to_vec();
        head.extend_from_slice(&metadata_text);
        head.resize(self.header.tensor_index_offset as usize, 0);
        head.extend_from_slice(&encode(&self.entries));
        head.resize(self.header.data_offset as usize, 0);
        let root_hash = hash::root(&head, &slots);
        let mut fill = |slot: Option<std::ops::Range<usize>>, digits: &str| {
            if let Some(slot) = slot {
                head[HEADER_SIZE + slot.start..HEADER_SIZE + slot.end].copy_from_slice(digits.as_bytes());
            }
        };
        fill(slots.root_hash, &root_hash);
        if let Some(key) = key {
            fill(slots.signature, &key.seal(&root_hash));
        }
        Ok((head, root_hash))
    }
}

/// Sorts the tensors by name and gives each its range.
fn place(mut tensors: Vec<TensorSpec>) -> Result<Vec<IndexEntry>, WriteFault> {
    if tensors.len() > MAX_TENSORS as usize {
        return Err(WriteFault::TooManyTensors(tensors.len()));
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut entries: Vec<IndexEntry> = Vec::with_capacity(tensors.len());
    let mut end = 0_u64;
    for TensorSpec { name, dtype, shape } in tensors {
        let fault = |what: String| WriteFault::Spec { name: name.clone(), what };
        index::check_name(&name).map_err(fault)?;
        if entries.last().is_some_and(|previous| previous.name == name) {
            return Err(fault("it is announced twice".to_owned()));
        }
        if shape.len() > MAX_DIMENSIONS {
            return Err(fault(format!("it has {} dimensions, the limit is {MAX_DIMENSIONS}", shape.len())));
        }
        let size = index::stored_size(dtype, &shape).map_err(fault)?;
        let offset = end;
        // Far from the largest file offset, so that adding the head and the footer cannot overflow either.
        end = align(offset.saturating_add(size))
            .filter(|&end| end < i64::MAX as u64 / 2)
            .ok_or_else(|| fault("the file would be too large".to_owned()))?;
        entries.push(IndexEntry { name, dtype, shape, offset, size });
    }
    Ok(entries)
}

/// The metadata must come back as it is: no key twice, no number a reader refuses. Returns its size.
fn check_metadata(metadata: &Metadata) -> Result<u32, WriteFault> {
    let fault = |what: String| WriteFault::Metadata(what);
    let text = metadata.to_json().map_err(|error| fault(error.to_string()))?;
    let size = u32::try_from(text.len())
        .ok()
        .filter(|&size| size <= MAX_METADATA_SIZE)
        .ok_or_else(|| fault(format!("it takes {} bytes, the limit is {MAX_METADATA_SIZE}", text.len())))?;
    let (mut read_back, _) = metadata::parse(&text).map_err(|error| fault(error.to_string()))?;
    read_back.signature.clone_from(&metadata.signature);
    if read_back == *metadata {
        Ok(size)
    } else {
        Err(fault("it would read back differently: a number that is not finite, or a key of `extra` that is a field".to_owned()))
    }
}

fn encode(entries: &[IndexEntry]) -> Vec<u8> {
    let mut index = Vec::new();
    for entry in entries {
        entry.encode(&mut index);
    }
    index
}

/// Rounded up; the arguments are sums of sizes that were checked.
fn aligned(offset: u64) -> u64 {
    offset.next_multiple_of(crate::header::ALIGNMENT)
}

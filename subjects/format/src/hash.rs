//! Hashes: BLAKE3 of tensors, the root hash over everything before them, and both with CRC32 in one pass over a file.

use rayon::prelude::*;

use crate::header::HEADER_SIZE;
use crate::metadata::Slots;

/// Hex digits of a BLAKE3 hash.
pub const HASH_DIGITS: usize = 64;
/// Hex digits of the signature field: a public key of 32 bytes and a signature of 64.
pub const SIGNATURE_DIGITS: usize = 192;

/// BLAKE3 in lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Whether `text` is `n_digits` lower-case hex digits.
pub(crate) fn is_hex(text: &str, n_digits: usize) -> bool {
    text.len() == n_digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `digits` are all `0`.
pub(crate) fn is_zeros(digits: &str) -> bool {
    digits.bytes().all(|byte| byte == b'0')
}

/// The root hash: BLAKE3 over the file up to its tensor data, with the digits of the sealing fields as `0`.
pub(crate) fn root(head: &[u8], slots: &Slots) -> String {
    let mut fields: Vec<_> = [&slots.root_hash, &slots.signature].into_iter().flatten().collect();
    fields.sort_by_key(|field| field.start);
    let mut hasher = blake3::Hasher::new();
    let mut position = 0;
    for field in fields {
        hasher.update(&head[position..HEADER_SIZE + field.start]);
        hasher.update(&[b'0'; SIGNATURE_DIGITS][..field.len()]);
        position = HEADER_SIZE + field.end;
    }
    hasher.update(&head[position..]);
    hasher.finalize().to_hex().to_string()
}

/// A run of bytes summarised: how many, their CRC32, and for a tensor its BLAKE3.
#[derive(Clone, Debug)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Of no bytes.
    pub(crate) fn new() -> Self {
        Self(crc32fast::Hasher::new())
    }

    /// Appends `bytes`.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Appends the bytes that `other` has seen.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.combine(&other.0);
    }

    /// The CRC32.
    pub(crate) fn finish(&self) -> u32 {
        self.0.clone().finalize()
    }
}

/// Bytes read at a time: large enough for BLAKE3's widest kernel, small enough to stay in the second-level cache.
const CHUNK: usize = 256 << 10;

/// Reads `size` bytes from `offset` on, a chunk at a time.
pub(crate) fn for_each_chunk(
    source: &dyn crate::source::ReadAt,
    offset: u64,
    size: u64,
    mut visit: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(size as usize)];
    let mut position = 0;
    while position < size {
        let n_bytes = (size - position).min(CHUNK as u64) as usize;
        source.read_exact_at(&mut buffer[..n_bytes], offset + position)?;
        visit(&buffer[..n_bytes]);
        position += n_bytes as u64;
    }
    Ok(())
}

/// What one pass over a run of bytes yields.
pub(crate) struct Digest {
    /// BLAKE3 in hex.
    pub(crate) blake3: String,
    /// CRC32, to be combined.
    pub(crate) checksum: Checksum,
}

/// Digests of the runs `(offset, size)`, computed in parallel, each byte read once.
pub(crate) fn digests(
    source: &dyn crate::source::ReadAt,
    runs: &[(u64, u64)],
) -> std::io::Result<Vec<Digest>> {
    runs.par_iter()
        .map(|&(offset, size)| {
            let mut hasher = blake3::Hasher::new();
            let mut checksum = Checksum::new();
            for_each_chunk(source, offset, size, |chunk| {
                hasher.update(chunk);
                checksum.update(chunk);
            })?;
            Ok(Digest { blake3: hasher.finalize().to_hex().to_string(), checksum })
        })
        .collect()
}

//! Hashes: BLAKE3 of tensors, the root hash over everything before them, and both with CRC32 in one pass over a file.

use apr_tensor::DType;
use rayon::prelude::*;

use crate::header::HEADER_SIZE;
use crate::metadata::Slots;
use crate::source::ReadAt;
use crate::stats::{Accumulator, TensorStats};

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
    source: &dyn ReadAt,
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

/// Bytes to be read, and what of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) offset: u64,
    pub(crate) size: u64,
    /// Statistics are gathered of elements of this type.
    pub(crate) statistics: Option<DType>,
}

/// What one pass over a run of bytes yields.
#[derive(Clone, Debug)]
pub(crate) struct Digest {
    /// BLAKE3 in hex.
    pub(crate) blake3: String,
    /// CRC32, to be combined.
    pub(crate) checksum: Checksum,
    /// Statistics, when they were asked for.
    pub(crate) stats: Option<TensorStats>,
}

/// Digests of `runs`, computed in parallel, each byte read once.
pub(crate) fn digests(source: &dyn ReadAt, runs: &[Run]) -> std::io::Result<Vec<Digest>> {
    runs.par_iter()
        .map(|run| {
            let mut hasher = blake3::Hasher::new();
            let mut checksum = Checksum::new();
            let mut accumulator = run.statistics.map(Accumulator::new);
            for_each_chunk(source, run.offset, run.size, |chunk| {
                hasher.update(chunk);
                checksum.update(chunk);
                if let Some(accumulator) = &mut accumulator {
                    accumulator.update(chunk);
                }
            })?;
            let stats = accumulator.map(|accumulator| accumulator.finish());
            Ok(Digest { blake3: hasher.finalize().to_hex().to_string(), checksum, stats })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_hash_ignores_the_sealing_digits_and_nothing_else() {
        let head: Vec<u8> = (0..500_u32).map(|i| i as u8).collect();
        let slots = Slots { root_hash: Some(300..364), signature: Some(50..242) };
        let root_hash = root(&head, &slots);
        for position in 0..head.len() {
            let mut changed = head.clone();
            changed[position] ^= 1;
            let sealed = (64 + 300..64 + 364).contains(&position) || (64 + 50..64 + 242).contains(&position);
            assert_eq!(root(&changed, &slots) == root_hash, sealed, "{position}");
        }
    }

    #[test]
    fn appended_checksums_are_those_of_the_whole() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|i| (i * i) as u8).collect();
        for cut in [0, 1, 63, 64, 9_999, 10_000] {
            let (mut first, mut second) = (Checksum::new(), Checksum::new());
            first.update(&bytes[..cut]);
            second.update(&bytes[cut..]);
            first.append(&second);
            assert_eq!(first.finish(), crc32fast::hash(&bytes));
        }
    }

    #[test]
    fn every_byte_is_visited_once_whatever_is_left_for_the_last_chunk() {
        let bytes: Vec<u8> = (0..2 * CHUNK + 777).map(|i| (i * 7 + i / 251) as u8).collect();
        let source = bytes::Bytes::from(bytes.clone());
        for (offset, size) in [(0, bytes.len()), (5, CHUNK), (5, CHUNK + 1), (100, CHUNK - 1), (9, 1), (9, 0)]
        {
            let mut visited = Vec::new();
            for_each_chunk(&source, offset as u64, size as u64, |chunk| visited.extend_from_slice(chunk))
                .unwrap();
            assert!(visited == bytes[offset..offset + size], "{size} bytes from {offset} on");
        }
    }

    #[test]
    fn a_source_that_is_shorter_than_a_run_is_an_error() {
        let source = bytes::Bytes::from(vec![0; 1000]);
        let run = Run { offset: 500, size: 501, statistics: None };
        assert_eq!(digests(&source, &[run]).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

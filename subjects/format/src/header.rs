//! The 64-byte header: magic, version, flags, and where the sections are.

use std::fmt;

use crate::error::Fault;

/// Bytes of the header.
pub const HEADER_SIZE: usize = 64;
/// Sections and tensors start at multiples of this.
pub const ALIGNMENT: u64 = 64;
/// The first four bytes of every `.apr` file.
pub const MAGIC: [u8; 4] = *b"APR\0";
/// The only version there is: major, minor.
pub const VERSION: (u8, u8) = (2, 0);
/// More tensors than this are refused (the largest published models have a few thousand).
pub(crate) const MAX_TENSORS: u32 = 1_000_000;
/// More metadata than this is refused (a 150,000-entry tokenizer takes 4 MiB).
pub(crate) const MAX_METADATA_SIZE: u32 = 64 << 20;
/// Bytes of the CRC32 at the end of the file.
pub(crate) const FOOTER_SIZE: u64 = 4;

/// Header flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u16);

impl Flags {
    /// Sections compressed with LZ4; refused.
    pub const LZ4: Self = Self(1);
    /// Sections compressed with Zstandard; refused.
    pub const ZSTD: Self = Self(2);
    /// Encrypted; refused.
    pub const ENCRYPTED: Self = Self(4);
    /// Signed; the signature is in the metadata.
    pub const SIGNED: Self = Self(8);
    /// One of several files; refused.
    pub const SHARDED: Self = Self(16);
    /// Holds quantized tensors.
    pub const QUANTIZED: Self = Self(32);
    /// Holds a mel filterbank; refused.
    pub const HAS_FILTERBANK: Self = Self(64);
    /// The metadata holds a model card.
    pub const HAS_MODEL_CARD: Self = Self(128);
    /// Laid out for streaming.
    pub const STREAMING: Self = Self(256);
    /// The metadata holds a tokenizer.
    pub const HAS_VOCAB: Self = Self(512);
    /// Tensors are row-major; always set by our writer.
    pub const LAYOUT_ROW_MAJOR: Self = Self(1024);
    /// Tensors are column-major; refused.
    pub const LAYOUT_COLUMN_MAJOR: Self = Self(2048);

    const NAMES: [(Self, &'static str); 12] = [
        (Self::LZ4, "LZ4"),
        (Self::ZSTD, "ZSTD"),
        (Self::ENCRYPTED, "ENCRYPTED"),
        (Self::SIGNED, "SIGNED"),
        (Self::SHARDED, "SHARDED"),
        (Self::QUANTIZED, "QUANTIZED"),
        (Self::HAS_FILTERBANK, "HAS_FILTERBANK"),
        (Self::HAS_MODEL_CARD, "HAS_MODEL_CARD"),
        (Self::STREAMING, "STREAMING"),
        (Self::HAS_VOCAB, "HAS_VOCAB"),
        (Self::LAYOUT_ROW_MAJOR, "LAYOUT_ROW_MAJOR"),
        (Self::LAYOUT_COLUMN_MAJOR, "LAYOUT_COLUMN_MAJOR"),
    ];
    const REFUSED: [Self; 6] = [
        Self::LZ4,
        Self::ZSTD,
        Self::ENCRYPTED,
        Self::SHARDED,
        Self::HAS_FILTERBANK,
        Self::LAYOUT_COLUMN_MAJOR,
    ];

    /// Flags from their stored bits, known or not.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These flags and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names of the set flags that have one.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }

    /// Set bits that have no meaning.
    fn unknown_bits(self) -> u16 {
        Self::NAMES.iter().fold(self.0, |bits, (flag, _)| bits & !flag.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for name in self.names() {
            write!(f, "{separator}{name}")?;
            separator = " ";
        }
        Ok(())
    }
}

/// The header, field by field. All numbers are little-endian in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Format version: major, minor.
    pub version: (u8, u8),
    /// Flags.
    pub flags: Flags,
    /// Entries of the tensor index.
    pub tensor_count: u32,
    /// Where the JSON metadata starts.
    pub metadata_offset: u64,
    /// Its length without padding.
    pub metadata_size: u32,
    /// Where the tensor index starts.
    pub tensor_index_offset: u64,
    /// Where tensor data starts; the offsets of the index count from here.
    pub data_offset: u64,
    /// CRC32 over the header without this field, as stored.
    pub checksum: u32,
    /// Bytes 44 to 63, zero in version 2.0.
    pub reserved: [u8; 20],
}

impl Header {
    /// Reads the fields of the header at the start of `bytes`; judges only magic and length.
    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_SIZE>() else {
            let found = bytes.len() as u64;
            return Err(Fault::Truncated { what: "the header", needed: HEADER_SIZE as u64, found });
        };
        let magic = field(bytes, 0);
        if magic != MAGIC {
            return Err(Fault::Magic(magic));
        }
        Ok(Self {
            version: (bytes[4], bytes[5]),
            flags: Flags(u16::from_le_bytes(field(bytes, 6))),
            tensor_count: u32::from_le_bytes(field(bytes, 8)),
            metadata_offset: u64::from_le_bytes(field(bytes, 12)),
            metadata_size: u32::from_le_bytes(field(bytes, 20)),
            tensor_index_offset: u64::from_le_bytes(field(bytes, 24)),
            data_offset: u64::from_le_bytes(field(bytes, 32)),
            checksum: u32::from_le_bytes(field(bytes, 40)),
            reserved: field(bytes, 44),
        })
    }

    /// Reads and judges the header at the start of `bytes`, of a file of `file_size` bytes.
    pub fn parse(bytes: &[u8], file_size: u64) -> Result<Self, Fault> {
        let header = Self::decode(bytes)?;
        match header.faults(file_size).into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(header),
        }
    }

    /// Everything wrong with the header, given the size of the file.
    pub fn faults(&self, file_size: u64) -> Vec<Fault> {
        let mut faults = Vec::new();
        let (major, minor) = self.version;
        if self.version != VERSION {
            faults.push(Fault::Version { major, minor });
        }
        let computed = self.computed_checksum();
        if computed != self.checksum {
            faults.push(Fault::HeaderChecksum { stored: self.checksum, computed });
        }
        if let Some(index) = self.reserved.iter().position(|&byte| byte != 0) {
            faults.push(Fault::Reserved(44 + index as u64));
        }
        let refused = Flags::REFUSED.into_iter().filter(|&flag| self.flags.contains(flag));
        faults.extend(refused.flat_map(Flags::names).map(Fault::RefusedFlag));
        if self.flags.unknown_bits() != 0 {
            faults.push(Fault::UnknownFlags(self.flags.unknown_bits()));
        }
        if let Err(fault) = self.check_sections(file_size) {
            faults.push(fault);
        }
        faults
    }

    /// Whether the sections follow one another with less than [`ALIGNMENT`] bytes between them, inside the file.
    pub(crate) fn check_sections(&self, file_size: u64) -> Result<(), Fault> {
        let layout = |what: String| Err(Fault::Layout(what));
        if self.tensor_count > MAX_TENSORS {
            return layout(format!("it announces {} tensors, the limit is {MAX_TENSORS}", self.tensor_count));
        }
        if self.metadata_size > MAX_METADATA_SIZE {
            return layout(format!(
                "it announces {} bytes of metadata, the limit is {MAX_METADATA_SIZE}",
                self.metadata_size
            ));
        }
        if self.metadata_offset != HEADER_SIZE as u64 {
            return layout(format!("its metadata starts at {}, not after the header", self.metadata_offset));
        }
        let metadata_end = self.metadata_offset + u64::from(self.metadata_size);
        let index_start = align(metadata_end);
        if Some(self.tensor_index_offset) != index_start {
            return layout(format!(
                "its tensor index starts at {}, its metadata ends at {metadata_end}",
                self.tensor_index_offset
            ));
        }
        if self.data_offset < self.tensor_index_offset || !self.data_offset.is_multiple_of(ALIGNMENT) {
            return layout(format!(
                "its tensor data starts at {}, its tensor index at {}",
                self.data_offset, self.tensor_index_offset
            ));
        }
        match self.data_offset.checked_add(FOOTER_SIZE) {
            Some(needed) if needed <= file_size => {}
            needed => {
                let needed = needed.unwrap_or(u64::MAX);
                return Err(Fault::Truncated { what: "its metadata and index", needed, found: file_size });
            }
        }
        let least = u64::from(self.tensor_count) * crate::index::MIN_ENTRY_SIZE as u64;
        let most = u64::from(self.tensor_count) * crate::index::MAX_ENTRY_SIZE as u64 + ALIGNMENT;
        let index_size = self.data_offset - self.tensor_index_offset;
        if index_size < least || index_size >= most {
            return layout(format!(
                "its tensor index takes {index_size} bytes, which cannot be {} entries",
                self.tensor_count
            ));
        }
        Ok(())
    }

    /// CRC32 over bytes 0 to 39 and 44 to 63.
    pub fn computed_checksum(&self) -> u32 {
        let bytes = self.to_bytes();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&bytes[..40]);
        hasher.update(&bytes[44..]);
        hasher.finalize()
    }

    /// The header as stored.
    pub fn to_bytes(&self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = self.version.0;
        bytes[5] = self.version.1;
        bytes[6..8].copy_from_slice(&self.flags.0.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.tensor_count.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.metadata_offset.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.metadata_size.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.tensor_index_offset.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.data_offset.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.checksum.to_le_bytes());
        bytes[44..].copy_from_slice(&self.reserved);
        bytes
    }
}

/// `N` bytes of the header from `start`.
fn field<const N: usize>(bytes: &[u8; HEADER_SIZE], start: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[start..start + N]);
    field
}

/// `offset` rounded up to a multiple of [`ALIGNMENT`].
pub(crate) fn align(offset: u64) -> Option<u64> {
    offset.checked_next_multiple_of(ALIGNMENT)
}

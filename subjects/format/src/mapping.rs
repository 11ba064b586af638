//! Mapping a file into memory: the only unsafe code of this crate.
//!
//! A mapping is sound while nobody writes to the mapped file. Every writer of this project replaces a file by renaming
//! a complete new one over it ([`crate::atomic`]), which leaves the mapped one as it was; whatever is parsed or hashed
//! is read with `pread`, not through the mapping; and [`crate::AprFile::check_unchanged`] tells whether somebody else
//! wrote to it.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use bytes::Bytes;
use memmap2::MmapOptions;

/// Maps the first `size` bytes of `file`, read-only.
pub(crate) fn map(file: &File, size: usize) -> io::Result<Bytes> {
    if size == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private, so this process never writes through it. Other processes of this
    // project never write to a file in place (see the module's documentation), so the bytes stay as they are for
    // as long as the mapping lives; `Bytes` owns it and hands out shared slices only.
    let mapping = unsafe { MmapOptions::new().len(size).map_copy_read_only(file)? };
    Ok(Bytes::from_owner(mapping))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_slice_of_a_mapping_outlives_the_file_its_name_and_the_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let whole = map(file.as_file(), content.len()).unwrap();
        let slice = whole.slice(5000..6000);
        drop(whole);
        file.close().unwrap();
        assert_eq!(slice, content[5000..6000]);
    }

    #[test]
    fn a_mapping_starts_at_a_page() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 100]).unwrap();
        assert_eq!(map(&file, 100).unwrap().as_ptr() as usize % 4096, 0);
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        assert!(map(&tempfile::tempfile().unwrap(), 0).unwrap().is_empty());
    }
}

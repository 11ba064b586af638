//! Every block type against the values that the `gguf` Python package computes, bit for bit.

use std::path::PathBuf;

use apr_interop::{Encoding, dequantize};

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/blocks").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first element whose bits differ: its index, ours and theirs.
fn first_difference(encoding: Encoding, blocks: &[u8], expected: &[u8]) -> Option<(usize, f32, f32)> {
    let expected: Vec<f32> =
        expected.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let mut values = vec![f32::NAN; expected.len()];
    dequantize(encoding, blocks, &mut values);
    let pairs = values.into_iter().zip(expected);
    pairs.enumerate().find(|(_, (a, b))| a.to_bits() != b.to_bits()).map(|(index, (a, b))| (index, a, b))
}

#[test]
fn every_block_type_has_the_bits_of_the_gguf_package() {
    for encoding in Encoding::ALL {
        if encoding == Encoding::F32 {
            continue;
        }
        let name = encoding.name().to_lowercase();
        let blocks = fixture(&format!("{name}.blocks"));
        let expected = fixture(&format!("{name}.f32"));
        assert!(blocks.len() >= 8 * encoding.block_bytes(), "{encoding} has too few blocks to mean anything");
        assert_eq!(first_difference(encoding, &blocks, &expected), None, "{encoding}");
    }
}

#[test]
fn one_flipped_bit_of_a_block_is_seen() {
    for encoding in Encoding::ALL {
        if encoding == Encoding::F32 {
            continue;
        }
        let name = encoding.name().to_lowercase();
        let mut blocks = fixture(&format!("{name}.blocks"));
        // The fifth block: the first four have scales of zero or the smallest there are.
        blocks[5 * encoding.block_bytes() - 1] ^= 0x10;
        let difference = first_difference(encoding, &blocks, &fixture(&format!("{name}.f32")));
        let (index, ..) = difference.unwrap_or_else(|| panic!("{encoding}: nothing differs"));
        assert_eq!(index / encoding.block_elements(), 4, "{encoding}");
    }
}

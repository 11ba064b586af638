//! Dequantization: each block type of GGUF is one small pure function from a block's bytes to its elements.
//!
//! The arithmetic is f32, in the order of ggml's reference functions, so that every value has the bits that the
//! `gguf` Python package computes. Nothing is fused or reassociated.

mod four_bit_table;
mod k_quants;
mod legacy;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::encoding::Encoding;

/// Writes the elements that `blocks` hold to `elements`.
///
/// # Panics
/// When `blocks` is not a whole number of blocks, or `elements` has not one place for each of their elements.
pub fn dequantize(encoding: Encoding, blocks: &[u8], elements: &mut [f32]) {
    let n_blocks = blocks.len() / encoding.block_bytes();
    assert!(
        n_blocks * encoding.block_bytes() == blocks.len()
            && n_blocks * encoding.block_elements() == elements.len(),
        "{} bytes of {encoding} are not {} elements",
        blocks.len(),
        elements.len(),
    );
    match encoding {
        Encoding::F32 => each_block(blocks, elements, |bytes, out| *out = [f32::from_le_bytes(*bytes)]),
        Encoding::F16 => halves(blocks, elements, f16::from_le_bytes, <[_]>::convert_to_f32_slice),
        Encoding::Bf16 => halves(blocks, elements, bf16::from_le_bytes, <[_]>::convert_to_f32_slice),
        Encoding::Q4_0 => each_block(blocks, elements, legacy::q4_0),
        Encoding::Q4_1 => each_block(blocks, elements, legacy::q4_1),
        Encoding::Q5_0 => each_block(blocks, elements, legacy::q5_0),
        Encoding::Q5_1 => each_block(blocks, elements, legacy::q5_1),
        Encoding::Q8_0 => each_block(blocks, elements, legacy::q8_0),
        Encoding::Q2K => each_block(blocks, elements, k_quants::q2_k),
        Encoding::Q3K => each_block(blocks, elements, k_quants::q3_k),
        Encoding::Q4K => each_block(blocks, elements, k_quants::q4_k),
        Encoding::Q5K => each_block(blocks, elements, k_quants::q5_k),
        Encoding::Q6K => each_block(blocks, elements, k_quants::q6_k),
        Encoding::Iq4Nl => each_block(blocks, elements, four_bit_table::iq4_nl),
        Encoding::Iq4Xs => each_block(blocks, elements, four_bit_table::iq4_xs),
    }
}

/// Applies `block` to each block of `BYTES` bytes and its `ELEMENTS` elements.
fn each_block<const BYTES: usize, const ELEMENTS: usize>(
    blocks: &[u8],
    elements: &mut [f32],
    block: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) {
    let (blocks, _) = blocks.as_chunks::<BYTES>();
    let (elements, _) = elements.as_chunks_mut::<ELEMENTS>();
    for (bytes, out) in blocks.iter().zip(elements) {
        block(bytes, out);
    }
}

/// Widens 16-bit floats, a register's worth or more at a time.
fn halves<H: Copy + Default>(
    bytes: &[u8],
    elements: &mut [f32],
    from_bytes: impl Fn([u8; 2]) -> H,
    widen: impl Fn(&[H], &mut [f32]),
) {
    let mut buffer = [H::default(); 256];
    let (bytes, _) = bytes.as_chunks::<2>();
    for (bytes, out) in bytes.chunks(buffer.len()).zip(elements.chunks_mut(buffer.len())) {
        let halves = &mut buffer[..bytes.len()];
        for (half, bytes) in halves.iter_mut().zip(bytes) {
            *half = from_bytes(*bytes);
        }
        widen(halves, out);
    }
}

/// The f16 at `at`, as a scale.
fn scale<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

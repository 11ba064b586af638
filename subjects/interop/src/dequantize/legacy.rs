//! Blocks of 32 elements: Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0.
//!
//! The low nibbles of a block are its elements 0 to 15, the high nibbles its elements 16 to 31.

use super::scale;

/// `y = d * (q - 8)`; f16 d, 16 bytes of nibbles.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (i, &nibbles) in block[2..].iter().enumerate() {
        out[i] = d * (i32::from(nibbles & 0xF) - 8) as f32;
        out[i + 16] = d * (i32::from(nibbles >> 4) - 8) as f32;
    }
}

/// `y = d * q + m`; f16 d, f16 m, 16 bytes of nibbles.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    for (i, &nibbles) in block[4..].iter().enumerate() {
        out[i] = d * f32::from(nibbles & 0xF) + m;
        out[i + 16] = d * f32::from(nibbles >> 4) + m;
    }
}

/// `y = d * (q - 16)`; f16 d, 32 fifth bits, 16 bytes of nibbles.
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for (i, &nibbles) in block[6..].iter().enumerate() {
        let (low, high) = with_fifth_bits(nibbles, fifth, i);
        out[i] = d * (low as i32 - 16) as f32;
        out[i + 16] = d * (high as i32 - 16) as f32;
    }
}

/// `y = d * q + m`; f16 d, f16 m, 32 fifth bits, 16 bytes of nibbles.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (scale(block, 0), scale(block, 2));
    let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for (i, &nibbles) in block[8..].iter().enumerate() {
        let (low, high) = with_fifth_bits(nibbles, fifth, i);
        out[i] = d * low as f32 + m;
        out[i + 16] = d * high as f32 + m;
    }
}

/// `y = q * d`; f16 d, 32 signed bytes.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for (y, &q) in out.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// Elements `i` and `i + 16`: their nibbles with the fifth bits on top.
fn with_fifth_bits(nibbles: u8, fifth: u32, i: usize) -> (u32, u32) {
    let low = u32::from(nibbles & 0xF) | ((fifth >> i) & 1) << 4;
    let high = u32::from(nibbles >> 4) | ((fifth >> (i + 16)) & 1) << 4;
    (low, high)
}

//! Blocks of 256 elements with scales of their own for 16 or 32 of them: Q2_K to Q6_K.

use super::scale;

/// `y = d * s * q - dmin * m` for each 16; 16 bytes of scale and minimum nibbles, 64 bytes of 2-bit q, f16 d, f16 dmin.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 80), scale(block, 82));
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let factors = block[group];
        let step = d * f32::from(factors & 0xF);
        let minimum = dmin * f32::from(factors >> 4);
        let (bytes, shift) = two_bit_fields(&block[16..80], group);
        for (y, &byte) in out.iter_mut().zip(bytes) {
            *y = step * f32::from((byte >> shift) & 3) - minimum;
        }
    }
}

/// `y = d * (s - 32) * (q - 4)` for each 16, q's third bit inverted in a mask; 32 bytes of third bits, 64 bytes of
/// 2-bit q, 12 bytes of 6-bit scales, f16 d.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = scale(block, 108);
    let scales = &block[96..108];
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // Scales 0 to 7 have their low four bits in the low nibbles of bytes 0 to 7, scales 8 to 15 in the high ones;
        // bytes 8 to 11 hold the upper two bits of scales i, i + 4, i + 8 and i + 12.
        let low = (scales[group % 8] >> (group / 8 * 4)) & 0xF;
        let high = (scales[8 + group % 4] >> (group / 4 * 2)) & 3;
        let step = d * (i32::from(low | high << 4) - 32) as f32;
        let (bytes, shift) = two_bit_fields(&block[32..96], group);
        let thirds = &block[group % 2 * 16..][..16];
        for ((y, &byte), &third) in out.iter_mut().zip(bytes).zip(thirds) {
            let missing = (third >> (group / 2)) & 1 ^ 1;
            *y = step * (i32::from((byte >> shift) & 3) - i32::from(missing << 2)) as f32;
        }
    }
}

/// `y = d * s * q - dmin * m` for each 32; f16 d, f16 dmin, 12 bytes of 6-bit scales and minima, 128 bytes of nibbles.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (factor, minimum) = scale_and_minimum(&block[4..16], group);
        let (step, minimum) = (d * f32::from(factor), dmin * f32::from(minimum));
        let bytes = &block[16 + group / 2 * 32..][..32];
        let shift = group % 2 * 4;
        for (y, &byte) in out.iter_mut().zip(bytes) {
            *y = step * f32::from((byte >> shift) & 0xF) - minimum;
        }
    }
}

/// [`q4_k`] with a fifth bit: f16 d, f16 dmin, 12 bytes of scales and minima, 32 bytes of fifth bits, 128 of nibbles.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (scale(block, 0), scale(block, 2));
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (factor, minimum) = scale_and_minimum(&block[4..16], group);
        let (step, minimum) = (d * f32::from(factor), dmin * f32::from(minimum));
        let bytes = &block[48 + group / 2 * 32..][..32];
        let shift = group % 2 * 4;
        for ((y, &byte), &fifths) in out.iter_mut().zip(bytes).zip(&block[16..48]) {
            let fifth = (fifths >> group) & 1;
            *y = step * f32::from((byte >> shift) & 0xF | fifth << 4) - minimum;
        }
    }
}

/// `y = d * s * (q - 32)` for each 16; 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, f16 d.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = scale(block, 208);
    for (run, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        // Each half of the block has 64 bytes of nibbles, low ones first, and 32 bytes of four bit pairs.
        let (half, quarter) = (run / 4, run % 4);
        let nibbles = &block[half * 64 + quarter % 2 * 32..][..32];
        let pairs = &block[128 + half * 32..][..32];
        let shift = quarter / 2 * 4;
        let (low, high) = out.split_at_mut(16);
        for (part, out) in [low, high].into_iter().enumerate() {
            let step = d * f32::from(block[192 + run * 2 + part].cast_signed());
            let at = part * 16..part * 16 + 16;
            for ((y, &nibble), &pair) in out.iter_mut().zip(&nibbles[at.clone()]).zip(&pairs[at]) {
                let q = (nibble >> shift) & 0xF | (pair >> (quarter * 2) & 3) << 4;
                *y = step * (i32::from(q) - 32) as f32;
            }
        }
    }
}

/// Where the 2-bit fields of a group of 16 lie: 32 bytes serve eight groups, two at each of four shifts.
fn two_bit_fields(bytes: &[u8], group: usize) -> (&[u8], usize) {
    let (half, group) = (group / 8, group % 8);
    (&bytes[half * 32 + group % 2 * 16..][..16], group / 2 * 2)
}

/// The 6-bit scale and minimum of a group of 32. Bytes 0 to 3 are scales 0 to 3, bytes 4 to 7 minima 0 to 3; bytes 8
/// to 11 hold the low nibbles of scales and minima 4 to 7, whose upper bits are the upper bits of bytes 0 to 7.
fn scale_and_minimum(bytes: &[u8], group: usize) -> (u8, u8) {
    let i = group % 4;
    if group < 4 {
        (bytes[i] & 0x3F, bytes[4 + i] & 0x3F)
    } else {
        (bytes[8 + i] & 0xF | bytes[i] >> 2 & 0x30, bytes[8 + i] >> 4 | bytes[4 + i] >> 2 & 0x30)
    }
}

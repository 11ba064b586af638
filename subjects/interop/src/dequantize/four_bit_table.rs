//! Blocks whose nibbles point into a table of 16 values: IQ4_NL and IQ4_XS.

use super::scale;

/// The values a nibble stands for, before scaling; denser around zero, where weights are.
const VALUES: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// `y = d * VALUES[q]`; f16 d, 16 bytes of nibbles, low ones first.
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    look_up(scale(block, 0), &block[2..], out);
}

/// `y = d * (s - 32) * VALUES[q]` for each 32; f16 d, u16 of upper scale bits, 4 bytes of lower ones, 128 of nibbles.
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = scale(block, 0);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = i32::from(block[4 + group / 2] >> (group % 2 * 4) & 0xF);
        let high = i32::from(upper >> (group * 2) & 3);
        let step = d * ((low | high << 4) - 32) as f32;
        look_up(step, &block[8 + group * 16..][..16], out);
    }
}

/// 32 elements from 16 bytes.
fn look_up(step: f32, bytes: &[u8], out: &mut [f32; 32]) {
    for (i, &nibbles) in bytes.iter().enumerate() {
        out[i] = step * f32::from(VALUES[usize::from(nibbles & 0xF)]);
        out[i + 16] = step * f32::from(VALUES[usize::from(nibbles >> 4)]);
    }
}

//! Growable f32 storage that starts at a cache line, so that sixteen-lane loads never straddle two.

use std::ops::{Deref, DerefMut};

/// One cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
pub(crate) struct Line(pub(crate) [f32; 16]);

/// A zero-initialised run of f32 at a multiple of 64 bytes.
#[derive(Clone, Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), len: 0 }
    }

    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        // From the allocator's zero pages: a long cache takes no memory before it is filled.
        Self { lines: bytemuck::zeroed_vec(len.div_ceil(16)), len }
    }

    /// Makes the buffer `len` long; what was there stays, what is new is zero or a value from an earlier, longer use.
    pub fn resize(&mut self, len: usize) {
        let n_lines = len.div_ceil(16);
        if n_lines > self.lines.len() {
            self.lines.resize(n_lines, Line([0.0; 16]));
        }
        self.len = len;
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_cache_line_and_keep_their_values() {
        let mut buffer = Buffer::zeroed(3);
        buffer[2] = 7.0;
        buffer.resize(100);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert_eq!((buffer.len(), buffer[2], buffer[99]), (100, 7.0, 0.0));
    }
}

//! Growable storage that starts at a cache line, so that loads of sixteen f32 never straddle two.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::Pod;

/// One cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
pub(crate) struct Line(pub(crate) [u8; 64]);

/// A zero-initialised run of numbers at a multiple of 64 bytes.
#[derive(Clone)]
pub struct Buffer<T = f32> {
    lines: Vec<Line>,
    len: usize,
    element: PhantomData<T>,
}

impl<T: Pod> Buffer<T> {
    /// An empty buffer.
    pub const fn new() -> Self {
        Self { lines: Vec::new(), len: 0, element: PhantomData }
    }

    /// `len` zeros, or `None` where the system gives no memory for them.
    pub fn zeroed(len: usize) -> Option<Self> {
        // From the allocator's zero pages: a long cache takes no memory before it is filled.
        let lines = bytemuck::try_zeroed_vec(Self::n_lines(len)).ok()?;
        Some(Self { lines, len, element: PhantomData })
    }

    /// Makes the buffer `len` long; what was there stays, what is new is zero or a value from an earlier, longer use.
    pub fn resize(&mut self, len: usize) {
        let n_lines = Self::n_lines(len);
        if n_lines > self.lines.len() {
            self.lines.resize(n_lines, Line([0; 64]));
        }
        self.len = len;
    }

    fn n_lines(len: usize) -> usize {
        len.div_ceil(size_of::<Line>() / size_of::<T>())
    }
}

impl<T: Pod> Default for Buffer<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Pod> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Pod> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_at_a_cache_line_and_keep_their_values() {
        let mut buffer = Buffer::<f64>::zeroed(3).unwrap();
        buffer[2] = 7.0;
        buffer.resize(100);
        assert_eq!(buffer.as_ptr() as usize % 64, 0);
        assert_eq!((buffer.len(), buffer[2], buffer[99]), (100, 7.0, 0.0));
    }

    #[test]
    fn more_zeros_than_any_system_has_are_not_there() {
        assert!(Buffer::<f32>::zeroed(1 << 50).is_none());
        assert!(Buffer::<f32>::zeroed(usize::MAX).is_none());
    }
}

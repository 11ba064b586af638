//! A cursor over the start of a GGUF file: every read is checked against the file's end first.

use super::GgufError;

/// Why reading stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The file is faulty.
    Fault(GgufError),
    /// The file goes on, the bytes at hand do not: try again with more.
    NeedMore,
}

impl From<GgufError> for Stop {
    fn from(fault: GgufError) -> Self {
        Self::Fault(fault)
    }
}

/// A position in the first bytes of a file.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
    file_size: u64,
}

impl<'a> Reader<'a> {
    /// Reads from `bytes`, the start of a file of `file_size` bytes.
    pub(crate) fn new(bytes: &'a [u8], file_size: u64) -> Self {
        Self { bytes, position: 0, file_size: file_size.max(bytes.len() as u64) }
    }

    /// The offset of the next byte.
    pub(crate) fn position(&self) -> u64 {
        self.position as u64
    }

    /// Bytes from here to the end of the file.
    pub(crate) fn left(&self) -> u64 {
        self.file_size - self.position as u64
    }

    /// The next `n` bytes; `what` names them when they are not there.
    pub(crate) fn take(&mut self, n: u64, what: impl Fn() -> String) -> Result<&'a [u8], Stop> {
        if n > self.left() {
            return Err(GgufError::Truncated {
                what: what(),
                offset: self.position(),
                needed: n,
                left: self.left(),
            }
            .into());
        }
        let rest = &self.bytes[self.position..];
        let taken = usize::try_from(n).ok().and_then(|n| rest.get(..n)).ok_or(Stop::NeedMore)?;
        self.position += taken.len();
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self, what: impl Fn() -> String) -> Result<[u8; N], Stop> {
        let taken = self.take(N as u64, what)?;
        let mut array = [0; N];
        array.copy_from_slice(taken);
        Ok(array)
    }

    /// A little-endian u32.
    pub(crate) fn u32(&mut self, what: impl Fn() -> String) -> Result<u32, Stop> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// A little-endian u64.
    pub(crate) fn u64(&mut self, what: impl Fn() -> String) -> Result<u64, Stop> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A string: u64 length, then its bytes.
    pub(crate) fn string(&mut self, what: impl Fn() -> String) -> Result<&'a str, Stop> {
        let length = self.u64(|| format!("the length of {}", what()))?;
        let bytes = self.take(length, &what)?;
        std::str::from_utf8(bytes).map_err(|_| GgufError::Utf8(what()).into())
    }

    /// The bytes that `read` goes over.
    pub(crate) fn spanned(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<&'a [u8], Stop> {
        let start = self.position;
        read(self)?;
        Ok(&self.bytes[start..self.position])
    }

    /// A count of `what`, each of which takes `least_bytes` or more, `most` of which are accepted.
    pub(crate) fn count(&mut self, what: &'static str, least_bytes: u64, most: u64) -> Result<u64, Stop> {
        let count = self.u64(|| format!("the number of {what}"))?;
        let limit = most.min(self.left() / least_bytes);
        if count > limit {
            return Err(GgufError::Count { what, count, limit, left: self.left() }.into());
        }
        Ok(count)
    }
}

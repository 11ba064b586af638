//! Reading at a position: a file that shrinks meanwhile gives an error, where a mapping would give a signal.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use memmap2::MmapMut;

use crate::error::FormatError;

/// Threads that share the copying of a file to memory.
const READERS: usize = 4;
/// Bytes of a huge page on the processors we know.
const HUGE_PAGE: usize = 2 << 20;

/// Bytes that can be read at any position, from several threads at once.
pub(crate) trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset` on.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
}

impl ReadAt for Bytes {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = usize::try_from(offset).ok().and_then(|start| self.get(start..)?.get(..buffer.len()));
        buffer.copy_from_slice(range.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct FileSource {
    #[cfg(any(unix, windows))]
    file: File,
    #[cfg(not(any(unix, windows)))]
    file: std::sync::Mutex<File>,
}

impl FileSource {
    /// Opens `path`, which must be a regular file, and says what it is like now.
    pub(crate) fn open(path: &Path) -> Result<(Self, Stamp), FormatError> {
        // Opening a pipe would wait for a writer, so the kind is looked at first.
        let metadata = std::fs::metadata(path).map_err(FormatError::io("open", path))?;
        if !metadata.is_file() {
            let kind =
                if metadata.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
            return Err(FormatError::io("open", path)(io::Error::new(kind, "it is not a regular file")));
        }
        let file = File::open(path).map_err(FormatError::io("open", path))?;
        let stamp = Stamp::of(&file).map_err(FormatError::io("read", path))?;
        #[cfg(not(any(unix, windows)))]
        let file = std::sync::Mutex::new(file);
        Ok((Self { file }, stamp))
    }

    /// What the file is like now.
    pub(crate) fn stamp(&self) -> io::Result<Stamp> {
        self.with_file(Stamp::of)
    }

    /// Runs `action` on the file.
    #[cfg(any(unix, windows))]
    pub(crate) fn with_file<T>(&self, action: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        action(&self.file)
    }

    /// Runs `action` on the file.
    #[cfg(not(any(unix, windows)))]
    pub(crate) fn with_file<T>(&self, action: impl FnOnce(&File) -> io::Result<T>) -> io::Result<T> {
        action(&self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// The first `size` bytes, copied to memory of their own, on huge pages where the system has them.
    pub(crate) fn read_to_memory(&self, size: usize) -> io::Result<Bytes> {
        let mut memory = MmapMut::map_anon(size)?;
        // A wish: small pages are slower, not wrong.
        #[cfg(target_os = "linux")]
        let _ = memory.advise(memmap2::Advice::HugePage);
        // Most of the time goes into the system's copying and clearing, which processors can share.
        let part = size.div_ceil(READERS).next_multiple_of(HUGE_PAGE);
        thread::scope(|scope| {
            let readers: Vec<_> = memory
                .chunks_mut(part)
                .zip((0..).step_by(part))
                .map(|(buffer, offset)| scope.spawn(move || self.read_exact_at(buffer, offset)))
                .collect();
            readers.into_iter().try_for_each(|reader| reader.join().expect("reading does not panic"))
        })?;
        Ok(Bytes::from_owner(memory))
    }
}

impl ReadAt for FileSource {
    #[cfg(unix)]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset).map_err(explain)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset) {
                Ok(0) => return Err(explain(io::ErrorKind::UnexpectedEof.into())),
                Ok(n_bytes) => {
                    buffer = &mut buffer[n_bytes..];
                    offset += n_bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(not(any(unix, windows)))]
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        use std::io::{Read, Seek, SeekFrom};
        self.with_file(|mut file| {
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(buffer).map_err(explain)
        })
    }
}

/// Says what an early end of a file means: its length was known when reading began.
fn explain(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "it became shorter while it was being read")
        }
        _ => error,
    }
}

/// What tells one content of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub(crate) mtime_ns: i128,
    /// Last change of content or status, which cannot be set back; 0 where the system has none.
    pub(crate) ctime_ns: i128,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mtime_ns = metadata.modified().map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i128,
            Err(before) => -(before.duration().as_nanos() as i128),
        });
        #[cfg(unix)]
        let ctime_ns = {
            use std::os::unix::fs::MetadataExt;
            i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec())
        };
        #[cfg(not(unix))]
        let ctime_ns = 0;
        Ok(Self { size: metadata.len(), mtime_ns, ctime_ns })
    }
}

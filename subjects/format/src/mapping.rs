//! Mapping a file into memory: the only unsafe code of this crate.
//!
//! A mapping is sound while nobody writes to the mapped file. Every writer of this project replaces a file by renaming
//! a complete new one over it ([`crate::atomic`]), which leaves the mapped one as it was; whatever is parsed or hashed
//! is read with `pread`, where a file that shrinks gives an error; and [`crate::AprFile::check_unchanged`] tells whether
//! somebody else wrote to it. What remains is a stranger who truncates the file (`cp new.apr model.apr`) while its
//! tensors are being read: the system then raises SIGBUS. The guard below turns that into a message that names the
//! file and exit status 1, before any value that is not in the file was used.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use memmap2::{Mmap, MmapOptions};

/// Maps the first `size` bytes of `file`, read-only. `path` is what the guard's message calls it.
pub(crate) fn map(file: &File, path: &Path, size: usize) -> io::Result<Bytes> {
    if size == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private, so this process never writes through it. Other processes of this
    // project never write to a file in place (see the module's documentation), so the bytes stay as they are for
    // as long as the mapping lives; `Bytes` owns it and hands out shared slices only.
    let mapping = unsafe { MmapOptions::new().len(size).map_copy_read_only(file)? };
    #[cfg(unix)]
    let guard = guard::watch(&mapping, path);
    #[cfg(not(unix))]
    let guard = {
        let _ = path;
    };
    Ok(Bytes::from_owner(Mapping { _guard: guard, mapping }))
}

/// Keeps the pages of `bytes` in memory until they are unmapped, or this process ends.
#[cfg(unix)]
pub(crate) fn lock(bytes: &[u8]) -> io::Result<()> {
    // SAFETY: locking reads the pages of a slice that is valid, and changes nothing in them.
    let result = unsafe { libc::mlock(bytes.as_ptr().cast(), bytes.len()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Refuses: this system has no way to.
#[cfg(not(unix))]
pub(crate) fn lock(_: &[u8]) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A mapping that is watched as long as it lives; the guard is dropped first.
struct Mapping {
    #[cfg(unix)]
    _guard: Option<guard::Watch>,
    #[cfg(not(unix))]
    _guard: (),
    mapping: Mmap,
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        &self.mapping
    }
}

/// A handler for SIGBUS that knows the mappings.
#[cfg(unix)]
mod guard {
    use std::mem::MaybeUninit;
    use std::path::Path;
    use std::ptr;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    /// One watched mapping. The handler may read it at any time, so every field is atomic and `start` is written last.
    struct Slot {
        /// Address of the first byte; 0 while the slot is free, 1 while it is being filled.
        start: AtomicUsize,
        size: AtomicUsize,
        message: AtomicPtr<u8>,
        message_size: AtomicUsize,
    }

    const FREE: usize = 0;
    const TAKEN: usize = 1;
    /// Mappings watched at once; further ones are not.
    const N_SLOTS: usize = 64;

    static SLOTS: [Slot; N_SLOTS] = [const {
        Slot {
            start: AtomicUsize::new(FREE),
            size: AtomicUsize::new(0),
            message: AtomicPtr::new(ptr::null_mut()),
            message_size: AtomicUsize::new(0),
        }
    }; N_SLOTS];

    /// The handler that was there before; Rust's own, which reports stack overflows.
    static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

    /// Ends the watch over a mapping when dropped.
    pub(super) struct Watch {
        slot: &'static Slot,
        _message: Box<[u8]>,
    }

    impl Drop for Watch {
        fn drop(&mut self) {
            self.slot.start.store(FREE, Ordering::SeqCst);
        }
    }

    /// Watches `mapping`; `None` when there are too many.
    pub(super) fn watch(mapping: &[u8], path: &Path) -> Option<Watch> {
        install();
        let slot = SLOTS.iter().find(|slot| {
            slot.start.compare_exchange(FREE, TAKEN, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        })?;
        let message = format!(
            "error: `{}` was cut short while it was in use\nhint: replace a model by renaming a new file over it\n",
            path.display()
        );
        let message = message.into_bytes().into_boxed_slice();
        slot.size.store(mapping.len(), Ordering::SeqCst);
        slot.message.store(message.as_ptr().cast_mut(), Ordering::SeqCst);
        slot.message_size.store(message.len(), Ordering::SeqCst);
        slot.start.store(mapping.as_ptr() as usize, Ordering::SeqCst);
        Some(Watch { slot, _message: message })
    }

    /// Installs the handler, once.
    fn install() {
        PREVIOUS.get_or_init(|| {
            let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
            // SAFETY: `sigaction` is plain data for which zeros are valid. The handler is async-signal-safe: it reads
            // atomics and calls `write`, `_exit`, `sigaction` and the previous handler. SA_ONSTACK runs it on the
            // alternative stack that Rust gives every thread, so a stack overflow can still be told.
            unsafe {
                let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
                action.sa_sigaction = handler as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&raw mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, &raw const action, previous.as_mut_ptr());
                previous.assume_init()
            }
        });
    }

    extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the system passes a valid `info` to a handler installed with SA_SIGINFO, and for SIGBUS it holds the
        // address that was touched.
        let address = unsafe { (*info).si_addr() } as usize;
        for slot in &SLOTS {
            let start = slot.start.load(Ordering::SeqCst);
            if start > TAKEN && address.wrapping_sub(start) < slot.size.load(Ordering::SeqCst) {
                let message = slot.message.load(Ordering::SeqCst);
                let size = slot.message_size.load(Ordering::SeqCst);
                // SAFETY: the mapping is being read, so it lives, and so does the message that lives as long.
                unsafe {
                    libc::write(libc::STDERR_FILENO, message.cast_const().cast(), size);
                    libc::_exit(1);
                }
            }
        }
        let Some(previous) = PREVIOUS.get() else { return };
        // SAFETY: `previous` is what the system held as the handler of this signal, so it is a handler of the kind its
        // flags say; the default is restored where there was none, and the instruction that faulted runs again.
        unsafe {
            if previous.sa_sigaction == libc::SIG_DFL || previous.sa_sigaction == libc::SIG_IGN {
                libc::sigaction(signal, ptr::from_ref(previous), ptr::null_mut());
            } else if previous.sa_flags & libc::SA_SIGINFO != 0 {
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                    std::mem::transmute(previous.sa_sigaction);
                handler(signal, info, context);
            } else {
                let handler: extern "C" fn(libc::c_int) = std::mem::transmute(previous.sa_sigaction);
                handler(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PATH: &str = "m.apr";

    #[test]
    fn a_slice_of_a_mapping_outlives_the_file_its_name_and_the_whole() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..10_000_u32).map(|i| (i % 251) as u8).collect();
        file.write_all(&content).unwrap();
        let whole = map(file.as_file(), Path::new(PATH), content.len()).unwrap();
        let slice = whole.slice(5000..6000);
        drop(whole);
        file.close().unwrap();
        assert_eq!(slice, content[5000..6000]);
    }

    #[test]
    fn a_mapping_starts_at_a_page() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 100]).unwrap();
        assert_eq!(map(&file, Path::new(PATH), 100).unwrap().as_ptr() as usize % 4096, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn locked_bytes_are_counted_as_locked_by_the_system() {
        let locked = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap().to_owned();
            line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
        };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 40 << 10]).unwrap();
        let mapping = map(&file, Path::new(PATH), 40 << 10).unwrap();
        let before = locked();
        lock(&mapping).unwrap();
        assert_eq!(locked(), before + 40);
        drop(mapping);
        assert_eq!(locked(), before, "what is not mapped is not locked");
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        assert!(map(&tempfile::tempfile().unwrap(), Path::new(PATH), 0).unwrap().is_empty());
    }

    #[test]
    fn more_mappings_than_can_be_watched_still_map() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; 100]).unwrap();
        let mappings: Vec<Bytes> = (0..100).map(|_| map(&file, Path::new(PATH), 100).unwrap()).collect();
        assert!(mappings.iter().all(|mapping| mapping[99] == 7));
    }
}

//! Files that appear at once or not at all: written beside the target, synced, then renamed over it.
//!
//! The new file has no name until it is complete where the system allows that (Linux, most file systems), so even a
//! killed process leaves nothing behind; elsewhere it has a hidden name in the target's directory. A target that is
//! there is replaced only with [`Overwrite::Allow`], and with [`Overwrite::Refuse`] not even when it appears while the
//! new file is being written.

mod named;
#[cfg(target_os = "linux")]
mod unnamed;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::FormatError;

/// What to do when the target exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overwrite {
    /// Fail.
    Refuse,
    /// Replace it, if it is a regular file.
    Allow,
}

/// A file on its way to its path. Dropped without [`AtomicFile::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    overwrite: Overwrite,
    backend: Backend,
}

/// How the unfinished file is kept.
#[derive(Debug)]
enum Backend {
    Named(named::NamedFile),
    #[cfg(target_os = "linux")]
    Unnamed(unnamed::UnnamedFile),
}

impl AtomicFile {
    /// Starts a new file that [`AtomicFile::commit`] will put at `path`.
    pub fn create(path: &Path, overwrite: Overwrite) -> Result<Self, FormatError> {
        Self::create_with_mode(path, overwrite, 0o666)
    }

    /// The same with permission bits, of which the umask takes away; they mean nothing outside Unix.
    pub fn create_with_mode(path: &Path, overwrite: Overwrite, mode: u32) -> Result<Self, FormatError> {
        let target = Target::of(path)?;
        target.check(path, overwrite)?;
        #[cfg(target_os = "linux")]
        match unnamed::UnnamedFile::create(&target, mode) {
            Ok(Some(file)) => return Ok(Self::with_backend(path, overwrite, Backend::Unnamed(file))),
            Ok(None) => {}
            Err(error) => return Err(FormatError::io("create a file beside", path)(error)),
        }
        Self::create_named(path, &target, overwrite, mode)
    }

    fn create_named(
        path: &Path,
        target: &Target,
        overwrite: Overwrite,
        mode: u32,
    ) -> Result<Self, FormatError> {
        let file =
            named::NamedFile::create(target, mode).map_err(FormatError::io("create a file beside", path))?;
        Ok(Self::with_backend(path, overwrite, Backend::Named(file)))
    }

    fn with_backend(path: &Path, overwrite: Overwrite, backend: Backend) -> Self {
        Self { path: path.to_owned(), overwrite, backend }
    }

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that is being written.
    pub fn file(&self) -> &File {
        match &self.backend {
            Backend::Named(file) => file.file(),
            #[cfg(target_os = "linux")]
            Backend::Unnamed(file) => file.file(),
        }
    }

    /// Syncs the file, puts it at its path and syncs the directory.
    pub fn commit(self) -> Result<(), FormatError> {
        self.file().sync_all().map_err(FormatError::io("write", &self.path))?;
        let path = self.path;
        // What was there when the file was started may have changed; a rename would replace a link or a device.
        Target::of(&path)?.check(&path, self.overwrite)?;
        let outcome = match self.backend {
            Backend::Named(file) => file.persist(self.overwrite),
            #[cfg(target_os = "linux")]
            Backend::Unnamed(file) => file.persist(self.overwrite),
        };
        outcome.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists if self.overwrite == Overwrite::Refuse => {
                FormatError::AlreadyExists(path.clone())
            }
            _ => FormatError::io("write", &path)(error),
        })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file().seek(position)
    }
}

impl Read for AtomicFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file().read(buffer)
    }
}

/// Writes `bytes` to `path` at once.
pub fn write(path: &Path, bytes: &[u8], overwrite: Overwrite) -> Result<(), FormatError> {
    let mut file = AtomicFile::create(path, overwrite)?;
    file.write_all(bytes).map_err(FormatError::io("write", path))?;
    file.commit()
}

/// Refuses an `output` that is one of the `inputs`, under whatever name.
pub fn ensure_distinct<'a>(
    output: &Path,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), FormatError> {
    // An output that is not there is nobody's input.
    let Ok(output_file) = identity(output) else { return Ok(()) };
    for input in inputs {
        if identity(input).is_ok_and(|input_file| input_file == output_file) {
            return Err(FormatError::SameFile(output.to_owned()));
        }
    }
    Ok(())
}

/// What two names of one file have in common.
#[cfg(unix)]
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// What two names of one file have in common.
#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// A directory and a name in it.
#[derive(Clone, Debug)]
struct Target {
    directory: PathBuf,
    name: OsString,
}

impl Target {
    fn of(path: &Path) -> Result<Self, FormatError> {
        // `Path::file_name` ignores a slash at the end, which asks for a directory.
        let ends_in_separator = path
            .as_os_str()
            .as_encoded_bytes()
            .last()
            .is_some_and(|&byte| std::path::is_separator(byte as char));
        let Some(name) = path.file_name().filter(|_| !ends_in_separator) else {
            return Err(FormatError::NotReplaceable { path: path.to_owned(), what: "a directory" });
        };
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        Ok(Self { directory, name: name.to_owned() })
    }

    /// Refuses what is there already and may not be replaced.
    fn check(&self, path: &Path, overwrite: Overwrite) -> Result<(), FormatError> {
        let metadata = match self.directory.join(&self.name).symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(FormatError::io("look at", path)(error)),
        };
        let kind = metadata.file_type();
        let what = if kind.is_dir() {
            "a directory"
        } else if kind.is_symlink() {
            "a symbolic link"
        } else if !kind.is_file() {
            "not a regular file"
        } else if overwrite == Overwrite::Refuse {
            return Err(FormatError::AlreadyExists(path.to_owned()));
        } else {
            return Ok(());
        };
        Err(FormatError::NotReplaceable { path: path.to_owned(), what })
    }

    /// A hidden name for the unfinished file, different every time.
    fn temporary_name(&self) -> OsString {
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| u64::from(now.subsec_nanos()));
        let mut name = OsString::from(format!(".{}-{count}-{nanos:x}.", std::process::id()));
        // The suffix makes the name too long where the target's already has the greatest length.
        name.push(if self.name.len() <= 180 { self.name.as_os_str() } else { "long".as_ref() });
        name.push(".tmp");
        name
    }
}

/// Makes a rename in `directory` last through a crash, where the system can.
fn sync_directory(directory: &File) -> io::Result<()> {
    match directory.sync_all() {
        // Some file systems cannot sync directories; the file itself is synced.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        outcome => outcome,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Where the system can do without a name, the way for those that cannot is tested all the same.
    fn create_named(path: &Path, overwrite: Overwrite) -> Result<AtomicFile, FormatError> {
        let target = Target::of(path)?;
        target.check(path, overwrite)?;
        AtomicFile::create_named(path, &target, overwrite, 0o666)
    }

    fn names(directory: &Path) -> Vec<OsString> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn a_named_file_appears_when_committed_and_is_gone_when_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        let mut file = create_named(&path, Overwrite::Refuse).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(names(directory.path()).len(), 1);
        assert!(!path.exists());
        drop(file);
        assert!(names(directory.path()).is_empty());
        let mut file = create_named(&path, Overwrite::Refuse).unwrap();
        file.write_all(b"new").unwrap();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["target"]);
    }

    #[test]
    fn a_named_file_replaces_only_what_it_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        let refusing = create_named(&path, Overwrite::Refuse).unwrap();
        fs::write(&path, "old").unwrap();
        assert!(matches!(refusing.commit(), Err(FormatError::AlreadyExists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut allowing = create_named(&path, Overwrite::Allow).unwrap();
        allowing.write_all(b"new").unwrap();
        allowing.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["target"]);
    }

    /// The check before the commit is skipped: only the system stands between two writers.
    #[test]
    fn the_system_refuses_to_replace_when_the_look_before_came_too_early() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("target");
        fs::write(&path, "old").unwrap();
        let target = Target::of(&path).unwrap();
        let file = named::NamedFile::create(&target, 0o666).unwrap();
        assert_eq!(file.persist(Overwrite::Refuse).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        #[cfg(target_os = "linux")]
        if let Some(file) = unnamed::UnnamedFile::create(&target, 0o666).unwrap() {
            assert_eq!(file.persist(Overwrite::Refuse).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["target"]);
    }

    #[test]
    fn temporary_names_differ_and_fit_the_file_system() {
        let long = Target { directory: PathBuf::from("."), name: "n".repeat(255).into() };
        let (first, second) = (long.temporary_name(), long.temporary_name());
        assert_ne!(first, second);
        assert!(first.len() < 255);
    }
}

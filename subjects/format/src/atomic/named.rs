//! The unfinished file under a hidden name in the target's directory: works everywhere.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Overwrite, Target};

/// A file under a temporary name, removed when dropped.
#[derive(Debug)]
pub(super) struct NamedFile {
    file: File,
    temporary: Removed,
    target: PathBuf,
    directory: PathBuf,
}

/// A path that is removed when this is dropped, unless it was renamed meanwhile.
#[derive(Debug)]
struct Removed(Option<PathBuf>);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            let _ = fs::remove_file(path);
        }
    }
}

impl NamedFile {
    pub(super) fn create(target: &Target, mode: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        #[cfg(not(unix))]
        let _ = mode;
        loop {
            let temporary = target.directory.join(target.temporary_name());
            match options.open(&temporary) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        temporary: Removed(Some(temporary)),
                        target: target.directory.join(&target.name),
                        directory: target.directory.clone(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name.
    pub(super) fn persist(mut self, overwrite: Overwrite) -> io::Result<()> {
        let Some(temporary) = &self.temporary.0 else { return Ok(()) };
        match overwrite {
            Overwrite::Allow => fs::rename(temporary, &self.target)?,
            Overwrite::Refuse => rename_without_replacing(temporary, &self.target)?,
        }
        self.temporary.0 = None;
        // Windows has no way to open a directory as a file, and needs none.
        #[cfg(unix)]
        super::sync_directory(&File::open(&self.directory)?)?;
        let _ = &self.directory;
        Ok(())
    }
}

/// Renames, failing with `AlreadyExists` when `to` is there; the system decides, so that two callers cannot both win.
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(()),
            // The file system does not know the flag.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    fs::hard_link(from, to)?;
    fs::remove_file(from)
}

//! The unfinished file without a name (`O_TMPFILE`): the system forgets it with the process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::{Overwrite, Target};

/// A file that exists only as long as it is open.
#[derive(Debug)]
pub(super) struct UnnamedFile {
    file: File,
    /// Opened once, so that a directory swapped meanwhile gets nothing.
    directory: OwnedFd,
    target: Target,
}

impl UnnamedFile {
    /// `None` where the file system or the system cannot do it.
    pub(super) fn create(target: &Target, mode: u32) -> io::Result<Option<Self>> {
        let directory =
            open(&target.directory, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = match openat(&directory, ".", flags, Mode::from_raw_mode(mode)) {
            Ok(file) => File::from(file),
            // Kernels and file systems without it say one of these.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // The name is given through /proc, which a container may lack.
        if !Path::new(&proc_path(&file)).exists() {
            return Ok(None);
        }
        Ok(Some(Self { file, directory, target: target.clone() }))
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name.
    pub(super) fn persist(self, overwrite: Overwrite) -> io::Result<()> {
        match overwrite {
            Overwrite::Refuse => self.link(&self.target.name)?,
            Overwrite::Allow => self.replace()?,
        }
        super::sync_directory(&File::from(self.directory))
    }

    /// A link cannot replace, so the file gets a hidden name first.
    fn replace(&self) -> io::Result<()> {
        let temporary = loop {
            let name = self.target.temporary_name();
            match self.link(&name) {
                Ok(()) => break name,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        renameat(&self.directory, &temporary, &self.directory, &self.target.name).map_err(|error| {
            let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
            error.into()
        })
    }

    fn link(&self, name: &std::ffi::OsStr) -> io::Result<()> {
        linkat(CWD, proc_path(&self.file), &self.directory, name, AtFlags::SYMLINK_FOLLOW).map_err(Into::into)
    }
}

fn proc_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

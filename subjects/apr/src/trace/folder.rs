//! A folder that appears with everything in it, or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::TempDir;

/// A folder being filled beside its final place.
#[derive(Debug)]
pub(crate) struct NewFolder {
    filling: TempDir,
    target: PathBuf,
    replaces: bool,
}

impl NewFolder {
    /// Starts a folder that will be `target`. What is there already is kept, and refused, unless `replace` is set and it is
    /// a folder of earlier exports: nothing but `.npy` files, `input_ids.npy` among them.
    pub(crate) fn create(target: &Path, replace: bool) -> Result<Self> {
        let shown = target.display();
        let Some(name) = target.file_name() else {
            bail!("`{shown}` does not name a folder that could be made\nhint: give the new folder a name");
        };
        match fs::symlink_metadata(target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("failed to look at `{shown}`")),
            Ok(_) if !replace => {
                bail!("`{shown}` exists already\nhint: `--force` replaces the folder of an earlier export")
            }
            Ok(metadata) if metadata.is_dir() => drop(exports_in(target)?),
            Ok(_) => bail!("`{shown}` is not a folder, and is left as it is\nhint: choose another folder"),
        }
        let parent = match target.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        let filling = tempfile::Builder::new()
            .prefix(&prefix)
            .tempdir_in(parent)
            .with_context(|| format!("failed to make a folder in `{}`", parent.display()))?;
        Ok(Self { filling, target: target.to_owned(), replaces: replace })
    }

    /// Where to put the files.
    pub(crate) fn path(&self) -> &Path {
        self.filling.path()
    }

    /// Gives the folder its name, in one step.
    pub(crate) fn commit(self) -> Result<()> {
        let shown = self.target.display();
        let context = || format!("failed to move the finished folder to `{shown}`");
        make_readable(self.filling.path()).with_context(context)?;
        File::open(self.filling.path()).and_then(|folder| folder.sync_all()).with_context(context)?;
        match rename_without_replacing(self.filling.path(), &self.target) {
            Ok(()) => {
                // The name is taken: there is nothing left to clean up.
                let _ = self.filling.keep();
                return sync_parent(&self.target).with_context(context);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && self.replaces => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
                "`{shown}` appeared while the export ran, and is left as it is\n\
                 hint: `--force` replaces the folder of an earlier export"
            ),
            Err(error) => return Err(error).with_context(context),
        }
        // Looked at again: what stands there may not be what stood there at the start.
        exports_in(&self.target)?;
        exchange(self.filling.path(), &self.target).with_context(context)?;
        // The old folder now has the temporary name. Only exports are removed, never a tree.
        let old = self.filling.keep();
        sync_parent(&self.target).with_context(context)?;
        let files = exports_in(&old)?;
        files
            .iter()
            .try_for_each(|file| fs::remove_file(old.join(file)))
            .and_then(|()| fs::remove_dir(&old))
            .with_context(|| format!("failed to remove the old folder, now `{}`", old.display()))
    }
}

/// Renames a folder, failing with `AlreadyExists` when `to` is there.
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(error) if is_unsupported(error) => rename_over_nothing(from, to),
        outcome => outcome.map_err(Into::into),
    }
}

/// The same where the file system does not know the flag: a folder is never renamed over one with files in it.
fn rename_over_nothing(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => {
            io::ErrorKind::AlreadyExists.into()
        }
        _ => error,
    })
}

/// Gives each of two folders the name of the other.
fn exchange(filling: &Path, target: &Path) -> io::Result<()> {
    match renameat_with(CWD, filling, CWD, target, RenameFlags::EXCHANGE) {
        Err(error) if is_unsupported(error) => exchange_by_renames(filling, target),
        outcome => outcome.map_err(Into::into),
    }
}

/// The same in three steps, where the file system cannot do it in one. When a step fails, those before it are undone.
fn exchange_by_renames(filling: &Path, target: &Path) -> io::Result<()> {
    let mut aside = filling.as_os_str().to_owned();
    aside.push(".old");
    let aside = PathBuf::from(aside);
    fs::rename(target, &aside)?;
    fs::rename(filling, target).inspect_err(|_| drop(fs::rename(&aside, target)))?;
    fs::rename(&aside, filling)
}

fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

/// Makes the new name last through a crash, where the system can.
fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    match File::open(parent)?.sync_all() {
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Ok(())
        }
        outcome => outcome,
    }
}

/// A temporary folder is its owner's alone; a finished one is like any other.
fn make_readable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // There is no safe way to read the umask; the mode of a fresh file inside shows it.
    let probe = folder.join(".mode");
    let mode = File::create(&probe)?.metadata()?.permissions().mode() & 0o666;
    fs::remove_file(&probe)?;
    // Whoever may read a file may enter a folder.
    fs::set_permissions(folder, fs::Permissions::from_mode(mode | ((mode & 0o444) >> 2)))
}

/// The files of an earlier export; an error that names what else is in the folder.
fn exports_in(folder: &Path) -> Result<Vec<OsString>> {
    let shown = folder.display();
    let context = || format!("failed to look into `{shown}`");
    ensure!(
        fs::symlink_metadata(folder).with_context(context)?.is_dir(),
        "`{shown}` is not a folder, and is left as it is"
    );
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let is_file = entry.file_type().with_context(context)?.is_file();
        ensure!(
            is_file && Path::new(&name).extension() == Some(OsStr::new("npy")),
            "`{shown}` holds `{}`, which no export wrote, and is left as it is\nhint: choose another folder",
            name.display()
        );
        files.push(name);
    }
    ensure!(
        files.is_empty() || files.iter().any(|name| name == "input_ids.npy"),
        "`{shown}` holds no `input_ids.npy`, so no export wrote it, and is left as it is\nhint: choose another folder"
    );
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn fill(folder: &NewFolder, text: &str) {
        fs::write(folder.path().join("input_ids.npy"), text).unwrap();
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn folder_appears_when_it_is_complete() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let folder = NewFolder::create(&target, false).unwrap();
        fill(&folder, "1");
        assert!(!target.exists());
        folder.commit().unwrap();
        assert_eq!(names(parent.path()), ["out"]);
        assert_eq!(names(&target), ["input_ids.npy"]);
        let (mode, fresh) = (target.metadata().unwrap(), parent.path().join("fresh"));
        fs::create_dir(&fresh).unwrap();
        assert_eq!(mode.permissions().mode(), fresh.metadata().unwrap().permissions().mode());
    }

    #[test]
    fn abandoned_folder_leaves_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let folder = NewFolder::create(&parent.path().join("out"), false).unwrap();
        fill(&folder, "1");
        drop(folder);
        assert!(names(parent.path()).is_empty());
    }

    #[test]
    fn existing_export_is_replaced_only_when_asked() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("input_ids.npy"), "old").unwrap();
        fs::write(target.join("extra.npy"), "old").unwrap();
        let error = NewFolder::create(&target, false).unwrap_err().to_string();
        assert!(error.contains("exists already") && error.contains("--force"), "{error}");

        let folder = NewFolder::create(&target, true).unwrap();
        fill(&folder, "new");
        folder.commit().unwrap();
        assert_eq!(names(parent.path()), ["out"]);
        assert_eq!(names(&target), ["input_ids.npy"]);
        assert_eq!(fs::read(target.join("input_ids.npy")).unwrap(), b"new");
    }

    #[test]
    fn file_systems_without_the_flags_get_the_same_outcome() {
        let parent = tempfile::tempdir().unwrap();
        let (filling, target) = (parent.path().join("filling"), parent.path().join("out"));
        fs::create_dir(&filling).unwrap();
        fs::write(filling.join("new.npy"), "new").unwrap();
        fs::create_dir(&target).unwrap();
        fs::write(target.join("old.npy"), "old").unwrap();
        let error = rename_over_nothing(&filling, &target).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        exchange_by_renames(&filling, &target).unwrap();
        assert_eq!((names(&filling), names(&target)), (vec!["old.npy".into()], vec!["new.npy".into()]));
        // The second step fails: the target has its name again.
        fs::remove_dir_all(&filling).unwrap();
        assert!(exchange_by_renames(&filling, &target).is_err());
        assert_eq!((names(parent.path()), names(&target)), (vec!["out".into()], vec!["new.npy".into()]));
        fs::create_dir(&filling).unwrap();
        rename_over_nothing(&filling, &parent.path().join("fresh")).unwrap();
        assert_eq!(names(parent.path()), ["fresh", "out"]);
    }

    #[test]
    fn folder_that_is_no_export_is_never_replaced() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("home");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.txt"), "years of work").unwrap();
        let error = NewFolder::create(&target, true).unwrap_err().to_string();
        assert!(error.contains("holds `thesis.txt`"), "{error}");
        assert_eq!(names(&target), ["thesis.txt"]);

        fs::rename(target.join("thesis.txt"), target.join("weights.npy")).unwrap();
        let error = NewFolder::create(&target, true).unwrap_err().to_string();
        assert!(error.contains("holds no `input_ids.npy`"), "{error}");
    }

    #[test]
    fn link_to_a_folder_is_not_followed() {
        let parent = tempfile::tempdir().unwrap();
        let (victim, link) = (parent.path().join("victim"), parent.path().join("out"));
        fs::create_dir(&victim).unwrap();
        symlink(&victim, &link).unwrap();
        assert!(NewFolder::create(&link, false).unwrap_err().to_string().contains("exists already"));
        assert!(NewFolder::create(&link, true).unwrap_err().to_string().contains("is not a folder"));
        assert!(names(&victim).is_empty());
    }

    #[test]
    fn second_writer_does_not_replace_the_first() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let (first, second) =
            (NewFolder::create(&target, false).unwrap(), NewFolder::create(&target, false).unwrap());
        fill(&first, "1");
        fill(&second, "2");
        first.commit().unwrap();
        assert!(second.commit().unwrap_err().to_string().contains("appeared while the export ran"));
        assert_eq!(names(parent.path()), ["out"]);
        assert_eq!(fs::read(target.join("input_ids.npy")).unwrap(), b"1");
    }

    #[test]
    fn folder_swapped_for_something_else_while_exporting_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("out");
        let folder = NewFolder::create(&target, true).unwrap();
        fill(&folder, "new");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("thesis.txt"), "years of work").unwrap();
        assert!(folder.commit().unwrap_err().to_string().contains("holds `thesis.txt`"));
        assert_eq!(names(&target), ["thesis.txt"]);
        assert_eq!(names(parent.path()), ["out"]);
    }
}

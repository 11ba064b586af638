//! A folder that appears with everything in it, or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// A folder being filled beside its final place; removed again unless it is committed.
#[derive(Debug)]
pub(super) struct NewFolder {
    filling: TempDir,
    target: PathBuf,
}

impl NewFolder {
    /// Starts a folder that will be `target`, which must not exist.
    pub(super) fn create(target: &Path) -> anyhow::Result<Self> {
        if fs::symlink_metadata(target).is_ok() {
            bail!("`{}` exists already\nhint: name a folder that is not there yet", target.display());
        }
        let parent =
            target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let filling = tempfile::Builder::new()
            .prefix(".probador-")
            .tempdir_in(parent)
            .with_context(|| format!("failed to make a folder in `{}`", parent.display()))?;
        Ok(Self { filling, target: target.to_owned() })
    }

    /// Where to put the files.
    pub(super) fn path(&self) -> &Path {
        self.filling.path()
    }

    /// Gives the folder its name, in one step.
    pub(super) fn commit(self) -> anyhow::Result<()> {
        let failed = || format!("failed to move the finished folder to `{}`", self.target.display());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // A temporary folder is private; this one is the user's.
            fs::set_permissions(self.filling.path(), fs::Permissions::from_mode(0o755))
                .with_context(failed)?;
        }
        if fs::symlink_metadata(&self.target).is_ok() {
            bail!("`{}` appeared meanwhile, and is left as it is", self.target.display());
        }
        fs::rename(self.filling.path(), &self.target).with_context(failed)?;
        // The name is taken: there is nothing left to clean up.
        let _ = self.filling.keep();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_appears_when_it_is_complete_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("new");
        let folder = NewFolder::create(&target).unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        assert!(!target.exists());
        folder.commit().unwrap();
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
        assert!(NewFolder::create(&target).unwrap_err().to_string().contains("exists already"));

        let other = parent.path().join("other");
        drop(NewFolder::create(&other).unwrap());
        let folder = NewFolder::create(&other).unwrap();
        fs::write(&other, "somebody else's").unwrap();
        assert!(folder.commit().unwrap_err().to_string().contains("appeared meanwhile"));
        let left: Vec<_> =
            fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }
}

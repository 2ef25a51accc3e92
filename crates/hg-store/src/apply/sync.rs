//! Bringing to disk what an apply wrote.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::fs::OFlags;

use super::{ApplyError, Directories};
use crate::change::{ChangeRef, Operation};

/// Above so many files, all of the file system is brought to disk at once: cheaper than one after the other.
const FILES_MAX: usize = 256;

/// Brings what `change` wrote to disk: the files that it touched, and the directories that name them.
///
/// # Errors
/// A failing system call; the data may or may not be on disk then, and asking again tells nothing.
pub fn sync(hg: &Path, change: &ChangeRef<'_>) -> Result<(), ApplyError> {
    let mut paths = SyncPaths::default();
    paths.add(change);
    paths.sync(hg)
}

/// What has to be brought to disk, of one change or of several of the same store.
#[derive(Debug, Default)]
pub struct SyncPaths {
    files: BTreeSet<Vec<u8>>,
    directories: BTreeSet<Vec<u8>>,
    /// Too many to name.
    all: bool,
}

impl SyncPaths {
    /// Adds what `change` touches.
    pub fn add(&mut self, change: &ChangeRef<'_>) {
        self.all |= self.files.len() + change.len() > FILES_MAX;
        if self.all {
            self.files.clear();
            self.directories.clear();
            return;
        }
        for operation in change.operations() {
            let path = operation.path();
            self.files.insert(path.to_vec());
            if !matches!(operation, Operation::Append { old_bytes, .. } if old_bytes > 0) {
                // A directory may itself be new, so all the way up.
                let slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
                self.directories.extend(slashes.map(|(at, _)| path[..at].to_vec()));
                self.directories.insert(Vec::new());
            }
        }
    }

    /// Brings all of it to disk, in the store in `hg`.
    ///
    /// # Errors
    /// As for [`sync`].
    pub fn sync(&self, hg: &Path) -> Result<(), ApplyError> {
        let mut directories = Directories::open(hg).map_err(ApplyError::io("open", b".hg"))?;
        if self.all {
            return rustix::fs::syncfs(directories.hg()).map_err(ApplyError::io("sync", b".hg"));
        }
        for path in &self.files {
            // What is not there was removed, by this change or a later one.
            if let Some(file) = directories.file(path, OFlags::RDONLY).map_err(ApplyError::io("open", path))? {
                file.sync_data().map_err(ApplyError::io("sync", path))?;
            }
        }
        for path in &self.directories {
            if let Some(fd) = directories.directory(path, false).map_err(ApplyError::io("open", path))? {
                rustix::fs::fsync(fd).map_err(ApplyError::io("sync", path))?;
            }
        }
        Ok(())
    }
}

//! Whether an operator wants this mirror out of service: kept in a file beside its stores, so that it survives a restart.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The file is there while the mirror is drained; its time says since when.
#[derive(Debug)]
pub(crate) struct Drained {
    path: PathBuf,
    is_drained: AtomicBool,
}

impl Drained {
    /// Looks whether the file is there.
    pub(crate) fn open(data: &Path) -> Self {
        let path = data.join("drained");
        let is_drained = path.exists().into();
        Self { path, is_drained }
    }

    pub(crate) fn get(&self) -> bool {
        self.is_drained.load(Ordering::Relaxed)
    }

    /// For how long it has been drained; none: it isn't.
    pub(crate) fn since(&self) -> Option<Duration> {
        let made = || fs::metadata(&self.path).and_then(|file| file.modified());
        self.get().then(|| made().ok().and_then(|at| at.elapsed().ok()).unwrap_or_default())
    }

    /// Counts at once, also where it can't be kept.
    pub(crate) fn set(&self, drained: bool) -> io::Result<()> {
        let before = self.is_drained.swap(drained, Ordering::Relaxed);
        match (before, drained) {
            (false, true) => File::create(&self.path)?.sync_all()?,
            (true, false) => fs::remove_file(&self.path)?,
            _ => return Ok(()),
        }
        match self.path.parent() {
            Some(folder) => File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_kept_until_it_is_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let drained = Drained::open(folder.path());
        assert_eq!((drained.get(), drained.since()), (false, None));
        drained.set(true).expect("kept");
        drained.set(true).expect("kept already");
        let again = Drained::open(folder.path());
        assert!(again.get() && again.since().is_some());
        again.set(false).expect("taken back");
        assert!(!Drained::open(folder.path()).get());
    }
}

//! A repository's last snapshot, which serves again while nothing was written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hg_store::{Repository, Snapshot, StoreError};

use super::watch::{Watch, Watcher};

/// After this time the files are looked at even where nothing has happened in their folders: no event tells of writes through a mapping or
/// another name of the file, nor of what is mounted over a folder.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a snapshot was made from: of each file that matters its number, length, and times of change.
type Stamp = Vec<Option<(u64, u64, i64, i64)>>;

/// Where the last snapshot of one repository is kept.
#[derive(Default)]
pub(super) struct Slot {
    last: Mutex<Option<Arc<Kept>>>,
    /// Held by who opens the repository.
    opening: Mutex<()>,
}

impl Slot {
    /// The kept snapshot, where it is of the `.hg` that lies at its path now, and everything that had been written when this was called is in it.
    pub(super) fn current(&self, identity: (u64, u64), watcher: &Watcher) -> Option<Arc<Snapshot>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.filter(|kept| kept.is_current(identity, watcher)).map(|kept| kept.snapshot.clone())
    }

    /// Opens the repository, or waits for who does: those who come together get one snapshot, by which their answers are shared, too.
    pub(super) fn open(
        &self,
        identity: (u64, u64),
        watcher: &Watcher,
        repository: impl FnOnce() -> Result<Arc<Repository>, StoreError>,
    ) -> Result<Arc<Snapshot>, StoreError> {
        let _opening = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = self.current(identity, watcher) {
            return Ok(snapshot);
        }
        let kept = Arc::new(Kept::of(&repository()?, watcher)?);
        let snapshot = kept.snapshot.clone();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(snapshot)
    }
}

/// A snapshot, and what tells whether it is the last one.
struct Kept {
    snapshot: Arc<Snapshot>,
    /// Of its `.hg`.
    identity: (u64, u64),
    stamp: Stamp,
    watch: Option<Watch>,
    looked: Mutex<Look>,
}

/// When the files were found to be as the stamp says.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    /// What had happened in their folders before.
    events: Option<u64>,
}

impl Kept {
    /// Takes a snapshot of the repository as it is on disk.
    fn of(repository: &Arc<Repository>, watcher: &Watcher) -> Result<Kept, StoreError> {
        // Watched first, then looked at, then read: what is written meanwhile is seen the next time.
        let watch = repository.watched_folders().and_then(|folders| watcher.watch(&folders));
        let looked = Look { at: Instant::now(), events: watch.as_ref().map(|watch| watcher.events(watch)) };
        let stamp = stamp_of(repository);
        let snapshot = Arc::new(repository.snapshot(repository.current_state()?)?);
        let identity = repository.identity()?;
        Ok(Kept { snapshot, identity, stamp, watch, looked: Mutex::new(looked) })
    }

    fn is_current(&self, identity: (u64, u64), watcher: &Watcher) -> bool {
        if identity != self.identity {
            return false;
        }
        let look = Look { at: Instant::now(), events: self.watch.as_ref().map(|watch| watcher.events(watch)) };
        let last = *self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if look.events.is_some() && look.events == last.events && look.at.duration_since(last.at) < LOOK_EVERY {
            return true;
        }
        let is_as_before = stamp_of(self.snapshot.repository()) == self.stamp;
        if is_as_before {
            *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = look;
        }
        is_as_before
    }
}

fn stamp_of(repository: &Repository) -> Stamp {
    let of = |path: &PathBuf| {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    };
    repository.watched_files().iter().map(of).collect()
}

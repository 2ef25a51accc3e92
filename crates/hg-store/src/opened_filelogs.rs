//! The filelogs that a snapshot's readers asked for lately, kept open: opening them takes two fifths of a small pull's time.
//!
//! A snapshot's filelogs stay what they are: the store only grows, and what came later does not exist for the snapshot.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::Revlog;

/// Files that one generation has, each mapped at most twice.
const FILES_MAX: usize = 128;
/// Bytes of memory that one generation has; what is mapped counts for nothing.
const BYTES_MAX: usize = 2 << 20;

/// Two generations: when the younger is full, it becomes the older, and what that had is closed. Whatever is asked for moves to the
/// younger.
#[derive(Default)]
pub(crate) struct OpenedFilelogs(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    younger: Generation,
    older: Generation,
}

#[derive(Default)]
struct Generation {
    logs: FxHashMap<Vec<u8>, Arc<Revlog>>,
    bytes: usize,
}

impl OpenedFilelogs {
    /// The filelog of a tracked file, if it is open.
    pub(crate) fn get(&self, path: &[u8]) -> Option<Arc<Revlog>> {
        let mut generations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = generations.younger.logs.get(path) {
            return Some(log.clone());
        }
        let log = generations.older.logs.get(path)?.clone();
        let closed = generations.keep(path, &log);
        drop(generations);
        drop(closed);
        Some(log)
    }

    /// Keeps a filelog that was opened just now.
    pub(crate) fn keep(&self, path: &[u8], log: &Arc<Revlog>) {
        let closed = self.0.lock().unwrap_or_else(PoisonError::into_inner).keep(path, log);
        // Without the lock: files are unmapped by it.
        drop(closed);
    }
}

impl Generations {
    /// Returns what is to be closed.
    fn keep(&mut self, path: &[u8], log: &Arc<Revlog>) -> Option<Generation> {
        let bytes = log.memory_bytes();
        let is_full = self.younger.logs.len() == FILES_MAX || self.younger.bytes + bytes > BYTES_MAX;
        let closed = is_full.then(|| {
            let younger = mem::take(&mut self.younger);
            mem::replace(&mut self.older, younger)
        });
        if self.younger.logs.insert(path.to_vec(), log.clone()).is_none() {
            self.younger.bytes += bytes;
        }
        closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn those_asked_for_lately_stay_and_no_more_than_there_is_room_for() {
        let scratch = tempfile::tempdir().expect("a folder");
        // One revision, inline, without a text.
        let mut entry = [0; 64];
        entry[..4].copy_from_slice(&0x0003_0001_u32.to_be_bytes());
        entry[24..32].fill(0xff);
        entry[32..52].fill(1);
        std::fs::write(scratch.path().join("x.i"), entry).expect("written");
        let folder = Folder::open(scratch.path(), true).expect("opened");
        let open = || Arc::new(Revlog::open_linked(&folder, b"x.i", 1).expect("read").expect("there"));
        let kept = OpenedFilelogs::default();
        let first = open();
        kept.keep(b"first", &first);
        for number in 0..10 * FILES_MAX {
            kept.keep(number.to_string().as_bytes(), &open());
            let found = kept.get(b"first").expect("asked for all the time");
            assert!(Arc::ptr_eq(&found, &first));
            let generations = kept.0.lock().expect("whole");
            assert!(generations.younger.logs.len() <= FILES_MAX && generations.older.logs.len() <= FILES_MAX);
        }
        assert!(kept.get(b"0").is_none());
        assert!(kept.get((10 * FILES_MAX - 1).to_string().as_bytes()).is_some());
    }
}

//! Bundles that were made for one client, kept for the next: the thousandth clone of the same heads costs what sending a file
//! costs, and equal requests that come together are answered by one that is made once.
//!
//! A bundle is kept by the snapshot that it was made from and by the request, in a file without a name, which ends with the
//! process. It goes when its snapshot does (the repository has changed), or when others were asked for since and room is
//! needed. Readers follow the one who makes it.

mod claim;
mod made;
mod maker;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hg_store::Snapshot;
use tokio::sync::watch;

pub(crate) use claim::Claim;
pub(crate) use made::{BundleReader, MadeBundle};

/// Bundles that are kept: each is an open file, and each request looks at all of them.
const BUNDLES_MAX: usize = 256;

/// Bundles of requests that were answered lately.
#[derive(Debug)]
pub struct BundleCache {
    /// Where a bundle may lie; the first that takes it does.
    folders: Vec<PathBuf>,
    bytes_max: u64,
    kept: Mutex<Kept>,
}

/// By which a bundle is found: the snapshot's place in memory, which stays its own while somebody may ask for it, and the request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    snapshot: usize,
    request: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    slots: HashMap<Key, Slot>,
    /// Counts up with each use.
    clock: u64,
    /// Bytes of all files, those under way included.
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    snapshot: Weak<Snapshot>,
    state: State,
    used: u64,
}

#[derive(Debug)]
enum State {
    /// Somebody is about to make it. The other end is dropped when that has begun, or failed.
    Claimed(watch::Receiver<()>),
    /// It is made, or under way.
    Made(Arc<MadeBundle>),
}

/// What was found for a request.
pub(crate) enum Found {
    /// The bundle.
    Kept(BundleReader),
    /// Nothing: whoever asked makes it.
    Nothing(Claim),
}

impl BundleCache {
    /// Keeps bundles in `folder`, which is made when it is needed, or where temporary files lie as long as that can't have them; up to so
    /// many bytes; 0: keeps none.
    pub fn new(folder: PathBuf, bytes_max: u64) -> BundleCache {
        // `/var/tmp` first: `/tmp` may be memory.
        let folders = vec![folder, std::env::temp_dir(), "/var/tmp".into(), "/tmp".into()];
        BundleCache { folders, bytes_max, kept: Mutex::default() }
    }

    /// Finds the bundle of a request, waiting for one that somebody is about to make. `None`: none are kept.
    pub(crate) async fn find(self: &Arc<Self>, snapshot: &Arc<Snapshot>, request: Vec<u8>) -> Option<Found> {
        if self.bytes_max == 0 {
            return None;
        }
        let key = Key { snapshot: Arc::as_ptr(snapshot).addr(), request };
        loop {
            let mut begun = match self.look(snapshot, &key) {
                Ok(found) => return Some(found),
                Err(begun) => begun,
            };
            // Only its end says something.
            while begun.changed().await.is_ok() {}
        }
    }

    fn look(self: &Arc<Self>, snapshot: &Arc<Snapshot>, key: &Key) -> Result<Found, watch::Receiver<()>> {
        let mut kept = self.kept();
        kept.forget_dead();
        kept.clock += 1;
        let clock = kept.clock;
        if let Some(slot) = kept.slots.get_mut(key) {
            match &slot.state {
                State::Claimed(begun) => return Err(begun.clone()),
                State::Made(bundle) => {
                    slot.used = clock;
                    if let Some(reader) = bundle.reader() {
                        return Ok(Found::Kept(reader));
                    }
                }
            }
        }
        while kept.slots.len() >= BUNDLES_MAX && kept.forget_oldest() {}
        let (sender, begun) = watch::channel(());
        let slot = Slot { snapshot: Arc::downgrade(snapshot), state: State::Claimed(begun), used: clock };
        kept.slots.insert(key.clone(), slot);
        Ok(Found::Nothing(Claim::new(self.clone(), key.clone(), sender)))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for so many bytes more, from what is kept and was not asked for lately. False: there is none; they are
    /// counted even so.
    fn grow(&self, bytes: u64) -> bool {
        let mut kept = self.kept();
        kept.bytes += bytes;
        while kept.bytes > self.bytes_max {
            if !kept.forget_oldest() {
                return false;
            }
        }
        true
    }

    fn shrink(&self, bytes: u64) {
        let mut kept = self.kept();
        kept.bytes = kept.bytes.saturating_sub(bytes);
    }

    /// Forgets who is about to make a bundle.
    fn forget_claim(&self, key: &Key) {
        let mut kept = self.kept();
        if kept.slots.get(key).is_some_and(|slot| matches!(slot.state, State::Claimed(_))) {
            kept.slots.remove(key);
        }
    }

    /// Forgets a bundle that nobody may begin to read any more; another may be in its place already.
    fn forget_made(&self, key: &Key, bundle: &Arc<MadeBundle>) {
        let is_it = |slot: &Slot| matches!(&slot.state, State::Made(other) if Arc::ptr_eq(other, bundle));
        let mut kept = self.kept();
        if kept.slots.get(key).is_some_and(is_it) {
            kept.slots.remove(key);
        }
    }
}

impl Kept {
    /// Whole ones stop counting at once: their readers end.
    fn forget(&mut self, key: &Key) {
        if let Some(Slot { state: State::Made(bundle), .. }) = self.slots.remove(key) {
            self.bytes = self.bytes.saturating_sub(bundle.take_counted());
        }
    }

    /// Forgets the whole one that was asked for the longest ago. False: none is whole.
    fn forget_oldest(&mut self) -> bool {
        let whole = self.slots.iter().filter(|(_, slot)| slot.is_whole());
        let oldest = whole.min_by_key(|(_, slot)| slot.used).map(|(key, _)| key.clone());
        oldest.as_ref().map(|key| self.forget(key)).is_some()
    }

    /// Forgets the bundles of snapshots that are nobody's any more.
    fn forget_dead(&mut self) {
        let dead = self.slots.iter().filter(|(_, slot)| slot.snapshot.strong_count() == 0 && slot.is_whole());
        for key in dead.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.forget(&key);
        }
    }
}

impl Slot {
    fn is_whole(&self) -> bool {
        matches!(&self.state, State::Made(bundle) if bundle.is_whole())
    }
}

#[cfg(test)]
mod tests;

//! What happens in folders, as the kernel tells it: whether any file in them may have changed is one system call, whatever their number.
//!
//! Linux queues an event before the call that caused it returns (`inotify(7)`). Whoever empties the queue has learnt of every write,
//! rename and removal that had ended by then.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// File systems that no other machine writes to, by their numbers in `statfs(2)`: ext2 to ext4, XFS, Btrfs, F2FS, bcachefs, ZFS, tmpfs.
const LOCAL: [u32; 7] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0xca45_1a4e, 0x2fc1_2fc1, 0x0102_1994];

/// Bytes of events that are read at once; one has at most 16 and a name of 256.
const EVENTS_BYTES: usize = 4 << 10;

/// Watches folders, for any number of repositories.
pub(super) struct Watcher(Option<Mutex<Queue>>);

struct Queue {
    inotify: OwnedFd,
    /// By the kernel's number for a folder: who is told of what happens there.
    told: HashMap<i32, Vec<Weak<AtomicU64>>>,
}

/// Counts what happens in some folders, until it is dropped.
pub(super) struct Watch(Arc<AtomicU64>);

impl Watcher {
    /// Without the kernel's help, or without its resources, nothing is watched.
    pub(super) fn new() -> Watcher {
        let made = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = &made {
            tracing::info!(%error, "folders can't be watched: the files of a repository are looked at for each request");
        }
        Watcher(made.ok().map(|inotify| Mutex::new(Queue { inotify, told: HashMap::new() })))
    }

    /// Watches these folders. `None` where that is not possible, or would not tell what other machines do.
    pub(super) fn watch(&self, folders: &[BorrowedFd<'_>]) -> Option<Watch> {
        let mut queue = self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        queue.forget_dropped();
        let watch = Watch(Arc::default());
        for folder in folders {
            let kind = rustix::fs::fstatfs(folder).ok()?.f_type as u32;
            if !LOCAL.contains(&kind) {
                return None;
            }
            queue.add(folder, &watch).inspect_err(|error| tracing::debug!(%error, "a folder can't be watched")).ok()?;
        }
        Some(watch)
    }

    /// How much has happened in its folders by now.
    pub(super) fn events(&self, watch: &Watch) -> u64 {
        if let Some(queue) = &self.0 {
            queue.lock().unwrap_or_else(PoisonError::into_inner).read();
        }
        watch.0.load(Ordering::Relaxed)
    }
}

impl Queue {
    fn add(&mut self, folder: &BorrowedFd<'_>, watch: &Watch) -> Result<(), Errno> {
        let wanted = WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        // The folder that is open, whatever its path leads to by now.
        let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
        let number = inotify::add_watch(&self.inotify, path, wanted)?;
        self.told.entry(number).or_default().push(Arc::downgrade(&watch.0));
        Ok(())
    }

    /// Counts all events that are queued.
    fn read(&mut self) {
        let mut buffer = [MaybeUninit::uninit(); EVENTS_BYTES];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            let (number, kind) = match events.next() {
                Ok(event) => (event.wd(), event.events()),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => continue,
                // What is lost may have been about any of them.
                Err(_) => return self.told.values().flatten().for_each(count),
            };
            if kind.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.told.values().flatten().for_each(count);
            }
            self.told.get(&number).into_iter().flatten().for_each(count);
            if kind.contains(ReadFlags::IGNORED) {
                self.told.remove(&number);
            }
        }
    }

    /// Watches no more what nobody wants to be told of.
    fn forget_dropped(&mut self) {
        let Queue { inotify, told } = self;
        told.retain(|number, watches| {
            watches.retain(|watch| watch.strong_count() > 0);
            if watches.is_empty() {
                // It fails where the folder is gone, and its watch with it.
                let _ = inotify::remove_watch(&*inotify, *number);
            }
            !watches.is_empty()
        });
    }
}

fn count(watch: &Weak<AtomicU64>) {
    if let Some(count) = watch.upgrade() {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Watcher {
    /// One that watches nothing, as on a system without inotify.
    pub(super) fn none() -> Watcher {
        Watcher(None)
    }
}

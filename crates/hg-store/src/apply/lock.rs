//! Mercurial's locks: a symbolic link that points nowhere but says who holds it, `HOST/NAMESPACE:PID`. Making a link is
//! atomic even over NFS.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, getpid, test_kill_process};

use super::{ApplyError, Directories};
use crate::change::ChangeRef;

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(100);
/// How often a lock that vanishes and comes back is tried again at once.
const RACES_MAX: u32 = 5;

/// Which of Mercurial's locks to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockScope {
    /// `store/lock`: all that lies in the store.
    Store,
    /// `wlock` before it: also the files beside the store, bookmarks among them where the store has them there.
    All,
}

impl LockScope {
    /// Returns what `change` needs.
    pub fn for_change(change: &ChangeRef<'_>) -> Self {
        match change.operations().all(|operation| operation.path().starts_with(b"store/")) {
            true => Self::Store,
            false => Self::All,
        }
    }
}

/// Mercurial's lock on a store, held until it is dropped.
#[derive(Debug)]
pub struct StoreLock {
    directories: Mutex<Directories>,
    /// Links that are ours, in the order in which they were made.
    links: Vec<Link>,
}

#[derive(Debug)]
struct Link {
    path: &'static [u8],
    key: Key,
}

/// What tells a lock from the others of this process: device and inode of `.hg`, and the link below it.
type Key = (u64, u64, &'static [u8]);

/// The locks that this process holds or is about to take. A link that names our own process and is not in here was
/// left by a dead one that had the same number, as is common in containers.
static HELD: LazyLock<Mutex<HashSet<Key>>> = LazyLock::new(Mutex::default);

impl StoreLock {
    /// Takes the lock as stock Mercurial does, and breaks one whose owner is dead on this host. Waits up to `wait`.
    ///
    /// # Errors
    /// [`ApplyError::Locked`] after `wait`; a failing system call.
    pub fn acquire(hg: &Path, scope: LockScope, wait: Duration) -> Result<Self, ApplyError> {
        let directories = Directories::open(hg).map_err(ApplyError::io("open", b".hg"))?;
        let mut lock = Self { directories: Mutex::new(directories), links: Vec::new() };
        let until = Instant::now() + wait;
        if scope == LockScope::All {
            lock.take(b"wlock", until)?;
        }
        lock.take(b"store/lock", until)?;
        Ok(lock)
    }

    /// Returns the directories of the store that is locked.
    pub(super) fn directories(&self) -> MutexGuard<'_, Directories> {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&mut self, path: &'static [u8], until: Instant) -> Result<(), ApplyError> {
        let mut pause = Duration::from_millis(1);
        loop {
            let attempt = try_link(&mut self.directories(), path)?;
            let now = Instant::now();
            match attempt {
                Attempt::Taken(key) => {
                    self.links.push(Link { path, key });
                    return Ok(());
                }
                Attempt::HeldBy(holder) if now >= until => {
                    return Err(ApplyError::Locked { holder: holder.escape_ascii().to_string() });
                }
                Attempt::HeldBy(_) => std::thread::sleep(pause.min(until - now)),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        let directories = self.directories.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Some(link) = self.links.pop() {
            // What can't be removed is broken once this process has ended. It is forgotten only after the attempt, so
            // that no thread of this process takes it for a dead one's in between.
            let _ = directories.unlink(link.path);
            held().remove(&link.key);
        }
    }
}

fn held() -> MutexGuard<'static, HashSet<Key>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Attempt {
    Taken(Key),
    /// Someone alive, or who may be.
    HeldBy(Vec<u8>),
}

fn try_link(directories: &mut Directories, path: &'static [u8]) -> Result<Attempt, ApplyError> {
    let stat = rustix::fs::fstat(directories.hg()).map_err(ApplyError::io("stat", b".hg"))?;
    let key = (stat.st_dev, stat.st_ino, path);
    if !held().insert(key) {
        return Ok(Attempt::HeldBy(our_text()));
    }
    for _ in 0..RACES_MAX {
        let holder = match make_link(directories, path) {
            Ok(true) => return Ok(Attempt::Taken(key)),
            Ok(false) => break_dead(directories, path),
            Err(error) => Err(error),
        };
        if !matches!(holder, Ok(None)) {
            held().remove(&key);
        }
        if let Some(holder) = holder? {
            return Ok(Attempt::HeldBy(holder));
        }
    }
    held().remove(&key);
    Ok(Attempt::HeldBy(b"several processes in turn".to_vec()))
}

/// Makes the link; `false` where there is one.
fn make_link(directories: &mut Directories, path: &[u8]) -> Result<bool, ApplyError> {
    let (parent, name) = directories.parent(path, false).map_err(ApplyError::io("open", path))?;
    let parent = parent.ok_or(Errno::NOENT).map_err(ApplyError::io("lock", path))?;
    match rustix::fs::symlinkat(our_text(), parent, name) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(ApplyError::io("lock", path)(error)),
    }
}

/// Removes a lock whose owner is dead. Returns the holder where there is still one.
fn break_dead(directories: &mut Directories, path: &[u8]) -> Result<Option<Vec<u8>>, ApplyError> {
    let Some(holder) = holder(directories, path)? else { return Ok(None) };
    if !is_dead(&holder) {
        return Ok(Some(holder));
    }
    // Under a lock of its own, as stock does: of two who find the same dead owner, the slower one must not remove what
    // a third has just taken.
    let breaking = [path, b".break"].concat();
    if !make_link(directories, &breaking)? {
        if self::holder(directories, &breaking)?.is_some_and(|holder| is_dead(&holder)) {
            directories.unlink(&breaking).map_err(ApplyError::io("unlock", &breaking))?;
        }
        return Ok(Some(holder));
    }
    let left = match self::holder(directories, path) {
        Ok(Some(holder)) if is_dead(&holder) => {
            directories.unlink(path).map(|()| None).map_err(ApplyError::io("unlock", path))
        }
        other => other,
    };
    directories.unlink(&breaking).map_err(ApplyError::io("unlock", &breaking))?;
    left
}

/// Returns what a lock says, `None` where there is none.
fn holder(directories: &mut Directories, path: &[u8]) -> Result<Option<Vec<u8>>, ApplyError> {
    let (parent, name) = directories.parent(path, false).map_err(ApplyError::io("open", path))?;
    let Some(parent) = parent else { return Ok(None) };
    match rustix::fs::readlinkat(parent, name, Vec::new()) {
        Ok(holder) => Ok(Some(holder.into_bytes())),
        Err(Errno::NOENT) => Ok(None),
        // A file, as on systems without links: its owner can't be known to be dead.
        Err(Errno::INVAL) => Ok(Some(b"an unknown process".to_vec())),
        Err(error) => Err(ApplyError::io("read", path)(error)),
    }
}

/// Returns whether the owner that a lock names is known to be dead: a process of this host and namespace.
fn is_dead(holder: &[u8]) -> bool {
    let Some(at) = holder.iter().position(|&byte| byte == b':') else { return false };
    let number = std::str::from_utf8(&holder[at + 1..]).ok().and_then(|number| number.parse::<i32>().ok());
    let Some(pid) = number.filter(|&number| number > 0).and_then(Pid::from_raw) else { return false };
    // Our own number: this thread has the only claim to the lock in this process, see `HELD`.
    holder[..at] == **HOST && (pid == getpid() || test_kill_process(pid) == Err(Errno::SRCH))
}

/// This host as stock names it: the host's name, and the process namespace, within which numbers mean something.
/// Where the system does not tell, it is one that no other process has, so that nobody's lock is broken.
static HOST: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_else(|_| b"unknown".to_vec());
    host.truncate(host.trim_ascii_end().len());
    if let Ok(namespace) = std::fs::metadata("/proc/self/ns/pid") {
        host.extend_from_slice(format!("/{:x}", namespace.ino()).as_bytes());
    }
    host
});

fn our_text() -> Vec<u8> {
    [HOST.as_slice(), format!(":{}", getpid().as_raw_nonzero()).as_bytes()].concat()
}

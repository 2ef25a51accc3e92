//! The file that holds a push from its commit until it is applied.

use crate::host::CommitError;
use hg_store::apply::{self, ApplyError, ApplyMode, LockScope, StoreLock};
use hg_store::change::{ChangeError, ChangeRef, Operation};
use hg_store::prepare::PreparedChange;
use memmap2::Mmap;
use rustix::fs::{AtFlags, CWD};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file's name in `.hg`. It is an encoded [`hg_store::change`].
pub const PENDING: &str = "hgfleet-push";
/// Its name until it is complete on disk.
const INCOMPLETE: &str = "hgfleet-push.new";

/// Why a stored push can't be applied.
#[derive(Debug, thiserror::Error)]
pub enum PendingError {
    /// The file can't be read or removed.
    #[error("can't {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("{}: {source}. Move the file away to serve the repository as it was before that push", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ChangeError,
    },
    /// Another program wrote to the repository after the push was stored.
    #[error("{}: {what} was changed since that push was stored. Move the file away to serve the repository without it", path.display())]
    Overtaken {
        /// The file.
        path: PathBuf,
        /// Which file of the store shows it.
        what: String,
    },
    /// Applying failed.
    #[error("can't apply {}: {source}", path.display())]
    Apply {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ApplyError,
    },
}

/// Whether there is a stored push.
pub(super) fn exists(hg: &Path) -> bool {
    hg.join(PENDING).symlink_metadata().is_ok()
}

/// Stores a push: when this returns without an error, it is committed.
pub(super) fn store(hg: &Path, change: &PreparedChange) -> Result<(), CommitError> {
    let incomplete = hg.join(INCOMPLETE);
    let refused = |error: io::Error| {
        CommitError::Refused(format!(
            "refused: the push can't be stored ({}), on this server. Push again later",
            error.kind()
        ))
    };
    match fs::remove_file(&incomplete) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    let stored = name_or_copy(&change.file, change.bytes, &incomplete).and_then(|()| {
        fs::rename(&incomplete, hg.join(PENDING))?;
        Ok(())
    });
    if let Err(error) = stored {
        let _ = fs::remove_file(&incomplete);
        return Err(refused(error));
    }
    File::open(hg).and_then(|folder| folder.sync_all()).map_err(|error| {
        // The name may or may not survive a power cut, so nobody knows whether the push does.
        CommitError::Unknown(format!("outcome unknown: pull before you push again ({error})"))
    })
}

/// Gives an unlinked file a name, or copies it where the file system can't; durable but for the name.
fn name_or_copy(file: &File, bytes: u64, path: &Path) -> io::Result<()> {
    if file.metadata()?.len() == bytes {
        file.sync_all()?;
        let unlinked = format!("/proc/self/fd/{}", file.as_raw_fd());
        if rustix::fs::linkat(CWD, unlinked, CWD, path, AtFlags::SYMLINK_FOLLOW).is_ok() {
            return Ok(());
        }
    }
    let mut source = file.try_clone()?;
    source.seek(SeekFrom::Start(0))?;
    let mut copy = File::create_new(path)?;
    if io::copy(&mut source.take(bytes), &mut copy)? != bytes {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    copy.sync_all()
}

/// Applies the push that was stored a moment ago.
pub(super) fn apply(hg: &Path, lock: &StoreLock) -> Result<(), CommitError> {
    match apply_file(hg, lock, ApplyMode::Normal) {
        Ok(()) => Ok(()),
        // Checked before the first byte is written: nothing of the push is in the store, so it can still be taken back.
        Err(PendingError::Apply {
            source: source @ (ApplyError::Locked { .. } | ApplyError::Interrupted | ApplyError::Unexpected { .. }),
            ..
        }) if remove(hg).is_ok() => Err(CommitError::Refused(format!("refused: {source}. Push again later"))),
        Err(error) => {
            tracing::error!("{error}");
            Err(CommitError::Stored("the push is stored, and will be applied when the server can".into()))
        }
    }
}

/// Applies a push that an earlier process stored, if there is one.
pub(super) fn redo(hg: &Path, scope: LockScope, wait: Duration) -> Result<(), PendingError> {
    if !exists(hg) {
        return Ok(());
    }
    let lock =
        StoreLock::acquire(hg, scope, wait).map_err(|source| PendingError::Apply { path: hg.join(PENDING), source })?;
    // The process that stored it may have been alive, and applied it meanwhile.
    if exists(hg) { redo_locked(hg, &lock) } else { Ok(()) }
}

/// As [`redo`], under a lock that the caller holds.
pub(super) fn redo_locked(hg: &Path, lock: &StoreLock) -> Result<(), PendingError> {
    apply_file(hg, lock, ApplyMode::Redo)
}

fn apply_file(hg: &Path, lock: &StoreLock, mode: ApplyMode) -> Result<(), PendingError> {
    let path = hg.join(PENDING);
    let io = |verb| {
        let path = path.clone();
        move |source| PendingError::Io { verb, path, source }
    };
    let file = File::open(&path).map_err(io("open"))?;
    // SAFETY: nobody writes to the file or truncates it once it has this name; it is replaced and removed whole, under the repository's lock.
    let bytes = unsafe { Mmap::map(&file) }.map_err(io("map"))?;
    let change = ChangeRef::parse(&bytes).map_err(|source| PendingError::Damaged { path: path.clone(), source })?;
    if mode == ApplyMode::Redo {
        check_not_overtaken(hg, &path, &change)?;
    }
    apply::apply_locked(lock, &change, mode)
        .and_then(|()| apply::sync(hg, &change))
        .map_err(|source| PendingError::Apply { path: path.clone(), source })?;
    remove(hg).map_err(io("remove"))
}

/// Removes the stored push, for good.
fn remove(hg: &Path) -> io::Result<()> {
    fs::remove_file(hg.join(PENDING))?;
    File::open(hg)?.sync_all()
}

/// Whether what lies behind the old lengths is a beginning of what the push writes there, or nothing.
///
/// A plain `hg` could have written between the push being stored and its first byte being applied, when no journal kept it out; a redo would go over that.
fn check_not_overtaken(hg: &Path, path: &Path, change: &ChangeRef<'_>) -> Result<(), PendingError> {
    for operation in change.operations() {
        let (old_bytes, content) = match &operation {
            Operation::Append { old_bytes, bytes, .. } => (*old_bytes, bytes),
            Operation::Create { bytes, .. } => (0, bytes),
            Operation::Replace { .. } | Operation::Remove { .. } => continue,
        };
        let below = String::from_utf8_lossy(operation.path()).into_owned();
        let fits = begins(&hg.join(&below), old_bytes, content.pieces());
        match fits {
            Ok(true) => {}
            Ok(false) => return Err(PendingError::Overtaken { path: path.to_owned(), what: below }),
            Err(source) => return Err(PendingError::Io { verb: "read", path: hg.join(below), source }),
        }
    }
    Ok(())
}

/// Whether the file's bytes from `start` on are a beginning of `pieces`; a file that isn't there has none.
fn begins<'a>(path: &Path, start: u64, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(start == 0),
        Err(error) => return Err(error),
    };
    let end = file.metadata()?.len();
    if end < start {
        return Ok(false);
    }
    let mut at = start;
    let mut buffer = vec![0; 64 << 10];
    for piece in pieces {
        for expected in piece.chunks(buffer.len()) {
            let there = (end - at).min(expected.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..there], at)?;
            // Zeros are what a power cut leaves of bytes that were not brought to disk.
            if buffer[..there].iter().zip(expected).any(|(found, wanted)| found != wanted && *found != 0) {
                return Ok(false);
            }
            at += there as u64;
            if there < expected.len() {
                return Ok(true);
            }
        }
    }
    Ok(at == end)
}

//! Reading a store's files again, to find what has changed without a record.

use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use hg_store::apply::{Directories, StoreStat};
use hg_store::digest::{FileDigest, FileHasher, KeptFiles, digest_of_store};
use hgfleet_log::{RepositoryName, Sequence};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::ReplicaError;
use crate::alter::{Obstacle, at};
use crate::replica::{Inner, Replica};
use crate::repository::{Entry, Writer};
use crate::status::folder_id;

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Says in a quarantine's reason that somebody wrote to the store who is not the fleet.
pub const ALTERED: &str = "the store was altered behind the fleet's back";

/// What a scrub found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scrubbed {
    /// Every file is as kept. The repository's last record, and the digest after it.
    Whole(Sequence, [u8; 32]),
    /// Something is not; the repository is in quarantine since, for this reason.
    Damaged(String),
    /// It was not read to the end: the repository was exchanged or deleted, or the caller wanted no more.
    Ended,
}

impl Replica {
    /// Reads all files of a repository and compares them with what is kept of them. Records for it are applied
    /// meanwhile. Before each piece, of so many bytes, `pace` is asked; `false` ends it.
    ///
    /// A file that is not as kept puts the repository into quarantine at once.
    ///
    /// # Errors
    /// As for [`Replica::snapshot`]; a failing `state.sqlite`.
    pub fn scrub(&self, name: &RepositoryName, pace: &mut dyn FnMut(usize) -> bool) -> Result<Scrubbed, ReplicaError> {
        let inner = &*self.inner;
        let (entry, _) = inner.readable(name)?;
        let listed = {
            let mut writer = entry.writer();
            inner.files_as_kept(&entry, &mut writer)
        };
        let (at, paths, mut kept) = match listed {
            Err(ReplicaError::Quarantined { reason, .. }) => return Ok(Scrubbed::Damaged(reason)),
            listed => listed?,
        };
        let mut at = at.sequence;
        let mut directories = inner.directories(name)?;
        let mut piece = Vec::new();
        for path in &paths {
            let Some(expected) = kept.get(path) else { continue };
            match read(&mut directories, path, expected.bytes, &mut piece, pace) {
                Ok(Some(found)) if found == expected => continue,
                Ok(None) => return Ok(Scrubbed::Ended),
                _ => {}
            }
            // A record may have come in between.
            match inner.look_again(&entry, path, &mut at, &mut kept)? {
                None => {}
                Some(ended) => return Ok(ended),
            }
        }
        let current = entry.current();
        if let Some(reason) = &current.quarantine {
            return Ok(Scrubbed::Damaged(reason.clone()));
        }
        if !inner.is_same_folder(name, &directories)? {
            return Ok(Scrubbed::Ended);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        entry.scrubbed_ms.store(now, Ordering::Relaxed);
        inner.state.set_scrubbed(entry.id, now)?;
        Ok(Scrubbed::Whole(current.sequence, current.digest))
    }

    /// Returns the repositories by the time of their last whole scrub, Unix time in milliseconds, the oldest first;
    /// those in quarantine are not among them.
    pub fn scrubbed(&self) -> Vec<(RepositoryName, Option<u64>)> {
        let entries = self.inner.entries();
        let whole = entries.iter().filter(|entry| entry.current().quarantine.is_none());
        let mut all: Vec<_> = whole
            .map(|entry| (entry.name.clone(), Some(entry.scrubbed_ms.load(Ordering::Relaxed)).filter(|&ms| ms > 0)))
            .collect();
        all.sort_by_key(|(_, scrubbed)| *scrubbed);
        all
    }

    /// Looks whether somebody else wrote to a repository since its last record. Cheap while nobody did: a few files'
    /// lengths and times are as remembered. If they are not, all files are read; if those are different, the repository
    /// goes into quarantine.
    ///
    /// # Errors
    /// [`ReplicaError::Quarantined`], since now or before; as for [`Replica::snapshot`].
    pub fn look(&self, name: &RepositoryName) -> Result<(), ReplicaError> {
        let inner = &*self.inner;
        let (entry, _) = inner.readable(name)?;
        let mut writer = entry.writer();
        let current = entry.current();
        match inner.check_untouched(&entry, &mut writer, &inner.hg(name), current.digest, current.sequence) {
            Ok(()) => Ok(()),
            Err(Obstacle::Server(error)) => Err(error),
            Err(obstacle) => {
                inner.quarantine(&entry, obstacle.to_string())?;
                Err(ReplicaError::Quarantined { name: name.clone(), reason: obstacle.to_string() })
            }
        }
    }

    /// Returns whether somebody else wrote to a repository since its last record, as far as lengths and times of its
    /// main files tell, or files that no record made: then there may be something in it that its author misses.
    pub fn was_altered(&self, name: &RepositoryName) -> bool {
        let entry = self.inner.entry(name);
        let writer = entry.as_ref().map(|entry| entry.writer());
        self.inner.is_altered(entry.as_deref(), writer.as_deref())
    }
}

impl Inner {
    pub(crate) fn is_altered(&self, entry: Option<&Entry>, writer: Option<&Writer>) -> bool {
        let (Some(entry), Some(writer)) = (entry, writer) else { return false };
        let quarantine = entry.current().quarantine.clone();
        quarantine.is_some_and(|reason| reason.contains(ALTERED))
            && (StoreStat::of(&self.hg(&entry.name)).is_ok_and(|found| found != writer.stat)
                || self.has_added(entry).unwrap_or(false))
    }

    /// Whether a repository's folder is still the one that was opened.
    fn is_same_folder(&self, name: &RepositoryName, opened: &Directories) -> Result<bool, ReplicaError> {
        let hg = self.hg(name);
        let opened = rustix::fs::fstat(opened.hg()).map_err(ReplicaError::io("stat", &hg))?;
        match rustix::fs::lstat(&hg) {
            Ok(now) => Ok(folder_id(&now) == folder_id(&opened)),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(ReplicaError::io("stat", &hg)(error)),
        }
    }

    /// Says of damage whether it is the disk's or somebody's.
    pub(crate) fn blame(&self, entry: &Entry, writer: &Writer, what: &str) -> String {
        match StoreStat::of(&self.hg(&entry.name)) {
            Ok(found) if found == writer.stat => format!("damaged: {what}"),
            _ => format!("{ALTERED}: {what}"),
        }
    }

    /// Compares one file once more, under the writer's lock; `Some`: the scrub ends.
    fn look_again(
        &self,
        entry: &Arc<Entry>,
        path: &[u8],
        at: &mut Sequence,
        kept: &mut KeptFiles,
    ) -> Result<Option<Scrubbed>, ReplicaError> {
        let writer = entry.writer();
        let current = entry.current();
        if let Some(reason) = &current.quarantine {
            return Ok(Some(Scrubbed::Damaged(reason.clone())));
        }
        if !self.is_there(entry) {
            return Ok(Some(Scrubbed::Ended));
        }
        if current.sequence != *at {
            *kept = self.all_kept(entry)?;
            *at = current.sequence;
        }
        let mut directories = self.directories(&entry.name)?;
        let expected = kept.get(path);
        let bytes = expected.map_or(0, |file| file.bytes);
        let reason = match (read(&mut directories, path, bytes, &mut Vec::new(), &mut |_| true), expected) {
            (Ok(Some(found)), Some(expected)) if found == expected => return Ok(None),
            (Err(error), None) if is_missing(&error) => return Ok(None),
            (Ok(_), Some(_)) => {
                self.blame(entry, &writer, &format!("{} has other bytes than its records say", path.escape_ascii()))
            }
            (Ok(_), None) => format!("{ALTERED}: {} is there, and no record made it", path.escape_ascii()),
            (Err(error), _) => self.blame(entry, &writer, &error.to_string()),
        };
        self.quarantine(entry, reason.clone())?;
        Ok(Some(Scrubbed::Damaged(reason)))
    }

    /// Checks that nobody else wrote to the store. Where the files' times are not as remembered, the digest says
    /// whether anything is different: a restored or touched file alone is no reason to stop.
    pub(crate) fn check_untouched(
        &self,
        entry: &Entry,
        writer: &mut Writer,
        hg: &std::path::Path,
        digest: [u8; 32],
        sequence: Sequence,
    ) -> Result<(), Obstacle> {
        let found = StoreStat::of(hg).map_err(at(sequence))?;
        if found == writer.stat {
            return Ok(());
        }
        if *digest_of_store(hg).map_err(at(sequence))?.as_bytes() != digest {
            return Err(at(sequence)(ALTERED));
        }
        tracing::warn!(repository = entry.name.as_str(), "files were touched, their content is as it was");
        self.state.set_stat(entry.id, &found)?;
        writer.stat = found;
        Ok(())
    }
}

fn is_missing(error: &ReplicaError) -> bool {
    matches!(error, ReplicaError::Io { source, .. } if source.kind() == ErrorKind::NotFound)
}

/// Hashes the first `bytes` bytes of a file; `None` where `pace` wants no more.
fn read(
    directories: &mut Directories,
    path: &[u8],
    bytes: u64,
    piece: &mut Vec<u8>,
    pace: &mut dyn FnMut(usize) -> bool,
) -> Result<Option<FileDigest>, ReplicaError> {
    let shown = path.escape_ascii().to_string();
    let wrong = |source| ReplicaError::Io { verb: "read", path: shown.clone().into(), source };
    let file = directories.file(path, OFlags::RDONLY).map_err(wrong)?;
    let mut file = file.ok_or_else(|| wrong(ErrorKind::NotFound.into()))?.take(bytes);
    let mut hasher = FileHasher::new(path);
    let bytes_at_once = PIECE_BYTES.min(bytes.max(1) as usize);
    piece.resize(bytes_at_once.max(piece.len()), 0);
    let piece = &mut piece[..bytes_at_once];
    loop {
        if !pace(piece.len()) {
            return Ok(None);
        }
        match file.read(piece).map_err(wrong)? {
            0 => return Ok(Some(hasher.finish())),
            read => hasher.update(&piece[..read]),
        }
    }
}

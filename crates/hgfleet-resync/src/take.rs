//! Takes a copy of a repository from another server. Blocks.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use hg_store::apply::Directories;
use hg_store::change::{check_path, is_excluded};
use hg_store::digest::{FileDigest, FileHasher, digest_of_files, state_files};
use hgfleet_log::{RepositoryName, Sequence, stop_at};
use hgfleet_replica::{Copied, Listing, ReplicaError};
use rustix::fs::OFlags;
use tokio::runtime::Handle;

use crate::host::Host;
use crate::pace::Pace;
use crate::peer::{Peer, PeerError, peers};
use crate::progress::{Copies, Progress};
use crate::wire::{FILES_MAX, FileWanted, FilesQuestion, GONE};

/// How often a repository that changes under the copy is listed again.
const LISTS_MAX: usize = 50;
/// Bytes that are asked for at once, more or less.
const BATCH_BYTES: u64 = 64 << 20;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 << 10;
/// How long a copy waits until its record may be shown.
const SHOWN_WAIT: Duration = Duration::from_secs(30);
/// Room on the disk that a copy must leave, bytes.
const RESERVE_BYTES: u64 = 64 << 20;

/// Why no copy could be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    /// No server could give it.
    #[error("no server has a good copy ({0})")]
    NoSource(String),
    /// This server can't take it.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// A file of the copy can't be written.
    #[error("cannot write the copy: {0}")]
    Io(#[from] io::Error),
    /// It needs more room than there is.
    #[error("the copy needs {needed} bytes and the disk has {free} free")]
    Full { needed: u64, free: u64 },
    /// What was written is not what is read.
    #[error("the copy reads back other than it was written: look at this server's disk")]
    ReadBack,
    /// The server ends.
    #[error("this server stops")]
    Stopped,
}

/// Why one source did not do.
enum Fault {
    /// Another may.
    Source(String),
    /// No other would.
    Here(TakeError),
}

impl<E: Into<TakeError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Here(error.into())
    }
}

fn source(error: PeerError) -> Fault {
    Fault::Source(error.to_string())
}

/// What is needed to take copies.
pub(crate) struct Taking<'a> {
    pub(crate) host: &'a dyn Host,
    pub(crate) run: &'a Path,
    pub(crate) runtime: &'a Handle,
    pub(crate) copies: &'a Copies,
    pub(crate) pace: &'a Pace,
    pub(crate) bytes_per_second: u64,
    pub(crate) stopped: &'a dyn Fn() -> bool,
}

/// Files that are known to lie in the copy.
type Known = HashMap<Vec<u8>, FileDigest>;

/// A file that is to be fetched, or the rest of one.
struct Wanted {
    /// Its place in the list.
    index: usize,
    offset: u64,
    /// Over what is here.
    hasher: FileHasher,
}

impl Taking<'_> {
    /// Takes a copy and puts it in the repository's place. Returns the server that gave it and its last record.
    pub(crate) fn take(&self, name: &RepositoryName) -> Result<(String, Sequence), TakeError> {
        let mut tried = Vec::new();
        let ours = self.host.replica().log();
        for (peer, answer) in peers(self.run, self.runtime) {
            if peer.name() == self.host.name() {
                continue;
            }
            let has = answer.repositories.iter().find(|one| one.name == *name);
            let why = match has {
                _ if ours.is_some() && answer.log != ours => "follows another log",
                None => "does not have it",
                Some(one) if one.quarantine.is_some() => "has it in quarantine",
                Some(_) => "",
            };
            if !why.is_empty() {
                tried.push(format!("{} {why}", peer.name()));
                continue;
            }
            match self.take_from(&peer, name) {
                Ok(sequence) => return Ok((peer.name().to_owned(), sequence)),
                Err(Fault::Source(why)) => tried.push(why),
                Err(Fault::Here(error)) => return Err(error),
            }
        }
        if tried.is_empty() {
            tried.push("no other server answers".to_owned());
        }
        Err(TakeError::NoSource(tried.join("; ")))
    }

    fn take_from(&self, peer: &Peer, name: &RepositoryName) -> Result<Sequence, Fault> {
        let replica = self.host.replica();
        let mut known = Known::new();
        let mut different = HashSet::new();
        for round in 0..LISTS_MAX {
            let listing = peer.list(name).map_err(source)?;
            self.check(peer, name, &listing)?;
            let Listing { created, sequence, digest, .. } = listing;
            if round == 0
                && let Some(copied) = replica.in_place(name, created, sequence, digest)?
                && let Some(sequence) = self.finish(name, copied)?
            {
                return Ok(sequence);
            }
            let others = self.fetch(peer, name, &listing, &mut known)?;
            if !others.is_empty() {
                // Exchanged meanwhile, most likely: the next list knows. If it says the same, that server's file is bad.
                for (index, resumed) in others {
                    let file = &listing.files[index];
                    if !resumed && !different.insert((file.path.clone(), file.hash)) {
                        let path = file.path.escape_ascii();
                        tracing::warn!(server = peer.name(), repository = name.as_str(), %path, "a server has damage");
                        let _ = peer.suspect(name);
                        return Err(Fault::Source(format!("{} has other bytes of {path} than it says", peer.name())));
                    }
                }
                continue;
            }
            self.stop("fetched");
            let copied = replica.copied(name, created, sequence, digest)?;
            let Some(copied) = copied else {
                replica.drop_copy(created)?;
                return Err(TakeError::ReadBack.into());
            };
            if let Some(sequence) = self.finish(name, copied)? {
                return Ok(sequence);
            }
            // Records that it lacks are gone from the log: a newer list has them. The copy may have moved on.
            known.clear();
        }
        Err(Fault::Source(format!("{} changes it faster than it can be copied", peer.name())))
    }

    /// Believes a list only if it makes the state that the log's own record names.
    fn check(&self, peer: &Peer, name: &RepositoryName, listing: &Listing) -> Result<(), Fault> {
        let bad = |what: String| Fault::Source(format!("{} gives a list that is wrong: {what}", peer.name()));
        for file in &listing.files {
            check_path(&file.path).map_err(|error| bad(error.to_string()))?;
            if is_excluded(&file.path) {
                return Err(bad(format!("{} is not part of a store", file.path.escape_ascii())));
            }
        }
        let files = listing.files.iter().map(|file| (file.path.as_slice(), file.hash));
        let digest = digest_of_files(files).map_err(|error| bad(error.to_string()))?;
        if *digest.as_bytes() != listing.digest {
            return Err(bad("its files do not make its digest".to_owned()));
        }
        let record = match self.host.record(listing.sequence)? {
            Some(record) => Some(record),
            None => self.host.last_of(name)?,
        };
        let store = record.as_ref().filter(|record| record.sequence == listing.sequence).and_then(|it| it.store());
        match store {
            None => Err(Fault::Source(format!(
                "{} is at record {}, which the log no longer has to compare it with",
                peer.name(),
                listing.sequence
            ))),
            Some(store) if store.repository == *name && store.after == Some(listing.digest) => Ok(()),
            Some(_) => Err(bad(format!("record {} names another state", listing.sequence))),
        }
    }

    /// Brings the copy's files to what the list says. Returns those that are different, and whether they were resumed.
    fn fetch(
        &self,
        peer: &Peer,
        name: &RepositoryName,
        listing: &Listing,
        known: &mut Known,
    ) -> Result<Vec<(usize, bool)>, Fault> {
        let replica = self.host.replica();
        let total: u64 = listing.files.iter().map(|file| file.bytes).sum();
        let hg = replica.copy_folder(listing.created)?;
        if ["store/journal", "store/lock", "wlock"].iter().any(|path| hg.join(path).symlink_metadata().is_ok()) {
            // A record was being applied to it when this server ended.
            replica.drop_copy(listing.created)?;
            replica.copy_folder(listing.created)?;
        }
        let mut directories = Directories::open(&hg)?;
        let listed: HashSet<&[u8]> = listing.files.iter().map(|file| file.path.as_slice()).collect();
        for path in state_files(&hg).map_err(ReplicaError::from)? {
            if !listed.contains(path.as_slice()) {
                directories.unlink(&path)?;
            }
        }
        let mut here = 0;
        let mut wanted = Vec::new();
        let mut others = Vec::new();
        for (index, file) in listing.files.iter().enumerate() {
            let expected = FileDigest { bytes: file.bytes, hash: file.hash };
            if known.get(&file.path) == Some(&expected) {
                here += file.bytes;
                continue;
            }
            if let Some(content) = &file.content {
                let mut hasher = FileHasher::new(&file.path);
                hasher.update(content);
                if hasher.finish() != expected {
                    others.push((index, false));
                    continue;
                }
                directories.unlink(&file.path)?;
                directories.create(&file.path)?.write_all(content)?;
                known.insert(file.path.clone(), expected);
                here += file.bytes;
                continue;
            }
            let (offset, hasher) = self.hash_prefix(&mut directories, &file.path, file.bytes)?;
            if offset == file.bytes && offset > 0 {
                if hasher.finish() == expected {
                    known.insert(file.path.clone(), expected);
                    here += file.bytes;
                    continue;
                }
                wanted.push(Wanted { index, offset: 0, hasher: FileHasher::new(&file.path) });
            } else {
                here += offset;
                wanted.push(Wanted { index, offset, hasher });
            }
        }
        let free = replica.free_bytes()?;
        let needed = total.saturating_sub(here).saturating_add(RESERVE_BYTES);
        if free < needed {
            return Err(TakeError::Full { needed, free }.into());
        }
        let copying = |done| {
            let source = peer.name().to_owned();
            self.copies.set(name, Progress::Copying { source, done, total });
        };
        copying(here);
        let mut waiting = wanted.into_iter().peekable();
        while waiting.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(next) = waiting.next_if(|_| bytes < BATCH_BYTES && batch.len() < FILES_MAX) {
                bytes += listing.files[next.index].bytes - next.offset;
                batch.push(next);
            }
            let question = FilesQuestion {
                created: listing.created,
                files: batch
                    .iter()
                    .map(|one| {
                        let file = &listing.files[one.index];
                        FileWanted { path: file.path.clone(), offset: one.offset, bytes: file.bytes - one.offset }
                    })
                    .collect(),
            };
            let mut files = peer.files(name, &question).map_err(source)?;
            for (one, asked) in batch.into_iter().zip(&question.files) {
                let file = &listing.files[one.index];
                let length = files.length().map_err(source)?;
                if length != GONE && length > asked.bytes {
                    return Err(Fault::Source(format!("{} sends more than it was asked for", peer.name())));
                }
                let mut output = open(&mut directories, &file.path, one.offset)?;
                let mut hasher = one.hasher;
                let mut left = if length == GONE { 0 } else { length };
                while left > 0 {
                    let piece = files.next(left.min(PIECE_BYTES as u64) as usize).map_err(source)?;
                    if !self.pace.take(piece.len(), self.bytes_per_second, self.stopped) {
                        return Err(TakeError::Stopped.into());
                    }
                    output.write_all(&piece)?;
                    hasher.update(&piece);
                    left -= piece.len() as u64;
                    here += piece.len() as u64;
                    self.stop("piece");
                    copying(here);
                }
                let expected = FileDigest { bytes: file.bytes, hash: file.hash };
                if length != GONE && hasher.finish() == expected {
                    known.insert(file.path.clone(), expected);
                } else {
                    directories.unlink(&file.path)?;
                    here = here.saturating_sub(file.bytes);
                    others.push((one.index, one.offset > 0));
                }
                self.stop("file");
            }
        }
        Ok(others)
    }

    /// Hashes what is here of a file; one that is longer than it should be counts as nothing.
    fn hash_prefix(
        &self,
        directories: &mut Directories,
        path: &[u8],
        bytes: u64,
    ) -> Result<(u64, FileHasher), TakeError> {
        let hasher = || FileHasher::new(path);
        let Some(mut file) = directories.file(path, OFlags::RDONLY)? else { return Ok((0, hasher())) };
        if file.metadata()?.len() > bytes {
            return Ok((0, hasher()));
        }
        let mut hashed = hasher();
        let mut piece = vec![0; PIECE_BYTES];
        let mut offset = 0;
        loop {
            if (self.stopped)() {
                return Err(TakeError::Stopped);
            }
            match file.read(&mut piece)? {
                0 => return Ok((offset, hashed)),
                read => {
                    hashed.update(&piece[..read]);
                    offset += read as u64;
                }
            }
        }
    }

    /// Brings a whole copy to where this server is, and exchanges. `None`: a record for that is gone.
    fn finish(&self, name: &RepositoryName, mut copied: Copied) -> Result<Option<Sequence>, Fault> {
        let begun = Instant::now();
        while self.host.shown() < Some(copied.sequence()) {
            if (self.stopped)() {
                return Err(TakeError::Stopped.into());
            }
            if begun.elapsed() > SHOWN_WAIT {
                let why = format!("record {} may not be shown here yet", copied.sequence());
                return Err(Fault::Source(why));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let held = self.host.hold(name);
        // Records of others in between may be gone from the log, and are not needed.
        let last = self.host.last_of(name)?.map(|record| record.sequence);
        let end = last.map_or(held.end, |last| held.end.min(Some(last)));
        let mut next = copied.sequence().next();
        while let Some(sequence) = next.filter(|next| Some(*next) <= end) {
            next = sequence.next();
            let Some(record) = self.host.record(sequence)? else { return Ok(None) };
            if !record.repositories().any(|repository| repository == name) {
                continue;
            }
            if record.is_of_names() {
                return Ok(None);
            }
            let Some((record, change)) = self.host.fetch(sequence)? else { return Ok(None) };
            let Some(store) = record.store() else { return Ok(None) };
            copied = copied.follow(sequence, store, (*change).as_ref())?;
        }
        let sequence = copied.sequence();
        self.host.replica().exchange(copied)?;
        Ok(Some(sequence))
    }

    /// A named step at which a test stops this server.
    fn stop(&self, step: &str) {
        stop_at(&format!("{}.copy.{step}", self.host.name()));
    }
}

/// Opens a file to be written from `offset` on: a new one, or what is here of it.
fn open(directories: &mut Directories, path: &[u8], offset: u64) -> io::Result<std::fs::File> {
    if offset > 0
        && let Some(mut file) = directories.file(path, OFlags::WRONLY)?
    {
        file.seek(SeekFrom::Start(offset))?;
        return Ok(file);
    }
    directories.unlink(path)?;
    directories.create(path)
}

//! Records that are durable here and not yet known to be in the stores, durably.
//!
//! `staged/` holds *segments*: files to which entries are appended, one for each record, in the
//! order of the log and without a gap. A change of up to [`INLINE_BYTES_MAX`] bytes lies in its
//! entry, a larger one in a file of its own beside it, which the log writes directly. One fsync
//! covers all records that were waiting.
//!
//! A crash may leave a torn end. Opening reads everything, checks every digest, and cuts off what
//! follows the last whole entry: nothing of that was acknowledged, or the disk is damaged; either
//! way it is read from the log again.
//!
//! The newest segment stays even when all of its records are in the stores: its last entry says
//! where to go on, and which record the next one must follow.

mod entry;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hgfleet_log::{Follower, LogId, Record, Sequence, Tail};
use memmap2::Mmap;

use self::entry::Place;
use self::segment::Segment;

/// Longest change that lies in its record's entry.
pub(crate) const INLINE_BYTES_MAX: u64 = 1 << 20;
/// A segment with more bytes than this is closed.
const SEGMENT_BYTES_MAX: u64 = 16 << 20;
/// A segment of which nothing is needed any more is closed when it has more bytes than this.
const SEGMENT_BYTES_DONE: u64 = 1 << 20;

/// Names of files that lose their name at once.
static SCRATCH: AtomicU64 = AtomicU64::new(0);

/// Why the staged records can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StagingError {
    /// A file could not be read or written.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A record that can't be written down.
    #[error("record {0} can't be encoded: {1}")]
    Record(Sequence, hgfleet_log::RecordError),
}

fn fault(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StagingError {
    let path = path.to_owned();
    move |source| StagingError::Io { what, path, source }
}

/// A change, as it lies in `staged/`.
#[derive(Debug)]
pub(crate) struct StagedChange {
    map: Option<Arc<Mmap>>,
    from: usize,
    bytes: usize,
}

impl AsRef<[u8]> for StagedChange {
    fn as_ref(&self) -> &[u8] {
        match &self.map {
            Some(map) => &map[self.from..self.from + self.bytes],
            None => &[],
        }
    }
}

/// A change on its way into `staged/`.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// None, or a small one.
    Inline(Vec<u8>),
    /// It lies in the file that [`Staging::large_file`] made for it.
    Beside,
}

/// The staged records of one mirror. Reading is for many threads, writing for one.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    entries: BTreeMap<Sequence, Entry>,
    segments: Vec<Segment>,
    tail: Option<(LogId, Tail)>,
    bytes: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    record: Arc<Record>,
    place: Place,
    segment: Sequence,
}

impl Staging {
    /// Opens the folder, made where it is missing. Blocks. Of records up to `durable`, which the stores have, only the
    /// order counts: their changes may be gone.
    ///
    /// # Errors
    ///
    /// The folder can't be used. Damaged content is no error: it is cut off.
    pub(crate) fn open(dir: &Path, durable: Option<Sequence>) -> Result<Self, StagingError> {
        fs::create_dir_all(dir).map_err(fault("make", dir))?;
        let mut index = Index::default();
        let mut broken = false;
        for first in segment::list(dir)? {
            if broken {
                // What follows a gap is of no use.
                segment::remove(dir, first)?;
                continue;
            }
            broken = !index.read_segment(dir, first, durable)?;
        }
        let staging = Self { dir: dir.to_owned(), index: RwLock::new(index) };
        staging.remove_strays()?;
        Ok(staging)
    }

    /// The last staged record and the log that it belongs to.
    pub(crate) fn tail(&self) -> Option<(LogId, Tail)> {
        self.read().tail
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.read().bytes
    }

    /// The staged records from `from` on, in order; those before are in the stores.
    pub(crate) fn records_from(&self, from: Option<Sequence>) -> Vec<Arc<Record>> {
        let from = from.unwrap_or(Sequence::FIRST);
        let index = self.read();
        let entries = index.entries.range(from..);
        entries.map(|(_, entry)| entry.record.clone()).collect()
    }

    /// One staged record with its change; none where it is not here (any more).
    ///
    /// # Errors
    ///
    /// Its file can't be read.
    pub(crate) fn get(&self, sequence: Sequence) -> Result<Option<(Arc<Record>, StagedChange)>, StagingError> {
        let index = self.read();
        let Some(entry) = index.entries.get(&sequence).cloned() else {
            return Ok(None);
        };
        let change = match entry.place {
            Place::None => StagedChange { map: None, from: 0, bytes: 0 },
            Place::Inline { at, bytes } => {
                let segment = index.segments.iter().find(|s| s.first() == entry.segment);
                let Some(segment) = segment else {
                    return Ok(None);
                };
                StagedChange { map: Some(segment.map(at + bytes)?), from: at as usize, bytes: bytes as usize }
            }
            Place::Beside { bytes } => {
                let path = segment::beside(&self.dir, sequence);
                let file = File::open(&path).map_err(fault("open", &path))?;
                let map = segment::map_whole(&file).map_err(fault("map", &path))?;
                if map.len() as u64 != bytes {
                    let short = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(fault("read", &path)(short));
                }
                StagedChange { map: Some(Arc::new(map)), from: 0, bytes: bytes as usize }
            }
        };
        Ok(Some((entry.record, change)))
    }

    /// Makes a file without a name for a change of this length: in memory, or on disk when it is large.
    ///
    /// # Errors
    ///
    /// The file can't be made.
    pub(crate) fn scratch(&self, bytes: u64) -> io::Result<File> {
        if bytes <= INLINE_BYTES_MAX {
            let file = rustix::fs::memfd_create("change", rustix::fs::MemfdFlags::CLOEXEC)?;
            return Ok(File::from(file));
        }
        let number = SCRATCH.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("{number}.scratch"));
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).open(&path)?;
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Makes the file for a large change; the caller fills it before it calls [`Self::append`].
    ///
    /// # Errors
    ///
    /// The file can't be made.
    pub(crate) fn large_file(&self, sequence: Sequence) -> Result<File, StagingError> {
        let path = segment::beside(&self.dir, sequence);
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(fault("make", &path))
    }

    /// Appends records, in the log's order, and returns when they are durable.
    ///
    /// `written` is called between the writing and the fsync: the step at which tests stop.
    ///
    /// # Errors
    ///
    /// Nothing is staged then; what was written is overwritten by the next try, or cut off by the
    /// next start.
    pub(crate) fn append(&self, records: Vec<(Record, Incoming)>, written: impl FnOnce()) -> Result<(), StagingError> {
        let Some((first, _)) = records.first() else {
            return Ok(());
        };
        let mut segment = self.segment_for(first.sequence)?;
        let mut entries = Vec::with_capacity(records.len());
        let mut buffer = Vec::new();
        let mut sync_folder = segment.is_new();
        let mut bytes = 0;
        for (record, incoming) in records {
            let at = segment.bytes() + buffer.len() as u64;
            let place = entry::write(&mut buffer, at, &record, &incoming)?;
            if let Place::Beside { bytes: beside } = place {
                let path = segment::beside(&self.dir, record.sequence);
                let file = File::open(&path).map_err(fault("open", &path))?;
                file.sync_data().map_err(fault("sync", &path))?;
                bytes += beside;
                sync_folder = true;
            }
            entries.push((record, place));
        }
        segment.write(&buffer)?;
        written();
        segment.sync()?;
        if sync_folder {
            let folder = File::open(&self.dir).map_err(fault("open", &self.dir))?;
            folder.sync_all().map_err(fault("sync", &self.dir))?;
        }
        segment.advance(buffer.len() as u64);
        bytes += buffer.len() as u64;
        let mut index = self.write();
        index.bytes += bytes;
        for (record, place) in entries {
            index.tail = Some((record.log, Tail::of(&record)));
            index.entries.insert(record.sequence, Entry { record: Arc::new(record), place, segment: segment.first() });
        }
        match index.segments.iter_mut().find(|s| s.first() == segment.first()) {
            Some(there) => *there = segment,
            None => index.segments.push(segment),
        }
        Ok(())
    }

    /// The segment to which the next entries go: the newest, or a new one.
    fn segment_for(&self, first: Sequence) -> Result<Segment, StagingError> {
        let index = self.read();
        if let Some(newest) = index.segments.last() {
            let needed = index.entries.values().any(|e| e.segment == newest.first());
            let full = if needed { SEGMENT_BYTES_MAX } else { SEGMENT_BYTES_DONE };
            if newest.bytes() < full {
                return Ok(newest.clone());
            }
        }
        Segment::create(&self.dir, first)
    }

    /// Gives up what is in the stores, durably: records up to `durable`.
    ///
    /// # Errors
    ///
    /// A file can't be removed.
    pub(crate) fn remove_through(&self, durable: Sequence) -> Result<(), StagingError> {
        let (beside, segments) = {
            let mut index = self.write();
            let kept = match durable.next() {
                Some(next) => index.entries.split_off(&next),
                None => BTreeMap::new(),
            };
            let gone = std::mem::replace(&mut index.entries, kept);
            let mut beside = Vec::new();
            for (sequence, entry) in gone {
                if let Place::Beside { bytes } = entry.place {
                    beside.push(sequence);
                    index.bytes = index.bytes.saturating_sub(bytes);
                }
            }
            // The newest stays: it knows the tail.
            let needed = index.entries.values().next().map(|entry| entry.segment);
            let newest = index.segments.last().map(Segment::first);
            let (kept, gone): (Vec<_>, Vec<_>) = std::mem::take(&mut index.segments)
                .into_iter()
                .partition(|s| Some(s.first()) == newest || Some(s.first()) >= needed.or(newest));
            index.segments = kept;
            for segment in &gone {
                index.bytes = index.bytes.saturating_sub(segment.bytes());
            }
            (beside, gone)
        };
        for sequence in beside {
            let path = segment::beside(&self.dir, sequence);
            fs::remove_file(&path).map_err(fault("remove", &path))?;
        }
        for segment in segments {
            segment::remove(&self.dir, segment.first())?;
        }
        Ok(())
    }

    /// Gives everything up: what comes next does not follow on it.
    ///
    /// # Errors
    ///
    /// A file can't be removed.
    pub(crate) fn reset(&self) -> Result<(), StagingError> {
        let gone = std::mem::take(&mut *self.write());
        // The newest first: what is left by an end in between goes on without a gap.
        for segment in gone.segments.iter().rev() {
            segment::remove(&self.dir, segment.first())?;
        }
        self.remove_strays()
    }

    /// Removes changes that no entry names: a crash came before the entry was written.
    fn remove_strays(&self) -> Result<(), StagingError> {
        let index = self.read();
        for sequence in segment::list_beside(&self.dir)? {
            let named = index.entries.get(&sequence);
            if !matches!(named.map(|e| e.place), Some(Place::Beside { .. })) {
                let path = segment::beside(&self.dir, sequence);
                fs::remove_file(&path).map_err(fault("remove", &path))?;
            }
        }
        Ok(())
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// Reads one segment; false when it was cut, or does not go on where the last one ended.
    fn read_segment(&mut self, dir: &Path, first: Sequence, durable: Option<Sequence>) -> Result<bool, StagingError> {
        let mut segment = Segment::open(dir, first)?;
        let mut whole = 0;
        let mut follower = self.tail.map(|(log, tail)| Follower::new(log, Some(tail)));
        let map = segment.map(segment.bytes())?;
        while let Some((record, place, end)) = entry::read(dir, &map, whole, durable) {
            let follows = match &mut follower {
                Some(follower) => follower.accept(&record).is_ok(),
                None => record.sequence == first,
            };
            if !follows {
                break;
            }
            let tail = Tail::of(&record);
            follower.get_or_insert_with(|| Follower::new(record.log, Some(tail)));
            self.tail = Some((record.log, tail));
            whole = end;
            if Some(record.sequence) <= durable {
                continue;
            }
            if let Place::Beside { bytes } = place {
                self.bytes += bytes;
            }
            self.entries.insert(record.sequence, Entry { record: Arc::new(record), place, segment: first });
        }
        let cut = whole < segment.bytes();
        if cut {
            tracing::warn!(
                segment = first.get(),
                from = whole,
                bytes = segment.bytes() - whole,
                "cut off what follows the last whole staged record"
            );
            segment.cut(whole)?;
        }
        if whole == 0 {
            segment::remove(dir, first)?;
        } else {
            self.bytes += whole;
            self.segments.push(segment);
        }
        Ok(!cut)
    }
}

//! The files of `staged/`: `N.segment` begins with record N, `N.change` is the change of record N.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hgfleet_log::{Sequence, planted};
use memmap2::Mmap;

use super::{StagingError, fault};

const SEGMENT: &str = "segment";
const CHANGE: &str = "change";

/// One segment, open.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    first: Sequence,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    is_new: bool,
    /// The last map, which serves as long as what is asked for lies in it.
    map: Arc<Mutex<Option<Arc<Mmap>>>>,
}

impl Segment {
    pub(super) fn create(dir: &Path, first: Sequence) -> Result<Self, StagingError> {
        let path = named(dir, first, SEGMENT);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(fault("make", &path))?;
        Ok(Self::of(first, path, file, 0, true))
    }

    pub(super) fn open(dir: &Path, first: Sequence) -> Result<Self, StagingError> {
        let path = named(dir, first, SEGMENT);
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let file = opened.map_err(fault("open", &path))?;
        let bytes = file.metadata().map_err(fault("read", &path))?.len();
        Ok(Self::of(first, path, file, bytes, false))
    }

    fn of(first: Sequence, path: PathBuf, file: File, bytes: u64, is_new: bool) -> Self {
        Self { first, path, file: Arc::new(file), bytes, is_new, map: Arc::default() }
    }

    /// The sequence of its first entry.
    pub(super) fn first(&self) -> Sequence {
        self.first
    }

    /// The bytes of its whole entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it was made just now, so that its folder must be synced as well.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    /// Writes behind the last entry.
    pub(super) fn write(&self, buffer: &[u8]) -> Result<(), StagingError> {
        self.file.write_all_at(buffer, self.bytes).map_err(fault("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), StagingError> {
        if planted::is("staged-not-synced") {
            return Ok(());
        }
        self.file.sync_data().map_err(fault("sync", &self.path))
    }

    /// What was written is whole.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.is_new = false;
    }

    /// Cuts off everything from byte `whole` on. Nobody has mapped it yet.
    pub(super) fn cut(&mut self, whole: u64) -> Result<(), StagingError> {
        *self.map.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let cut = self.file.set_len(whole).and_then(|()| self.file.sync_all());
        cut.map_err(fault("cut", &self.path))?;
        self.bytes = whole;
        Ok(())
    }

    /// Maps at least the first `bytes` bytes.
    pub(super) fn map(&self, bytes: u64) -> Result<Arc<Mmap>, StagingError> {
        let mut kept = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = kept.as_ref().filter(|map| map.len() as u64 >= bytes) {
            return Ok(map.clone());
        }
        let map = Arc::new(map_whole(&self.file).map_err(fault("map", &self.path))?);
        if (map.len() as u64) < bytes {
            let short = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(fault("read", &self.path)(short));
        }
        *kept = Some(map.clone());
        Ok(map)
    }
}

/// Maps a file of `staged/`.
pub(super) fn map_whole(file: &File) -> io::Result<Mmap> {
    // SAFETY: only this process writes in `staged/`; what is mapped is a whole entry, which is never
    // written again, and files are cut only before anything else has mapped them.
    unsafe { Mmap::map(file) }
}

/// Where the change of a record lies, when it has a file of its own.
pub(super) fn beside(dir: &Path, sequence: Sequence) -> PathBuf {
    named(dir, sequence, CHANGE)
}

fn named(dir: &Path, sequence: Sequence, kind: &str) -> PathBuf {
    dir.join(format!("{sequence}.{kind}"))
}

/// The first sequences of all segments, in order.
pub(super) fn list(dir: &Path) -> Result<Vec<Sequence>, StagingError> {
    list_of(dir, SEGMENT)
}

/// The sequences of all changes that have a file of their own.
pub(super) fn list_beside(dir: &Path) -> Result<Vec<Sequence>, StagingError> {
    list_of(dir, CHANGE)
}

fn list_of(dir: &Path, kind: &str) -> Result<Vec<Sequence>, StagingError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(fault("read", dir))? {
        let name = entry.map_err(fault("read", dir))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(kind)?.strip_suffix('.'))
            .and_then(|number| number.parse().ok());
        found.extend(number.and_then(Sequence::new));
    }
    found.sort();
    Ok(found)
}

/// Removes a segment.
pub(super) fn remove(dir: &Path, first: Sequence) -> Result<(), StagingError> {
    let path = named(dir, first, SEGMENT);
    fs::remove_file(&path).map_err(fault("remove", &path))
}

//! The highest visible position that this mirror has heard of, kept over restarts.
//!
//! What is kept on disk bounds what a start may have to write again: nothing above it was ever begun. So it is brought to disk
//! before the first byte of what it lets be applied, and survives the process's end sooner than that.
//!
//! Two slots of 16 bytes are written in turns, so that a torn one leaves the other: the position, and its complement.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hgfleet_log::{Sequence, planted};

/// Bytes of a slot.
const SLOT_BYTES: usize = 16;

/// Why a position is not on disk.
#[derive(Debug)]
pub(crate) enum NotKept {
    /// It could not be written; it may be tried again.
    Written(io::Error),
    /// It could not be brought to disk; whether it is there, nobody knows.
    Synced(io::Error),
}

/// The file.
#[derive(Debug)]
pub(crate) struct Told {
    file: File,
    /// The slot that is written next.
    next: Mutex<u64>,
    /// The positions, 0 for none: as written, and as known to be on disk.
    written: AtomicU64,
    durable: AtomicU64,
}

impl Told {
    /// Opens the file, made where it is missing.
    ///
    /// # Errors
    ///
    /// The file can't be used. That nothing in it can be read is none: then there is no position.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let slots = [0, 1].map(|slot| read(&file, slot));
        let [first, second] = slots;
        let (first, second) = (first?, second?);
        let position = first.max(second).unwrap_or(0);
        if file.metadata()?.len() < 2 * SLOT_BYTES as u64 {
            // Later writes need no room any more.
            file.set_len(2 * SLOT_BYTES as u64)?;
            file.sync_all()?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(Self {
            file,
            next: Mutex::new(u64::from(first > second)),
            written: AtomicU64::new(position),
            durable: AtomicU64::new(position),
        })
    }

    /// The highest position that was kept.
    pub(crate) fn position(&self) -> Option<Sequence> {
        Sequence::new(self.written.load(Ordering::Acquire))
    }

    /// Keeps a position, unless a higher one is there: it survives this process, and not yet the machine.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub(crate) fn keep(&self, position: Sequence) -> io::Result<()> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let position = position.get();
        if position <= self.written.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut slot = [0; SLOT_BYTES];
        slot[..8].copy_from_slice(&position.to_be_bytes());
        slot[8..].copy_from_slice(&(!position).to_be_bytes());
        self.file.write_all_at(&slot, *next * SLOT_BYTES as u64)?;
        *next = 1 - *next;
        self.written.store(position, Ordering::Release);
        Ok(())
    }

    /// Returns once this position or a higher one is on disk. Blocks.
    ///
    /// # Errors
    ///
    /// [`NotKept`].
    pub(crate) fn keep_durably(&self, position: Sequence) -> Result<(), NotKept> {
        if self.durable.load(Ordering::Acquire) >= position.get() {
            return Ok(());
        }
        self.keep(position).map_err(NotKept::Written)?;
        let written = self.written.load(Ordering::Acquire);
        if !planted::is("told-not-synced") {
            self.file.sync_data().map_err(NotKept::Synced)?;
        }
        self.durable.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }
}

/// Reads a slot; none where nothing, or nothing whole, is there.
fn read(file: &File, slot: u64) -> io::Result<Option<u64>> {
    let mut bytes = [0; SLOT_BYTES];
    match file.read_exact_at(&mut bytes, slot * SLOT_BYTES as u64) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let word = |at: usize| bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    Ok((word(0) == !word(8)).then(|| word(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(position: u64) -> Sequence {
        Sequence::new(position).expect("a position")
    }

    #[test]
    fn the_highest_position_is_found_again_and_a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("told");
        assert_eq!(Told::open(&path).expect("made").position(), None);
        for last in 1..=5u64 {
            let told = Told::open(&path).expect("opened");
            told.keep(at(last * 255)).expect("kept");
            told.keep(at(1)).expect("passed over");
            let before = std::fs::read(&path).expect("read");
            told.keep_durably(at(last * 255 + 1)).expect("kept");
            assert_eq!(Told::open(&path).expect("opened").position(), Some(at(last * 255 + 1)));
            let after = std::fs::read(&path).expect("read");
            for cut in 0..=after.len() {
                std::fs::write(&path, [&after[..cut], &before[cut..]].concat()).expect("written");
                let found = Told::open(&path).expect("opened").position();
                assert!([Some(at(last * 255)), Some(at(last * 255 + 1))].contains(&found), "{found:?}");
            }
            std::fs::write(&path, after).expect("written");
        }
    }
}

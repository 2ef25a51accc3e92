//! Making a bundle: as fast as it goes while there is room for the whole of it, else at the pace of its slowest reader.

use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use hg_wire::http::StreamBody;
use rustix::fs::FallocateFlags;

use super::made::Stage;
use super::{BundleCache, Key, MadeBundle};

/// Bytes that are written at once.
const PIECE_BYTES: usize = 256 << 10;
/// Where there is no room for the whole, so many bytes are ahead of the slowest reader.
const AHEAD_BYTES_MAX: u64 = 16 << 20;
/// How often readers that are behind are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) struct Maker {
    cache: Arc<BundleCache>,
    key: Key,
    bundle: Arc<MadeBundle>,
    at: u64,
    /// Up to where the file was emptied again, where there is no room for the whole.
    emptied: Option<u64>,
    has_ended: bool,
}

impl Maker {
    pub(super) fn new(cache: Arc<BundleCache>, key: Key, bundle: Arc<MadeBundle>) -> Maker {
        Maker { cache, key, bundle, at: 0, emptied: None, has_ended: false }
    }

    pub(super) fn run(mut self, stream: StreamBody) {
        let mut pieces = BufWriter::with_capacity(PIECE_BYTES, &mut self);
        let made = stream(&mut pieces).map_err(io::Error::other).and_then(|()| pieces.flush());
        drop(pieces);
        self.end(if made.is_ok() { Stage::Whole } else { Stage::Failed });
    }

    fn end(&mut self, stage: Stage) {
        let is_kept = stage == Stage::Whole && self.emptied.is_none();
        if !is_kept {
            self.cache.forget_made(&self.key, &self.bundle);
            self.cache.shrink(self.bundle.take_counted());
        }
        self.bundle.tell(self.at, stage);
        self.has_ended = true;
    }

    fn write_piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let bytes = piece.len() as u64;
        if self.emptied.is_none() {
            let has_room = self.cache.grow(bytes);
            self.bundle.count(bytes);
            if !has_room {
                self.keep_none();
            }
        }
        loop {
            self.keep_pace()?;
            match self.bundle.file().write_all_at(piece, self.at) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::StorageFull && self.emptied.is_none() => {
                    self.keep_none();
                }
                Err(error) => return Err(error),
            }
        }
        self.at += bytes;
        self.bundle.tell(self.at, Stage::Making);
        Ok(())
    }

    /// Who reads it goes on; nobody else begins.
    fn keep_none(&mut self) {
        self.cache.forget_made(&self.key, &self.bundle);
        self.emptied = Some(0);
    }

    /// Waits, where there is no room for the whole, until the slowest reader has taken enough, and empties the file behind it.
    fn keep_pace(&mut self) -> io::Result<()> {
        loop {
            let Some(slowest) = self.bundle.slowest() else {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more"));
            };
            let Some(emptied) = self.emptied else { return Ok(()) };
            if slowest > emptied {
                let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                rustix::fs::fallocate(self.bundle.file(), hole, emptied, slowest - emptied)?;
                self.emptied = Some(slowest);
            }
            if self.at - slowest < AHEAD_BYTES_MAX {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Maker {
    /// After a panic, so that no reader waits for ever.
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(Stage::Failed);
        }
    }
}

impl Write for Maker {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_piece(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

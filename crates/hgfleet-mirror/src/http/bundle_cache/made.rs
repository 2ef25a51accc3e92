//! A bundle in a file, whole or under way, and who reads it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::watch;

/// Bytes of one piece, as it goes to a connection.
const PIECE_BYTES: usize = 256 << 10;

/// How far a bundle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) bytes: u64,
    pub(super) stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Making,
    Whole,
    Failed,
}

/// A bundle in a file without a name.
#[derive(Debug)]
pub(crate) struct MadeBundle {
    file: File,
    progress: watch::Sender<Progress>,
    /// Up to where each reader has read; `None`: it is given up, and nobody may begin.
    positions: Mutex<Option<Vec<Weak<AtomicU64>>>>,
    /// Once it is whole.
    mapped: OnceLock<Bytes>,
    /// Bytes that it counts for.
    counted: AtomicU64,
}

impl MadeBundle {
    pub(super) fn new(file: File) -> MadeBundle {
        MadeBundle {
            file,
            progress: watch::Sender::new(Progress { bytes: 0, stage: Stage::Making }),
            positions: Mutex::new(Some(Vec::new())),
            mapped: OnceLock::new(),
            counted: AtomicU64::new(0),
        }
    }

    /// Returns what reads it from its beginning; `None`: it has failed.
    pub(super) fn reader(self: &Arc<Self>) -> Option<BundleReader> {
        if self.progress.borrow().stage == Stage::Failed {
            return None;
        }
        let at = Arc::new(AtomicU64::new(0));
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let positions = positions.as_mut()?;
        positions.retain(|other| other.strong_count() > 0);
        positions.push(Arc::downgrade(&at));
        let progress = *self.progress.borrow();
        let length = (progress.stage == Stage::Whole).then_some(progress.bytes);
        Some(BundleReader { bundle: self.clone(), at, changed: None, length })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.progress.borrow().stage == Stage::Whole
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn count(&self, bytes: u64) {
        self.counted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes what it counts for off it.
    pub(super) fn take_counted(&self) -> u64 {
        self.counted.swap(0, Ordering::Relaxed)
    }

    pub(super) fn tell(&self, bytes: u64, stage: Stage) {
        self.progress.send_replace(Progress { bytes, stage });
    }

    /// Where the slowest reader is. Where nobody reads, it is given up: `None`.
    pub(super) fn slowest(&self) -> Option<u64> {
        let mut positions = self.positions.lock().unwrap_or_else(PoisonError::into_inner);
        let readers = positions.iter().flatten().filter_map(Weak::upgrade);
        let slowest = readers.map(|at| at.load(Ordering::Relaxed)).min();
        if slowest.is_none() {
            *positions = None;
        }
        slowest
    }

    /// The whole file, mapped.
    fn whole(&self, bytes: u64) -> io::Result<Bytes> {
        if let Some(mapped) = self.mapped.get() {
            return Ok(mapped.clone());
        }
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        // SAFETY: the file has no name, is not written to once it is whole, and never cut.
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(&self.file) }?;
        Ok(self.mapped.get_or_init(|| Bytes::from_owner(map)).clone())
    }
}

/// Reads a bundle, at a client's pace.
pub(crate) struct BundleReader {
    bundle: Arc<MadeBundle>,
    at: Arc<AtomicU64>,
    /// Waits for more.
    changed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Bytes in all, where it was whole when reading began.
    length: Option<u64>,
}

impl BundleReader {
    /// Returns how many bytes are left, where that was known when reading began.
    pub(crate) fn left(&self) -> Option<u64> {
        self.length.map(|length| length - self.at.load(Ordering::Relaxed))
    }

    /// Returns the next piece; `None` at the end.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            let progress = *self.bundle.progress.borrow();
            let at = self.at.load(Ordering::Relaxed);
            if at < progress.bytes && progress.stage != Stage::Failed {
                let piece = self.piece(at, progress);
                if let Ok(piece) = &piece {
                    self.at.store(at + piece.len() as u64, Ordering::Relaxed);
                }
                return Poll::Ready(Some(piece));
            }
            match progress.stage {
                Stage::Whole => return Poll::Ready(None),
                Stage::Failed => return Poll::Ready(Some(Err(io::Error::other("the bundle could not be made")))),
                Stage::Making => {}
            }
            let bundle = self.bundle.clone();
            let changed = self.changed.get_or_insert_with(|| {
                Box::pin(async move {
                    let mut progress = bundle.progress.subscribe();
                    // Its end says as much as a change; what has changed is looked at above.
                    let _ = progress.wait_for(|now| now.bytes > at || now.stage != Stage::Making).await;
                })
            });
            if changed.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.changed = None;
        }
    }

    fn piece(&self, at: u64, progress: Progress) -> io::Result<Bytes> {
        let length = usize::try_from(progress.bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        if progress.stage == Stage::Whole {
            let start = usize::try_from(at).map_err(io::Error::other)?;
            return Ok(self.bundle.whole(progress.bytes)?.slice(start..start + length));
        }
        let mut piece = vec![0; length];
        self.bundle.file.read_exact_at(&mut piece, at)?;
        Ok(piece.into())
    }
}

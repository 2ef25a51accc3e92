//! Reading ahead in a changegroup, so that a second thread compresses deltas before they are needed.
//!
//! Nearly every delta is stored as it came, and compressing it depends on nothing else. So a few batches of pieces are on their way
//! through that thread while the first of them is taken. What a delta is compressed to does not depend on the thread that did it.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::compress::Compressor;
use super::incoming::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};
use super::made::{Made, Maker};
use super::worker::Worker;

/// Bytes of deltas that are taken one by one before a thread is worth its start.
const ONE_BY_ONE_BYTES: usize = 1 << 20;
/// A batch has at least so many pieces, or so many bytes of deltas.
const BATCH_PIECES: usize = 64;
const BATCH_BYTES: usize = 128 << 10;
/// Batches that are on their way, and bytes of deltas above which there is only one.
const BATCHES_MAX: usize = 4;
const BYTES_MAX: usize = 8 << 20;

/// A revision, and what was made for it already.
pub(super) struct Arrived {
    pub(super) revision: IncomingRevision,
    pub(super) made: Made,
}

impl Deref for Arrived {
    type Target = IncomingRevision;

    fn deref(&self) -> &IncomingRevision {
        &self.revision
    }
}

/// One piece of a changegroup, on its way.
pub(super) enum Piece {
    Revision(Arrived),
    /// Anything else.
    Other(Incoming),
}

impl From<Incoming> for Piece {
    fn from(incoming: Incoming) -> Piece {
        match incoming {
            Incoming::Revision(revision) => Piece::Revision(Arrived { revision, made: Made::Nothing }),
            other => Piece::Other(other),
        }
    }
}

#[derive(Default)]
struct Batch {
    pieces: VecDeque<Piece>,
    /// Of deltas.
    bytes: usize,
    /// Whether its revisions are changesets.
    is_changelog: bool,
}

impl Batch {
    fn push(&mut self, piece: Piece) {
        if let Piece::Revision(arrived) = &piece {
            self.bytes = self.bytes.saturating_add(arrived.delta.len());
        }
        self.pieces.push_back(piece);
    }

    fn is_full(&self) -> bool {
        let behind_changelog =
            self.is_changelog && matches!(self.pieces.back(), Some(Piece::Other(Incoming::EndOfGroup)));
        behind_changelog || self.pieces.len() >= BATCH_PIECES || self.bytes >= BATCH_BYTES
    }
}

struct Channels {
    to_compress: Sender<Batch>,
    compressed: Receiver<Batch>,
}

/// The pieces of one changegroup, in their order.
pub(super) struct ReadAhead {
    may_spawn: bool,
    worker: Option<Worker<Channels>>,
    /// What is taken next; before there is a thread it has one piece at most.
    current: Batch,
    taken_bytes: usize,
    /// Whether the changelog's group is being read.
    is_changelog: bool,
    /// Batches that are with the thread, and bytes of their deltas.
    batches: usize,
    bytes: usize,
    /// Whether nothing more is asked of the source, and what it said at last if that was no piece.
    is_over: bool,
    error: Option<IncomingError>,
}

impl ReadAhead {
    /// `may_spawn`: whether a second thread may help.
    pub(super) fn new(may_spawn: bool) -> ReadAhead {
        ReadAhead {
            may_spawn,
            worker: None,
            current: Batch::default(),
            taken_bytes: 0,
            is_changelog: true,
            batches: 0,
            bytes: 0,
            is_over: false,
            error: None,
        }
    }

    /// The next piece of this source, which is to be the same each time. Nothing comes after an error or the end. `compressor` makes such
    /// chunks as will be stored.
    pub(super) fn next(
        &mut self,
        source: &mut dyn IncomingChangegroup,
        compressor: &Compressor,
    ) -> Result<Piece, IncomingError> {
        if let Some(piece) = self.current.pieces.pop_front() {
            return Ok(piece);
        }
        if self.may_spawn && self.taken_bytes >= ONE_BY_ONE_BYTES {
            self.may_spawn = false;
            // Where there is no thread to be had it goes on here, only slower.
            self.worker = compressor.another().ok().and_then(spawn);
        }
        let Some(Channels { to_compress, compressed }) = self.worker.as_ref().map(Worker::channels) else {
            let incoming = source.next()?;
            self.is_changelog &= incoming != Incoming::EndOfGroup;
            let piece = Piece::from(incoming);
            if let Piece::Revision(arrived) = &piece {
                self.taken_bytes = self.taken_bytes.saturating_add(arrived.delta.len());
            }
            return Ok(piece);
        };
        while !self.is_over && self.batches < BATCHES_MAX && (self.batches == 0 || self.bytes < BYTES_MAX) {
            let mut batch = Batch { is_changelog: self.is_changelog, ..Batch::default() };
            while !self.is_over && !batch.is_full() {
                match source.next() {
                    Ok(incoming) => {
                        self.is_over = incoming == Incoming::End;
                        self.is_changelog &= incoming != Incoming::EndOfGroup;
                        batch.push(incoming.into());
                    }
                    Err(error) => {
                        self.is_over = true;
                        self.error = Some(error);
                    }
                }
            }
            self.batches += 1;
            self.bytes = self.bytes.saturating_add(batch.bytes);
            // A thread that is gone has panicked: that comes to light where its answer is missed.
            let _ = to_compress.send(batch);
        }
        if self.batches > 0 {
            match compressed.recv() {
                Ok(batch) => self.current = batch,
                Err(_) => self.worker = None,
            }
            self.batches -= 1;
            self.bytes = self.bytes.saturating_sub(self.current.bytes);
        }
        // An error without a piece before it has an empty batch of its own.
        self.current.pieces.pop_front().ok_or_else(|| self.error.take().unwrap_or_else(after_end))
    }
}

fn spawn(compressor: Compressor) -> Option<Worker<Channels>> {
    let mut maker = Maker::new(compressor);
    let (to_compress, batches) = channel::<Batch>();
    let (done, compressed) = channel();
    let run = move || {
        while let Ok(mut batch) = batches.recv() {
            for piece in &mut batch.pieces {
                if let Piece::Revision(Arrived { revision, made }) = piece {
                    *made = maker.make(revision, batch.is_changelog);
                }
            }
            if done.send(batch).is_err() {
                return;
            }
        }
    };
    Worker::spawn("compress", Channels { to_compress, compressed }, run)
}

fn after_end() -> IncomingError {
    IncomingError::Malformed("nothing can be read after the end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Node, Requirements};

    /// A changelog, a manifest and files, long enough that a thread begins, and how many pieces come before an error.
    struct Source {
        pieces: std::vec::IntoIter<Incoming>,
        left: usize,
    }

    impl IncomingChangegroup for Source {
        fn next(&mut self) -> Result<Incoming, IncomingError> {
            self.left = self.left.checked_sub(1).ok_or_else(|| IncomingError::Malformed("cut".to_owned()))?;
            Ok(self.pieces.next().expect("nothing is asked behind the end"))
        }
    }

    fn revision(number: u32, base: Node) -> Incoming {
        let mut delta = [0u32, 0, 2000].map(u32::to_be_bytes).concat();
        delta.extend(number.to_string().bytes().cycle().take(2000));
        let null = Node::NULL;
        Incoming::Revision(IncomingRevision { node: null, p1: null, p2: null, link: null, base, flags: 0, delta })
    }

    fn pieces() -> Vec<Incoming> {
        let group = |numbers: std::ops::Range<u32>| {
            numbers.map(|number| revision(number, [Node::NULL, Node::new([1; 20])][number as usize % 2]))
        };
        let mut pieces = vec![Incoming::Changelog];
        pieces.extend(group(0..700));
        pieces.extend([Incoming::EndOfGroup, Incoming::Manifest]);
        pieces.extend(group(0..300));
        pieces.push(Incoming::EndOfGroup);
        for file in 0..40 {
            pieces.push(Incoming::File(vec![file]));
            pieces.extend(group(0..10));
            pieces.push(Incoming::EndOfGroup);
        }
        pieces.push(Incoming::End);
        pieces
    }

    fn compressor() -> Compressor {
        Compressor::new(&Requirements::unchecked(b"revlog-compression-zstd")).expect("memory")
    }

    #[test]
    fn pieces_keep_their_order_and_chunks_are_made_once_there_are_many() {
        let pieces = pieces();
        let mut source = Source { left: pieces.len(), pieces: pieces.clone().into_iter() };
        let (mut ahead, compressor) = (ReadAhead::new(true), compressor());
        let mut is_changelog = true;
        let (mut nothing, mut deltas, mut changesets, mut texts) = (0, 0, 0, 0);
        for expected in &pieces {
            match (ahead.next(&mut source, &compressor).expect("nothing fails"), expected) {
                (Piece::Other(piece), expected) => {
                    is_changelog &= *expected != Incoming::EndOfGroup;
                    assert_eq!(piece, *expected);
                }
                (Piece::Revision(Arrived { revision, made }), Incoming::Revision(expected)) => {
                    assert_eq!(revision, *expected);
                    match made {
                        Made::Nothing => nothing += 1,
                        Made::Delta(_) => deltas += 1,
                        Made::Text { .. } if is_changelog => changesets += 1,
                        Made::Text { .. } => texts += 1,
                    }
                }
                (Piece::Revision(arrived), expected) => panic!("{:?} for {expected:?}", *arrived),
            }
        }
        // One MiB came before the thread; half of the changesets after it have a base that wasn't there.
        assert_eq!((deltas, texts), (350, 350));
        assert!(changesets > 50 && nothing > 500 && changesets + nothing == 700, "{changesets} {nothing}");
    }

    #[test]
    fn error_comes_behind_all_pieces_before_it() {
        let (pieces, compressor) = (pieces(), compressor());
        for left in (0..pieces.len()).filter(|left| left % 61 < 3) {
            for may_spawn in [false, true] {
                let mut source = Source { left, pieces: pieces.clone().into_iter() };
                let mut ahead = ReadAhead::new(may_spawn);
                for piece in 0..left {
                    assert!(ahead.next(&mut source, &compressor).is_ok(), "piece {piece} of {left}");
                }
                let error = ahead.next(&mut source, &compressor).err().expect("no further piece");
                assert_eq!(error.to_string(), "cut");
            }
        }
    }
}

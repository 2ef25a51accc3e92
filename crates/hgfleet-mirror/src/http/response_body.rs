//! The body of an answer: bytes that are there, or a stream that a thread makes.

use super::bundle_cache::BundleReader;
use bytes::Bytes;
use hg_wire::commands::FileAnswer;
use http_body::{Body, Frame, SizeHint};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

/// Bytes of one piece of a stream.
const PIECE_BYTES: usize = 64 * 1024;
/// Bytes of one piece of a file.
const FILE_PIECE_BYTES: u64 = 256 * 1024;
/// Pieces that may wait for the client.
const PIECES_MAX: usize = 4;

/// An answer's body. A stream that breaks off ends with an error, so that the connection is cut and the client can't
/// take what it has for the whole.
pub struct ResponseBody(Kind);

enum Kind {
    Whole(Bytes),
    Stream(mpsc::Receiver<io::Result<Bytes>>),
    Bundle(BundleReader),
    File(mpsc::Receiver<io::Result<Bytes>>, u64),
}

impl ResponseBody {
    /// Returns a body of known length.
    pub fn whole(bytes: impl Into<Bytes>) -> ResponseBody {
        ResponseBody(Kind::Whole(bytes.into()))
    }

    /// Returns a body that is, or will be, in a file.
    pub(crate) fn bundle(reader: BundleReader) -> ResponseBody {
        ResponseBody(Kind::Bundle(reader))
    }

    /// Returns a body that is what a file holds now. It is read, not mapped: nobody promises that it is never cut.
    pub(crate) fn file(answer: FileAnswer) -> ResponseBody {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let bytes = answer.head.len() as u64 + answer.bytes;
        tokio::task::spawn_blocking(move || {
            let FileAnswer { head, file, bytes } = answer;
            let mut piece = Ok(head);
            let mut at = 0;
            loop {
                let is_last = piece.is_err() || at == bytes;
                if sender.blocking_send(piece.map(Bytes::from)).is_err() || is_last {
                    return;
                }
                let length = FILE_PIECE_BYTES.min(bytes - at);
                let mut next = vec![0; length as usize];
                piece = file.read_exact_at(&mut next, at).map(|()| next);
                at += length;
            }
        });
        ResponseBody(Kind::File(receiver, bytes))
    }

    /// Returns a body that `write` makes on a thread of its own, at the client's pace.
    pub fn stream(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> ResponseBody {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            let mut output = Pieces { sender: &sender, piece: Vec::with_capacity(PIECE_BYTES) };
            let result = write(&mut output).and_then(|()| output.flush());
            if let Err(error) = result {
                // The client may be gone already; then there is nobody to tell.
                let _ = sender.blocking_send(Err(error));
            }
        });
        ResponseBody(Kind::Stream(receiver))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.get_mut().0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Bundle(reader) => Poll::Ready(ready!(reader.poll(context)).map(|piece| piece.map(Frame::data))),
            Kind::Stream(receiver) => {
                Poll::Ready(ready!(receiver.poll_recv(context)).map(|piece| piece.map(Frame::data)))
            }
            Kind::File(receiver, left) => {
                let piece = ready!(receiver.poll_recv(context));
                if let Some(Ok(piece)) = &piece {
                    *left -= piece.len() as u64;
                }
                Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Bundle(reader) => reader.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Kind::File(_, left) => SizeHint::with_exact(*left),
            Kind::Stream(_) => SizeHint::default(),
        }
    }
}

/// Cuts what is written into pieces and waits for room.
struct Pieces<'a> {
    sender: &'a mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Pieces<'_> {
    fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        self.sender.blocking_send(Ok(bytes)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE_BYTES {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        self.send(piece.into())
    }
}

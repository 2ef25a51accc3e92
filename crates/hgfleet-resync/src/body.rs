//! The body of an answer: bytes that are there, or a stream that a thread makes.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

/// Bytes of one piece of a stream.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that may wait for the other side.
const PIECES_MAX: usize = 4;

/// An answer's body. A stream that breaks off ends with an error, so that the other side can't take it for whole.
pub(crate) enum Answer {
    Whole(Bytes),
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl Answer {
    /// A body that `write` makes on a thread of its own, at the other side's pace.
    pub(crate) fn stream(write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        tokio::task::spawn_blocking(move || {
            let mut output = io::BufWriter::with_capacity(PIECE_BYTES, Pieces(&sender));
            let result = write(&mut output).and_then(|()| output.flush());
            // What is left is of no use once the answer has failed.
            drop(output.into_parts());
            if let Err(error) = result {
                // The other side may be gone already; then there is nobody to tell.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Self::Stream(receiver)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Self::Stream(receiver) => {
                Poll::Ready(ready!(receiver.poll_recv(context)).map(|piece| piece.map(Frame::data)))
            }
        }
    }
}

/// Waits for room.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Ok(Bytes::copy_from_slice(bytes));
        self.0.blocking_send(piece).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

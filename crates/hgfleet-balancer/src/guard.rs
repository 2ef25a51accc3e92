//! A connection with its time limits and its watch over request lengths.
//!
//! One wrapper around the stream that hyper reads and writes, because only there all of it is seen:
//! how long a head takes, whether a body or a reader moves at all, and the bytes of each head.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::framing::{Framing, Place};

/// A body that brings fewer bytes than this in an idle time is taken for one that never ends.
const PROGRESS_BYTES_MIN: u64 = 16 * 1024;
/// What hyper is given in place of the rest of a refused head: no header may hold it, so that hyper
/// answers 400 and closes.
const POISON: u8 = 0;

/// How many requests of a connection are being answered; shared by service and stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<AtomicUsize>);

impl Busy {
    /// Counts one more until the token is dropped.
    pub(crate) fn begin(&self) -> BusyToken {
        self.0.fetch_add(1, Ordering::Relaxed);
        BusyToken(self.clone())
    }

    fn is_busy(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

/// One request being answered; kept in its reply's body.
#[derive(Debug)]
pub(crate) struct BusyToken(Busy);

impl Drop for BusyToken {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The stream, watched.
#[derive(Debug)]
pub(crate) struct Guarded<S> {
    stream: S,
    framing: Framing,
    refused: bool,
    busy: Busy,
    header: Duration,
    idle: Duration,
    read_limit: Pin<Box<Sleep>>,
    body_bytes: u64,
    write_limit: Pin<Box<Sleep>>,
    write_waits: bool,
}

impl<S> Guarded<S> {
    /// Watches `stream`: a head must be whole `header` after its first byte (the first one after
    /// the connection was made), and nothing may rest for `idle` but a request that is being answered.
    pub(crate) fn new(stream: S, busy: Busy, header: Duration, idle: Duration) -> Self {
        let now = Instant::now();
        Self {
            stream,
            framing: Framing::default(),
            refused: false,
            busy,
            header,
            idle,
            read_limit: Box::pin(sleep_until(now + header)),
            body_bytes: 0,
            write_limit: Box::pin(sleep_until(now + idle)),
            write_waits: false,
        }
    }

    /// Looks at what was read; cuts it off where a refusal became certain.
    fn watch(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let place = self.framing.place();
        let read = &buffer.filled()[before..];
        self.body_bytes += read.len() as u64;
        if let Err((at, why)) = self.framing.feed(read) {
            tracing::info!(reason = why.0, "refused a request of uncertain length");
            self.refused = true;
            buffer.set_filled(before + at);
            if buffer.remaining() > 0 {
                buffer.put_slice(&[POISON]);
            }
            return;
        }
        let limit = match (place, self.framing.place()) {
            (Place::Between, Place::Head) | (Place::Body, Place::Head) => self.header,
            (Place::Head, Place::Head) => return,
            (Place::Body, Place::Body) => return,
            (_, Place::Body) => {
                self.body_bytes = 0;
                self.idle
            }
            (_, Place::Between) => self.idle,
        };
        self.read_limit.as_mut().reset(Instant::now() + limit);
    }

    /// The read limit has passed: an error, or a new limit where there is a reason.
    fn outlived(&mut self) -> io::Result<()> {
        let goes_on = match self.framing.place() {
            Place::Between | Place::Head => self.busy.is_busy(),
            Place::Body => self.body_bytes >= PROGRESS_BYTES_MIN,
        };
        if !goes_on {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.body_bytes = 0;
        let limit = match self.framing.place() {
            Place::Head => self.header,
            Place::Between | Place::Body => self.idle,
        };
        self.read_limit.as_mut().reset(Instant::now() + limit);
        Ok(())
    }

    /// Bounds how long a write may wait for a reader.
    fn bound_write<T>(&mut self, context: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.write_waits = false;
            return poll;
        }
        if !self.write_waits {
            self.write_waits = true;
            self.write_limit.as_mut().reset(Instant::now() + self.idle);
        }
        ready!(self.write_limit.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.refused {
            // The poison did not fit, or hyper reads on: there is nothing more for it.
            if buffer.filled().is_empty() && buffer.remaining() > 0 {
                buffer.put_slice(&[POISON]);
            }
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                if buffer.filled().len() > before {
                    this.watch(buffer, before);
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => loop {
                ready!(this.read_limit.as_mut().poll(context));
                if let Err(error) = this.outlived() {
                    return Poll::Ready(Err(error));
                }
            },
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let poll = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.bound_write(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let poll = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.bound_write(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let poll = Pin::new(&mut this.stream).poll_flush(context);
        this.bound_write(context, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let poll = Pin::new(&mut this.stream).poll_shutdown(context);
        this.bound_write(context, poll)
    }
}

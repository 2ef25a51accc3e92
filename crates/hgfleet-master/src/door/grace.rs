//! A connection that has a time to log in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{oneshot, watch};
use tokio::time::Sleep;

use super::progress::Progress;

/// A stream that fails once the time is over and nobody has logged in, or it has to make room for others, wherever the
/// conversation stands then.
pub(super) struct LoginGrace<S> {
    stream: S,
    progress: watch::Receiver<Progress>,
    /// What may end it; `None` once somebody has logged in.
    ends: Option<Ends>,
}

struct Ends {
    time: Pin<Box<Sleep>>,
    ousted: oneshot::Receiver<()>,
}

impl<S> LoginGrace<S> {
    pub(super) fn new(
        stream: S,
        time: Duration,
        progress: watch::Receiver<Progress>,
        ousted: oneshot::Receiver<()>,
    ) -> LoginGrace<S> {
        let ends = Some(Ends { time: Box::pin(tokio::time::sleep(time)), ousted });
        LoginGrace { stream, progress, ends }
    }

    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(ends) = &mut self.ends else { return Ok(()) };
        if self.progress.borrow().logged_in {
            self.ends = None;
            return Ok(());
        }
        if ends.time.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the login took too long"));
        }
        // The other end is kept until the connection has logged in or is gone.
        if Pin::new(&mut ends.ousted).poll(cx).is_ready() {
            self.ends = None;
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it made room for other logins"));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LoginGrace<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LoginGrace<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

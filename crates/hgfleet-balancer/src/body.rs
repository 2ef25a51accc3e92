//! Bodies on their way: a request's, kept where that is possible so that it can be sent again, and a
//! reply's, which takes its connection along.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep};

use crate::guard::BusyToken;
use crate::mirror::Loan;

/// A request's body of at most this many bytes is kept: the arguments of any read are below it.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// What a client may still send of a body that nobody wants any more, so that it reads the answer
/// instead of a broken connection.
const DRAINED_BYTES_MAX: u64 = 1 << 30;
/// Pieces of a streamed body that wait for the mirror.
const PIECES_MAX: usize = 4;

/// A request's body, as far as it was taken from the client.
pub(crate) enum Taken {
    /// All of it.
    Whole(Bytes),
    /// Too long to be kept: it can be sent once.
    Part(Rest),
}

/// A body that is still being received.
pub(crate) struct Rest {
    begun: Bytes,
    left: Incoming,
}

/// Takes a request's body in, up to the bound.
///
/// # Errors
///
/// The client broke off, or its framing was wrong.
pub(crate) async fn take(mut body: Incoming) -> Result<Taken, hyper::Error> {
    if body.is_end_stream() {
        return Ok(Taken::Whole(Bytes::new()));
    }
    let mut kept = BytesMut::new();
    loop {
        let beyond = body.size_hint().lower() > (KEPT_BYTES_MAX - kept.len()) as u64;
        if beyond {
            return Ok(Taken::Part(Rest { begun: kept.freeze(), left: body }));
        }
        let Some(frame) = body.frame().await else {
            return Ok(Taken::Whole(kept.freeze()));
        };
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        kept.extend_from_slice(&data);
        if kept.len() > KEPT_BYTES_MAX {
            return Ok(Taken::Part(Rest { begun: kept.freeze(), left: body }));
        }
    }
}

impl Rest {
    /// Starts to pass the body on. A task of its own reads the client to the end, also when the
    /// mirror has answered and reads no more: most clients read nothing before they have sent all.
    pub(crate) fn send(self) -> (RequestBody, BrokenOff) {
        let length = self.left.size_hint().exact();
        let length = length.map(|left| left + self.begun.len() as u64);
        let (pieces, receiver) = mpsc::channel(PIECES_MAX);
        let broken_off = BrokenOff::default();
        let noted = broken_off.clone();
        let mut left = self.left;
        tokio::spawn(async move {
            let mut drained = 0;
            while let Some(frame) = left.frame().await {
                let piece = match frame.map(Frame::into_data) {
                    Ok(Ok(data)) => Ok(data),
                    Ok(Err(_trailers)) => continue,
                    Err(error) => Err(io::Error::other(error)),
                };
                let broken = piece.is_err();
                if broken {
                    noted.0.store(true, Ordering::Relaxed);
                }
                let bytes = piece.as_ref().map_or(0, |data| data.len() as u64);
                if pieces.send(piece).await.is_err() {
                    drained += bytes;
                }
                if broken || drained > DRAINED_BYTES_MAX {
                    return;
                }
            }
        });
        let begun = (!self.begun.is_empty()).then_some(self.begun);
        (RequestBody::Streamed { begun, pieces: receiver, left: length }, broken_off)
    }
}

/// Whether a client broke off in its body: no mirror is to blame for what follows.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrokenOff(Arc<AtomicBool>);

impl BrokenOff {
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's body, as a mirror gets it.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// Kept here; none once it was sent, or where there is none.
    Kept(Option<Bytes>),
    /// Passed on as it comes.
    Streamed {
        /// What came before it was clear that it is too long to keep.
        begun: Option<Bytes>,
        /// The rest.
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        /// How many bytes are still to come, where the client has said so.
        left: Option<u64>,
    },
}

impl RequestBody {
    /// A body that is all here.
    pub(crate) fn kept(bytes: Bytes) -> Self {
        Self::Kept((!bytes.is_empty()).then_some(bytes))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = match &mut *self {
            Self::Kept(bytes) => bytes.take().map(Ok),
            Self::Streamed { begun, pieces, left } => {
                let piece = match begun.take() {
                    Some(begun) => Some(Ok(begun)),
                    None => ready!(pieces.poll_recv(context)),
                };
                if let (Some(left), Some(Ok(piece))) = (left, &piece) {
                    *left = left.saturating_sub(piece.len() as u64);
                }
                piece
            }
        };
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Kept(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Kept(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Streamed { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

/// A reply's body, as the client gets it.
pub(crate) enum ReplyBody {
    /// Made here, or taken in whole.
    Whole {
        /// None once it was sent, or where there is none.
        bytes: Option<Bytes>,
        /// Keeps the connection from being taken for an idle one.
        _busy: BusyToken,
    },
    /// A mirror's, passed on as it comes.
    Relayed(Box<Relayed>),
}

/// A mirror's reply with all that must live as long as it does.
pub(crate) struct Relayed {
    body: Incoming,
    /// None once the reply has failed.
    loan: Option<Loan>,
    stall: Pin<Box<Sleep>>,
    stall_after: Duration,
    moved: bool,
    _busy: BusyToken,
}

impl ReplyBody {
    /// A body that is all here.
    pub(crate) fn whole(bytes: Bytes, busy: BusyToken) -> Self {
        Self::Whole { bytes: (!bytes.is_empty()).then_some(bytes), _busy: busy }
    }

    /// Passes on what the mirror sends, and breaks off when it sends nothing for `stall_after`.
    pub(crate) fn relayed(body: Incoming, loan: Loan, stall_after: Duration, busy: BusyToken) -> Self {
        Self::Relayed(Box::new(Relayed {
            body,
            loan: Some(loan),
            stall: Box::pin(sleep(stall_after)),
            stall_after,
            moved: false,
            _busy: busy,
        }))
    }
}

impl Relayed {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.moved = true;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some(loan) = self.loan.take() {
                    tracing::warn!(mirror = loan.name(), %error, "a reply broke off");
                }
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                if std::mem::take(&mut self.moved) {
                    self.stall.as_mut().reset(Instant::now() + self.stall_after);
                }
                ready!(self.stall.as_mut().poll(context));
                Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())))
            }
        }
    }
}

impl Drop for Relayed {
    /// The connection is good for another request only when this reply was read to its end.
    fn drop(&mut self) {
        if let Some(loan) = self.loan.take().filter(|_| self.body.is_end_stream()) {
            loan.give_back();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Whole { bytes, .. } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Relayed(relayed) => relayed.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole { bytes, .. } => bytes.is_none(),
            Self::Relayed(relayed) => relayed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole { bytes, .. } => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Relayed(relayed) => relayed.body.size_hint(),
        }
    }
}

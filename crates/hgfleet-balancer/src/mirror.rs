//! One mirror, seen from the balancer: where it is, how it is, and the connections to it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::body::RequestBody;

/// Connections that are kept for the next request, for each mirror.
const IDLE_MAX: usize = 64;
/// How long a connection may wait for the next request; a mirror closes one after 10 s.
const IDLE_TIME: Duration = Duration::from_secs(8);
/// How long a connection may take to be made. Both kinds of address are near.
const CONNECT_TIME: Duration = Duration::from_secs(2);
/// Replies with more headers than this are no mirror's.
const REPLY_HEADERS_MAX: usize = 100;

/// Where a mirror listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Address {
    /// On this machine.
    Socket(PathBuf),
    /// Elsewhere.
    Network(SocketAddr),
}

/// How a mirror was when it was last heard of; the order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Health {
    /// It answers, as a member.
    Serving,
    /// Nothing is known yet.
    Unknown,
    /// It answers, but its membership has run out.
    Lapsed,
    /// It does not answer.
    Silent,
}

/// One mirror.
#[derive(Debug)]
pub(crate) struct Mirror {
    name: String,
    address: Address,
    health: AtomicU8,
    outstanding: AtomicUsize,
    idle: Mutex<VecDeque<(Instant, SendRequest<RequestBody>)>>,
    silent: watch::Sender<bool>,
}

/// Why a mirror gave no reply.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was sent; the request comes back whole.
    NotSent(Box<Request<RequestBody>>, io::Error),
    /// The connection was lost, or the mirror fell silent, before the first byte of a reply.
    NoReply(io::Error),
}

impl Mirror {
    pub(crate) fn new(name: &str, address: Address) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            address,
            health: AtomicU8::new(Health::Unknown as u8),
            outstanding: AtomicUsize::new(0),
            idle: Mutex::default(),
            silent: watch::channel(false).0,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many requests it is answering for this balancer.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    pub(crate) fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Serving,
            1 => Health::Unknown,
            2 => Health::Lapsed,
            _ => Health::Silent,
        }
    }

    /// Takes note of how it is, and returns whether that is news; requests that wait for a silent mirror turn elsewhere.
    pub(crate) fn set_health(&self, health: Health) -> bool {
        let before = self.health.swap(health as u8, Ordering::Relaxed);
        if before != health as u8 {
            tracing::info!(mirror = self.name, ?health, "mirror's health has changed");
        }
        self.silent.send_if_modified(|silent| std::mem::replace(silent, health == Health::Silent) != *silent);
        before != health as u8
    }

    /// Sends a request, over a kept connection if there is one, and waits for the reply's head.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Loan), Failure> {
        let counted = Outstanding::begin(self);
        // A kept connection may have been closed by the mirror meanwhile; then the request comes back.
        while let Some(sender) = self.kept() {
            match self.send_over(sender, request).await {
                Ok((response, sender)) => return Ok((response, counted.loan(sender))),
                Err(Failure::NotSent(unsent, _)) => request = *unsent,
                Err(failure) => return Err(failure),
            }
        }
        let sender = match self.connect().await {
            Ok(sender) => sender,
            Err(error) => return Err(Failure::NotSent(Box::new(request), error)),
        };
        let (response, sender) = self.send_over(sender, request).await?;
        Ok((response, counted.loan(sender)))
    }

    async fn send_over(
        &self,
        mut sender: SendRequest<RequestBody>,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, SendRequest<RequestBody>), Failure> {
        let mut silence = self.silent.subscribe();
        let was_silent = *silence.borrow_and_update();
        let fell_silent = async {
            // Told silent already: this request is the last resort, and waits.
            if was_silent || silence.wait_for(|silent| *silent).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            sent = sender.try_send_request(request) => match sent {
                Ok(response) => Ok((response, sender)),
                Err(mut failed) => match failed.take_message() {
                    Some(request) => {
                        let error = io::Error::other(failed.into_error());
                        Err(Failure::NotSent(Box::new(request), error))
                    }
                    None => Err(Failure::NoReply(io::Error::other(failed.into_error()))),
                },
            },
            () = fell_silent => Err(Failure::NoReply(io::ErrorKind::TimedOut.into())),
        }
    }

    fn kept(&self) -> Option<SendRequest<RequestBody>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, sender)) = idle.pop_back() {
            if since.elapsed() < IDLE_TIME && sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, sender: SendRequest<RequestBody>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle.len() >= IDLE_MAX || idle.front().is_some_and(|(since, _)| since.elapsed() >= IDLE_TIME) {
            idle.pop_front();
        }
        idle.push_back((Instant::now(), sender));
    }

    async fn connect(&self) -> io::Result<SendRequest<RequestBody>> {
        match &self.address {
            Address::Socket(path) => speak(within(UnixStream::connect(path)).await?).await,
            Address::Network(address) => {
                let stream = within(TcpStream::connect(address)).await?;
                stream.set_nodelay(true)?;
                speak(stream).await
            }
        }
    }
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIME, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn speak<S>(stream: S) -> io::Result<SendRequest<RequestBody>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_headers(REPLY_HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a mirror has ended");
        }
    });
    Ok(sender)
}

/// One request that a mirror is answering, counted.
struct Outstanding(Arc<Mirror>);

impl Outstanding {
    fn begin(mirror: &Arc<Mirror>) -> Self {
        mirror.outstanding.fetch_add(1, Ordering::Relaxed);
        Self(mirror.clone())
    }

    fn loan(self, sender: SendRequest<RequestBody>) -> Loan {
        Loan { counted: self, sender }
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection while its reply is read. Dropped, it closes.
pub(crate) struct Loan {
    counted: Outstanding,
    sender: SendRequest<RequestBody>,
}

impl Loan {
    pub(crate) fn name(&self) -> &str {
        &self.counted.0.name
    }

    /// Keeps the connection for the next request, once it has ended this one.
    pub(crate) fn give_back(self) {
        let Self { counted, mut sender } = self;
        let mirror = counted.0.clone();
        drop(counted);
        if sender.is_ready() {
            return mirror.keep(sender);
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if sender.ready().await.is_ok() {
                    mirror.keep(sender);
                }
            });
        }
    }
}

//! The three listeners and their connections.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use client_address::Trusted;
use connection_places::{Place, Places};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use crate::closing::Serving;
use crate::forward::{self, Reply};
use crate::guard::{Busy, BusyToken, Guarded};
use crate::masters::Masters;
use crate::redirect;
use crate::site::Site;
use crate::ssh;

/// Connections at a time, for each listener; more wait in the system's queue.
const CONNECTIONS_MAX: u32 = 4096;
/// Connections that wait in the system's queue; where it is full, a client tries again only after a second.
const BACKLOG: i32 = 4096;
/// Header lines of a request. Mercurial sends a list of heads in as many as it takes.
const HEADERS_MAX: usize = 512;
/// All of a request's head, in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;
/// The pause after a failed accept: out of file descriptors, usually.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections for ever, one task each, and never more than the bound. Each is served with the address of its client, which a
/// server in front of this one may have to say first.
async fn accept<F>(
    listener: TcpListener,
    what: &'static str,
    trusted: Arc<Trusted>,
    serve: impl Fn(TcpStream, SocketAddr, Place) -> F + Clone + Send + 'static,
) -> Infallible
where
    F: Future<Output = ()> + Send + 'static,
{
    // Whoever bound the listener may have left it a queue for a hundred.
    if let Err(error) = rustix::net::listen(&listener, BACKLOG) {
        tracing::warn!(what, %error, "the queue of connections stays as short as it was");
    }
    let places = Places::new(CONNECTIONS_MAX);
    loop {
        let place = places.take().await;
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "TCP_NODELAY");
                }
                let (trusted, serve) = (trusted.clone(), serve.clone());
                tokio::spawn(async move {
                    let mut stream = stream;
                    match trusted.client(&mut stream, peer).await {
                        Ok(client) => serve(stream, client, place).await,
                        Err(error) => tracing::warn!(what, %peer, %error, "a connection was refused"),
                    }
                });
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(what, %error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Serves HTTPS.
pub(crate) async fn https(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    trusted: Arc<Trusted>,
    site: Arc<Site>,
    serving: Serving,
) -> Infallible {
    let acceptor = TlsAcceptor::from(config);
    accept(listener, "HTTPS", trusted, move |stream, peer, mut place| {
        let (acceptor, site, serving) = (acceptor.clone(), site.clone(), serving.clone());
        async move {
            let agreed = tokio::select! {
                agreed = timeout(site.times.header, acceptor.accept(stream)) => agreed,
                _ = place.wanted() => return,
            };
            let stream = match agreed {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "TLS was not agreed on");
                    return;
                }
                Err(_) => return,
            };
            let answer_site = site.clone();
            speak(stream, peer, &site, serving, place, move |request, busy| {
                let site = answer_site.clone();
                async move { forward::answer(&site, peer, request, busy).await }
            })
            .await;
        }
    })
    .await
}

/// Serves plain HTTP: redirects.
pub(crate) async fn http(
    listener: TcpListener,
    trusted: Arc<Trusted>,
    site: Arc<Site>,
    serving: Serving,
) -> Infallible {
    accept(listener, "HTTP", trusted, move |stream, peer, place| {
        let (site, serving) = (site.clone(), serving.clone());
        async move {
            let answer_site = site.clone();
            speak(stream, peer, &site, serving, place, move |request, busy| {
                std::future::ready(redirect::answer(&answer_site, &request, busy))
            })
            .await;
        }
    })
    .await
}

async fn speak<S, F>(
    stream: S,
    peer: SocketAddr,
    site: &Site,
    mut serving: Serving,
    mut place: Place,
    answer: impl Fn(Request<Incoming>, BusyToken) -> F,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Reply>,
{
    let busy = Busy::default();
    let guarded = Guarded::new(stream, busy.clone(), site.times.header, site.times.idle);
    let requests = place.requests();
    let service = service_fn(|request| {
        requests.begin();
        let answered = answer(request, busy.begin());
        async move { Ok::<_, Infallible>(answered.await) }
    });
    // Time limits are the guarded stream's: hyper's own would cut an idle connection as early as a
    // slow head. `pipeline_flush` stays off: it buffers whole bodies for slow readers.
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(guarded), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = serving.closing() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        any = place.wanted() => match any {
            // Ends now, or with the request that runs.
            true => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            false => return,
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection has ended");
    }
}

/// Passes SSH on to the master.
pub(crate) async fn ssh(
    listener: TcpListener,
    trusted: Arc<Trusted>,
    masters: Arc<Masters>,
    wait: Duration,
    serving: Serving,
) -> Infallible {
    accept(listener, "SSH", trusted, move |mut stream, peer, place| {
        let (masters, serving) = (masters.clone(), serving.clone());
        async move {
            // Held to the end: a push that runs is waited for when the balancer ends.
            let _held = (place, serving);
            if let Err(error) = rustix::net::sockopt::set_socket_keepalive(&stream, true) {
                tracing::debug!(%peer, %error, "SO_KEEPALIVE");
            }
            if let Err(error) = ssh::pass(&mut stream, peer, &masters, wait).await {
                tracing::warn!(%peer, %error, "an SSH connection has ended");
            }
        }
    })
    .await
}

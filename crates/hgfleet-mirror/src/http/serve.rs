//! Accepts connections and serves them.

use super::{
    CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_SECONDS_MAX, HEADERS_MAX, IDLE_SECONDS_MAX, Listener, Repositories,
    ResponseBody, answer, timed_io::TimedIo,
};
use connection_places::Places;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Answers requests.
pub trait Service: Send + Sync + 'static {
    /// Answers one request; `peer` is who is at the other end of its connection.
    fn call(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: Peer,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// Who is at the other end of a connection, without its port.
#[derive(Debug, Clone)]
pub struct Peer(pub Arc<str>);

/// The service that is made of one set of repositories for all requests.
pub struct FromRepositories<R>(pub Arc<R>);

impl<R: Repositories> Service for FromRepositories<R> {
    async fn call(self: Arc<Self>, request: Request<Incoming>, _peer: Peer) -> Response<ResponseBody> {
        answer(&self.0, request).await
    }
}

/// Serves a listener until `shutdown` completes; then no connection is accepted any more, and requests that run get
/// `drain` to end.
pub async fn serve<L: Listener, S: Service>(
    mut listener: L,
    service: Arc<S>,
    shutdown: impl Future<Output = ()> + Send,
    drain: Duration,
) {
    let places = Places::new(CONNECTIONS_MAX);
    let (stop, stopping) = watch::channel(());
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(HEAD_SECONDS_MAX))
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let place = places.take().await;
            (place, listener.accept().await)
        };
        let (mut place, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: it passes when others end, and must not turn into a busy loop.
                tracing::warn!(%error, "a connection can't be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = service.clone();
        let requests = place.requests();
        let from = Peer(address_of(&peer.to_string()).into());
        let handler = service_fn(move |request: Request<Incoming>| {
            requests.begin();
            let (service, from) = (service.clone(), from.clone());
            async move { Ok::<_, Infallible>(service.call(request, from).await) }
        });
        let io = TimedIo::new(TokioIo::new(stream), Duration::from_secs(IDLE_SECONDS_MAX));
        let connection = server.serve_connection(io, handler);
        let mut stopping = stopping.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = &mut connection => ended,
                any = place.wanted() => match any {
                    // Ends now, or with the request that runs.
                    true => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                    false => return,
                },
                // The sender is gone: the request that runs is the connection's last.
                _ = stopping.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "a connection broke off");
            }
        });
    }
    drop(listener);
    drop(stop);
    if tokio::time::timeout(drain, places.all_free()).await.is_err() {
        tracing::info!("requests that still run are cut");
    }
}

/// The address of `address:port`; whatever else it is stays.
fn address_of(peer: &str) -> String {
    peer.parse::<std::net::SocketAddr>()
        .map_or_else(|_| peer.to_owned(), |address| address.ip().to_canonical().to_string())
}

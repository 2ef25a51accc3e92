//! HTTPS, with one certificate: `--certificate FILE`.

use anyhow::Context;
use hgfleet_mirror::http::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time.
const HANDSHAKES_MAX: usize = 256;
const PAUSE: Duration = Duration::from_millis(100);

/// Reads a certificate, with the chain behind it, and its private key, all in one file in PEM, as stock takes it.
///
/// # Errors
/// The file can't be read, or has no such things.
pub fn acceptor(path: &Path) -> anyhow::Result<TlsAcceptor> {
    let of = || format!("can't use the certificate {}", path.display());
    let pem = std::fs::read(path).with_context(of)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().with_context(of)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).with_context(of)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .with_context(of)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Connections whose handshake has ended; a slow one holds up no other.
pub struct TlsListener(mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>);

impl TlsListener {
    /// Accepts connections of a listener, within the runtime that runs this.
    pub fn new(listener: TcpListener, acceptor: TlsAcceptor) -> TlsListener {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
            loop {
                let Ok(slot) = slots.clone().acquire_owned().await else { return };
                let (stream, peer) = match listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                if sender.is_closed() {
                    return;
                }
                let (sender, acceptor) = (sender.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let _slot = slot;
                    let _ = stream.set_nodelay(true);
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                        // Nobody takes it: the server ends.
                        let _ = sender.send((stream, peer)).await;
                    }
                });
            }
        });
        TlsListener(receiver)
    }
}

impl Listener for TlsListener {
    type Stream = TlsStream<TcpStream>;

    async fn accept(&mut self) -> io::Result<(Self::Stream, impl Display + Send + 'static)> {
        self.0.recv().await.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

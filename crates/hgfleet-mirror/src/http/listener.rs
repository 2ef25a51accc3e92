//! What connections come from.

use std::fmt::Display;
use std::future::Future;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

/// A listener that is bound already.
pub trait Listener: Send + 'static {
    /// One connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Accepts one connection; returns with it who is at its other end, for logs.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, impl Display + Send + 'static)>> + Send;
}

impl Listener for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, impl Display + Send + 'static)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Else a short answer on a connection that is kept open waits for the client's delayed acknowledgement.
        stream.set_nodelay(true)?;
        Ok((stream, peer))
    }
}

impl Listener for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&mut self) -> io::Result<(Self::Stream, impl Display + Send + 'static)> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok((stream, "unix"))
    }
}

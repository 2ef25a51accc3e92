//! Where a client is.
//!
//! The balancer hands connections over a socket that only it can open, and may say in front of the client's first byte, by one line
//! of the PROXY protocol (version 1), where the client is. On a TCP port such a line is what it is for SSH: garbage.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Longest PROXY line, bytes (its specification, 2.1).
const LINE_BYTES_MAX: usize = 107;
const PREFIX: &[u8] = b"PROXY ";

/// A connection's other end.
#[derive(Debug, Clone)]
pub(crate) struct Peer(Arc<OnceLock<SocketAddr>>);

impl Peer {
    pub(crate) fn known(address: SocketAddr) -> Peer {
        Peer(Arc::new(OnceLock::from(address)))
    }

    pub(crate) fn unknown() -> Peer {
        Peer(Arc::new(OnceLock::new()))
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.get().copied()
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.address().map(|address| address.ip())
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.get() {
            Some(address) => address.fmt(f),
            None => f.write_str("balancer"),
        }
    }
}

/// A stream from the balancer: takes the PROXY line, if there is one, from its head.
pub(crate) struct FromBalancer<S> {
    stream: S,
    peer: Peer,
    /// What was read and may belong to the line; `None` once that is settled and handed on.
    head: Option<Vec<u8>>,
    rest: Vec<u8>,
}

impl<S> FromBalancer<S> {
    pub(crate) fn new(stream: S, peer: Peer) -> FromBalancer<S> {
        FromBalancer { stream, peer, head: Some(Vec::new()), rest: Vec::new() }
    }
}

/// What the bytes so far are.
enum Head {
    More,
    Raw,
    Line(SocketAddr, usize),
    Bad,
}

fn judge(head: &[u8]) -> Head {
    let common = head.len().min(PREFIX.len());
    if head[..common] != PREFIX[..common] {
        return Head::Raw;
    }
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return if head.len() > LINE_BYTES_MAX { Head::Bad } else { Head::More };
    };
    let line = std::str::from_utf8(&head[..end]).ok().and_then(|line| line.strip_suffix('\r'));
    let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    match words[..] {
        ["PROXY", family @ ("TCP4" | "TCP6"), source, _, port, _] => {
            let parsed = (source.parse::<IpAddr>(), port.parse::<u16>());
            match parsed {
                (Ok(ip), Ok(port)) if ip.is_ipv4() == (family == "TCP4") => {
                    Head::Line(SocketAddr::new(ip, port), end + 1)
                }
                _ => Head::Bad,
            }
        }
        _ => Head::Bad,
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FromBalancer<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while let Some(head) = &mut this.head {
            let mut bytes = [0; 256];
            let mut part = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
            let ended = part.filled().is_empty();
            head.extend_from_slice(part.filled());
            let skip = match judge(head) {
                Head::More if !ended => continue,
                Head::More | Head::Raw => 0,
                Head::Line(address, bytes) => {
                    let _ = this.peer.0.set(address);
                    bytes
                }
                Head::Bad => return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bad PROXY line"))),
            };
            this.rest = head.split_off(skip);
            this.head = None;
        }
        if !this.rest.is_empty() {
            let take = this.rest.len().min(buf.remaining());
            buf.put_slice(&this.rest[..take]);
            this.rest.drain(..take);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FromBalancer<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    async fn read(input: &[u8]) -> io::Result<(Vec<u8>, String)> {
        let peer = Peer::unknown();
        let mut stream = FromBalancer::new(input, peer.clone());
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        Ok((bytes, peer.to_string()))
    }

    #[tokio::test]
    async fn the_line_is_taken_and_the_rest_left() {
        let (bytes, peer) = read(b"PROXY TCP4 192.0.2.1 192.0.2.2 4000 22\r\nSSH-2.0-x\r\n").await.unwrap();
        assert_eq!((bytes.as_slice(), peer.as_str()), (&b"SSH-2.0-x\r\n"[..], "192.0.2.1:4000"));
        let (bytes, peer) = read(b"SSH-2.0-x\r\nrest").await.unwrap();
        assert_eq!((bytes.as_slice(), peer.as_str()), (&b"SSH-2.0-x\r\nrest"[..], "balancer"));
        assert_eq!(read(b"PROX").await.unwrap().0, b"PROX");
    }

    #[tokio::test]
    async fn bad_lines_end_the_connection() {
        let long = [PREFIX, &[b'x'; 200]].concat();
        for input in [
            &b"PROXY UNKNOWN\r\n"[..],
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 2\r\n",
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            &long,
        ] {
            assert!(read(input).await.is_err());
        }
    }
}

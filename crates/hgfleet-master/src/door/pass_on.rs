//! Connections that go on to OpenSSH's `sshd`, in place of this server's own door.
//!
//! `sshd` then sees this server at the other end. Where the client really is, its session learns from here, by the address that
//! `sshd` has seen.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;

use super::Peer;

/// The connections that were passed on, by this server's end of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct PassedOn(Arc<Mutex<HashMap<SocketAddr, Peer>>>);

/// Forgets a connection when dropped.
struct Entry {
    all: PassedOn,
    seen: SocketAddr,
}

impl PassedOn {
    /// Who is behind the address that `sshd` has seen. `None`: it was not passed on by this server.
    pub(crate) fn behind(&self, seen: SocketAddr) -> Option<Peer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&seen).cloned()
    }

    /// Passes one connection on, to its end. Failures are logged, and cost this connection alone.
    pub(crate) async fn pass<S>(self, stream: S, peer: Peer, to: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Err(error) = self.try_pass(stream, peer.clone(), to).await {
            tracing::warn!(%peer, backend = %to, %error, "a connection could not be passed on to sshd");
        }
    }

    async fn try_pass<S>(self, mut stream: S, peer: Peer, to: SocketAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut sshd = TcpStream::connect(to).await?;
        sshd.set_nodelay(true)?;
        let seen = sshd.local_addr()?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(seen, peer);
        let _entry = Entry { all: self, seen };
        copy_bidirectional(&mut stream, &mut sshd).await.map(drop)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.seen);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::FromBalancer;
    use super::*;

    #[tokio::test]
    async fn sshd_gets_the_bytes_and_its_session_the_clients_address() {
        let sshd = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, passed_on) = (sshd.local_addr().unwrap(), PassedOn::default());
        let (mut balancer, ours) = tokio::io::duplex(1 << 10);
        let peer = Peer::unknown();
        let passing = tokio::spawn(passed_on.clone().pass(FromBalancer::new(ours, peer.clone()), peer, to));
        balancer.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 22\r\nSSH-2.0-x\r\n").await.unwrap();
        let (mut accepted, seen) = sshd.accept().await.unwrap();
        let mut line = [0; 11];
        accepted.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"SSH-2.0-x\r\n", "nothing of the balancer's own");
        assert_eq!(passed_on.behind(seen).unwrap().to_string(), "192.0.2.7:4711");
        assert!(passed_on.behind(to).is_none());
        drop((accepted, balancer));
        passing.await.unwrap();
        assert!(passed_on.behind(seen).is_none(), "the port may be somebody else's next");
    }
}

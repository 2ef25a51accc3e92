//! Connections that go on to OpenSSH's `sshd`, in place of this server's own door.
//!
//! `sshd` then sees this server at the other end. Where the client really is, its session learns from here, by the address that
//! `sshd` has seen.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::TcpStream;

use super::admission::{Admitted, Waiting};

/// The connections that were passed on, by this server's end of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct PassedOn(Arc<Mutex<HashMap<SocketAddr, Client>>>);

#[derive(Debug)]
struct Client {
    address: SocketAddr,
    /// Its place among those that have not logged in yet.
    waiting: Option<Waiting>,
}

/// Forgets a connection when dropped.
struct Entry {
    all: PassedOn,
    seen: SocketAddr,
}

impl PassedOn {
    /// Who is behind the address that `sshd` has seen. `None`: it was not passed on by this server.
    pub(crate) fn behind(&self, seen: SocketAddr) -> Option<SocketAddr> {
        self.clients().get(&seen).map(|client| client.address)
    }

    /// Who is behind the address that `sshd` has seen has logged in, and waits no longer.
    pub(crate) fn logged_in(&self, seen: SocketAddr) {
        if let Some(client) = self.clients().get_mut(&seen) {
            client.waiting = None;
        }
    }

    /// Passes one connection on, to its end. Failures are logged, and cost this connection alone.
    pub(super) async fn pass<S>(self, stream: S, peer: SocketAddr, admitted: Admitted, to: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if let Err(error) = self.try_pass(stream, peer, admitted, to).await {
            tracing::warn!(%peer, backend = %to, %error, "a connection could not be passed on to sshd");
        }
    }

    async fn try_pass<S>(self, mut stream: S, peer: SocketAddr, admitted: Admitted, to: SocketAddr) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Admitted { place: _place, waiting, ousted } = admitted;
        let mut sshd = TcpStream::connect(to).await?;
        sshd.set_nodelay(true)?;
        let seen = sshd.local_addr()?;
        self.clients().insert(seen, Client { address: peer, waiting: Some(waiting) });
        let _entry = Entry { all: self, seen };
        let passing = copy_bidirectional(&mut stream, &mut sshd);
        tokio::select! {
            passed = passing => passed.map(drop),
            Ok(()) = ousted => {
                tracing::info!(%peer, "a connection to sshd has made room for other logins");
                Ok(())
            }
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<SocketAddr, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // What it held is let go without the lock.
        let _client = self.all.clients().remove(&self.seen);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::super::SshLimits;
    use super::super::admission::Admission;
    use super::*;

    #[tokio::test]
    async fn sshd_gets_the_bytes_and_its_session_the_clients_address() {
        let sshd = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, passed_on) = (sshd.local_addr().unwrap(), PassedOn::default());
        let admission = Admission::new(&SshLimits { unauthenticated_per_address_max: 1, ..SshLimits::default() });
        let client = SocketAddr::new(IpAddr::from([192, 0, 2, 7]), 4711);
        let admit = || admission.admit(client, Instant::now());
        let (mut balancer, ours) = tokio::io::duplex(1 << 10);
        let passing = tokio::spawn(passed_on.clone().pass(ours, client, admit().unwrap(), to));
        balancer.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        let (mut accepted, seen) = sshd.accept().await.unwrap();
        let mut line = [0; 11];
        accepted.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"SSH-2.0-x\r\n");
        assert_eq!(passed_on.behind(seen), Some(client));
        assert_eq!(passed_on.behind(to), None);
        assert!(admit().is_err(), "it has not logged in yet");
        passed_on.logged_in(seen);
        drop(admit().unwrap());
        drop((accepted, balancer));
        passing.await.unwrap();
        assert_eq!(passed_on.behind(seen), None, "the port may be somebody else's next");
    }

    #[tokio::test]
    async fn who_waits_for_long_makes_room_and_who_has_logged_in_does_not() {
        let sshd = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (to, passed_on) = (sshd.local_addr().unwrap(), PassedOn::default());
        let admission = Admission::new(&SshLimits { unauthenticated_max: 1, ..SshLimits::default() });
        let client = SocketAddr::new(IpAddr::from([192, 0, 2, 7]), 4711);
        let begun = Instant::now();
        let mut kept = Vec::new();
        for (logs_in, seconds) in [(true, 0), (false, 0), (true, 60)] {
            let admitted = admission.admit(client, begun + std::time::Duration::from_secs(seconds)).unwrap();
            let (balancer, ours) = tokio::io::duplex(1 << 10);
            let passing = tokio::spawn(passed_on.clone().pass(ours, client, admitted, to));
            let (accepted, seen) = sshd.accept().await.unwrap();
            while passed_on.behind(seen).is_none() {
                tokio::task::yield_now().await;
            }
            if logs_in {
                passed_on.logged_in(seen);
            }
            kept.push((passing, balancer, accepted));
        }
        let (passing, ..) = kept.remove(1);
        passing.await.unwrap();
        assert!(kept.iter().all(|(passing, ..)| !passing.is_finished()));
    }
}

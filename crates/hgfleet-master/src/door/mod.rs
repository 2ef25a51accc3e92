//! The SSH door: a server that knows public keys and one command.
//!
//! It takes any stream (a TCP port of its own, `run/ssh.sock` from the balancer), authenticates by public key alone against the
//! directory, and starts one `hgfleet session` for each command. It parses no command line and reads no repository: that is the
//! session's, in a process of its own.
//!
//! *Limits.* Connections in all, connections without a login for one address, time to log in, tries, keys offered, channels; each is
//! an option. No pty, no X11, no agent, no forwarding, no subsystem, no environment but
//! the one variable by which a landing account names who asked.

mod address;
mod connection;
mod grace;
mod inbound;
mod keys;
mod pass_on;
mod process;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use crate::daemon::Peers;
use crate::login::Logins;
use crate::options::{Landing, MasterError, SshLimits};
use crate::session::Limits;
pub(crate) use address::{FromBalancer, Peer};
use connection::Connection;
use grace::LoginGrace;
pub(crate) use pass_on::PassedOn;
pub(crate) use process::SessionProgram;

/// Idle means: not even a keepalive was answered, or the client took nothing of what is there for it.
const IDLE: Duration = Duration::from_secs(600);

/// What all connections share.
pub(crate) struct Door {
    config: Arc<Config>,
    limits: SshLimits,
    landing: Landing,
    logins: Arc<Logins>,
    program: SessionProgram,
    connections: Arc<Semaphore>,
    waiting: Mutex<HashMap<IpAddr, usize>>,
}

impl Door {
    /// Makes a door with this host key.
    pub(crate) fn new(
        host_key: &Path,
        limits: SshLimits,
        landing: Landing,
        logins: Arc<Logins>,
        program: SessionProgram,
    ) -> Result<Arc<Door>, MasterError> {
        let key = read_host_key(host_key)?;
        Ok(Arc::new(Door {
            config: Arc::new(config(key, &limits)),
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            limits,
            landing,
            logins,
            program,
            waiting: Mutex::new(HashMap::new()),
        }))
    }

    /// Serves one connection to its end. Failures are logged, and cost this connection alone.
    pub(crate) async fn serve<S>(self: Arc<Door>, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(_permit) = self.connections.clone().try_acquire_owned() else {
            tracing::warn!(%peer, reason = "too-many-connections", "ssh connection refused");
            return;
        };
        let Some(waiting) = Waiting::enter(&self, &peer) else {
            tracing::warn!(%peer, reason = "too-many-logins-at-once", "ssh connection refused");
            return;
        };
        let (connection, mut logged_in) = Connection::new(self.clone(), peer.clone());
        let stream = LoginGrace::new(stream, self.limits.login_grace, logged_in.clone());
        let mut session = match russh::server::run_stream(self.config.clone(), stream, connection).await {
            Ok(session) => session,
            Err(error) => {
                tracing::info!(%peer, %error, "ssh connection ended before a login");
                return;
            }
        };
        let ended = tokio::select! {
            ended = &mut session => Some(ended),
            _ = logged_in.wait_for(|yes| *yes) => None,
        };
        drop(waiting);
        let ended = match ended {
            Some(ended) => ended,
            None => session.await,
        };
        match ended {
            Ok(()) => tracing::debug!(%peer, "ssh connection ended"),
            Err(error) => tracing::info!(%peer, %error, "ssh connection ended"),
        }
    }
}

/// One connection that has not logged in yet, counted for its address.
struct Waiting<'d> {
    door: &'d Door,
    address: Option<IpAddr>,
}

impl<'d> Waiting<'d> {
    fn enter(door: &'d Door, peer: &Peer) -> Option<Waiting<'d>> {
        let address = peer.ip();
        if let Some(address) = address {
            let mut counts = door.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(address).or_insert(0);
            if *count >= door.limits.unauthenticated_per_address_max {
                return None;
            }
            *count += 1;
        }
        Some(Waiting { door, address })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.door.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

fn read_host_key(path: &Path) -> Result<PrivateKey, MasterError> {
    let refuse = |what: String| MasterError::HostKey { path: path.to_owned(), what };
    let text = std::fs::read(path).map_err(|error| MasterError::Io { verb: "read", path: path.to_owned(), error })?;
    let key = PrivateKey::from_openssh(&text).map_err(|error| refuse(error.to_string()))?;
    if key.is_encrypted() {
        return Err(refuse("it has a passphrase; a server's key must have none".into()));
    }
    // No RSA: its private operation is what the library's known timing weakness is about.
    if key.algorithm() != Algorithm::Ed25519 {
        return Err(refuse(format!("it is a {} key; make one with `ssh-keygen -t ed25519`", key.algorithm())));
    }
    Ok(key)
}

fn config(host_key: PrivateKey, limits: &SshLimits) -> Config {
    let rsa = |hash| Algorithm::Rsa { hash: Some(hash) };
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-hgfleet")),
        methods: MethodSet::from(&[MethodKind::PublicKey][..]),
        // The same for each failure, so that nobody learns from the time which part was wrong; short, because clients offer
        // one key after another.
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key],
        preferred: Preferred {
            kex: Cow::Borrowed(&[
                kex::MLKEM768X25519_SHA256,
                kex::CURVE25519,
                kex::CURVE25519_PRE_RFC_8731,
                kex::EXTENSION_SUPPORT_AS_SERVER,
                kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
            ]),
            // Also what is announced as accepted for users' signatures: no SHA-1, no sk-.
            key: Cow::Owned(
                [Algorithm::Ed25519]
                    .into_iter()
                    .chain([EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521].map(ecdsa))
                    .chain([rsa(HashAlg::Sha512), rsa(HashAlg::Sha256)])
                    .collect(),
            ),
            cipher: Cow::Borrowed(&[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR]),
            mac: Cow::Borrowed(&[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM]),
            // What is sent is compressed already; and no bomb can be sent where nothing is unpacked.
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        max_auth_attempts: limits.auth_attempts_max,
        inactivity_timeout: Some(IDLE),
        keepalive_interval: Some(limits.keepalive),
        keepalive_max: limits.keepalive_max,
        nodelay: true,
        ..Config::default()
    }
}

/// What is needed to start a session, besides what the connection knows.
pub(crate) fn session_program(program: PathBuf, run: PathBuf, limits: Limits, peers: Peers) -> SessionProgram {
    SessionProgram::new(program, run, limits, peers)
}

//! The SSH door: a server that knows public keys and one command.
//!
//! It takes any stream (a TCP port of its own, `run/ssh.sock` from the balancer), authenticates by public key alone against the
//! directory, and starts one `hgfleet session` for each command. It parses no command line and reads no repository: that is the
//! session's, in a process of its own.
//!
//! *Limits.* [`SshLimits`] has them; they are counted for each server. What comes above one is told why: a connection by the protocol's
//! first message, a session on its standard error. A source that fails to log in too often is refused for a while. No pty, no X11,
//! no agent, no forwarding, no subsystem, no environment but the one variable by which a landing account names who asked.
//!
//! *Addresses.* The balancer hands connections over a socket that only it can open, and says in front of the client's first byte, by a
//! header of the PROXY protocol, where the client is. On a TCP port such a header is what it is for SSH: garbage.

mod admission;
mod bans;
mod connection;
mod counts;
mod grace;
mod inbound;
mod keys;
mod limits;
mod newcomers;
mod pass_on;
mod process;
mod progress;
mod refusal;
mod source;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use client_address::Header;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::{Config, RunningSession};
use russh::{Disconnect, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::daemon::Peers;
use crate::login::Logins;
use crate::options::{Landing, MasterError};
use crate::session::Limits;
pub(crate) use admission::SessionPlace;
use admission::{Admission, Admitted};
use connection::{Connection, ConnectionError};
use grace::LoginGrace;
pub use limits::{BanLimits, SshLimits};
pub(crate) use pass_on::PassedOn;
pub(crate) use process::SessionProgram;
use progress::Progress;
use refusal::Refusal;

/// The server's version, as clients see it.
const SERVER_ID: &str = "SSH-2.0-hgfleet";
/// How long the balancer may take to say whose connection it hands over.
const ADDRESS_TIME: Duration = Duration::from_secs(5);
/// Connections at a time that were told why they are not taken, and may finish what they say.
const REFUSALS_MAX: usize = 256;

/// What all connections share.
pub(crate) struct Door {
    config: Arc<Config>,
    limits: SshLimits,
    landing: Landing,
    logins: Arc<Logins>,
    program: SessionProgram,
    admission: Admission,
    refusals: Semaphore,
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
            admission: Admission::new(&limits),
            refusals: Semaphore::new(REFUSALS_MAX),
            limits,
            landing,
            logins,
            program,
        }))
    }

    /// Counts a session that an `sshd` has started among those of its account and address, or says why it may not begin.
    pub(crate) fn begin_session(&self, peer: SocketAddr, account: &str) -> Result<SessionPlace, String> {
        self.admission.begin_session(peer, account)
    }

    /// Serves one connection that the balancer hands over, to its end. It says first whose it is.
    pub(crate) async fn serve_handed_over<S>(self: Arc<Door>, mut stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(peer) = handed_over(&mut stream).await {
            self.serve(stream, peer).await;
        }
    }

    /// Passes one connection that the balancer hands over on to an `sshd`, to its end. It says first whose it is.
    pub(crate) async fn pass_on_handed_over<S>(self: Arc<Door>, mut stream: S, passed_on: PassedOn, sshd: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(peer) = handed_over(&mut stream).await else { return };
        match self.admission.admit(peer, Instant::now()) {
            Ok(admitted) => passed_on.pass(stream, peer, admitted, sshd).await,
            Err(refusal) => self.refuse(stream, peer, refusal).await,
        }
    }

    /// Serves one connection to its end. Failures are logged, and cost this connection alone.
    pub(crate) async fn serve<S>(self: Arc<Door>, stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Admitted { place: _place, waiting, ousted } = match self.admission.admit(peer, Instant::now()) {
            Ok(admitted) => admitted,
            Err(refusal) => return self.refuse(stream, peer, refusal).await,
        };
        let (connection, mut progress) = Connection::new(self.clone(), peer);
        let stream = LoginGrace::new(stream, self.limits.login_grace, progress.clone(), ousted);
        let mut session = match russh::server::run_stream(self.config.clone(), stream, connection).await {
            Ok(session) => session,
            Err(error) => return self.ended_before_a_login(peer, &progress, &Err(error)),
        };
        let ended = tokio::select! {
            ended = &mut session => Some(ended),
            _ = progress.wait_for(|progress| progress.logged_in) => None,
        };
        drop(waiting);
        let ended = match ended {
            Some(ended) => ended,
            None => self.until_its_end(session, &mut progress).await,
        };
        if !progress.borrow().logged_in {
            return self.ended_before_a_login(peer, &progress, &ended);
        }
        match ended {
            Ok(()) => tracing::debug!(%peer, "ssh connection ended"),
            Err(error) => tracing::info!(%peer, %error, "ssh connection ended"),
        }
    }

    /// Waits for the end of a connection that has logged in, and ends it where it has had no session for too long.
    async fn until_its_end(
        &self,
        mut session: RunningSession<Connection>,
        progress: &mut watch::Receiver<Progress>,
    ) -> Result<(), ConnectionError> {
        tokio::select! {
            ended = &mut session => return ended,
            () = idle(progress, self.limits.idle) => {}
        }
        let text = "refused: no session for too long, on this connection. Connect again".to_owned();
        // Where it can't be told it has ended already.
        let _ = session.handle().disconnect(Disconnect::ByApplication, text, String::new()).await;
        session.await
    }

    async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, peer: SocketAddr, refusal: Refusal) {
        match refusal {
            // Its ban was told the log; each of its tries would drown it.
            Refusal::Banned(..) => tracing::debug!(%peer, reason = refusal.code(), "ssh connection refused"),
            _ => tracing::warn!(%peer, reason = refusal.code(), "ssh connection refused"),
        }
        let permit = self.refusals.try_acquire();
        refusal::tell(stream, &refusal, permit.is_ok()).await;
    }

    /// Counts what was a failed login. A client that has only looked (a monitor, `ssh-keyscan`) has tried none.
    fn ended_before_a_login(
        &self,
        peer: SocketAddr,
        progress: &watch::Receiver<Progress>,
        ended: &Result<(), ConnectionError>,
    ) {
        match ended {
            Ok(()) => tracing::debug!(%peer, "ssh connection ended before a login"),
            Err(error) => tracing::info!(%peer, %error, "ssh connection ended before a login"),
        }
        let progress = *progress.borrow();
        let at_fault = progress.tried || ended.as_ref().is_err_and(ConnectionError::is_the_clients);
        if at_fault && !progress.unanswered {
            self.admission.failed(peer.ip(), Instant::now());
        }
    }
}

/// Whose connection the balancer hands over, by the header that is taken from its head.
async fn handed_over<S: AsyncRead + Unpin>(stream: &mut S) -> Option<SocketAddr> {
    match timeout(ADDRESS_TIME, client_address::read(stream)).await {
        Ok(Ok(Header::Client(peer))) => return Some(peer),
        Ok(Ok(Header::Local)) => tracing::debug!("the balancer hands over a connection that is nobody's"),
        Ok(Err(error)) => tracing::warn!(%error, "the balancer hands over a connection and does not say whose"),
        Err(_) => tracing::warn!("the balancer hands over a connection and does not say whose in time"),
    }
    None
}

/// Ends once no session has run for this long. Never where the connection ends first: who waits for this waits for that too.
async fn idle(progress: &mut watch::Receiver<Progress>, time: Duration) {
    while progress.wait_for(|progress| progress.sessions == 0).await.is_ok() {
        if timeout(time, progress.wait_for(|progress| progress.sessions > 0)).await.is_err() {
            return;
        }
    }
    std::future::pending().await
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
        server_id: SshId::Standard(Cow::Borrowed(SERVER_ID)),
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
            // No CBC, and no ChaCha20: with these a client that knows no strict key exchange can lose messages to an attacker
            // (CVE-2023-48795). Where AES is in the processor it is faster, too.
            cipher: Cow::Borrowed(&[cipher::AES_256_GCM, cipher::AES_256_CTR]),
            mac: Cow::Borrowed(&[mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM]),
            // What is sent is compressed already; and no bomb can be sent where nothing is unpacked.
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        // One more: clients begin by asking without a key which methods there are.
        max_auth_attempts: limits.auth_attempts_max.saturating_add(1),
        inactivity_timeout: Some(limits.idle),
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

//! Carrying connections: from a socket here to another machine's tunnel, and from there to the socket that is meant.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::Ends;
use crate::{Machine, TunnelError, TunnelOptions};

/// Connections carried at a time in each direction; further ones wait.
const CONNECTIONS_MAX: usize = 4096;
/// How long another machine may take to be reached, to shake hands and to say what it wants.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// Longest path of a socket, in bytes.
const PATH_BYTES_MAX: usize = 255;
/// Bytes that are on their way in each direction of a connection.
const BUFFER_BYTES: usize = 64 << 10;
/// The pause after a connection could not be accepted: out of descriptors, mostly.
const PAUSE: Duration = Duration::from_millis(100);

/// Carries connections until `shutdown` ends, which ends them all.
///
/// # Errors
/// What keeps it from starting: certificates, a port, a socket.
pub async fn run(options: TunnelOptions, shutdown: impl Future<Output = ()>) -> Result<(), TunnelError> {
    let ends = Ends::of(&options.identity)?;
    let unknown = || TunnelError::Unknown(options.machine.clone());
    let here = options.machines.iter().find(|machine| machine.name == options.machine).ok_or_else(unknown)?;
    let listener = TcpListener::bind(&here.address).await;
    let listener = listener.map_err(|source| fault("listen on", here.address.clone(), source))?;
    let mut tasks = JoinSet::new();
    let ours: HashMap<String, PathBuf> = here
        .servers
        .iter()
        .flat_map(|server| server.sockets())
        .map(|path| (path.clone(), options.run.join(path)))
        .collect();
    let outgoing = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    make_folder(&options.run)?;
    let mut bound = HashSet::new();
    for machine in options.machines.iter().filter(|machine| machine.name != here.name) {
        for path in machine.servers.iter().flat_map(|server| server.sockets()) {
            let place = options.run.join(&path);
            if let Some(folder) = place.parent() {
                make_folder(folder)?;
            }
            let socket = bind(&place).map_err(|source| fault("bind", place.display().to_string(), source))?;
            bound.insert(place);
            let to = Destination { machine: machine.clone(), path, client: TlsConnector::from(ends.client.clone()) };
            tasks.spawn(carry_out(socket, Arc::new(to), outgoing.clone()));
        }
    }
    tracing::info!(machine = here.name, address = here.address, sockets = bound.len(), "tunnel open");
    tasks.spawn(carry_in(listener, TlsAcceptor::from(ends.server.clone()), Arc::new(ours)));
    shutdown.await;
    tasks.shutdown().await;
    for place in bound {
        // Whoever looks for the server is to see at once that nobody carries there.
        let _ = fs::remove_file(place);
    }
    Ok(())
}

/// Where the connections of one socket go.
struct Destination {
    machine: Machine,
    /// The socket's path below `run/`.
    path: String,
    client: TlsConnector,
}

async fn carry_out(socket: UnixListener, to: Arc<Destination>, permits: Arc<Semaphore>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, socket = to.path, "a connection can't be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        let to = to.clone();
        connections.spawn(async move {
            if let Err(error) = to.carry(stream, permit).await {
                tracing::debug!(%error, machine = to.machine.name, socket = to.path, "a connection was not carried");
            }
        });
    }
}

impl Destination {
    async fn carry(&self, mut near: UnixStream, _permit: OwnedSemaphorePermit) -> io::Result<()> {
        let name = ServerName::try_from(self.machine.name.clone()).map_err(io::Error::other)?;
        let greet = async {
            let stream = TcpStream::connect(&self.machine.address).await?;
            stay_alive(&stream)?;
            let mut far = self.client.connect(name, stream).await?;
            far.write_all(format!("{}\n", self.path).as_bytes()).await?;
            Ok::<_, io::Error>(far)
        };
        let mut far = within(greet).await?;
        copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES).await.map(drop)
    }
}

async fn carry_in(listener: TcpListener, tls: TlsAcceptor, ours: Arc<HashMap<String, PathBuf>>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a machine's connection can't be accepted");
                sleep(PAUSE).await;
                continue;
            }
        };
        let (tls, ours) = (tls.clone(), ours.clone());
        connections.spawn(async move {
            if let Err(error) = receive(stream, tls, &ours, permit).await {
                tracing::debug!(%error, %from, "a machine's connection broke off");
            }
        });
    }
}

async fn receive(
    stream: TcpStream,
    tls: TlsAcceptor,
    ours: &HashMap<String, PathBuf>,
    _permit: OwnedSemaphorePermit,
) -> io::Result<()> {
    stay_alive(&stream)?;
    let greet = async {
        let mut far = tls.accept(stream).await?;
        let path = read_line(&mut far).await?;
        let unknown =
            || io::Error::new(io::ErrorKind::NotFound, format!("no server on this machine has a socket {path:?}"));
        let near = UnixStream::connect(ours.get(&path).ok_or_else(unknown)?).await?;
        Ok::<_, io::Error>((far, near))
    };
    let (mut far, mut near) = within(greet).await?;
    copy_bidirectional_with_sizes(&mut far, &mut near, BUFFER_BYTES, BUFFER_BYTES).await.map(drop)
}

/// Small messages go at once, and a machine that vanished without a word is noticed within a minute.
fn stay_alive(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(20))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    // For what was sent and is not acknowledged, in milliseconds.
    Ok(sockopt::set_tcp_user_timeout(stream, 60_000)?)
}

/// Reads the line with which a connection begins, and nothing behind it.
async fn read_line(far: &mut (impl AsyncReadExt + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    loop {
        match far.read_u8().await? {
            b'\n' => return String::from_utf8(line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            byte if line.len() < PATH_BYTES_MAX => line.push(byte),
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the name of a socket is too long")),
        }
    }
}

async fn within<T>(greet: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(GREETING_TIME, greet).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn make_folder(path: &Path) -> Result<(), TunnelError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| fault("make", path.display().to_string(), source))
}

/// Binds a socket in the place of a dead one; only this user may connect.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn fault(verb: &'static str, what: String, source: io::Error) -> TunnelError {
    TunnelError::Io { verb, what, source }
}

//! Sockets: made, bound, accepted from.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hgfleet_log::holder::socket_of;
use hgfleet_log::sockets;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::options::MasterError;
use crate::session::CHECK_FOLDER;

/// Accepts until it is aborted; the connections end with it.
pub(crate) fn accept<F>(
    tasks: &mut JoinSet<()>,
    listener: UnixListener,
    name: &'static str,
    serve: impl Fn(UnixStream) -> F + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve(stream));
                    }
                    Err(error) => pause(name, &error).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    });
}

/// Accepts SSH clients until it is aborted.
pub(crate) fn accept_tcp(
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
    serve: impl Fn(TcpStream, std::net::SocketAddr) + Send + 'static,
) {
    tasks.spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    serve(stream, address);
                }
                Err(error) => pause("SSH port", &error).await,
            }
        }
    });
}

/// Out of descriptors, mostly: connections that end make room.
async fn pause(name: &str, error: &std::io::Error) {
    tracing::error!(%error, socket = name, "a connection could not be accepted");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Makes the folder of this server's sockets, for this user alone. Returns its absolute path.
pub(crate) fn prepare_run_folder(run: &Path, name: &str) -> Result<PathBuf, MasterError> {
    let wrong = |verb, path: &Path, error| MasterError::Io { verb, path: path.to_owned(), error };
    let own = socket_of(run, name, "").ok_or_else(|| {
        let error = std::io::Error::from(std::io::ErrorKind::InvalidFilename);
        wrong("make", &run.join(name), error)
    })?;
    for path in [run, &own] {
        sockets::make_folder(path).map_err(|error| wrong("make", path, error))?;
    }
    remove_left(&own).map_err(|error| wrong("clear", &own, error))?;
    own.canonicalize().map_err(|error| wrong("find", &own, error))
}

/// Removes what sessions that were killed left. One that lives still has lost its lock with the last daemon, and stores nothing.
fn remove_left(run: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(run)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(CHECK_FOLDER.as_bytes()) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Binds a socket in place of one that a dead daemon left.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, MasterError> {
    let wrong = |error| MasterError::Io { verb: "listen on", path: path.to_owned(), error };
    sockets::bind(path).map_err(wrong)
}

/// Binds the server's own SSH port.
pub(crate) async fn bind_tcp(address: std::net::SocketAddr) -> Result<TcpListener, MasterError> {
    let wrong = |error| MasterError::Io { verb: "listen on", path: PathBuf::from(address.to_string()), error };
    TcpListener::bind(address).await.map_err(wrong)
}

//! SSH: bytes between a client and the master, whoever that is at the moment.
//!
//! A connection is the client's only once the master has greeted it: until then nothing that the client says was passed on,
//! so that a master which died, is stopped, or hands its lease over can be left for the next one.
//!
//! On this machine's own socket the master is told first who speaks, by one line of the PROXY
//! protocol, version 1. Its door believes that line there and nowhere else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use hgfleet_log::holder::Holder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::masters::Masters;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const BUFFER_BYTES: usize = 64 * 1024;
/// How long one master may take to greet. A busy one is slow; a stopped one never does.
const GREETING_TIME: Duration = Duration::from_secs(5);
/// How often it is looked meanwhile whether it is the master still.
const LOOK: Duration = Duration::from_millis(250);
/// How long a client may take to close its connection when the master has closed it.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// All that a greeting may be: lines before the version, and the version (RFC 4253, 4.2).
const GREETING_BYTES_MAX: usize = 8 * 1024;

/// Where the master's SSH door is.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// On this machine.
    Socket(PathBuf),
    /// Elsewhere.
    Network(SocketAddr),
}

/// A connection to a master that has greeted.
struct Greeted<S> {
    stream: S,
    greeting: Vec<u8>,
}

enum Reached {
    Here(Greeted<UnixStream>),
    Elsewhere(Greeted<TcpStream>),
}

/// Passes one connection on until the master has ended it. A client's end is passed on by itself, since a client may say all it has to say and then only listen. `address` is where the client is.
///
/// # Errors
///
/// No master greeted within `wait`, or either side was lost.
pub(crate) async fn pass(
    client: &mut TcpStream,
    address: SocketAddr,
    masters: &Masters,
    wait: Duration,
) -> io::Result<()> {
    let line = client_address::encode(address, client.local_addr()?);
    match reach(&line, masters, Instant::now() + wait).await? {
        Reached::Here(master) => both_ways(client, master).await,
        Reached::Elsewhere(master) => both_ways(client, master).await,
    }
}

async fn both_ways<S>(client: &mut TcpStream, master: Greeted<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.write_all(&master.greeting).await?;
    let (from_client, to_client) = client.split();
    let (from_master, to_master) = tokio::io::split(master.stream);
    let (up, down) = (pin!(one_way(from_client, to_master)), pin!(one_way(from_master, to_client)));
    match select(up, down).await {
        Either::Left((sent, down)) => sent.and(down.await),
        // Nobody is left to answer. The client may take a moment to read what it was told, and not hold its place for ever.
        Either::Right((sent, up)) => {
            let _ = timeout(AFTERWARDS, up).await;
            sent
        }
    }
}

/// Passes bytes on to their end, and the end.
async fn one_way(from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy_buf(&mut BufReader::with_capacity(BUFFER_BYTES, from), &mut to).await?;
    to.shutdown().await
}

/// Tries until the deadline, looking each time who is master.
async fn reach(line: &str, masters: &Masters, deadline: Instant) -> io::Result<Reached> {
    let mut pause = FIRST_PAUSE;
    loop {
        let failed = match timeout_at(deadline, try_once(masters, line)).await {
            Ok(Ok(reached)) => return Ok(reached),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        if Instant::now() + pause > deadline {
            return Err(failed);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn try_once(masters: &Masters, line: &str) -> io::Result<Reached> {
    let nobody = || io::Error::new(io::ErrorKind::NotConnected, "no server is master");
    let holder = masters.holder().await.ok_or_else(nobody)?;
    let door = masters.ssh(&holder).ok_or_else(nobody)?;
    let greeted = async {
        match door {
            Door::Socket(path) => {
                let mut stream = UnixStream::connect(path).await?;
                stream.write_all(line.as_bytes()).await?;
                Ok(Reached::Here(greeted(stream).await?))
            }
            Door::Network(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(Reached::Elsewhere(greeted(stream).await?))
            }
        }
    };
    tokio::select! {
        greeted = timeout(GREETING_TIME, greeted) => greeted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        () = until_another(masters, &holder) => Err(nobody()),
    }
}

/// Reads the line with which an SSH server begins.
async fn greeted<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Greeted<S>> {
    let mut greeting = Vec::new();
    while !greeting.contains(&b'\n') {
        if greeting.len() > GREETING_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the master's door speaks no SSH"));
        }
        if stream.read_buf(&mut greeting).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Greeted { stream, greeting })
}

/// Waits until another server is master.
async fn until_another(masters: &Masters, holder: &Holder) {
    loop {
        sleep(LOOK).await;
        if masters.holder().await.is_some_and(|now| now != *holder) {
            return;
        }
    }
}

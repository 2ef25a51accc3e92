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
use std::time::Duration;

use hgfleet_log::holder::Holder;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
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

/// Passes one connection on until both sides have ended it. The end of one direction is passed on
/// by itself, since a client may say all it has to say and then only listen.
///
/// # Errors
///
/// No master greeted within `wait`, or either side was lost.
pub(crate) async fn pass(client: &mut TcpStream, masters: &Masters, wait: Duration) -> io::Result<()> {
    match reach(client, masters, Instant::now() + wait).await? {
        Reached::Here(master) => both_ways(client, master).await,
        Reached::Elsewhere(master) => both_ways(client, master).await,
    }
}

/// The PROXY protocol's first version, in one line.
fn proxy_line(client: SocketAddr, here: SocketAddr) -> String {
    let (client_ip, here_ip) = (client.ip().to_canonical(), here.ip().to_canonical());
    let family = if client_ip.is_ipv4() && here_ip.is_ipv4() { "TCP4" } else { "TCP6" };
    let (client_port, here_port) = (client.port(), here.port());
    format!("PROXY {family} {client_ip} {here_ip} {client_port} {here_port}\r\n")
}

async fn both_ways<S>(client: &mut TcpStream, mut master: Greeted<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    client.write_all(&master.greeting).await?;
    copy_bidirectional_with_sizes(client, &mut master.stream, BUFFER_BYTES, BUFFER_BYTES).await.map(|_| ())
}

/// Tries until the deadline, looking each time who is master.
async fn reach(client: &TcpStream, masters: &Masters, deadline: Instant) -> io::Result<Reached> {
    let line = proxy_line(client.peer_addr()?, client.local_addr()?);
    let mut pause = FIRST_PAUSE;
    loop {
        let failed = match timeout_at(deadline, try_once(masters, &line)).await {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_line_names_client_and_door() {
        let of = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(
            proxy_line(of("192.0.2.7:4711"), of("198.51.100.1:22")),
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n"
        );
        assert_eq!(proxy_line(of("[2001:db8::7]:4711"), of("[::1]:22")), "PROXY TCP6 2001:db8::7 ::1 4711 22\r\n");
        assert_eq!(
            proxy_line(of("[::ffff:192.0.2.7]:1"), of("[::ffff:127.0.0.1]:22")),
            "PROXY TCP4 192.0.2.7 127.0.0.1 1 22\r\n"
        );
    }
}

//! SSH: bytes between a client and the master, whoever that is at the moment.
//!
//! On this machine's own socket the master is told first who speaks, by one line of the PROXY
//! protocol, version 1. Its door believes that line there and nowhere else.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
const BUFFER_BYTES: usize = 64 * 1024;

/// Where the master's SSH door is.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// On this machine.
    Socket(PathBuf),
    /// Elsewhere.
    Network(SocketAddr),
}

/// Passes one connection on until both sides have ended it. The end of one direction is passed on
/// by itself, since a client may say all it has to say and then only listen.
///
/// # Errors
///
/// The master could not be reached within `wait`, or either side was lost.
pub(crate) async fn pass(client: &mut TcpStream, door: &Door, wait: Duration) -> io::Result<()> {
    let deadline = Instant::now() + wait;
    match door {
        Door::Socket(path) => {
            let mut master = reach(deadline, || UnixStream::connect(path)).await?;
            let line = proxy_line(client.peer_addr()?, client.local_addr()?);
            master.write_all(line.as_bytes()).await?;
            both_ways(client, &mut master).await
        }
        Door::Network(address) => {
            let mut master = reach(deadline, || TcpStream::connect(address)).await?;
            master.set_nodelay(true)?;
            both_ways(client, &mut master).await
        }
    }
}

/// The PROXY protocol's first version, in one line.
fn proxy_line(client: SocketAddr, here: SocketAddr) -> String {
    let (client_ip, here_ip) = (client.ip().to_canonical(), here.ip().to_canonical());
    let family = if client_ip.is_ipv4() && here_ip.is_ipv4() { "TCP4" } else { "TCP6" };
    let (client_port, here_port) = (client.port(), here.port());
    format!("PROXY {family} {client_ip} {here_ip} {client_port} {here_port}\r\n")
}

async fn both_ways<S>(client: &mut TcpStream, master: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    copy_bidirectional_with_sizes(client, master, BUFFER_BYTES, BUFFER_BYTES).await.map(|_| ())
}

/// Tries until the deadline: a master that restarts is back within a second or two.
async fn reach<S, F>(deadline: Instant, connect: impl Fn() -> F) -> io::Result<S>
where
    F: Future<Output = io::Result<S>>,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let failed = match timeout(left, connect()).await {
            Ok(Ok(stream)) => return Ok(stream),
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

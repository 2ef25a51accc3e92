//! Which servers are believed.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::io::AsyncRead;
use tokio::time::timeout;

use crate::header::{AddressError, Header, read};

/// Networks whose servers say where their clients are.
#[derive(Debug, Clone, Default)]
pub struct Trusted {
    /// Addresses from which a header is required. None: nobody is believed.
    pub from: Vec<IpNet>,
    /// How long a header may take.
    pub time: Duration,
}

impl Trusted {
    /// Where the client is whose connection comes from `peer`: what the header says that a trusted server has to send; of everybody
    /// else the address that it connects from, and nothing is read.
    ///
    /// # Errors
    ///
    /// As [`read`]; the header is late, or names an address where no client can be.
    pub async fn client<S: AsyncRead + Unpin>(
        &self,
        stream: &mut S,
        peer: SocketAddr,
    ) -> Result<SocketAddr, AddressError> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !self.from.iter().any(|network| network.contains(&peer.ip())) {
            return Ok(peer);
        }
        match timeout(self.time, read(stream)).await {
            Err(_) => Err(AddressError::Late),
            Ok(Ok(Header::Client(client))) if is_possible(client.ip(), peer.ip()) => Ok(client),
            Ok(Ok(Header::Client(client))) => Err(AddressError::Impossible(client.ip())),
            Ok(Ok(Header::Local)) => Ok(peer),
            Ok(Err(error)) => Err(error),
        }
    }
}

/// Nobody connects from nowhere or from a group of machines; and from loopback only to a server on the same machine as this one.
fn is_possible(client: IpAddr, server: IpAddr) -> bool {
    !client.is_unspecified() && !client.is_multicast() && (!client.is_loopback() || server.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(networks: &[&str]) -> Trusted {
        let from = networks.iter().map(|network| network.parse().expect("a network")).collect();
        Trusted { from, time: Duration::from_millis(50) }
    }

    async fn client(peer: &str, mut input: &[u8]) -> Result<(String, usize), String> {
        let trusted = trusted(&["10.0.0.0/8", "2001:db8::/32"]);
        let client = trusted.client(&mut input, peer.parse().expect("an address")).await;
        client.map(|client| (client.to_string(), input.len())).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_the_named_servers_are_believed_and_they_must_say_it() {
        let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 22\r\n";
        for peer in ["10.1.2.3:9", "[::ffff:10.1.2.3]:9", "[2001:db8::1]:9"] {
            assert_eq!(client(peer, line).await, Ok(("192.0.2.7:4711".into(), 0)), "{peer}");
            let refused = client(peer, b"SSH-2.0-OpenSSH_9.2\r\n").await;
            assert!(refused.expect_err("refused").contains("no PROXY header"), "{peer}");
        }
        for peer in ["11.1.2.3:9", "127.0.0.1:9", "[2001:db9::1]:9"] {
            assert_eq!(client(peer, line).await, Ok((peer.into(), line.len())), "not a byte was read");
        }
        assert_eq!(client("10.1.2.3:9", b"PROXY UNKNOWN\r\n").await, Ok(("10.1.2.3:9".into(), 0)));
    }

    #[tokio::test]
    async fn nobody_comes_from_this_machine_by_way_of_another() {
        for address in ["127.0.0.1", "0.0.0.0", "224.0.0.1"] {
            let line = format!("PROXY TCP4 {address} 198.51.100.1 4711 22\r\n");
            let refused = client("10.1.2.3:9", line.as_bytes()).await.expect_err("refused");
            assert!(refused.contains("no client can be"), "{refused}");
        }
        let mut line = &b"PROXY TCP4 127.0.0.1 127.0.0.1 4711 22\r\n"[..];
        let here = trusted(&["127.0.0.0/8"]).client(&mut line, "127.0.0.1:9".parse().expect("an address")).await;
        assert_eq!(here.expect("believed").to_string(), "127.0.0.1:4711");
    }

    #[tokio::test]
    async fn a_header_that_does_not_come_is_not_waited_for() {
        let (_silent, mut stream) = tokio::io::duplex(64);
        let refused = trusted(&["10.0.0.0/8"]).client(&mut stream, "10.1.2.3:9".parse().expect("an address")).await;
        assert!(matches!(refused, Err(AddressError::Late)), "{refused:?}");
    }
}

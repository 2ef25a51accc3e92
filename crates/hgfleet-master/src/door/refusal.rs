//! Connections that are not taken, and how their clients learn why.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::SERVER_ID;
use super::source::Source;

/// For how long, and how many bytes, it is listened to a client that was refused: one whose connection is closed while it
/// still speaks may never read why.
const LISTEN: Duration = Duration::from_secs(1);
const LISTEN_BYTES: u64 = 64 << 10;

/// SSH's numbers (RFC 4250, 4.2.2, and RFC 4253, 11.1).
const DISCONNECT: u8 = 1;
const HOST_NOT_ALLOWED_TO_CONNECT: u32 = 1;
const TOO_MANY_CONNECTIONS: u32 = 12;
/// A packet that is not encrypted yet: what its length is a multiple of, and the least padding (RFC 4253, 6).
const BLOCK_BYTES: usize = 8;
const PADDING_BYTES_MIN: usize = 4;

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("refused: too many failed logins, from {0}. Try again in {minutes} minutes", minutes = .1.as_secs().div_ceil(60))]
    Banned(Source, Duration),
    #[error("refused: too many connections at once, on this server. Try again in a minute")]
    Connections,
    #[error("refused: {1} connections wait for a login already, from {0}. Try again when one has ended")]
    Address(Source, usize),
    #[error("refused: too many logins at once, on this server. Try again in a minute")]
    Logins,
}

impl Refusal {
    /// The log's word for it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Refusal::Banned(..) => "banned",
            Refusal::Connections => "too-many-connections",
            Refusal::Address(..) => "too-many-logins-of-one-address",
            Refusal::Logins => "too-many-logins-at-once",
        }
    }

    fn number(&self) -> u32 {
        match self {
            Refusal::Banned(..) => HOST_NOT_ALLOWED_TO_CONNECT,
            _ => TOO_MANY_CONNECTIONS,
        }
    }
}

/// Tells a client why, by the first message of the protocol, which clients show, and ends the connection. With `listen` it listens
/// for a while to what the client still says.
pub(super) async fn tell<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, refusal: &Refusal, listen: bool) {
    let told = async {
        stream.write_all(&[SERVER_ID.as_bytes(), b"\r\n", &disconnect(refusal)].concat()).await?;
        stream.shutdown().await?;
        let bytes = if listen { LISTEN_BYTES } else { 0 };
        tokio::io::copy(&mut (&mut stream).take(bytes), &mut tokio::io::sink()).await
    };
    // Who has gone, or listens to nothing, needs no answer.
    let _ = timeout(LISTEN, told).await;
}

fn disconnect(refusal: &Refusal) -> Vec<u8> {
    let text = refusal.to_string();
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut payload = vec![DISCONNECT];
    payload.extend(refusal.number().to_be_bytes());
    payload.extend(length(text.len()));
    payload.extend(text.as_bytes());
    payload.extend(length(0));
    let unpadded = 4 + 1 + payload.len();
    let padding = (unpadded + PADDING_BYTES_MIN).next_multiple_of(BLOCK_BYTES) - unpadded;
    let mut packet = length(1 + payload.len() + padding).to_vec();
    packet.push(u8::try_from(padding).unwrap_or(u8::MAX));
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

//! What master and mirrors (and balancers) tell each other, and how it is framed.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::ids::{Epoch, Incarnation, LogId, Sequence};
use crate::membership::{Member, Role, View};

/// The version of these messages.
pub const VERSION: u16 = 1;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;

/// From a mirror or balancer to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Up {
    /// First of all: who speaks.
    Hello(Hello),
    /// A sign of life, about once a second; asks for [`Down::HeartbeatAnswered`].
    Heartbeat {
        /// Grows with each.
        number: u64,
        /// How the sender is.
        member: Member,
    },
    /// The log up to here is durable on the sender's disk.
    Staged(Sequence),
    /// The sender shows the log up to here to whoever asks from now on.
    Told(Sequence),
}

/// Who opens a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u16,
    /// The log that the sender follows; none when it is new.
    pub log: Option<LogId>,
    /// What it is.
    pub role: Role,
    /// Its name in the configuration.
    pub name: String,
    /// Its disk's incarnation; none for a balancer.
    pub incarnation: Option<Incarnation>,
    /// Where it listens.
    pub address: String,
    /// Its process.
    pub pid: u32,
    /// Up to where the log is durable on its disk.
    pub staged: Option<Sequence>,
    /// Up to where it has applied the log.
    pub position: Option<Sequence>,
}

/// From the master to a mirror or balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Down {
    /// Answer to [`Up::Hello`].
    Welcome(Welcome),
    /// The stream ends, and why.
    Refused(String),
    /// The mirrors in service have changed, or the receiver is new.
    View(View),
    /// The log has grown up to here.
    Appended(Sequence),
    /// The visible position is now here.
    Visible(Sequence),
    /// Answer to [`Up::Heartbeat`], with its number.
    HeartbeatAnswered(u64),
}

/// Who answers a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`VERSION`].
    pub version: u16,
    /// The log.
    pub log: LogId,
    /// The master's epoch.
    pub epoch: Epoch,
    /// Name of the master.
    pub master: String,
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A message longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// Bytes that are no message.
    #[error("not a message: {0}")]
    Malformed(String),
}

/// Reads one message; none where the stream ends between two.
///
/// # Errors
/// See [`StreamError`].
pub fn read<M: for<'de> Deserialize<'de>>(input: &mut impl Read) -> Result<Option<M>, StreamError> {
    let _ = input;
    todo!()
}

/// Writes one message.
///
/// # Errors
/// See [`StreamError`].
pub fn write<M: Serialize>(output: &mut impl Write, message: &M) -> Result<(), StreamError> {
    let _ = (output, message);
    todo!()
}

/// Reads one message; none where the stream ends between two. Not to be dropped half-way, as in a `select!`: read in a task of its own.
///
/// # Errors
/// See [`StreamError`].
pub async fn read_async<M: for<'de> Deserialize<'de>>(
    input: &mut (impl AsyncRead + Unpin),
) -> Result<Option<M>, StreamError> {
    let _ = input;
    todo!()
}

/// Writes one message and flushes it.
///
/// # Errors
/// See [`StreamError`].
pub async fn write_async<M: Serialize>(output: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), StreamError> {
    let _ = (output, message);
    todo!()
}

//! What master and mirrors (and balancers) tell each other, and how it is framed: four bytes of length, big-endian,
//! then one message in postcard's encoding.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::ids::{Epoch, Incarnation, LogId, Sequence};
use crate::membership::{Member, Role, View};
use crate::name::RepositoryName;
use crate::upload::Upload;

/// The version of these messages.
pub const VERSION: u16 = 2;
/// Longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 256 << 10;
const LENGTH_BYTES: usize = 4;

/// From a mirror or balancer to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Up {
    /// First of all: who speaks.
    Hello(Hello),
    /// A sign of life, about once a second; asks for [`Down::Renewed`].
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
    /// The sender serves nobody any more: it may be dropped from the view at once.
    Left,
    /// The sender had left, and serves again once a view names it.
    Joined,
    /// Answer to [`Down::DigestWanted`].
    Digest {
        /// The question's number.
        number: u64,
        /// Up to which record the sender's store of the repository is applied, and that state's digest; none where it has no
        /// such repository, or can't say.
        digest: Option<(Sequence, [u8; 32])>,
        /// Why there is none; empty where there is.
        reason: String,
    },
    /// First of all, in the place of [`Up::Hello`]: the connection is for this one object, see [`crate::upload`].
    Upload(Upload),
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
    /// Whether it may be put in service: a mirror that was drained follows, and stays out.
    pub serves: bool,
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
    /// Answer to [`Up::Heartbeat`].
    Renewed {
        /// The heartbeat's number.
        number: u64,
    },
    /// The receiver is left out of the view and why, or nothing keeps it out any more.
    LeftOut(Option<String>),
    /// Asks to serve nobody from now on, over restarts too, or to serve again; answered with [`Up::Left`] or [`Up::Joined`].
    Drain(bool),
    /// Asks for the digest of a repository's store; answered with [`Up::Digest`].
    DigestWanted {
        /// Comes back with the answer.
        number: u64,
        /// Which repository.
        repository: RepositoryName,
    },
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
    /// The view as it stands.
    pub view: Option<View>,
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection failed, or ended within a message.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A message longer than [`MESSAGE_BYTES_MAX`].
    #[error("a message of {0} bytes is longer than allowed")]
    TooLong(usize),
    /// Bytes that are no message.
    #[error("not a message: {0}")]
    Malformed(postcard::Error),
}

/// Returns the message with its length before it: what [`write`] writes.
///
/// # Errors
/// [`StreamError::TooLong`].
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, StreamError> {
    let frame = postcard::to_extend(message, vec![0; LENGTH_BYTES]).map_err(StreamError::Malformed)?;
    let bytes = frame.len() - LENGTH_BYTES;
    if bytes > MESSAGE_BYTES_MAX {
        return Err(StreamError::TooLong(bytes));
    }
    let mut frame = frame;
    frame[..LENGTH_BYTES].copy_from_slice(&(bytes as u32).to_be_bytes());
    Ok(frame)
}

/// Returns the message that these bytes are, its length not among them.
///
/// # Errors
/// [`StreamError::Malformed`], also where bytes are left over.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, StreamError> {
    match postcard::take_from_bytes(bytes).map_err(StreamError::Malformed)? {
        (message, []) => Ok(message),
        _ => Err(StreamError::Malformed(postcard::Error::DeserializeBadEncoding)),
    }
}

fn checked_length(length: [u8; LENGTH_BYTES]) -> Result<usize, StreamError> {
    let bytes = u32::from_be_bytes(length) as usize;
    if bytes > MESSAGE_BYTES_MAX { Err(StreamError::TooLong(bytes)) } else { Ok(bytes) }
}

/// Reads one message; none where the stream ends between two.
///
/// # Errors
/// See [`StreamError`].
pub fn read<M: DeserializeOwned>(input: &mut impl Read) -> Result<Option<M>, StreamError> {
    let mut length = [0; LENGTH_BYTES];
    loop {
        match input.read(&mut length[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    input.read_exact(&mut length[1..])?;
    let mut message = vec![0; checked_length(length)?];
    input.read_exact(&mut message)?;
    decode(&message).map(Some)
}

/// Writes one message and flushes it.
///
/// # Errors
/// See [`StreamError`].
pub fn write<M: Serialize>(output: &mut impl Write, message: &M) -> Result<(), StreamError> {
    output.write_all(&encode(message)?)?;
    Ok(output.flush()?)
}

/// Reads one message; none where the stream ends between two.
///
/// Not to be dropped half-way, as in a `select!`: read in a task of its own.
///
/// # Errors
/// See [`StreamError`].
pub async fn read_async<M: DeserializeOwned>(input: &mut (impl AsyncRead + Unpin)) -> Result<Option<M>, StreamError> {
    let mut length = [0; LENGTH_BYTES];
    if input.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[1..]).await?;
    let mut message = vec![0; checked_length(length)?];
    input.read_exact(&mut message).await?;
    decode(&message).map(Some)
}

/// Writes one message and flushes it.
///
/// # Errors
/// See [`StreamError`].
pub async fn write_async<M: Serialize>(output: &mut (impl AsyncWrite + Unpin), message: &M) -> Result<(), StreamError> {
    output.write_all(&encode(message)?).await?;
    Ok(output.flush().await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::{DiskUse, MirrorInView, ServerState};

    fn ups() -> Vec<Up> {
        let incarnation = Some(Incarnation::from_bytes([7; 16]));
        vec![
            Up::Hello(Hello {
                version: VERSION,
                log: Some(LogId::from_bytes([1; 16])),
                role: Role::Mirror,
                name: "mirror-1".to_owned(),
                incarnation,
                address: "127.0.0.1:9000".to_owned(),
                pid: 42,
                staged: Sequence::new(9),
                position: None,
                serves: true,
            }),
            Up::Heartbeat {
                number: 3,
                member: Member {
                    name: "mirror-1".to_owned(),
                    role: Role::Mirror,
                    state: ServerState::CatchingUp,
                    address: String::new(),
                    pid: 42,
                    incarnation,
                    staged_position: Sequence::new(9),
                    position: None,
                    lag_seconds: 0.5,
                    reason: "behind".to_owned(),
                    at_ms: 1,
                    disk: DiskUse::default(),
                },
            },
            Up::Staged(Sequence::FIRST),
            Up::Told(Sequence::FIRST),
            Up::Left,
            Up::Joined,
            Up::Digest { number: 1, digest: Some((Sequence::FIRST, [9; 32])), reason: String::new() },
            Up::Upload(Upload {
                version: crate::upload::VERSION,
                log: LogId::from_bytes([1; 16]),
                mirror: "mirror-1".to_owned(),
                repository: RepositoryName::parse("team/first").expect("name"),
                sha256: [7; 32],
                bytes: 3,
                account: "jane@example.com".to_owned(),
                address: "192.0.2.7".to_owned(),
            }),
        ]
    }

    fn downs() -> Vec<Down> {
        let mirror = MirrorInView { name: "mirror-1".to_owned(), incarnation: Incarnation::from_bytes([7; 16]) };
        let view = View { epoch: Epoch::FIRST, version: 1, visible: Sequence::new(8), mirrors: vec![mirror] };
        vec![
            Down::Welcome(Welcome {
                version: VERSION,
                log: LogId::from_bytes([1; 16]),
                epoch: Epoch::FIRST,
                master: "master".to_owned(),
                view: Some(view.clone()),
            }),
            Down::Refused("another log".to_owned()),
            Down::View(view),
            Down::Appended(Sequence::FIRST),
            Down::Visible(Sequence::FIRST),
            Down::Renewed { number: u64::MAX },
            Down::LeftOut(Some("it lags".to_owned())),
            Down::Drain(true),
            Down::DigestWanted { number: 1, repository: RepositoryName::parse("team/first").expect("name") },
        ]
    }

    #[test]
    fn every_message_arrives_as_it_was_sent() {
        let mut bytes = Vec::new();
        ups().iter().for_each(|up| write(&mut bytes, up).expect("written"));
        let mut input = bytes.as_slice();
        for up in ups() {
            assert_eq!(read(&mut input).expect("read"), Some(up));
        }
        assert!(read::<Up>(&mut input).expect("end").is_none());
    }

    #[tokio::test]
    async fn a_task_reads_what_a_thread_writes_and_the_other_way_round() {
        let mut bytes = Vec::new();
        for down in &downs() {
            write_async(&mut bytes, down).await.expect("written");
        }
        let (mut blocking, mut input) = (bytes.as_slice(), bytes.as_slice());
        for down in downs() {
            assert_eq!(read_async(&mut input).await.expect("read").as_ref(), Some(&down));
            assert_eq!(read(&mut blocking).expect("read"), Some(down));
        }
        assert!(read_async::<Down>(&mut input).await.expect("end").is_none());
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let bytes = u32::MAX.to_be_bytes();
        assert!(matches!(read::<Up>(&mut bytes.as_slice()), Err(StreamError::TooLong(_))));
        let long = Down::Refused("x".repeat(MESSAGE_BYTES_MAX));
        assert!(matches!(encode(&long), Err(StreamError::TooLong(_))));
    }

    /// What a peer sends may be cut or garbage: it is refused, whatever it is, and never a panic.
    #[test]
    fn cut_and_altered_messages_are_refused_or_read_whole() {
        for down in downs() {
            let frame = encode(&down).expect("encoded");
            for cut in 1..frame.len() {
                assert!(read::<Down>(&mut &frame[..cut]).is_err(), "cut at {cut}");
            }
            for bit in LENGTH_BYTES * 8..frame.len() * 8 {
                let mut altered = frame.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                let _ = read::<Down>(&mut altered.as_slice());
            }
        }
        assert!(decode::<Up>(&[2, 0]).is_err(), "sequence 0");
        assert!(decode::<Up>(&[2, 1, 1]).is_err(), "a byte too many");
    }
}

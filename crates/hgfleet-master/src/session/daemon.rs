//! The session's end of `run/session.sock`.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::frame;
use crate::protocol::{REPLY_BYTES_MAX, SESSION_SOCKET, SessionReply, SessionRequest, VERSION};

/// A conversation with the daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    stream: UnixStream,
    /// The daemon's epoch.
    pub epoch: u64,
    /// Largest push, bytes.
    pub push_bytes_max: u64,
}

/// Where the daemon is, and whom the session serves.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub run: PathBuf,
    pub account: String,
    pub client: String,
}

impl Address {
    /// Begins a conversation.
    pub(crate) fn connect(&self) -> io::Result<Daemon> {
        let stream = UnixStream::connect(socket(&self.run))?;
        let mut daemon = Daemon { stream, epoch: 0, push_bytes_max: 0 };
        let hello =
            SessionRequest::Hello { version: VERSION, account: self.account.clone(), address: self.client.clone() };
        match daemon.ask(&hello)? {
            SessionReply::Welcome { epoch, push_bytes_max } => {
                daemon.epoch = epoch;
                daemon.push_bytes_max = push_bytes_max;
                Ok(daemon)
            }
            SessionReply::Refused(text) | SessionReply::Failed(text) => Err(io::Error::other(text)),
            _ => Err(unexpected()),
        }
    }
}

fn socket(run: &Path) -> PathBuf {
    run.join(SESSION_SOCKET)
}

impl Daemon {
    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: &SessionRequest) -> io::Result<SessionReply> {
        frame::write(&mut self.stream, request)?;
        self.answer()
    }

    /// Waits for one more answer.
    pub(crate) fn answer(&mut self) -> io::Result<SessionReply> {
        frame::read(&mut self.stream, REPLY_BYTES_MAX)
    }

    /// Sends a request with a descriptor beside it.
    pub(crate) fn send_with(&mut self, request: &SessionRequest, file: &File) -> io::Result<()> {
        let bytes = frame::encode(request)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let sent = sendmsg(&self.stream, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
        self.stream.write_all(&bytes[sent..])
    }
}

pub(crate) fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the daemon answers something else")
}

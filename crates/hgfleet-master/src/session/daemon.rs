//! The session's end of `run/session.sock`.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::client::sockets;
use crate::frame;
use crate::protocol::{REPLY_BYTES_MAX, SESSION_SOCKET, SessionReply, SessionRequest, VERSION};

/// How long a daemon may take to say who it is: one that is stopped says nothing.
const HELLO_WAIT: Duration = Duration::from_secs(2);

/// A conversation with the daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    stream: UnixStream,
    /// The newest epoch that the daemon knows.
    pub epoch: u64,
    /// Whether it is the master.
    pub is_master: bool,
    /// Largest push, bytes.
    pub push_bytes_max: u64,
}

/// Where the daemon is, and whom the session serves.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub run: PathBuf,
    pub account: String,
    pub client: String,
    pub requester: Option<String>,
}

impl Address {
    /// Begins a conversation with the master, whichever server of this machine that is by now.
    pub(crate) fn connect_master(&self) -> io::Result<Daemon> {
        let masters = self.connect_all().into_iter().filter(|daemon| daemon.is_master);
        masters.max_by_key(|daemon| daemon.epoch).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Begins conversations with all servers of this machine that answer.
    pub(crate) fn connect_all(&self) -> Vec<Daemon> {
        // The door's own server is asked first: it is the only one, mostly.
        let own = self.run.join(SESSION_SOCKET);
        if let Ok(daemon) = self.connect(&own)
            && daemon.is_master
        {
            return vec![daemon];
        }
        let others = self.run.parent().map(|fleet| sockets(fleet, SESSION_SOCKET)).unwrap_or_default();
        others.iter().filter_map(|socket| self.connect(socket).ok()).collect()
    }

    fn connect(&self, socket: &Path) -> io::Result<Daemon> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(HELLO_WAIT))?;
        let mut daemon = Daemon { stream, epoch: 0, is_master: false, push_bytes_max: 0 };
        let hello = SessionRequest::Hello {
            version: VERSION,
            account: self.account.clone(),
            address: self.client.clone(),
            requester: self.requester.clone(),
        };
        match daemon.ask(&hello)? {
            SessionReply::Welcome { epoch, is_master, push_bytes_max } => {
                daemon.stream.set_read_timeout(None)?;
                daemon.epoch = epoch;
                daemon.is_master = is_master;
                daemon.push_bytes_max = push_bytes_max;
                Ok(daemon)
            }
            SessionReply::Refused(text) | SessionReply::Failed(text) => Err(io::Error::other(text)),
            _ => Err(unexpected()),
        }
    }
}

impl Daemon {
    /// Asks, and waits for the answer.
    pub(crate) fn ask(&mut self, request: &SessionRequest) -> io::Result<SessionReply> {
        frame::write(&mut self.stream, request)?;
        self.answer()
    }

    /// Says something that is not answered.
    pub(crate) fn tell(&mut self, message: &SessionRequest) -> io::Result<()> {
        frame::write(&mut self.stream, message)
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

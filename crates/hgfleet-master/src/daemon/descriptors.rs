//! Frames on a Unix socket, with descriptors beside them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::frame;

/// Descriptors in one message that are looked at; the kernel closes what does not fit.
const DESCRIPTORS_MAX: usize = 4;

/// One end of a conversation in frames.
#[derive(Debug)]
pub(crate) struct FrameStream {
    stream: UnixStream,
    received: Vec<u8>,
    descriptor: Option<OwnedFd>,
    bytes_max: usize,
}

impl FrameStream {
    /// Frames longer than `bytes_max` end the conversation.
    pub(crate) fn new(stream: UnixStream, bytes_max: usize) -> FrameStream {
        FrameStream { stream, received: Vec::new(), descriptor: None, bytes_max }
    }

    /// Process at the other end.
    pub(crate) fn peer_process(&self) -> Option<u32> {
        let process = self.stream.peer_cred().ok()?.pid()?;
        u32::try_from(process).ok()
    }

    /// Returns the next message; none where the stream ends between two. May be dropped and called again.
    pub(crate) async fn read<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            if let Some(head) = self.received.first_chunk::<4>() {
                let length = frame::checked_length(*head, self.bytes_max)?;
                if let Some(body) = self.received.get(4..4 + length) {
                    let message = frame::decode(body)?;
                    self.received.drain(..4 + length);
                    return Ok(Some(message));
                }
            }
            if self.receive().await? == 0 {
                if self.received.is_empty() {
                    return Ok(None);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes the descriptor that came with the last message.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptor.take()
    }

    /// Writes a message.
    pub(crate) async fn write<T: Serialize>(&mut self, message: &T) -> io::Result<()> {
        let bytes = frame::encode(message)?;
        self.stream.write_all(&bytes).await
    }

    async fn receive(&mut self) -> io::Result<usize> {
        let (received, descriptor) = (&mut self.received, &mut self.descriptor);
        let stream = &self.stream;
        stream
            .async_io(Interest::READABLE, || {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = RecvAncillaryBuffer::new(&mut space);
                let mut buffer = [0; 16 << 10];
                let answer = recvmsg(
                    stream.as_fd(),
                    &mut [io::IoSliceMut::new(&mut buffer)],
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )?;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        // One is what a message has; more are closed by being dropped.
                        for one in descriptors {
                            *descriptor = Some(one);
                        }
                    }
                }
                received.extend_from_slice(&buffer[..answer.bytes]);
                Ok(answer.bytes)
            })
            .await
    }
}

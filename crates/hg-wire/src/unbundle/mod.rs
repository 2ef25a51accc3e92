//! A bundle comes in: checked, prepared, committed, answered.

mod failure;
mod payloads;
mod receive;

pub use failure::PushFailure;

use crate::host::Host;
use std::io::{self, BufRead, Write};

/// Whether the session goes on after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterPush {
    /// The next command may follow.
    Continue,
    /// The session ends, since no snapshot here is known to have what the write did.
    End,
}

/// The client's pipe broke, or what came over it can't be told apart any more: the session ends.
#[derive(Debug, thiserror::Error)]
pub enum PushIoError {
    /// A pipe broke.
    #[error("the client's connection broke: {0}")]
    Io(#[from] io::Error),
    /// The payload's framing is wrong.
    #[error("{0}")]
    Framing(String),
}

/// Serves an `unbundle` over SSH from the argument `heads` on: asks for the payload, reads its chunks, writes the reply.
pub fn serve(
    _heads: &[u8],
    _input: &mut dyn BufRead,
    _output: &mut dyn Write,
    _messages: &mut dyn Write,
    _host: &mut dyn Host,
) -> Result<AfterPush, PushIoError> {
    todo!()
}

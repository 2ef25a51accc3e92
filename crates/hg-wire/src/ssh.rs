//! The session's loop over SSH: commands and their arguments in, answers out.

use crate::host::Host;
use std::io::{self, Read, Write};

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOutcome {
    /// The client closed its side, or sent the empty line, between two commands.
    Closed,
    /// The client broke the protocol so that what follows can't be told from arguments; it was told so.
    Malformed,
    /// A write ended such that no later command may be answered here.
    EndedAfterWrite,
}

/// Why a session broke off.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The client's input broke off in the middle of a command, or could not be read.
    #[error("the client's input ended early: {0}")]
    Input(io::Error),
    /// The client takes no more output.
    #[error("the client takes no output: {0}")]
    Output(io::Error),
}

/// Serves one session. `input`, `output` and `messages` are the client's stdin, stdout and stderr as it sees the
/// remote command; input may come in any pieces.
pub fn serve(
    _input: impl Read,
    _output: impl Write,
    _messages: impl Write,
    _host: &mut dyn Host,
) -> Result<SessionOutcome, SshError> {
    todo!()
}

//! `pushkey`: moves one key of a namespace.

use crate::host::Host;
use std::io::Write;

/// What became of a `pushkey`.
#[derive(Debug)]
pub struct PushkeyOutcome {
    /// Whether the key was moved.
    pub moved: bool,
    /// The session must end once the reply is sent, since no snapshot here has what the push did.
    pub session_ends: bool,
}

/// The arguments of a `pushkey`, as they came.
#[derive(Debug, Clone, Copy)]
pub struct PushkeyArguments<'a> {
    /// `bookmarks` or `phases`; others are refused.
    pub namespace: &'a [u8],
    /// What moves.
    pub key: &'a [u8],
    /// The value that the client believes to be there.
    pub old: &'a [u8],
    /// The value that it asks for.
    pub new: &'a [u8],
}

/// Moves a key. Refusals are written to `messages`, whole lines.
pub fn pushkey(_arguments: PushkeyArguments<'_>, _host: &mut dyn Host, _messages: &mut dyn Write) -> PushkeyOutcome {
    todo!()
}

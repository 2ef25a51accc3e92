//! A bundle comes in: checked, prepared, committed, answered.

use crate::host::Host;
use std::io::{Read, Write};

/// How an `unbundle` is answered.
#[derive(Debug)]
pub enum UnbundleReply {
    /// A bundle2 stream: sent raw over SSH.
    Bundle2(Vec<u8>),
    /// The answer to a bundle of version 1: the number that `addchangegroup` gives, 0 when nothing was taken.
    Result(i32),
    /// One text instead of either, such as the one of a lost race.
    Text(Vec<u8>),
}

/// What became of an `unbundle`.
#[derive(Debug)]
pub struct UnbundleOutcome {
    /// What the client is sent.
    pub reply: UnbundleReply,
    /// The session must end once the reply is sent, since no snapshot here has what the push did.
    pub session_ends: bool,
}

/// Checks the argument `heads` before the payload is asked for. `Some` is the whole answer: no payload is read.
pub fn refused_early(_heads: &[u8], _host: &mut dyn Host) -> Option<UnbundleReply> {
    todo!()
}

/// Takes a bundle. `payload` ends where the bundle ends (the transport's framing is removed); what is left of it after
/// a refusal is drained by the caller. Errors of the push are part of the reply, and of `messages`.
pub fn unbundle(_heads: &[u8], _payload: &mut dyn Read, _host: &mut dyn Host, _messages: &mut dyn Write) -> UnbundleOutcome {
    todo!()
}

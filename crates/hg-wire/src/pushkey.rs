//! `pushkey`: moves one key of a namespace.

use crate::host::Host;
use crate::unbundle::{AfterPush, PushIoError};
use std::io::Write;

/// The arguments of a `pushkey`, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    /// `bookmarks` or `phases`; others are refused.
    pub namespace: &'a [u8],
    /// What moves.
    pub key: &'a [u8],
    /// The value that the client believes to be there.
    pub old: &'a [u8],
    /// The value that it asks for.
    pub new: &'a [u8],
}

/// Serves a `pushkey` over SSH: moves the key, or not, and writes the framed reply.
pub fn serve(
    _arguments: &Arguments<'_>,
    _output: &mut dyn Write,
    _messages: &mut dyn Write,
    _host: &mut dyn Host,
) -> Result<AfterPush, PushIoError> {
    todo!()
}

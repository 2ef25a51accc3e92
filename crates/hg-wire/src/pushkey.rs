//! `pushkey`: moves one key of a namespace.

use crate::host::Host;
use crate::unbundle::{AfterPush, PushIoError, push_one_key};
use std::io::Write;

/// The arguments of a `pushkey`, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    /// `bookmarks`, `phases` or `obsolete`; in others nothing moves.
    pub namespace: &'a [u8],
    /// What moves.
    pub key: &'a [u8],
    /// The value that the client believes to be there.
    pub old: &'a [u8],
    /// The value that it asks for.
    pub new: &'a [u8],
}

/// Serves a `pushkey` over SSH: moves the key, or not, and writes the framed reply. Words about it go to `messages`.
///
/// # Errors
/// The client's pipe broke; whether the key moved is not told then.
pub fn serve(
    arguments: &Arguments<'_>,
    output: &mut dyn Write,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> Result<AfterPush, PushIoError> {
    let (moved, after) = push_one_key(arguments, messages, host);
    messages.flush()?;
    output.write_all(if moved { b"2\n1\n" } else { b"2\n0\n" })?;
    output.flush()?;
    Ok(after)
}

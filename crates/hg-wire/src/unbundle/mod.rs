//! A bundle comes in: checked, prepared, committed, answered.
//!
//! The order of events is stock's: the argument `heads`; `0\n`; the whole payload into a spool file; the write lock; what the client expects, against the snapshot that
//! the lock protects; the parts as the stream has them; the commit; the reply. The store is not touched before the commit, so whatever goes wrong until then has
//! changed nothing, and the client reads why.

mod base85;
mod bundle1;
mod bundle2;
mod copy;
mod failure;
mod instability;
mod keys;
mod narrate;
mod obsolescence;
mod parts;
mod payloads;
mod putlfile;
mod race;
mod receive;
mod reply;
mod summary;
mod transaction;

pub use failure::PushFailure;
pub(crate) use putlfile::serve as serve_putlfile;
pub(crate) use transaction::push_one_key;

use crate::host::Host;
use race::ExpectedHeads;
use receive::{Received, receive};
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
///
/// # Errors
/// Only where the session can't go on. A push that is not taken is answered.
pub fn serve(
    heads: &[u8],
    input: &mut dyn BufRead,
    output: &mut dyn Write,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> Result<AfterPush, PushIoError> {
    let Some(expected) = ExpectedHeads::parse(heads) else {
        return refuse_payload(
            output,
            host,
            "refused: not hexadecimal, in the argument heads. Update Mercurial, and push again",
        );
    };
    // What fails before the payload comes is told after it, in the form that the payload has: clients show that best.
    let spool = match early_check(&expected, host) {
        Ok(true) => host.spool().map_err(|error| receive::no_room(&error)),
        Ok(false) => return refuse_payload(output, host, bundle1::RACED_EARLY),
        Err(failure) => Err(failure.to_string()),
    };
    output.write_all(b"0\n")?;
    output.flush()?;
    let received = receive(input, spool, host.push_limits().bundle_bytes_max);
    let received = received.inspect_err(|error| {
        if let PushIoError::Framing(text) = error {
            host.push_refused(text);
        }
    })?;
    let (reply, after) = take(received, &expected, messages, host)?;
    messages.flush()?;
    output.write_all(&reply)?;
    output.flush()?;
    Ok(after)
}

fn early_check(expected: &ExpectedHeads, host: &mut dyn Host) -> Result<bool, PushFailure> {
    if *expected == ExpectedHeads::Any {
        return Ok(true);
    }
    expected.hold(&*host.snapshot()?).map_err(PushFailure::store)
}

/// Answers a text where the invitation to send the payload was expected, so that none comes.
fn refuse_payload(output: &mut dyn Write, host: &mut dyn Host, text: &str) -> Result<AfterPush, PushIoError> {
    host.push_refused(text);
    output.write_all(&reply::text(text))?;
    output.flush()?;
    Ok(AfterPush::Continue)
}

/// Takes the bundle, or not, and returns the reply.
fn take(
    received: Received,
    expected: &ExpectedHeads,
    messages: &mut dyn Write,
    host: &mut dyn Host,
) -> io::Result<(Vec<u8>, AfterPush)> {
    if received.start.starts_with(b"HG2") {
        return bundle2::take(received.file, messages, host);
    }
    match bundle1::Form::of(&received.start) {
        Ok(form) => bundle1::take(received.file, form, expected, messages, host),
        Err(text) => {
            let failure = PushFailure::refused(text, "in the push", failure::BROKEN);
            host.push_refused(&failure.whole());
            writeln!(messages, "{failure}")?;
            Ok((reply::bundle1(0), AfterPush::Continue))
        }
    }
}

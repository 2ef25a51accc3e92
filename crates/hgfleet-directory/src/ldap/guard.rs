//! What stands between an LDAP server and the library that speaks with it.
//!
//! The library parses without bounds: by recursion, into memory of any size, and it panics on what it doesn't expect. So it
//! gets one end of a pair of sockets, and this module passes on to it only messages (RFC 4511, 5.1) that are whole, bounded and
//! of the right shape. TLS ends below the guard. An entry that is too large comes through without its attributes: who can fill
//! their own entry must not be able to shut everyone else out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// Largest message: an entry with all its values.
pub(super) const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Largest entry that is read at all, to be passed on without its attributes.
const ENTRY_BYTES_MAX: usize = 256 << 20;
/// Of such an entry, so much is kept: its DN is in it.
const ENTRY_HEAD_BYTES: usize = 8 << 10;
/// All that comes between two requests: a page of entries.
pub(super) const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Message, operation, list of attributes, attribute, values, and some for controls.
const DEPTH_MAX: usize = 10;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BOOLEAN: u8 = 0x01;
const CONTROLS: u8 = 0xa0;
const CONSTRUCTED: u8 = 0x20;

/// Why a connection was given up. Set before its end is seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Verdict(Arc<Mutex<Option<String>>>);

impl Verdict {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, reason: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}

/// Carries both ways until either side ends or the server says what is not allowed.
pub(super) async fn carry<S: AsyncRead + AsyncWrite + Send + 'static>(
    server: S,
    library: UnixStream,
    verdict: Verdict,
) {
    let (from_server, mut to_server) = tokio::io::split(server);
    let (mut from_library, mut to_library) = library.into_split();
    let received = AtomicU64::new(0);
    let up = async {
        let mut buffer = vec![0; 16 << 10];
        loop {
            match from_library.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => {
                    received.store(0, Ordering::Relaxed);
                    if to_server.write_all(&buffer[..bytes]).await.is_err() || to_server.flush().await.is_err() {
                        break;
                    }
                }
            }
        }
        let _ = to_server.shutdown().await;
    };
    let down = async {
        let mut from_server = BufReader::with_capacity(16 << 10, from_server);
        loop {
            match read_message(&mut from_server).await {
                Ok(Some(message)) => {
                    let total = received.fetch_add(message.len() as u64, Ordering::Relaxed) + message.len() as u64;
                    if total > ANSWER_BYTES_MAX {
                        verdict.set(format!("it sends more than {ANSWER_BYTES_MAX} bytes for one question"));
                        break;
                    }
                    if to_library.write_all(&message).await.is_err() {
                        break;
                    }
                }
                Ok(None) => {
                    verdict.set("it closed the connection".to_owned());
                    break;
                }
                Err(reason) => {
                    verdict.set(reason);
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

/// Reads one message and not a byte more. `None`: the other side is done.
///
/// # Errors
/// Why no message can be had, in words: the connection broke, or what comes is too large or no LDAP.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, String> {
    let lost = |error: std::io::Error| format!("the connection broke: {error}");
    let mut message = vec![0; 2];
    if stream.read(&mut message[..1]).await.map_err(lost)? == 0 {
        return Ok(None);
    }
    if message[0] != SEQUENCE {
        return Err(garbage("no message begins like that"));
    }
    stream.read_exact(&mut message[1..]).await.map_err(lost)?;
    let more = usize::from(message[1] & 0x7f);
    let length = if message[1] < 0x80 {
        usize::from(message[1])
    } else {
        if !(1..=4).contains(&more) {
            return Err(garbage("a length in no form that is allowed"));
        }
        message.resize(2 + more, 0);
        stream.read_exact(&mut message[2..]).await.map_err(lost)?;
        message[2..].iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
    };
    if length > MESSAGE_BYTES_MAX {
        let too_large = || format!("it sends a message of {length} bytes; at most {MESSAGE_BYTES_MAX} are taken");
        if length > ENTRY_BYTES_MAX {
            return Err(too_large());
        }
        let mut head = vec![0; ENTRY_HEAD_BYTES];
        stream.read_exact(&mut head).await.map_err(lost)?;
        let emptied = emptied::emptied(&head).ok_or_else(too_large)?;
        let rest = (length - ENTRY_HEAD_BYTES) as u64;
        let skipped = tokio::io::copy(&mut stream.take(rest), &mut tokio::io::sink()).await.map_err(lost)?;
        return if skipped == rest { Ok(Some(emptied)) } else { Err("the connection broke in an entry".to_owned()) };
    }
    let head = message.len();
    message.resize(head + length, 0);
    stream.read_exact(&mut message[head..]).await.map_err(lost)?;
    check(&message[head..]).map_err(garbage)?;
    Ok(Some(message))
}

fn garbage(what: &str) -> String {
    format!("what it sends is no LDAP: {what}")
}

/// Checks a message's content.
fn check(content: &[u8]) -> Result<(), &'static str> {
    let mut parts = Parts(content);
    let id = parts.next()?.ok_or("a message without a number")?;
    if id.tag != INTEGER || !(1..=4).contains(&id.content.len()) || id.content[0] & 0x80 != 0 {
        return Err("a message without a number");
    }
    if id.content.iter().all(|byte| *byte == 0) {
        // RFC 4511, 4.4: nothing but the notice of disconnection has this number.
        return Err("it gave notice that it disconnects");
    }
    let operation = parts.next()?.ok_or("a message without an operation")?;
    match operation.tag {
        // Results of bind, search, modify and extended operations.
        0x61 | 0x65 | 0x67 | 0x78 => check_result(operation.content)?,
        // An entry, a reference.
        0x64 | 0x73 => check_depth(operation.content, 2)?,
        _ => return Err("an answer that was not asked for"),
    }
    match parts.next()? {
        None => Ok(()),
        Some(controls) if controls.tag == CONTROLS => {
            check_controls(controls.content)?;
            if parts.0.is_empty() { Ok(()) } else { Err("something after a message's controls") }
        }
        Some(_) => Err("something after a message's operation"),
    }
}

/// `LDAPResult` (RFC 4511, 4.1.9), and what may follow.
fn check_result(content: &[u8]) -> Result<(), &'static str> {
    let mut parts = Parts(content);
    let code = parts.next()?;
    let coded = code.is_some_and(|code| code.tag == ENUMERATED && (1..=4).contains(&code.content.len()));
    let text = |part: Option<Part>| {
        part.is_some_and(|part| part.tag == OCTET_STRING && std::str::from_utf8(part.content).is_ok())
    };
    if !coded || !text(parts.next()?) || !text(parts.next()?) {
        return Err("a result of another shape");
    }
    while let Some(part) = parts.next()? {
        match part.tag {
            // Referral: a list of texts.
            0xa3 => {
                let mut addresses = Parts(part.content);
                while let Some(address) = addresses.next()? {
                    if !text(Some(address)) {
                        return Err("a referral of another shape");
                    }
                }
            }
            // SASL credentials, name and value of an extended response.
            0x87 | 0x8b => {}
            0x8a if std::str::from_utf8(part.content).is_ok() => {}
            _ => return Err("a result of another shape"),
        }
    }
    Ok(())
}

fn check_controls(content: &[u8]) -> Result<(), &'static str> {
    const SHAPE: &str = "a control of another shape";
    let mut controls = Parts(content);
    while let Some(control) = controls.next()? {
        if control.tag != SEQUENCE {
            return Err(SHAPE);
        }
        let mut parts = Parts(control.content);
        let name = parts.next()?.ok_or(SHAPE)?;
        if name.tag != OCTET_STRING || std::str::from_utf8(name.content).is_err() {
            return Err(SHAPE);
        }
        let mut next = parts.next()?;
        if next.as_ref().is_some_and(|part| part.tag == BOOLEAN && part.content.len() == 1) {
            next = parts.next()?;
        }
        if next.is_some_and(|part| part.tag != OCTET_STRING) || !parts.0.is_empty() {
            return Err(SHAPE);
        }
    }
    Ok(())
}

/// Checks that everything within is of definite length and not nested deeper than anything that LDAP has.
fn check_depth(content: &[u8], depth: usize) -> Result<(), &'static str> {
    if depth > DEPTH_MAX {
        return Err("it is nested too deeply");
    }
    let mut parts = Parts(content);
    while let Some(part) = parts.next()? {
        if part.tag & CONSTRUCTED != 0 {
            check_depth(part.content, depth + 1)?;
        }
    }
    Ok(())
}

/// The elements of a constructed value, as LDAP allows them (RFC 4511, 5.1: definite lengths only).
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

pub(super) struct Part<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(super) fn next(&mut self) -> Result<Option<Part<'a>>, &'static str> {
        const CUT: &str = "a value is cut short";
        let Some((&tag, rest)) = self.0.split_first() else { return Ok(None) };
        if tag & 0x1f == 0x1f {
            return Err("a tag that LDAP has not");
        }
        let (&first, mut rest) = rest.split_first().ok_or(CUT)?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let more = usize::from(first & 0x7f);
            if !(1..=4).contains(&more) {
                return Err("a length in no form that is allowed");
            }
            let (bytes, after) = rest.split_at_checked(more).ok_or(CUT)?;
            length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(length).ok_or(CUT)?;
        self.0 = after;
        Ok(Some(Part { tag, content }))
    }
}

mod emptied;
#[cfg(test)]
mod tests;

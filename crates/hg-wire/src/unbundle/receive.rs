//! The payload of a push over SSH: chunks, each a line with its length in decimal and that many bytes, ended by a length of 0.

use super::PushIoError;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};

/// Digits of a chunk's length; more is no number that fits.
const LENGTH_DIGITS_MAX: usize = 19;
/// Bytes kept of the payload's start.
const START_BYTES: usize = 6;
/// Bytes copied at a time.
const COPY_BYTES: usize = 128 << 10;
/// A payload that is too large is still read, so that its sender can be told, up to so many times the limit.
const PATIENCE: u64 = 8;

/// What became of the payload, which was read to its end.
#[derive(Debug)]
pub(super) struct Received {
    /// Its first bytes, at most [`START_BYTES`]: they tell its form.
    pub start: Vec<u8>,
    /// The file that holds it, standing at its start; or why it could not be kept.
    pub file: Result<File, String>,
}

/// Reads the payload's chunks into `spool`, at most `bytes_max`. Where there is no spool (the text says why) or it fails, the payload is read past, so that
/// its sender can be told.
///
/// # Errors
/// The connection broke, a length is none, or far more than the limit came.
pub(super) fn receive(
    input: &mut dyn BufRead,
    spool: Result<File, String>,
    bytes_max: u64,
) -> Result<Received, PushIoError> {
    let mut spool = spool;
    let mut start = Vec::new();
    let mut buffer = vec![0; COPY_BYTES];
    let mut received: u64 = 0;
    loop {
        let mut left = chunk_length(input)?;
        if left == 0 {
            break;
        }
        received = received.saturating_add(left);
        if received > bytes_max && spool.is_ok() {
            spool = Err(format!("refused: more than {bytes_max} bytes, in the push. Push fewer changesets at a time"));
        }
        if received > bytes_max.saturating_mul(PATIENCE) {
            return Err(PushIoError::Framing(format!(
                "refused: far more than {bytes_max} bytes, in the push. Push fewer changesets at a time"
            )));
        }
        while left > 0 {
            let wanted = left.min(COPY_BYTES as u64) as usize;
            let read = match input.read(&mut buffer[..wanted]) {
                Ok(0) => return Err(ended()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            left -= read as u64;
            let missing = START_BYTES - start.len();
            start.extend_from_slice(&buffer[..read.min(missing)]);
            if let Ok(file) = &mut spool
                && let Err(error) = file.write_all(&buffer[..read])
            {
                spool = Err(no_room(&error));
            }
        }
    }
    let file = spool.and_then(|mut file| file.rewind().map(|()| file).map_err(|error| no_room(&error)));
    Ok(Received { start, file })
}

fn ended() -> PushIoError {
    PushIoError::Framing(
        "refused: the connection ended too early, within a push. Nothing was stored; push again".into(),
    )
}

/// What a client is told when its push can't be kept on this machine.
pub(super) fn no_room(error: &io::Error) -> String {
    // Its text may name a path of this machine; its kind does not.
    tracing::error!(%error, "a push can't be kept");
    format!(
        "refused: the push can't be kept ({}), on this server. Tell the administrators, and push again later",
        error.kind()
    )
}

/// A line of digits.
fn chunk_length(input: &mut dyn BufRead) -> Result<u64, PushIoError> {
    let mut line = Vec::with_capacity(LENGTH_DIGITS_MAX + 1);
    let mut limited = Read::take(input, LENGTH_DIGITS_MAX as u64 + 1);
    limited.read_until(b'\n', &mut line)?;
    let Some(digits) = line.strip_suffix(b"\n") else {
        return Err(if line.len() > LENGTH_DIGITS_MAX { no_length() } else { ended() });
    };
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.and_then(|text| text.parse().ok()).ok_or_else(no_length)
}

fn no_length() -> PushIoError {
    PushIoError::Framing(
        "refused: a chunk without a length, within a push. Nothing was stored; update Mercurial, and push again".into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut input: &[u8], bytes_max: u64) -> (Result<Received, PushIoError>, Vec<u8>) {
        let received = receive(&mut input, tempfile::tempfile().map_err(|error| error.to_string()), bytes_max);
        (received, input.to_vec())
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let (received, left) =
            run(b"3\nabc\n"[..5].iter().chain(b"2\nde0\nheads\n").copied().collect::<Vec<u8>>().as_slice(), 100);
        let received = received.expect("reads");
        assert_eq!(received.start, b"abcde");
        let mut file = received.file.expect("kept");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("reads");
        assert_eq!(text, "abcde");
        assert_eq!(left, b"heads\n");
    }

    #[test]
    fn too_large_a_payload_is_read_to_its_end_and_named() {
        let (received, left) = run(b"3\nabc3\ndef0\nx", 5);
        let text = received.expect("reads").file.expect_err("too large");
        assert!(text.contains("more than 5 bytes"), "{text}");
        assert_eq!(left, b"x");
        let (received, _) = run(b"9999999999\nabc", 5);
        assert!(matches!(received, Err(PushIoError::Framing(_))));
    }

    #[test]
    fn a_spool_that_fails_is_named_after_the_end() {
        let mut input = b"3\nabc0\n".as_slice();
        let received = receive(&mut input, Err("disk full".into()), 5);
        let text = received.expect("reads").file.expect_err("no spool");
        assert!(text.contains("disk full"), "{text}");
    }

    #[test]
    fn lengths_that_are_none_end_the_session() {
        for input in [
            b"-1\nabc".as_slice(),
            b"x\n",
            b"+3\nabc",
            b"\n",
            b"",
            b"3\nab",
            b"3",
            b"99999999999999999999999999\n",
            b" 3\nabc0\n",
        ] {
            let (received, _) = run(input, 100);
            assert!(matches!(received, Err(PushIoError::Framing(_))), "{input:?}: {received:?}");
        }
    }
}

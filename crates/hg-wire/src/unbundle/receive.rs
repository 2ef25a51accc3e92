//! The payload of a push over SSH: chunks, each a line with its length in decimal and that many bytes, ended by a length of 0.

use super::PushIoError;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};

/// Digits of a chunk's length; more is no number that fits.
const LENGTH_DIGITS_MAX: usize = 19;
/// Bytes copied at a time.
const COPY_BYTES: usize = 128 << 10;
/// A payload that is too large is still read, so that its sender can be told, up to so many times the limit.
const PATIENCE: u64 = 8;

/// What became of the payload.
#[derive(Debug)]
pub(super) enum Received {
    /// It lies in the file, which stands at its start.
    Whole {
        /// The spool file.
        file: File,
    },
    /// It was read to its end, and couldn't be kept: the text says why.
    Dropped(String),
}

/// Reads the payload's chunks into `spool`, at most `bytes_max`.
///
/// # Errors
/// The connection broke, a length is none, or far more than the limit came.
pub(super) fn receive(
    input: &mut dyn BufRead,
    spool: io::Result<File>,
    bytes_max: u64,
) -> Result<Received, PushIoError> {
    let mut spool = spool.map_err(|error| no_room(&error));
    let mut buffer = vec![0; COPY_BYTES];
    let mut received: u64 = 0;
    loop {
        let mut left = chunk_length(input)?;
        if left == 0 {
            break;
        }
        received = received.saturating_add(left);
        if received > bytes_max && spool.is_ok() {
            spool = Err(format!("the push is larger than {bytes_max} bytes: push fewer changesets at a time"));
        }
        if received > bytes_max.saturating_mul(PATIENCE) {
            return Err(PushIoError::Framing(format!(
                "the push is far larger than the {bytes_max} bytes that are allowed"
            )));
        }
        while left > 0 {
            let wanted = left.min(COPY_BYTES as u64) as usize;
            let read = match input.read(&mut buffer[..wanted]) {
                Ok(0) => {
                    return Err(PushIoError::Framing("the connection ended within a push: nothing was stored".into()));
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PushIoError::Io(error)),
            };
            left -= read as u64;
            if let Ok(file) = &mut spool
                && let Err(error) = file.write_all(&buffer[..read])
            {
                spool = Err(no_room(&error));
            }
        }
    }
    Ok(match spool.and_then(|mut file| file.rewind().map(|()| file).map_err(|error| no_room(&error))) {
        Ok(file) => Received::Whole { file },
        Err(text) => Received::Dropped(text),
    })
}

fn no_room(error: &io::Error) -> String {
    format!("the push can't be received: {error}")
}

/// A line of digits.
fn chunk_length(input: &mut dyn BufRead) -> Result<u64, PushIoError> {
    let mut line = Vec::with_capacity(LENGTH_DIGITS_MAX + 1);
    let mut limited = Read::take(input, LENGTH_DIGITS_MAX as u64 + 1);
    limited.read_until(b'\n', &mut line)?;
    let Some(digits) = line.strip_suffix(b"\n") else {
        return Err(PushIoError::Framing(if line.len() > LENGTH_DIGITS_MAX {
            "a chunk of the push has no length".into()
        } else {
            "the connection ended within a push: nothing was stored".into()
        }));
    };
    let number = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| PushIoError::Framing("a chunk of the push has no length".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mut input: &[u8], bytes_max: u64) -> (Result<Received, PushIoError>, Vec<u8>) {
        let received = receive(&mut input, tempfile::tempfile(), bytes_max);
        (received, input.to_vec())
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let (received, left) =
            run(b"3\nabc\n"[..5].iter().chain(b"2\nde0\nheads\n").copied().collect::<Vec<u8>>().as_slice(), 100);
        let Ok(Received::Whole { mut file }) = received else { panic!("{received:?}") };
        let mut text = String::new();
        file.read_to_string(&mut text).expect("reads");
        assert_eq!(text, "abcde");
        assert_eq!(left, b"heads\n");
    }

    #[test]
    fn too_large_a_payload_is_read_to_its_end_and_named() {
        let (received, left) = run(b"3\nabc3\ndef0\nx", 5);
        let Ok(Received::Dropped(text)) = received else { panic!("{received:?}") };
        assert!(text.contains("larger than 5 bytes"), "{text}");
        assert_eq!(left, b"x");
        let (received, _) = run(b"9999999999\nabc", 5);
        assert!(matches!(received, Err(PushIoError::Framing(_))));
    }

    #[test]
    fn a_spool_that_fails_is_named_after_the_end() {
        let mut input = b"3\nabc0\n".as_slice();
        let received = receive(&mut input, Err(io::Error::other("disk full")), 5);
        let Ok(Received::Dropped(text)) = received else { panic!("{received:?}") };
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

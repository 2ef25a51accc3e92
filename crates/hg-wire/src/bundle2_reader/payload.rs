//! A part's payload: chunks, and what may interrupt them.

use super::{Bundle2Reader, BundleError, PartHeader, State};
use std::io::{self, Read};

/// One part; reading from it gives its payload. Dropped early, the rest is read past.
pub struct Part<'b, R: Read> {
    /// What it says of itself.
    pub header: PartHeader,
    pub(super) bundle: &'b mut Bundle2Reader<R>,
}

impl<R: Read> Part<'_, R> {
    /// The whole payload, if it has at most `bytes_max` bytes.
    ///
    /// # Errors
    /// [`BundleError::Limit`] if it has more; nothing beyond the bound is kept.
    pub fn read_all(&mut self, bytes_max: u64) -> Result<Vec<u8>, BundleError> {
        let mut payload = Vec::new();
        self.by_ref().take(bytes_max.saturating_add(1)).read_to_end(&mut payload)?;
        if payload.len() as u64 > bytes_max {
            return Err(BundleError::Limit(format!("part {} has more than {bytes_max} bytes", self.header.name())));
        }
        Ok(payload)
    }
}

impl<R: Read> Read for Part<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.bundle.read_payload(buffer)?)
    }
}

impl<R: Read> Bundle2Reader<R> {
    /// Reads on in the current part's payload; 0 at its end.
    pub(super) fn read_payload(&mut self, buffer: &mut [u8]) -> Result<usize, BundleError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let mut chunk_left = match self.state {
            State::InPayload { chunk_left } => chunk_left,
            State::BetweenParts | State::Ended => return Ok(0),
            State::Failed => return Err(BundleError::Malformed("nothing can be read after an error".into())),
        };
        // Whatever fails below, nothing is read after it.
        self.state = State::Failed;
        while chunk_left == 0 {
            match self.read_u32()? as i32 {
                0 => {
                    self.state = State::BetweenParts;
                    return Ok(0);
                }
                -1 => self.read_interruption()?,
                length if length < 0 => {
                    return Err(BundleError::Malformed(format!("negative payload chunk size: {length}")));
                }
                length => chunk_left = length as u32,
            }
        }
        let wanted = buffer.len().min(chunk_left as usize);
        let read = loop {
            match self.input.read(&mut buffer[..wanted]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if read == 0 {
            return Err(BundleError::Cut { got: 0, expected: u64::from(chunk_left) });
        }
        self.state = State::InPayload { chunk_left: chunk_left - read as u32 };
        Ok(read)
    }

    /// One whole part in the middle of another's payload. It can't be interrupted itself.
    fn read_interruption(&mut self) -> Result<(), BundleError> {
        let Some(header) = self.read_header()? else { return Ok(()) };
        loop {
            match self.read_u32()? as i32 {
                0 => break,
                length if length < 0 => return Err(BundleError::Malformed("an interruption is interrupted".into())),
                length => self.read_past(length as u64)?,
            }
        }
        let text = |key| header.parameter(key).map(|value| String::from_utf8_lossy(value).into_owned());
        match header.name().as_str() {
            "error:abort" => {
                Err(BundleError::SenderGaveUp { message: text("message").unwrap_or_default(), hint: text("hint") })
            }
            "error:unsupportedcontent" => Err(BundleError::UnknownInterruption(text("parttype").unwrap_or_default())),
            "output" => Ok(()),
            _ if header.is_mandatory() => Err(BundleError::UnknownInterruption(header.name())),
            _ => Ok(()),
        }
    }

    fn read_past(&mut self, bytes: u64) -> Result<(), BundleError> {
        let passed = io::copy(&mut (&mut self.input).take(bytes), &mut io::sink())?;
        if passed < bytes {
            return Err(BundleError::Cut { got: passed, expected: bytes });
        }
        Ok(())
    }
}

//! A bundle2 stream, read part by part.
//!
//! The format is Mercurial's own (`mercurial/bundle2.py`, its module text): `HG20`; 4 bytes, the length of the stream's parameters; the parameters; parts;
//! 4 zero bytes. A part: 4 bytes, the length of its header; the header (1 byte and its type, 4 bytes id, 1 byte each the number of mandatory and advisory
//! parameters, their sizes as pairs of bytes, their keys and values); chunks, each 4 bytes of length and that many bytes, ended by a length of 0. A length of -1 interrupts
//! the payload by one whole part.
//!
//! Nothing is allocated by a length that the stream gives before it was compared with a bound of [`BundleLimits`]; payloads are read, never gathered.

mod header;
mod payload;

pub use header::{PartHeader, PartParameter};
pub use payload::Part;

use crate::decompression::{Compression, Decompressor, ExpansionLimits};
use crate::quoting::unquote;
use std::collections::HashSet;
use std::io::{self, Read};

/// The first four bytes of a bundle2.
pub const MAGIC: &[u8; 4] = b"HG20";

/// Bounds on what a bundle may hold.
#[derive(Debug, Clone, Copy)]
pub struct BundleLimits {
    /// Bytes of the stream's parameters.
    pub stream_parameters_bytes_max: u32,
    /// Bytes of one part's header. The format itself can't need more than 261,382.
    pub header_bytes_max: u32,
    /// Parts of the stream, interrupting ones included.
    pub parts_max: u32,
    /// What a compressed stream may unpack to.
    pub expansion: ExpansionLimits,
}

impl Default for BundleLimits {
    fn default() -> Self {
        BundleLimits {
            stream_parameters_bytes_max: 64 << 10,
            header_bytes_max: 261_382,
            parts_max: 10_000,
            expansion: ExpansionLimits::default(),
        }
    }
}

/// Why a bundle can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The stream ends inside something. The text is stock's.
    #[error("stream ended unexpectedly (got {got} bytes, expected {expected})")]
    Cut {
        /// Bytes that were there.
        got: u64,
        /// Bytes that were needed.
        expected: u64,
    },
    /// The first bytes are not bundle2's.
    #[error("not a bundle2 stream")]
    Magic,
    /// A length, count or name that the format doesn't have.
    #[error("malformed bundle: {0}")]
    Malformed(String),
    /// A bound of [`BundleLimits`] is passed.
    #[error("the bundle is too large: {0}")]
    Limit(String),
    /// A stream parameter that must be understood and isn't.
    #[error("missing support for Stream Parameter - {0}")]
    UnknownStreamParameter(String),
    /// A part that must be understood interrupts another one's payload.
    #[error("missing support for {0}")]
    UnknownInterruption(String),
    /// The sender gave up in the middle and said why (an `error:abort` that interrupts a payload).
    #[error("{message}")]
    SenderGaveUp {
        /// The sender's words.
        message: String,
        /// What it advises.
        hint: Option<String>,
    },
    /// The input failed.
    #[error("reading the bundle failed: {0}")]
    Input(#[source] io::Error),
}

impl From<io::Error> for BundleError {
    /// A [`BundleError`] that travelled inside an [`io::Error`] comes out as itself.
    fn from(error: io::Error) -> Self {
        match error.downcast::<BundleError>() {
            Ok(inner) => inner,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => BundleError::Cut { got: 0, expected: 1 },
            Err(error) => BundleError::Input(error),
        }
    }
}

impl From<BundleError> for io::Error {
    fn from(error: BundleError) -> Self {
        io::Error::other(error)
    }
}

/// Reads a bundle2 stream part by part.
pub struct Bundle2Reader<R: Read> {
    input: Decompressor<R>,
    limits: BundleLimits,
    parts: u32,
    /// Ids of the parts so far: replies refer to a part by its id, so no two may have the same.
    ids: HashSet<u32>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next bytes are the length of a part's header.
    BetweenParts,
    /// Inside a part's payload; so many bytes of the current chunk are left.
    InPayload { chunk_left: u32 },
    /// The stream's end was read.
    Ended,
    /// Something failed, and nothing more is read.
    Failed,
}

impl<R: Read> Bundle2Reader<R> {
    /// Reads magic and stream parameters.
    ///
    /// # Errors
    /// [`BundleError::Magic`] if this is no bundle2, [`BundleError::UnknownStreamParameter`] for a mandatory one, else as the variants tell.
    pub fn open(mut input: R, limits: BundleLimits) -> Result<Self, BundleError> {
        let mut magic = [0; 4];
        read_exact(&mut input, &mut magic)?;
        if &magic != MAGIC {
            return Err(BundleError::Magic);
        }
        let compression = stream_parameters(&mut input, &limits)?;
        let input = Decompressor::new(input, compression, limits.expansion).map_err(BundleError::Input)?;
        Ok(Bundle2Reader { input, limits, parts: 0, ids: HashSet::new(), state: State::BetweenParts })
    }

    /// The next part, or `None` at the end of the stream. What is left of the part before is read past.
    pub fn next_part(&mut self) -> Result<Option<Part<'_, R>>, BundleError> {
        self.skip_payload()?;
        match self.state {
            State::Ended => return Ok(None),
            State::Failed => return Err(BundleError::Malformed("nothing can be read after an error".into())),
            State::BetweenParts | State::InPayload { .. } => {}
        }
        self.state = State::Failed;
        let Some(header) = self.read_header()? else {
            self.state = State::Ended;
            return Ok(None);
        };
        // Parts that interrupt are not looked at: stock gives all of them the id 0.
        if !self.ids.insert(header.id) {
            return Err(BundleError::Malformed(format!("two parts have the id {}", header.id)));
        }
        self.state = State::InPayload { chunk_left: 0 };
        Ok(Some(Part { header, bundle: self }))
    }

    fn skip_payload(&mut self) -> Result<(), BundleError> {
        if matches!(self.state, State::InPayload { .. }) {
            let mut scratch = [0; 16 << 10];
            while self.read_payload(&mut scratch)? > 0 {}
            self.state = State::BetweenParts;
        }
        Ok(())
    }

    /// Reads a part's header; `None` for the length 0, which ends the stream.
    fn read_header(&mut self) -> Result<Option<PartHeader>, BundleError> {
        let bytes = self.read_u32()?;
        if bytes == 0 {
            return Ok(None);
        }
        if bytes > i32::MAX as u32 {
            return Err(BundleError::Malformed(format!("negative part header size: {}", bytes as i32)));
        }
        if bytes > self.limits.header_bytes_max {
            return Err(BundleError::Limit(format!(
                "a part's header has {bytes} bytes, {} are allowed",
                self.limits.header_bytes_max
            )));
        }
        if self.parts >= self.limits.parts_max {
            return Err(BundleError::Limit(format!("more than {} parts", self.limits.parts_max)));
        }
        self.parts += 1;
        let mut header = vec![0; bytes as usize];
        read_exact(&mut self.input, &mut header)?;
        PartHeader::parse(&header).map(Some)
    }

    fn read_u32(&mut self) -> Result<u32, BundleError> {
        let mut bytes = [0; 4];
        read_exact(&mut self.input, &mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// Reads the stream's parameters and returns the compression that they name.
///
/// They are blanks between `name` or `name=value`, URL-quoted. A name that begins with a lower-case letter may be ignored, one with an upper-case letter must be understood.
fn stream_parameters(input: &mut impl Read, limits: &BundleLimits) -> Result<Compression, BundleError> {
    let mut length = [0; 4];
    read_exact(input, &mut length)?;
    let length = u32::from_be_bytes(length);
    if length > i32::MAX as u32 {
        return Err(BundleError::Malformed(format!("negative bundle param size: {}", length as i32)));
    }
    if length > limits.stream_parameters_bytes_max {
        return Err(BundleError::Limit(format!(
            "{length} bytes of stream parameters, {} are allowed",
            limits.stream_parameters_bytes_max
        )));
    }
    let mut block = vec![0; length as usize];
    read_exact(input, &mut block)?;
    let mut compression = Compression::None;
    if block.is_empty() {
        return Ok(compression);
    }
    for item in block.split(|byte| *byte == b' ') {
        let mut halves = item.splitn(2, |byte| *byte == b'=');
        let name = unquote(halves.next().unwrap_or_default());
        let value = halves.next().map(unquote);
        match name.first() {
            None => return Err(BundleError::Malformed("empty parameter name".into())),
            Some(first) if !first.is_ascii_alphabetic() => {
                return Err(BundleError::Malformed(format!(
                    "non letter first character: {}",
                    String::from_utf8_lossy(&name)
                )));
            }
            Some(_) => {}
        }
        if name.eq_ignore_ascii_case(b"compression") {
            let value = value.unwrap_or_default();
            compression = Compression::from_bundle2(&value).ok_or_else(|| {
                BundleError::UnknownStreamParameter(format!("compression={}", String::from_utf8_lossy(&value)))
            })?;
        } else if name[0].is_ascii_uppercase() {
            return Err(BundleError::UnknownStreamParameter(String::from_utf8_lossy(&name).into_owned()));
        }
    }
    Ok(compression)
}

/// Fills `buffer`, or tells how much was there, as stock does.
fn read_exact(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), BundleError> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => return Err(BundleError::Cut { got: got as u64, expected: buffer.len() as u64 }),
            Ok(read) => got += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

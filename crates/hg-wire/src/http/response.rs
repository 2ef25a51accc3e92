//! Answers over HTTP, as data.

use crate::CommandError;
use crate::commands::FileAnswer;
use std::fmt;
use std::io::Write;

/// Writes a body. An error means that it broke off: the connection must then be cut, so that the client sees no end.
pub type StreamBody = Box<dyn FnOnce(&mut dyn Write) -> Result<(), CommandError> + Send>;

/// An answer's body.
pub enum Body {
    /// All of it; its length is sent as `Content-Length`.
    Bytes(Vec<u8>),
    /// A file; its length and that of what goes before it are sent as `Content-Length`.
    File(FileAnswer),
    /// Made while it is sent; chunked.
    Stream(StreamBody),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Body::File(file) => file.fmt(f),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The reason phrase: Mercurial's clients print it for any status but 200.
    pub reason: String,
    /// Header names (lower case) and values; neither length nor encoding of the body.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Body,
}

/// A request that is refused without a look at any repository.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {text}")]
pub struct Refusal {
    /// The status code, 400 to 431.
    pub status: u16,
    /// One line for the client.
    pub text: String,
}

//! A request's head becomes a command with its arguments.

use super::Refusal;
use crate::arguments::Arguments;
use crate::command::CommandName;

/// A command as it came over HTTP.
#[derive(Debug)]
pub struct Request {
    /// The command; `None` for a name that is not served.
    pub command: Option<CommandName>,
    /// Arguments from the query and from headers.
    pub arguments: Arguments,
    /// Bytes of the body that are arguments (`X-HgArgs-Post`).
    pub posted_argument_bytes: usize,
}

/// Reads a request's head. `None`: it names no command (`?cmd=`), so it asks for a page.
pub fn parse(_head: &http::request::Parts) -> Result<Option<Request>, Refusal> {
    todo!()
}

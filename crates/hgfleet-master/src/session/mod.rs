//! One SSH session's work, in a process of its own.

mod command_line;
mod identity;

pub(crate) use identity::{Access, COMMAND_BYTES_MAX, Identity, Limits};

use std::path::PathBuf;

/// How the session's process is told what to do. Nothing here comes from the client.
#[derive(Debug)]
pub struct SessionOptions {
    /// The fleet's `run` folder, where `session.sock` is.
    pub run: PathBuf,
    /// Who is served and what they asked for.
    pub door: Door,
}

/// Which door started this session.
#[derive(Debug)]
pub enum Door {
    /// The built-in SSH server: the identity is the first frame on standard input, written by the door before any byte of
    /// the client's.
    BuiltIn,
    /// OpenSSH's `ForceCommand`: the account comes from `AuthorizedKeysCommand`'s line, the command from
    /// `SSH_ORIGINAL_COMMAND`, the address from `SSH_CONNECTION`.
    OpenSsh {
        /// The account's mail address.
        account: String,
        /// What the client asked for.
        command: Option<Vec<u8>>,
        /// Where the client is.
        address: String,
    },
}

/// Serves one session on standard input, output and error. Returns the process's exit status.
pub fn run(_options: SessionOptions) -> u8 {
    todo!()
}

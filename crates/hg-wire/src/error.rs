//! Why a command is not answered.

use crate::host::HostError;
use hg_store::StoreError;
use std::io;

/// Why one command is not answered. The session, or the server, goes on.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The request breaks the protocol, or a rule of the bounds of it: no client of Mercurial sends such a thing.
    #[error("{0}")]
    Malformed(String),
    /// The request has more of something than [`limits`](crate::limits) allows.
    #[error("{0}")]
    TooLarge(String),
    /// The request is well-formed and can't be answered: an unknown revision, no version in common.
    #[error("{0}")]
    Refused(String),
    /// The store can't be read. The client reads a text without paths of this machine.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host can't serve the repository.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The client is gone, or its connection broke.
    #[error(transparent)]
    Output(#[from] io::Error),
}

impl CommandError {
    /// Returns what the client is told: one or more whole lines, without the newline at the end.
    pub fn client_text(&self) -> String {
        match self {
            CommandError::Malformed(text) => format!("refused: {text}, in the request. Update Mercurial, and try again"),
            CommandError::TooLarge(text) => format!("refused: {text}, in one request. Ask for less at a time"),
            CommandError::Refused(text) => text.clone(),
            CommandError::Host(HostError::Refused(text)) => text.trim_end_matches('\n').to_owned(),
            CommandError::Host(HostError::Failed(_)) => {
                "refused: the repository can't be served, on this server. Try again in a minute, and tell the administrators if that doesn't help".to_owned()
            }
            CommandError::Store(error) if error.is_corruption() => {
                "refused: the repository is damaged, on this server. Tell the administrators".to_owned()
            }
            CommandError::Store(_) => {
                "refused: the repository can't be read, on this server. Tell the administrators".to_owned()
            }
            CommandError::Output(_) => "the connection broke".to_owned(),
        }
    }

    /// Returns whether an operator should hear of it: everything that is neither the client's fault nor its departure.
    pub fn is_ours(&self) -> bool {
        matches!(self, CommandError::Store(_) | CommandError::Host(HostError::Failed(_)))
    }
}

/// Shortens and escapes bytes from a client for use in a text: control bytes and what is not UTF-8 are escaped, at
/// most 80 bytes are kept.
pub fn shown(bytes: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 80;
    let cut = bytes.len() > SHOWN_BYTES_MAX;
    let mut text = String::new();
    for chunk in bytes[..bytes.len().min(SHOWN_BYTES_MAX)].utf8_chunks() {
        text.extend(
            chunk.valid().chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }),
        );
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    if cut {
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_bytes_are_escaped_and_cut() {
        assert_eq!(shown(b"a\nb\xff"), "a\\nb\\xff");
        assert_eq!(shown(&[b'x'; 100]), format!("{}...", "x".repeat(80)));
    }
}

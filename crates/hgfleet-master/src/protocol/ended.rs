//! What a session says of itself when it, or a command in it, has ended.

use serde::{Deserialize, Serialize};

/// How a session ended, as it says itself.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct SessionEnding {
    /// Its exit status.
    pub status: u8,
    /// What it has used.
    pub used: Usage,
}

/// What a session has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// CPU time of its process, in user space and in the kernel.
    pub cpu_microseconds: u64,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client, on both streams.
    pub bytes_out: u64,
}

impl Usage {
    /// What was used since `before`.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            cpu_microseconds: self.cpu_microseconds.saturating_sub(before.cpu_microseconds),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
        }
    }
}

/// A command of the wire protocol that has ended, as the session says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WireCommand {
    /// Its name.
    pub command: String,
    /// The repository that it was about.
    pub repository: String,
    /// How it ended.
    pub outcome: WireOutcome,
    /// How long it took from its arguments on.
    pub microseconds: u64,
    /// What it has used, its line and its arguments too.
    pub used: Usage,
}

/// How a command of the wire protocol ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum WireOutcome {
    /// It was answered.
    Done,
    /// The client was told why not.
    Refused,
    /// The session ended with it.
    BrokenOff,
}

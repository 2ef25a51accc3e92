//! What a door tells the session that it starts. Nothing of it but the command comes from the client.

use hgfleet_directory::{Account, AccountState};
use serde::{Deserialize, Serialize};

/// Longest command line that is looked at, bytes. A door passes one byte more of a longer one, so that the session refuses it.
pub(crate) const COMMAND_BYTES_MAX: usize = 4096;

/// Bound of an identity's frame, bytes.
pub(crate) const IDENTITY_BYTES_MAX: usize = 256 << 10;

/// Who is served, what they asked for, and within which limits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The account's mail address.
    pub account: String,
    /// May the account be used.
    pub access: Access,
    /// Its groups, sorted.
    pub groups: Vec<String>,
    /// The name by which it logs in, as it stands in a URL.
    pub login: String,
    /// For whom it pushes, as a landing account's client says.
    pub requester: Option<String>,
    /// Where the client is.
    pub address: String,
    /// The command line, as the client sent it.
    pub command: Option<Vec<u8>>,
    /// Limits of the process.
    pub limits: Limits,
}

impl Identity {
    /// Of a client at this address whose login was judged; without a command.
    pub(crate) fn of(account: &Account, login: String, address: String, limits: Limits) -> Identity {
        Identity {
            account: account.mail.to_string(),
            access: match account.state {
                AccountState::Enabled => Access::Enabled,
                AccountState::Disabled => Access::Disabled,
                AccountState::NotEnabled => Access::NotEnabled,
            },
            groups: account.groups.clone(),
            login,
            requester: None,
            address,
            command: None,
            limits,
        }
    }
}

/// May the account be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Access {
    /// Yes.
    Enabled,
    /// It was switched off.
    Disabled,
    /// It was never switched on.
    NotEnabled,
}

/// Limits of the session's process (`setrlimit`).
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Address space, bytes.
    pub address_space_bytes: u64,
    /// Heap and anonymous memory, bytes.
    pub memory_bytes: u64,
    /// CPU time, seconds.
    pub cpu_seconds: u64,
    /// Open files.
    pub open_files: u64,
}

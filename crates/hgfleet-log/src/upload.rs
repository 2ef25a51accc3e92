//! What a mirror and the master tell each other of an object that a client uploads: a conversation of its own on the socket for
//! streams, framed as those are.
//!
//! ```text
//! mirror: Up::Upload      master: Answer::Send, or any other and the end
//! mirror: the bytes       master: any answer but Send, and the end
//! ```

use serde::{Deserialize, Serialize};

use crate::ids::{LogId, Sequence};
use crate::name::RepositoryName;

/// The version of these messages.
pub const VERSION: u16 = 1;

/// What is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// [`VERSION`].
    pub version: u16,
    /// The log that the mirror follows.
    pub log: LogId,
    /// The mirror's name in the configuration.
    pub mirror: String,
    /// Where the object is to be stored.
    pub repository: RepositoryName,
    /// The SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// How many bytes follow.
    pub bytes: u64,
    /// The account whose credentials the mirror was shown.
    pub account: String,
    /// Where the client is.
    pub address: String,
}

/// What the master says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The bytes are wanted.
    Send,
    /// The object is stored, and whoever reads at this record has it; none where it was there before.
    Stored(Option<Sequence>),
    /// It is not stored.
    Refused {
        /// Why, for programs.
        why: Why,
        /// Why, and what to do: one line for whoever uploads.
        text: String,
    },
}

/// Why an object is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The account may not, or nobody may now.
    NotAllowed,
    /// There is no such repository, or it takes no objects.
    NotThere,
    /// It has too many bytes.
    TooLarge,
    /// The bytes are not what the hash is of.
    OtherBytes,
    /// The bytes came too slowly, or not all of them.
    Cut,
    /// It may be taken in a moment.
    Later,
    /// Another server is master, or is about to be.
    NotMaster,
}

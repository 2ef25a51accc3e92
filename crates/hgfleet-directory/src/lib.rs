//! Who may log in: accounts, their SSH keys and their groups.
//!
//! A [`Directory`] answers two questions: which account has this public key, and what does the account with this
//! mail address look like. [`LdifDirectory`] answers them from one LDIF file, which it reads again when the file
//! changes and which `hgfleet account` edits.

mod account;
mod ldif;
mod ldif_directory;
mod public_key;

pub use account::{Account, AccountState, Mail, MailError};
pub use ldif::{LdifEntry, LdifError, LdifErrorKind};
pub use ldif_directory::{AccountLine, LdifDirectory};
pub use public_key::{KeyAlgorithm, PublicKey, PublicKeyError};

use std::path::PathBuf;

/// Why the directory could not answer or could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file could not be read or written.
    #[error("cannot {verb} {}: {error}", path.display())]
    Io {
        /// What was tried: `read`, `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// The file is no LDIF, or says something about accounts that is refused.
    #[error("{}: {error}", path.display())]
    Ldif {
        /// The file.
        path: PathBuf,
        /// What is wrong, and on which line.
        error: LdifError,
    },
    /// There is already an account with this mail address.
    #[error("there is already an account {0}")]
    AccountExists(Mail),
    /// There is no account with this mail address.
    #[error("there is no account {0}")]
    NoAccount(Mail),
    /// The key already belongs to an account; one key is one person.
    #[error("this key already belongs to {owner}: {key}")]
    KeyTaken {
        /// The key, algorithm and base64.
        key: String,
        /// Whose it is.
        owner: Mail,
    },
    /// The account has as many keys as one may have.
    #[error("the account {mail} has {max} keys already; remove one first")]
    TooManyKeys {
        /// The account.
        mail: Mail,
        /// How many keys one account may have.
        max: usize,
    },
}

/// Where accounts come from. Calls may block; async callers use a thread for blocking work.
pub trait Directory: Send + Sync {
    /// Returns the account that this public key belongs to, in whatever state the account is.
    ///
    /// `blob` is the key as it goes over the wire (RFC 4253, 6.6). Two accounts with the same key are answered by
    /// `None`, never by the first match.
    fn account_by_key(&self, blob: &[u8]) -> Result<Option<Account>, DirectoryError>;

    /// Returns the account with this mail address.
    fn account(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError>;
}

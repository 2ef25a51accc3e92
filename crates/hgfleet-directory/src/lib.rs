//! Who may log in: accounts, their SSH keys and their groups.
//!
//! A [`Directory`] answers two questions: which account has this public key, and what does the account with this
//! mail address look like. [`LdifDirectory`] answers them from one LDIF file, which it reads again when the file
//! changes and which `hgfleet account` edits. [`LdapDirectory`] asks LDAP servers, and [`CachedDirectory`] keeps what they
//! answered for as long as it counts.

mod account;
mod address_list;
mod authorized_key;
mod cached;
mod clock;
mod ldap;
mod ldif;
mod ldif_directory;
mod location;
mod public_key;
mod values;

pub use account::{Account, AccountState, Mail, MailError};
pub use address_list::AddressList;
pub use authorized_key::{AuthorizedKey, KeyConditionError, KeyOptions};
pub use cached::{Answer, CacheOptions, CachedDirectory, Purpose};
pub use clock::Clock;
/// What reads an LDAP server's messages before the library does. Public for the sake of those who try it with any bytes.
pub use ldap::read_message as read_ldap_message;
pub use ldap::{LdapAttributes, LdapBind, LdapDirectory, LdapOptions, LdapOptionsError, LdapScope, Password};
pub use ldif::{LdifEntry, LdifError, LdifErrorKind};
pub use ldif_directory::{AccountLine, LdifDirectory};
pub use location::DirectoryLocation;
pub use public_key::{Curve, KeyAlgorithm, PublicKey, PublicKeyError};

use std::path::PathBuf;
use std::time::Duration;

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
    #[error("this key already belongs to {owner}, so {mail} can't have it: {key}")]
    KeyTaken {
        /// The key, algorithm and base64.
        key: String,
        /// Whose it is.
        owner: Mail,
        /// Who was to have it.
        mail: Mail,
    },
    /// The account has this key already.
    #[error("{mail} has this key already: {key}")]
    KeyThere {
        /// The key, algorithm and base64.
        key: String,
        /// Whose it is.
        mail: Mail,
    },
    /// The account has as many keys as one may have.
    #[error("the account {mail} has {max} keys already; remove one first")]
    TooManyKeys {
        /// The account.
        mail: Mail,
        /// How many keys one account may have.
        max: usize,
    },
    /// The account has no key with this fingerprint.
    #[error("the account {mail} has no key {fingerprint:?}; `hgfleet account show {mail}` lists its keys")]
    NoKey {
        /// The account.
        mail: Mail,
        /// What was asked for.
        fingerprint: String,
    },
    /// Without this key nobody could log in to the account.
    #[error("the account {0} has no other key; add one first")]
    LastKey(Mail),
    /// Accounts are changed where they are kept, not from here.
    #[error("the accounts are kept elsewhere, and can't be changed from here")]
    NotWritable,
    /// Something that no group can be called.
    #[error("{0:?} is no name for a group: letters, digits, _, - and . make one, 64 at most")]
    GroupName(String),
    /// What was said of the LDAP servers does not fit together.
    #[error(transparent)]
    Options(#[from] LdapOptionsError),
    /// No LDAP server answered.
    #[error("no LDAP server answers: {reason}")]
    Unreachable {
        /// What each one said or did.
        reason: String,
    },
    /// The servers do not answer, and what was known has become too old.
    #[error("{reason}; what was known before counts no longer ({bound} s at most)", bound = bound.as_secs())]
    TooOld {
        /// Why there is no newer answer.
        reason: String,
        /// How long an answer counts without a newer one.
        bound: Duration,
    },
    /// It is not clear whose this address is; then it is nobody's.
    #[error("{mail} is refused: {reason}; leave one entry with this one address")]
    Ambiguous {
        /// The address.
        mail: Mail,
        /// Which entries have it.
        reason: String,
    },
}

impl DirectoryError {
    /// Whether this says nothing about who was asked for, but only that nobody could be asked.
    pub fn is_outage(&self) -> bool {
        matches!(self, DirectoryError::Unreachable { .. } | DirectoryError::TooOld { .. })
    }
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

    /// As [`Directory::account`], before something is stored in the account's name: an answer may be refused as too old that
    /// would do for a login.
    fn account_to_write(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        self.account(mail)
    }

    /// Whether [`Directory::give_key`] and [`Directory::take_key`] can do anything.
    fn takes_keys(&self) -> bool {
        false
    }

    /// Gives an account another key, where the directory can be written to.
    ///
    /// # Errors
    /// [`DirectoryError::NotWritable`]; what [`LdifDirectory::add_key`] says; an LDAP server that refuses.
    fn give_key(&self, _mail: &Mail, _key: &PublicKey) -> Result<(), DirectoryError> {
        Err(DirectoryError::NotWritable)
    }

    /// Takes a key from an account that has another one, where the directory can be written to.
    ///
    /// # Errors
    /// [`DirectoryError::NotWritable`], [`DirectoryError::LastKey`]; what [`LdifDirectory::remove_key`] says; an LDAP server that refuses.
    fn take_key(&self, _mail: &Mail, _fingerprint: &str) -> Result<(), DirectoryError> {
        Err(DirectoryError::NotWritable)
    }

    /// Takes note that an account has logged in. Never waits, never fails.
    fn logged_in(&self, _mail: &Mail) {}
}

//! Who may log in: one judge for both SSH doors.
//!
//! A door knows that somebody holds a key, or holds the key of a certificate. Whose account that opens, and whether it does so under this
//! login name, from this address and at this time, is decided here, from the directory and the file of certificate authorities as
//! they are now. Nothing that comes from a client is believed but what its key has signed.

mod authorities;
mod authorized_keys;
mod certificate;
#[cfg(test)]
mod tests;

pub use authorities::AuthoritiesError;
pub use authorized_keys::{AuthorizedKeysError, AuthorizedKeysOptions, OfferedKey, authorized_keys};

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use hgfleet_directory::{
    Account, AuthorizedKey, Directory, DirectoryError, KeyConditionError, Mail, PublicKey, PublicKeyError,
};
use russh::keys::Certificate;

use crate::options::MasterError;
use authorities::Authorities;
use certificate::CertificateError;

/// How a certificate's algorithm ends (OpenSSH's `PROTOCOL.certkeys`).
const CERTIFICATE_MARK: &[u8] = b"-cert-v01@openssh.com";
/// Largest certificate that is looked at, bytes.
const CERTIFICATE_BYTES_MAX: usize = 32 << 10;

/// Which name a client logs in by, and which certificates count.
#[derive(Debug, Clone, Default)]
pub struct LoginOptions {
    /// The user name of SSH.
    pub name: LoginName,
    /// File with the public keys of the authorities whose user certificates count; none: no certificate does.
    pub trusted_user_ca_keys: Option<PathBuf>,
    /// Whether `sshd` does not see where clients are, since the master passes their connections on. Then it is not told of `from=`, and
    /// the session alone judges by that.
    pub hidden_from_sshd: bool,
}

/// The user name by which clients log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginName {
    /// The same for everybody: the key says who comes.
    Fixed(String),
    /// The account's own mail address.
    Mail,
}

impl Default for LoginName {
    fn default() -> Self {
        LoginName::Fixed("hg".to_owned())
    }
}

/// Why somebody is not let in. Reason codes of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    #[error("wrong-user-name")]
    UserName,
    /// What was signed, or would be, is a SHA-1 hash.
    #[error("sha1-signature: the client must sign with rsa-sha2-256 or rsa-sha2-512")]
    Sha1,
    /// Nobody here can see whether the key was touched.
    #[error("security-key: a touch can't be checked by this door; use the OpenSSH door or another key")]
    SecurityKey,
    #[error("algorithm {0}: only ed25519, ECDSA and RSA keys are accepted")]
    Algorithm(String),
    #[error("key-refused: {0}")]
    Key(#[from] PublicKeyError),
    #[error("{0}")]
    Condition(KeyConditionError),
    #[error("unknown-key")]
    Unknown,
    #[error("certificate-refused: {0}")]
    Certificate(#[from] CertificateError),
    /// The certificate is sound, and names nobody.
    #[error("no-account: the certificate's principal is no account")]
    NoAccount,
    #[error("directory: {0}")]
    Directory(String),
}

impl Denial {
    /// What a client may read of it. Where the directory is, and what is wrong with it, is for the log alone.
    pub(crate) fn told(&self) -> String {
        match self {
            Denial::Directory(_) => {
                "refused: the directory of accounts does not answer, on this fleet. Try again in a few minutes"
                    .to_owned()
            }
            denial => {
                format!("refused: the key opens no account here ({denial}), on this fleet. Ask an administrator")
            }
        }
    }
}

impl From<DirectoryError> for Denial {
    fn from(error: DirectoryError) -> Denial {
        Denial::Directory(error.to_string())
    }
}

/// Where a client is, as far as a door knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAddress {
    /// There.
    Known(IpAddr),
    /// Nobody knows, nor will: what depends on it is refused.
    Unknown,
    /// The door will judge that itself, by what it is told of the key, and the session once more.
    Later,
}

impl From<Option<IpAddr>> for ClientAddress {
    fn from(address: Option<IpAddr>) -> ClientAddress {
        address.map_or(ClientAddress::Unknown, ClientAddress::Known)
    }
}

/// What somebody has shown to hold the private half of.
#[derive(Debug, Clone)]
pub(crate) enum Proof {
    /// A key.
    Key(PublicKey),
    /// The key of a certificate.
    Certificate(Box<Certificate>),
}

impl Proof {
    /// Parses a key or a certificate as it goes over the wire.
    pub(crate) fn parse(blob: &[u8]) -> Result<Proof, Denial> {
        if !algorithm_of(blob).is_some_and(|name| name.ends_with(CERTIFICATE_MARK)) {
            return Ok(Proof::Key(PublicKey::parse_blob(blob)?));
        }
        if blob.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLong.into());
        }
        let certificate = Certificate::from_bytes(blob).map_err(|_| CertificateError::Damaged)?;
        Ok(Proof::Certificate(Box::new(certificate)))
    }

    /// The key's fingerprint; that of a certificate is its own key's.
    pub(crate) fn fingerprint(&self) -> String {
        match self {
            Proof::Key(key) => key.fingerprint(),
            Proof::Certificate(certificate) => certificate.public_key().fingerprint(Default::default()).to_string(),
        }
    }
}

/// The name with which a key or certificate begins.
fn algorithm_of(blob: &[u8]) -> Option<&[u8]> {
    let (length, rest) = blob.split_first_chunk::<4>()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// The judge.
pub(crate) struct Logins {
    directory: Arc<dyn Directory>,
    name: LoginName,
    authorities: Authorities,
    hidden_from_sshd: bool,
}

impl Logins {
    /// Reads the authorities.
    pub(crate) fn open(options: &LoginOptions, directory: Arc<dyn Directory>) -> Result<Logins, MasterError> {
        let authorities = Authorities::open(options.trusted_user_ca_keys.as_deref())?;
        Ok(Logins { directory, name: options.name.clone(), authorities, hidden_from_sshd: options.hidden_from_sshd })
    }

    /// Whether any certificate can count.
    pub(crate) fn takes_certificates(&self) -> bool {
        self.authorities.are_any()
    }

    /// The name by which an account logs in, as it stands in a URL (RFC 3986, 3.2.1).
    pub(crate) fn name_in_urls(&self, account: &Account) -> String {
        match &self.name {
            LoginName::Fixed(name) => name.clone(),
            LoginName::Mail => account.mail.as_str().replace('@', "%40"),
        }
    }

    /// Takes note that an account has logged in. Never waits.
    pub(crate) fn logged_in(&self, account: &Account) {
        self.directory.logged_in(&account.mail);
    }

    /// Takes note that a landing account pushes for this one. Never waits, never fails.
    pub(crate) fn asked(&self, mail: &Mail) {
        self.directory.logged_in(mail);
    }

    /// Finds the account that a proof opens, in whatever state the account is. May block.
    ///
    /// `user` is the login name, where the door has not judged it already. A wrong name is found out last: whoever tries names
    /// learns nothing from the time.
    pub(crate) fn judge(&self, user: Option<&str>, proof: &Proof, address: ClientAddress) -> Result<Account, Denial> {
        let now = SystemTime::now();
        let (account, opened) = match proof {
            Proof::Key(key) => {
                let account = self.directory.account_by_key(key.blob())?;
                let account = account.filter(|account| account.has_key(key.blob()));
                let opened = match &account {
                    Some(account) => conditions(account, key, address, now),
                    None => Err(Denial::Unknown),
                };
                (account, opened)
            }
            Proof::Certificate(certificate) => {
                let mail = certificate::check(certificate, &self.authorities.keys(), address, now)?;
                let account = self.directory.account(&mail)?;
                let opened = if account.is_some() { Ok(()) } else { Err(Denial::NoAccount) };
                (account, opened)
            }
        };
        let named = match (user, &self.name, &account) {
            (None, ..) => true,
            (Some(user), LoginName::Fixed(name), _) => user == name,
            (Some(user), LoginName::Mail, Some(account)) => user == account.mail.as_str(),
            (Some(_), LoginName::Mail, None) => true,
        };
        if !named {
            return Err(Denial::UserName);
        }
        opened?;
        account.ok_or(Denial::Unknown)
    }
}

/// Whether the key opens the account under one of the conditions under which it has it.
fn conditions(account: &Account, key: &PublicKey, address: ClientAddress, now: SystemTime) -> Result<(), Denial> {
    let mut denied = Denial::Unknown;
    for own in account.keys.iter().filter(|own| own.key == *key) {
        match condition(own, address, now) {
            Ok(()) => return Ok(()),
            Err(error) => denied = Denial::Condition(error),
        }
    }
    Err(denied)
}

fn condition(own: &AuthorizedKey, address: ClientAddress, now: SystemTime) -> Result<(), KeyConditionError> {
    let known = match address {
        ClientAddress::Known(address) => Some(address),
        ClientAddress::Unknown | ClientAddress::Later => None,
    };
    match own.options.check(known, now) {
        // Time is judged first: nothing else is left.
        Err(KeyConditionError::AddressUnknown) if address == ClientAddress::Later => Ok(()),
        checked => checked,
    }
}

//! Which keys and signatures may log in.

use hgfleet_directory::{Account, Directory};
use russh::keys::{Algorithm, PublicKey};

use super::USER;

/// Why a key does not open the door. Reason codes of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    #[error("wrong-user-name")]
    UserName,
    /// What was signed, or would be, is a SHA-1 hash.
    #[error("sha1-signature: the client must sign with rsa-sha2-256 or rsa-sha2-512")]
    Sha1,
    /// Nobody here can see whether the key was touched.
    #[error("security-key: a touch cannot be checked by this door; use the OpenSSH door or another key")]
    SecurityKey,
    #[error("algorithm {0}: only ed25519 and RSA keys are accepted")]
    Algorithm(String),
    #[error("key-refused: {0}")]
    Key(hgfleet_directory::PublicKeyError),
    #[error("unknown-key")]
    Unknown,
    #[error("directory: {0}")]
    Directory(String),
}

/// Finds the account that a key belongs to.
///
/// `algorithm` is that of the signature as the request names it. The same answer for an offer and for a signature that was
/// verified: a key that has gone from the directory between the two opens nothing.
pub(super) fn account_of(
    directory: &dyn Directory,
    user: &str,
    key: &PublicKey,
    algorithm: &Algorithm,
) -> Result<Account, Denial> {
    if user != USER {
        return Err(Denial::UserName);
    }
    match algorithm {
        Algorithm::Ed25519 | Algorithm::Rsa { hash: Some(_) } => {}
        Algorithm::Rsa { hash: None } => return Err(Denial::Sha1),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => return Err(Denial::SecurityKey),
        other => return Err(Denial::Algorithm(other.to_string())),
    }
    let blob = key.to_bytes().map_err(|error| Denial::Directory(error.to_string()))?;
    // The key's own kind and size count as much as the signature's.
    let key = hgfleet_directory::PublicKey::parse_blob(&blob).map_err(Denial::Key)?;
    match directory.account_by_key(key.blob()) {
        Ok(Some(account)) => Ok(account),
        Ok(None) => Err(Denial::Unknown),
        Err(error) => Err(Denial::Directory(error.to_string())),
    }
}

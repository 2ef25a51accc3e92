//! Which signatures this door can check.

use hgfleet_directory::Account;
use russh::keys::{Algorithm, Certificate, PublicKey};

use crate::login::{ClientAddress, Denial, Logins, Proof};

/// Refuses what the SSH library takes and should not. `algorithm` is that of the signature, as the request names it.
fn check_signature(algorithm: &Algorithm) -> Result<(), Denial> {
    match algorithm {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { hash: Some(_) } => Ok(()),
        Algorithm::Rsa { hash: None } => Err(Denial::Sha1),
        Algorithm::SkEd25519 | Algorithm::SkEcdsaSha2NistP256 => Err(Denial::SecurityKey),
        other => Err(Denial::Algorithm(other.to_string())),
    }
}

/// Finds the account that a key opens. The same answer for an offer and for a signature that was verified: a key that has gone from
/// the directory between the two opens nothing.
pub(super) fn account_of_key(
    logins: &Logins,
    user: &str,
    key: &PublicKey,
    algorithm: &Algorithm,
    address: ClientAddress,
) -> Result<Account, Denial> {
    check_signature(algorithm)?;
    let blob = key.to_bytes().map_err(|error| Denial::Directory(error.to_string()))?;
    // The key's own kind and size count as much as the signature's.
    logins.judge(Some(user), &Proof::parse(&blob)?, address)
}

/// Finds the account that a certificate opens, whose key has signed. The signature was judged when the key was offered.
pub(super) fn account_of_certificate(
    logins: &Logins,
    user: &str,
    certificate: &Certificate,
    address: ClientAddress,
) -> Result<Account, Denial> {
    check_signature(&certificate.algorithm()).or_else(|denial| match denial {
        // An RSA key's own name says nothing of the signature's hash.
        Denial::Sha1 => Ok(()),
        other => Err(other),
    })?;
    let blob = certificate.to_bytes().map_err(|error| Denial::Directory(error.to_string()))?;
    logins.judge(Some(user), &Proof::parse(&blob)?, address)
}

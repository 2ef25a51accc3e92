//! User certificates of OpenSSH (its `PROTOCOL.certkeys`).
//!
//! A certificate opens the account whose mail address is its one principal. Everything is checked here, whichever door it came by; that
//! the client holds the certificate's key, the door has seen.

use std::time::SystemTime;

use hgfleet_directory::{AddressList, Mail, PublicKey, PublicKeyError};
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate};

use super::ClientAddress;

/// Principals that are looked at: the account's address, and what other services need.
const PRINCIPALS_MAX: usize = 32;

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("it is longer than any that is read")]
    TooLong,
    #[error("it is damaged")]
    Damaged,
    #[error("it is no user's")]
    NotOfUser,
    #[error("its authority is not trusted")]
    Authority,
    #[error("its authority signed with SHA-1")]
    Sha1,
    #[error("its authority's signature is wrong")]
    Signature,
    #[error("it is not yet valid")]
    NotYet,
    #[error("it is over")]
    Expired,
    #[error("its critical option {0:?} is not honoured here")]
    CriticalOption(String),
    #[error("its source-address does not let the client's address in")]
    Address,
    #[error("it has more than {PRINCIPALS_MAX} principals")]
    TooManyPrincipals,
    #[error("it must have one mail address among its principals, and has {0}")]
    Principals(usize),
    #[error("its key: {0}")]
    Key(PublicKeyError),
}

/// Checks all of a certificate, and returns the address of the account that it opens.
pub(super) fn check(
    certificate: &Certificate,
    authorities: &[PublicKey],
    address: ClientAddress,
    now: SystemTime,
) -> Result<Mail, CertificateError> {
    if certificate.cert_type() != CertType::User {
        return Err(CertificateError::NotOfUser);
    }
    let authority = key_of(certificate.signature_key())?;
    if !authorities.contains(&authority) {
        return Err(CertificateError::Authority);
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None }) {
        return Err(CertificateError::Sha1);
    }
    certificate.verify_signature().map_err(|_| CertificateError::Signature)?;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| CertificateError::NotYet)?.as_secs();
    if now < certificate.valid_after() {
        return Err(CertificateError::NotYet);
    }
    if now >= certificate.valid_before() {
        return Err(CertificateError::Expired);
    }
    for (name, value) in certificate.critical_options().iter() {
        match name.as_str() {
            "source-address" => {
                let list = AddressList::parse_networks(value);
                let lets_in = list.is_some_and(|list| match address {
                    ClientAddress::Known(address) => list.lets_in(address),
                    ClientAddress::Unknown => false,
                    ClientAddress::Later => true,
                });
                if !lets_in {
                    return Err(CertificateError::Address);
                }
            }
            other => return Err(CertificateError::CriticalOption(other.chars().take(64).collect())),
        }
    }
    key_of(certificate.public_key())?;
    let principals = certificate.valid_principals();
    if principals.len() > PRINCIPALS_MAX {
        return Err(CertificateError::TooManyPrincipals);
    }
    let mut mails: Vec<Mail> = principals.iter().filter_map(|principal| Mail::parse(principal).ok()).collect();
    match (mails.pop(), mails.len()) {
        (Some(mail), 0) => Ok(mail),
        (None, _) => Err(CertificateError::Principals(0)),
        (Some(_), more) => Err(CertificateError::Principals(more + 1)),
    }
}

pub(super) fn key_of(data: &KeyData) -> Result<PublicKey, CertificateError> {
    let blob = russh::keys::PublicKey::from(data.clone()).to_bytes().map_err(|_| CertificateError::Damaged)?;
    PublicKey::parse_blob(&blob).map_err(CertificateError::Key)
}

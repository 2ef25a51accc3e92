//! The authority of a fleet's machines: whoever has a certificate of it is one of them.
//!
//! It is not the one that clients trust for HTTPS. A machine's certificate lives for ten years: there is nothing that would
//! renew it by itself. To shut a machine out, make a new authority and all certificates anew.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::Identity;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const LIFE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// Longest name of a machine: one label of a host name.
const NAME_BYTES_MAX: usize = 63;

/// Why keys could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("cannot {verb} {}: {source}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate could not be made or understood.
    #[error("{}: {reason}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name that no machine can have.
    #[error("{0:?} is no name for a machine: letters, digits and '-' make one, 63 at most, none of them '-' at an end")]
    Name(String),
}

/// Makes key and certificate of a machine in `folder`, with the authority's certificate beside them: what [`Identity::below`] looks
/// for. The authority's own files lie in `keys`, as `machines.ca` and `machines.ca.key`, and are made where there are none.
///
/// # Errors
/// The name is none; a file can't be read or written; `folder` has a machine's key already.
pub fn issue(keys: &Path, machine: &str, folder: &Path) -> Result<(), AuthorityError> {
    if !is_name(machine) {
        return Err(AuthorityError::Name(machine.to_owned()));
    }
    let certificate = Identity::below(keys).authority;
    let key = keys.join("machines.ca.key");
    if !certificate.exists() {
        make(&certificate, &key)?;
    }
    let fault = |error: rcgen::Error| AuthorityError::Certificate { path: key.clone(), reason: error.to_string() };
    let pem = read(&certificate)?;
    let issuer = Issuer::from_ca_cert_pem(&pem, KeyPair::from_pem(&read(&key)?).map_err(fault)?).map_err(fault)?;
    let theirs = Identity::below(folder);
    let own = KeyPair::generate().map_err(fault)?;
    let mut params = CertificateParams::new([machine.to_owned()]).map_err(fault)?;
    lifetime(&mut params);
    params.distinguished_name.push(DnType::CommonName, machine);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let signed = params.signed_by(&own, &issuer).map_err(fault)?;
    write(&theirs.key, 0o600, &own.serialize_pem())?;
    write(&theirs.certificate, 0o644, &signed.pem())?;
    if theirs.authority != certificate {
        write(&theirs.authority, 0o644, &pem)?;
    }
    Ok(())
}

fn make(certificate: &Path, key: &Path) -> Result<(), AuthorityError> {
    let fault = |error: rcgen::Error| AuthorityError::Certificate { path: key.to_owned(), reason: error.to_string() };
    let own = KeyPair::generate().map_err(fault)?;
    let mut params = CertificateParams::default();
    lifetime(&mut params);
    params.distinguished_name.push(DnType::CommonName, "hgfleet machines");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let signed = params.self_signed(&own).map_err(fault)?;
    write(key, 0o600, &own.serialize_pem())?;
    write(certificate, 0o644, &signed.pem())
}

fn lifetime(params: &mut CertificateParams) {
    let now = SystemTime::now();
    // Machines with a slow clock shall not find a certificate that begins tomorrow.
    params.not_before = (now - DAY).into();
    params.not_after = (now + LIFE).into();
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(|source| AuthorityError::Io { verb: "read", path: path.to_owned(), source })
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let written = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|source| AuthorityError::Io { verb: "write", path: path.to_owned(), source })
}

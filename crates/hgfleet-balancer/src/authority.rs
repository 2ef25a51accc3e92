//! The fleet's own authority: what makes `https://localhost:8443` trusted by a client that was
//! given `ca.pem`, with nothing to set up.
//!
//! The authority lives for ten years and is made once. The server's certificate is made anew when
//! the names change or when it grows old; its key stays. Beside the certificate lies a list of the
//! names that it was made for: a certificate without that list is an operator's own and is left
//! alone.
//!
//! ```
//! use hgfleet_balancer::{authority::{self, AuthorityFiles}, tls};
//!
//! let data = tempfile::tempdir()?;
//! std::fs::create_dir(data.path().join("keys"))?;
//! let files = AuthorityFiles::below(data.path());
//! authority::ensure(&files, &["hg.example.test".into(), "192.0.2.7".into()])?;
//! tls::server_config(&files.server)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::Identity;

const DAY: u64 = 24 * 60 * 60;
/// Clients with a slow clock shall not find a certificate that begins tomorrow.
const BACKDATED: u64 = DAY;
const AUTHORITY_LIFE: u64 = 3650 * DAY;
/// The longest that browsers accept is 398 days.
const SERVER_LIFE: u64 = 397 * DAY;
const SERVER_RENEWED: u64 = 180 * DAY;

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// A file could not be read or written.
    #[error("{what} {path}: {source}")]
    Io {
        /// `read` or `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A key or certificate could not be made or understood.
    #[error("{path}: {reason}")]
    Certificate {
        /// The file it is in, or was to be in.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A name that no certificate can hold.
    #[error("{0:?} is no host name or address for a certificate")]
    Name(String),
}

/// Where the authority keeps what it makes.
#[derive(Debug, Clone)]
pub struct AuthorityFiles {
    /// The authority's certificate, for clients: `DATA/ca.pem`.
    pub certificate: PathBuf,
    /// Its private key: `keys/ca.key`, mode 0600. May be taken away for safe keeping; then the
    /// server's certificate stays as it is.
    pub key: PathBuf,
    /// The server's certificate and key: `keys/https.certificate`, `keys/https.key`.
    pub server: Identity,
    /// For which names the server's certificate was made, and when: `keys/https.names`.
    pub names: PathBuf,
}

impl AuthorityFiles {
    /// The places that `hgfleet up` uses, below its data folder.
    pub fn below(data: &Path) -> Self {
        let keys = data.join("keys");
        Self {
            certificate: data.join("ca.pem"),
            key: keys.join("ca.key"),
            server: Identity { certificate: keys.join("https.certificate"), key: keys.join("https.key") },
            names: keys.join("https.names"),
        }
    }
}

/// Makes what is absent, outdated or for other names of authority and server certificate. The
/// server's names are `localhost`, 127.0.0.1, ::1 and `names` (host names or addresses, without
/// port); wildcard addresses such as 0.0.0.0 are left out.
///
/// The folders must exist. Keys are ECDSA P-256, which every TLS library of the last decade knows.
///
/// # Errors
///
/// [`AuthorityError`], naming the file or the name.
pub fn ensure(files: &AuthorityFiles, names: &[String]) -> Result<(), AuthorityError> {
    let subjects = subject_names(names)?;
    if !exists(&files.certificate)? {
        make_authority(files)?;
    }
    if exists(&files.server.certificate)?
        && exists(&files.server.key)?
        && (!exists(&files.key)? || is_current(files, &subjects)?)
    {
        return Ok(());
    }
    issue(files, &subjects)
}

fn make_authority(files: &AuthorityFiles) -> Result<(), AuthorityError> {
    let made = |error: rcgen::Error| fault(&files.certificate, error);
    let key = KeyPair::generate().map_err(made)?;
    let mut params = parameters("hgfleet authority", AUTHORITY_LIFE);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(made)?;
    // The key first: a certificate without its key would look like one whose key was taken away.
    write(&files.key, 0o600, &key.serialize_pem())?;
    write(&files.certificate, 0o644, &certificate.pem())
}

fn issue(files: &AuthorityFiles, subjects: &[SanType]) -> Result<(), AuthorityError> {
    let authority_key = KeyPair::from_pem(&read(&files.key)?).map_err(|error| fault(&files.key, error))?;
    let issuer = Issuer::from_ca_cert_pem(&read(&files.certificate)?, authority_key)
        .map_err(|error| fault(&files.certificate, error))?;
    let key_path = &files.server.key;
    let key = if exists(key_path)? {
        KeyPair::from_pem(&read(key_path)?).map_err(|error| fault(key_path, error))?
    } else {
        let key = KeyPair::generate().map_err(|error| fault(key_path, error))?;
        write(key_path, 0o600, &key.serialize_pem())?;
        key
    };
    let mut params = parameters("hgfleet", SERVER_LIFE);
    params.subject_alt_names = subjects.to_vec();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Python's strict checks want to be led from the one certificate to the other.
    params.use_authority_key_identifier_extension = true;
    let path = &files.server.certificate;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| fault(path, error))?;
    let chain = certificate.pem() + &read(&files.certificate)?;
    write(&files.names, 0o600, &names_text(subjects, now()))?;
    write(path, 0o644, &chain)
}

fn parameters(name: &str, life: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let start = now().saturating_sub(BACKDATED);
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(start);
    params.not_after = epoch + Duration::from_secs(start + life);
    params
}

fn subject_names(names: &[String]) -> Result<Vec<SanType>, AuthorityError> {
    let mut subjects = vec![
        dns_name("localhost")?,
        SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        SanType::IpAddress(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    ];
    for name in names {
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        let subject = match bare.parse::<IpAddr>() {
            Ok(address) if address.is_unspecified() => continue,
            Ok(address) => SanType::IpAddress(address),
            Err(_) => dns_name(bare)?,
        };
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    Ok(subjects)
}

fn dns_name(name: &str) -> Result<SanType, AuthorityError> {
    let plain = !name.is_empty()
        && name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    let refused = || AuthorityError::Name(name.to_owned());
    if !plain {
        return Err(refused());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

/// Whether the certificate that is there is an operator's own, or ours, young, and for these names.
fn is_current(files: &AuthorityFiles, subjects: &[SanType]) -> Result<bool, AuthorityError> {
    if !exists(&files.names)? {
        return Ok(true);
    }
    let text = read(&files.names)?;
    let issued = text
        .strip_prefix("issued ")
        .and_then(|rest| rest.lines().next())
        .and_then(|seconds| seconds.parse::<u64>().ok());
    Ok(issued
        .is_some_and(|issued| now().saturating_sub(issued) < SERVER_RENEWED && text == names_text(subjects, issued)))
}

fn names_text(subjects: &[SanType], issued: u64) -> String {
    let mut text = format!("issued {issued}\n");
    for subject in subjects {
        match subject {
            SanType::IpAddress(address) => text.push_str(&address.to_string()),
            SanType::DnsName(name) => text.push_str(name.as_str()),
            _ => continue,
        }
        text.push('\n');
    }
    text
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn fault(path: &Path, error: rcgen::Error) -> AuthorityError {
    AuthorityError::Certificate { path: path.to_owned(), reason: error.to_string() }
}

fn trouble(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> AuthorityError {
    let path = path.to_owned();
    move |source| AuthorityError::Io { what, path, source }
}

fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(trouble("read", path))
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    fs::read_to_string(path).map_err(trouble("read", path))
}

/// Writes the whole file or nothing: beside it, synced, then renamed.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    let beside = path.with_extension("new");
    let written = (|| {
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    written.map_err(trouble("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, AuthorityFiles) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("keys")).expect("keys");
        let files = AuthorityFiles::below(folder.path());
        (folder, files)
    }

    #[test]
    fn second_start_keeps_everything() {
        let (_folder, files) = folder();
        let names = vec!["hg.example.test".to_owned(), "0.0.0.0".to_owned()];
        ensure(&files, &names).expect("made");
        let before = (read(&files.certificate), read(&files.server.certificate));
        ensure(&files, &names).expect("kept");
        let after = (read(&files.certificate), read(&files.server.certificate));
        assert_eq!(before.0.expect("ca"), after.0.expect("ca"));
        assert_eq!(before.1.expect("server"), after.1.expect("server"));
    }

    #[test]
    fn another_name_changes_the_certificate_and_nothing_else() {
        let (_folder, files) = folder();
        ensure(&files, &[]).expect("made");
        let (ca, key) = (read(&files.certificate), read(&files.server.key));
        let server = read(&files.server.certificate).expect("server");
        ensure(&files, &["192.0.2.7".to_owned()]).expect("made again");
        assert_eq!(ca.expect("ca"), read(&files.certificate).expect("ca"), "clients hold it");
        assert_eq!(key.expect("key"), read(&files.server.key).expect("key"));
        assert_ne!(server, read(&files.server.certificate).expect("server"));
    }

    #[test]
    fn an_operators_own_certificate_is_left_alone() {
        let (_folder, files) = folder();
        ensure(&files, &[]).expect("made");
        fs::remove_file(&files.names).expect("no list");
        fs::write(&files.server.certificate, "theirs").expect("theirs");
        ensure(&files, &["192.0.2.7".to_owned()]).expect("kept");
        assert_eq!(read(&files.server.certificate).expect("server"), "theirs");
    }

    #[test]
    fn names_that_no_certificate_holds_are_refused() {
        for name in ["", "a b", "-x", "a..b", "x/y", "é.test", "a\nb"] {
            let (_folder, files) = folder();
            let refused = ensure(&files, &[name.to_owned()]);
            assert!(matches!(refused, Err(AuthorityError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn private_keys_are_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, files) = folder();
        ensure(&files, &[]).expect("made");
        for key in [&files.key, &files.server.key] {
            let mode = fs::metadata(key).expect("key").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", key.display());
        }
    }
}

//! The fleet's own authority: what makes `https://localhost:8443` trusted by a client that was
//! given `ca.pem`, with nothing to set up.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::Identity;

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
        source: std::io::Error,
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
    /// Its private key: `keys/ca.key`, mode 0600.
    pub key: PathBuf,
    /// The server's certificate and key: `keys/server.crt`, `keys/server.key`.
    pub server: Identity,
}

impl AuthorityFiles {
    /// The places that `hgfleet up` uses, below its data folder.
    pub fn below(data: &Path) -> Self {
        let keys = data.join("keys");
        Self {
            certificate: data.join("ca.pem"),
            key: keys.join("ca.key"),
            server: Identity {
                certificate: keys.join("server.crt"),
                key: keys.join("server.key"),
            },
        }
    }
}

/// Makes what is absent of authority and server certificate; what is there stays as it is. The
/// server's names are `localhost`, 127.0.0.1, ::1 and `names` (host names or addresses, without
/// port); wildcard addresses such as 0.0.0.0 are left out.
///
/// The folders must exist. Keys are ECDSA P-256, which every TLS library since 2010 knows.
///
/// # Errors
///
/// [`AuthorityError`], naming the file or the name.
pub fn ensure(files: &AuthorityFiles, names: &[String]) -> Result<(), AuthorityError> {
    let _ = (files, names, subject_names, issuer, write_new);
    todo!()
}

fn subject_names(_names: &[String]) -> Result<Vec<SanType>, AuthorityError> {
    let _: Option<IpAddr> = None;
    todo!()
}

fn issuer(_files: &AuthorityFiles) -> Result<Issuer<'static, KeyPair>, AuthorityError> {
    let _ = (
        IsCa::Ca(BasicConstraints::Constrained(0)),
        DnType::CommonName,
        KeyUsagePurpose::KeyCertSign,
        ExtendedKeyUsagePurpose::ServerAuth,
        CertificateParams::default(),
    );
    todo!()
}

fn write_new(path: &Path, mode: u32, text: &str) -> Result<(), AuthorityError> {
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| AuthorityError::Io {
            what: "write",
            path: path.to_owned(),
            source,
        })
}

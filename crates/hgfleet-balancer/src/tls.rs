//! Certificate and key from PEM files, and the TLS settings of the front door.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::Identity;

/// Why a certificate or key can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file can't be read, or holds no PEM of the kind asked for.
    #[error("{what} {path}: {reason}")]
    File {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Certificate and key don't belong together, or are of a kind that TLS can't use.
    #[error("certificate {certificate} with key {key}: {reason}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        reason: String,
    },
}

/// Makes the server's TLS settings from an identity: TLS 1.2 and 1.3, HTTP/1.1 by ALPN, no early
/// data (a replayed request would be a second one), no client certificates.
///
/// # Errors
///
/// [`TlsError`], naming the file.
pub fn server_config(identity: &Identity) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(&identity.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&identity.key).map_err(|error| TlsError::File {
        what: "key",
        path: identity.key.clone(),
        reason: error.to_string(),
    })?;
    let pair = |error: rustls::Error| TlsError::Pair {
        certificate: identity.certificate.clone(),
        key: identity.key.clone(),
        reason: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |reason: String| TlsError::File { what: "certificate", path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(error.to_string()))?;
    if chain.is_empty() {
        return Err(fault("no certificate in it".into()));
    }
    Ok(chain)
}

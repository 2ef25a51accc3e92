//! TLS towards LDAP servers (RFC 4513, 3): always with a certificate that is checked.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::options::{LdapOptions, LdapOptionsError};

/// Settings that trust the authorities of `ca`, else the system's, and show our certificate where there is one.
pub(super) fn client(options: &LdapOptions) -> Result<Arc<ClientConfig>, LdapOptionsError> {
    let fault = |key, reason: String| LdapOptionsError { key, reason };
    let mut roots = RootCertStore::empty();
    match &options.ca {
        Some(path) => {
            for certificate in certificates("ca", path)? {
                roots.add(certificate).map_err(|error| fault("ca", format!("{}: {error}", path.display())))?;
            }
        }
        // A system without authorities is no fault yet: the servers may all be on this machine.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault("ca", error.to_string()))?
        .with_root_certificates(roots);
    let config = match (&options.certificate, &options.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates("certificate", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| fault("key", format!("{}: {error}", key.display())))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| fault("certificate", error.to_string()))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, LdapOptionsError> {
    let fault = |reason: String| LdapOptionsError { key, reason: format!("{}: {reason}", path.display()) };
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| fault(error.to_string()))?;
    if found.is_empty() { Err(fault("no certificate in it".into())) } else { Ok(found) }
}

//! TLS 1.3 between machines: both sides show a certificate of the fleet's own authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Names the protocol in the handshake (RFC 7301): whoever speaks something else is told at once.
const PROTOCOL: &[u8] = b"hgfleet-tunnel/1";

/// Where a machine's certificate, its key and the authority's certificate lie, all in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The authority that both sides trust, and nothing else.
    pub authority: PathBuf,
    /// This machine's certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Identity {
    /// The places below the folder of keys.
    pub fn below(keys: &Path) -> Identity {
        Identity {
            authority: keys.join("machines.ca"),
            certificate: keys.join("machine.certificate"),
            key: keys.join("machine.key"),
        }
    }
}

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read, or holds no PEM of the kind asked for.
    #[error("{}: {reason}; `hgfleet machine-keys` makes such files", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// They don't belong together, or are of a kind that TLS can't use.
    #[error("certificate {} with its key and authority: {reason}", certificate.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Both ends' settings.
#[derive(Clone)]
pub(crate) struct Ends {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl Ends {
    pub(crate) fn of(identity: &Identity) -> Result<Ends, TlsError> {
        let unusable = |reason: String| TlsError::Unusable { certificate: identity.certificate.clone(), reason };
        let chain = certificates(&identity.certificate)?;
        let key = || {
            let read = PrivateKeyDer::from_pem_file(&identity.key);
            read.map_err(|error| TlsError::File { path: identity.key.clone(), reason: error.to_string() })
        };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&identity.authority)? {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build();
        let verifier = verifier.map_err(|error| unusable(error.to_string()))?;
        let refused = |error: rustls::Error| unusable(error.to_string());
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key()?)
            .map_err(refused)?;
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.max_early_data_size = 0;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key()?)
            .map_err(refused)?;
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Ends { server: Arc::new(server), client: Arc::new(client) })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |reason: String| TlsError::File { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| fault(error.to_string()))?;
    if chain.is_empty() { Err(fault("no certificate in it".into())) } else { Ok(chain) }
}

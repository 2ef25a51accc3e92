//! A client's read, through a real balancer: HTTP over TLS on a connection that is kept.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(15);
const REPLY_BYTES_MAX: usize = 1 << 20;

/// A client of one balancer.
#[derive(Debug)]
pub struct Reader {
    config: Arc<ClientConfig>,
    kept: Option<StreamOwned<ClientConnection, TcpStream>>,
}

/// A reply.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its body.
    pub body: String,
}

/// Takes every certificate: whom it speaks to is not what is looked at here.
#[derive(Debug)]
struct Anybody(rustls::crypto::CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Default for Reader {
    fn default() -> Reader {
        let provider = rustls::crypto::ring::default_provider();
        let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        Reader { config: Arc::new(config), kept: None }
    }
}

impl Reader {
    /// Asks; a connection that has ended meanwhile is made anew.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&mut self, balancer: SocketAddr, path: &str) -> io::Result<Reply> {
        let mut stream = match self.kept.take() {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect(balancer)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
                StreamOwned::new(connection, stream)
            }
        };
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        stream.flush()?;
        let reply = read_reply(&mut stream)?;
        self.kept = Some(stream);
        Ok(reply)
    }
}

fn read_reply(stream: &mut impl Read) -> io::Result<Reply> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(reply) = whole(&bytes) {
            return Ok(reply);
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 || bytes.len() > REPLY_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

/// A reply, once it is there whole.
fn whole(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let field = |name: &str| {
        head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let body = match field("content-length") {
        Some(length) => body.get(..length.parse().ok()?)?.to_owned(),
        None if field("transfer-encoding").is_some() => {
            let (mut rest, mut all) = (body, String::new());
            loop {
                let (length, after) = rest.split_once("\r\n")?;
                let length = usize::from_str_radix(length, 16).ok()?;
                if length == 0 {
                    break after.starts_with("\r\n").then_some(all)?;
                }
                all.push_str(after.get(..length)?);
                rest = after.get(length + 2..)?;
            }
        }
        None => String::new(),
    };
    Some(Reply { status, body })
}

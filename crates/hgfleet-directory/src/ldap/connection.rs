//! One connection: opened, made safe, bound, and guarded.

use std::sync::Arc;
use std::time::Instant;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::guard::{self, Parts, Verdict};
use super::settings::{Credentials, Server};

/// StartTLS (RFC 4511, 4.14.1), as message 1: `ExtendedRequest` with the name 1.3.6.1.4.1.1466.20037.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// How to open connections.
pub(super) struct Connector {
    pub tls: Arc<ClientConfig>,
    pub credentials: Credentials,
    pub plain_on_loopback: bool,
}

/// A connection that is bound.
pub(super) struct Connection {
    pub ldap: Ldap,
    pub verdict: Verdict,
    pub opened: Instant,
}

/// What a question came to without an answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The connection is of no use any more.
    Broken(String),
    /// The server answered, but not with what was asked for.
    Refused(String),
}

impl Connector {
    /// Opens a connection and binds. No time limit of its own.
    pub(super) async fn open(&self, server: &Server) -> Result<Connection, String> {
        let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
        let verdict = Verdict::default();
        match server {
            Server::Ldapi(path) => {
                let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
                spawn(stream, theirs, &verdict);
            }
            Server::Ldaps { host, port } => {
                let stream = self.secure(connect(host, *port).await?, host).await?;
                spawn(stream, theirs, &verdict);
            }
            Server::Ldap { host, port } => {
                let mut stream = connect(host, *port).await?;
                // The address that was reached decides, not a name that may say anything.
                let loopback = stream.peer_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
                if self.plain_on_loopback && loopback {
                    spawn(stream, theirs, &verdict);
                } else {
                    start_tls(&mut stream).await?;
                    let stream = self.secure(stream, host).await?;
                    spawn(stream, theirs, &verdict);
                }
            }
        }
        let ours = ours.into_std().map_err(|error| error.to_string())?;
        let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(ours));
        let opened = LdapConnAsync::with_settings(settings, "ldapi:///").await;
        let (driver, ldap) = opened.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            if let Err(error) = driver.drive().await {
                tracing::debug!(%error, "an LDAP connection ended");
            }
        });
        let mut connection = Connection { ldap, verdict, opened: Instant::now() };
        connection.bind(&self.credentials).await?;
        Ok(connection)
    }

    async fn secure(&self, stream: TcpStream, host: &str) -> Result<impl AsyncRead + AsyncWrite + use<>, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let handshake = TlsConnector::from(self.tls.clone()).connect(name, stream).await;
        handshake.map_err(|error| format!("TLS: {error}"))
    }
}

impl Connection {
    async fn bind(&mut self, credentials: &Credentials) -> Result<(), String> {
        let bound = match credentials {
            Credentials::Simple { dn, password } => self.ldap.simple_bind(dn, password.expose()).await,
            Credentials::External => self.ldap.sasl_external_bind().await,
        };
        let result = bound.map_err(|error| self.describe(&error))?;
        let who = match credentials {
            Credentials::Simple { dn, .. } => dn,
            Credentials::External => "EXTERNAL",
        };
        if result.rc == 0 { Ok(()) } else { Err(format!("the bind as {who} is refused: {result}")) }
    }

    /// Says why a request failed: the guard knows better than the library, which only sees an end.
    pub(super) fn describe(&self, error: &LdapError) -> String {
        self.verdict.get().unwrap_or_else(|| error.to_string())
    }

    /// Tells the server, and lets go.
    pub(super) async fn close(mut self) {
        if let Err(error) = self.ldap.unbind().await {
            tracing::debug!(%error, "an LDAP connection was gone before it was closed");
        }
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    // Questions are small and wait for their answers.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    Ok(stream)
}

fn spawn<S: AsyncRead + AsyncWrite + Send + 'static>(server: S, library: UnixStream, verdict: &Verdict) {
    tokio::spawn(guard::carry(server, library, verdict.clone()));
}

/// Asks for TLS. Whatever the server says but yes is an error: nothing is ever sent in clear instead.
async fn start_tls(stream: &mut TcpStream) -> Result<(), String> {
    stream.write_all(START_TLS).await.map_err(|error| error.to_string())?;
    let answer = guard::read_message(stream).await?.ok_or("it closed the connection instead of StartTLS")?;
    let granted = || -> Result<bool, &'static str> {
        let message = Parts(&answer).next()?.ok_or("")?;
        let mut parts = Parts(message.content);
        let (number, operation) = (parts.next()?.ok_or("")?, parts.next()?.ok_or("")?);
        let code = Parts(operation.content).next()?.ok_or("")?;
        Ok(number.content == [1] && operation.tag == 0x78 && code.content.iter().all(|byte| *byte == 0))
    };
    match granted() {
        Ok(true) => Ok(()),
        _ => Err("it refuses StartTLS; nothing is sent to it in clear".to_owned()),
    }
}

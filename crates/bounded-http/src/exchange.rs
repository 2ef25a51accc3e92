//! One request and its answer, on a connection of its own.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{Answer, HttpError, Url};

const NAME: &str = concat!("hgfleet/", env!("CARGO_PKG_VERSION"));
/// Headers of an answer.
const HEADERS_MAX: usize = 100;

/// What a server said, as far as it concerns whoever asks.
pub(crate) enum Said {
    Answer(Answer),
    /// It is elsewhere.
    Redirect(String),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(crate) async fn ask(
    url: &Url,
    method: Method,
    content_type: Option<&'static str>,
    body: Bytes,
    body_bytes_max: usize,
) -> Result<Said, HttpError> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = url.path().parse().map_err(io::Error::other)?;
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(url.authority()).map_err(io::Error::other)?);
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    headers.insert(ACCEPT, HeaderValue::from_static("text/plain"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if let Some(content_type) = content_type {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let (mut sender, connection) =
        http1::Builder::new().max_headers(HEADERS_MAX).handshake(TokioIo::new(connect(url).await?)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        if status.is_redirection() {
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            return Ok(Said::Redirect(location.unwrap_or_default().to_owned()));
        }
        let body = Limited::new(response.into_body(), body_bytes_max).collect().await;
        let body = body.map_err(|error| HttpError::Body(error.to_string()))?.to_bytes().into();
        Ok(Said::Answer(Answer { status, body }))
    };
    // The connection's own end says nothing that the exchange does not.
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        said = &mut exchange => said,
        _ = connection => exchange.await,
    }
}

async fn connect(url: &Url) -> Result<Box<dyn Stream>, HttpError> {
    let stream = TcpStream::connect((url.host(), url.port())).await?;
    if !url.is_https() {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from(url.host().to_owned()).map_err(io::Error::other)?;
    Ok(Box::new(TlsConnector::from(trusted()?).connect(name, stream).await?))
}

/// The authorities that the system trusts.
fn trusted() -> io::Result<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(io::Error::other("this system trusts no authority of certificates; install ca-certificates"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

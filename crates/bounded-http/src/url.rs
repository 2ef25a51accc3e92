//! Where a request goes.

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};

/// Bytes of a URL.
const BYTES_MAX: usize = 2048;

/// A URL of HTTP or HTTPS with a host, and without an account in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    authority: Authority,
    path: PathAndQuery,
}

/// Why a text is no URL that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL, or too long a one.
    #[error("{0:?} is no URL")]
    Malformed(String),
    /// It begins otherwise than with `http://` or `https://`.
    #[error("{0:?} begins neither with https:// nor with http://")]
    Scheme(String),
    /// An account or a password stands in it.
    #[error("a URL must not have an account in it")]
    Account,
}

impl Url {
    /// Reads a URL of at most 2048 bytes.
    ///
    /// # Errors
    /// See [`UrlError`].
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let malformed = || UrlError::Malformed(text.chars().take(100).collect());
        if text.len() > BYTES_MAX {
            return Err(malformed());
        }
        let parts = text.parse::<Uri>().map_err(|_| malformed())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(malformed()) };
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(UrlError::Scheme(text.chars().take(100).collect()));
        }
        if authority.as_str().contains('@') {
            return Err(UrlError::Account);
        }
        if authority.host().is_empty() {
            return Err(malformed());
        }
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Url { scheme, authority, path })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Host and port as they stand in the URL.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// The name or address, an IPv6 one without brackets.
    pub(crate) fn host(&self) -> &str {
        self.authority.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    pub(crate) fn path(&self) -> &str {
        self.path.as_str()
    }

    /// Where a redirect leads: another URL, or another path on the same server.
    pub(crate) fn redirected(&self, location: &str) -> Result<Url, String> {
        let to = match location.starts_with('/') && !location.starts_with("//") {
            true => {
                let path = location.parse().map_err(|_| "its place is none".to_owned())?;
                Url { path, ..self.clone() }
            }
            false => Url::parse(location).map_err(|error| error.to_string())?,
        };
        if self.is_https() && !to.is_https() { Err("from https to http".to_owned()) } else { Ok(to) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_server_and_a_path() {
        let url = Url::parse("https://status.example.com:8443/tree?of=a").expect("a URL");
        assert_eq!((url.host(), url.port(), url.path()), ("status.example.com", 8443, "/tree?of=a"));
        let url = Url::parse("http://[::1]").expect("a URL");
        assert_eq!((url.host(), url.port(), url.path(), url.authority()), ("::1", 80, "/", "[::1]"));
        for (text, error) in [
            ("/tree", "is no URL"),
            ("status.example.com", "is no URL"),
            ("ftp://example.com/", "begins neither with"),
            ("https://me:secret@example.com/", "must not have an account"),
            ("https:///tree", "is no URL"),
            (&format!("https://a/{}", "x".repeat(3000)), "is no URL"),
        ] {
            let told = Url::parse(text).expect_err(text).to_string();
            assert!(told.contains(error) && told.len() < 200, "{text}: {told}");
        }
    }

    #[test]
    fn a_redirect_stays_encrypted() {
        let url = Url::parse("https://a.example.com/x").expect("a URL");
        assert_eq!(url.redirected("/y"), Ok(Url::parse("https://a.example.com/y").expect("a URL")));
        assert_eq!(url.redirected("https://b/z"), Ok(Url::parse("https://b/z").expect("a URL")));
        for location in ["http://a.example.com/y", "//b/y", "y", "file:///etc/passwd"] {
            assert!(url.redirected(location).is_err(), "{location}");
        }
    }
}

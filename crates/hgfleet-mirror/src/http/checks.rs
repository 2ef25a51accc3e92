//! What is refused before anything is looked for: ambiguous framing, foreign forms of the target, too large fields.

use super::HEADER_BYTES_MAX;
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, Version};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) text: &'static str,
}

fn refused(status: u16, text: &'static str) -> Result<(), Refused> {
    Err(Refused { status, text })
}

/// Checks a request's head. After a refusal the connection must be closed: where the next request begins is not sure.
pub(super) fn check(head: &Parts) -> Result<(), Refused> {
    let is_upload = head.method == Method::PUT && is_of_lfs_object(head.uri.path());
    if !matches!(head.method, Method::GET | Method::HEAD | Method::POST) && !is_upload {
        return refused(405, "refused: only GET, HEAD and POST are answered, on this server. Use one of these");
    }
    if head.uri.authority().is_some() || !head.uri.path().starts_with('/') {
        return refused(400, "refused: no path, as the request's target. Send a path");
    }
    let count = |name| head.headers.get_all(name).iter().count();
    if count(CONTENT_LENGTH) + count(TRANSFER_ENCODING) > 1 {
        return refused(
            400,
            "refused: an ambiguous length, of the request's body. Send Content-Length or Transfer-Encoding once",
        );
    }
    let hosts = count(HOST);
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return refused(400, "refused: none or several, of the Host header. Send one");
    }
    if head.headers.get(HOST).is_some_and(|host| !is_host(host.as_bytes())) {
        return refused(400, "refused: no host's name, in the Host header. Send one");
    }
    if head.headers.values().any(|value| value.len() > HEADER_BYTES_MAX) {
        return refused(431, "refused: too long, a header. Send less, or the arguments as X-HgArgs-Post");
    }
    Ok(())
}

/// Whether the path is that of an LFS object: nothing else is written over HTTP.
fn is_of_lfs_object(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(folder, name)| folder.ends_with("/.hg/lfs/objects") && !name.is_empty())
}

/// Returns whether the bytes are a host name or an address, with a port or without.
fn is_host(host: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(host) else { return false };
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (text, None),
    };
    let letters = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let address = |name: &str| name.bytes().all(|byte| byte.is_ascii_hexdigit() || b":.".contains(&byte));
    let name_is_one = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(inner) => !inner.is_empty() && address(inner),
        None => !name.is_empty() && name.len() <= 255 && letters(name),
    };
    name_is_one && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok())
}

/// Splits a request's path into decoded parts; empty ones at either end are left out. `None`: no such page can be, or
/// a part steps out of the tree.
pub(super) fn path_parts(path: &str) -> Result<Option<Vec<String>>, Refused> {
    let mut parts = Vec::new();
    for part in path.trim_matches('/').split('/') {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(part).collect();
        if decoded.contains(&0) {
            return Err(Refused {
                status: 400,
                text: "refused: a zero byte, in the request's path. Look at the address",
            });
        }
        match String::from_utf8(decoded) {
            Ok(part) if part == "." || part == ".." => return Ok(None),
            Ok(part) => parts.push(part),
            Err(_) => return Ok(None),
        }
    }
    if parts == [""] {
        parts.clear();
    }
    Ok(Some(parts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn status(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(()).expect("a request").into_parts().0).err().map(|refused| refused.status)
    }

    #[test]
    fn ambiguous_framing_and_foreign_targets_are_refused() {
        let host = ("host", "localhost:8000");
        assert_eq!(status("GET", "/x?cmd=heads", &[host]), None);
        assert_eq!(status("POST", "/", &[host, ("content-length", "1"), ("content-length", "1")]), Some(400));
        assert_eq!(status("POST", "/", &[host, ("content-length", "1"), ("transfer-encoding", "chunked")]), Some(400));
        assert_eq!(status("GET", "http://other/", &[host]), Some(400));
        assert_eq!(status("PUT", "/a/b/.hg/lfs/objects/01", &[host]), None);
        for other in ["/a/b", "/.hg/lfs/objects", "/a/.hg/lfs/objects/", "/a/.hg/lfs/objects/01/02"] {
            assert_eq!(status("PUT", other, &[host]), Some(405), "{other}");
        }
        for method in ["CONNECT", "TRACE", "OPTIONS", "PRI", "DELETE"] {
            assert_eq!(status(method, "/", &[host]), Some(405), "{method}");
        }
        assert_eq!(status("GET", "/", &[host, ("x-long", &"a".repeat(70_000))]), Some(431));
    }

    #[test]
    fn host_is_a_host() {
        for good in ["localhost", "hg.example.org:443", "127.0.0.1:8000", "[::1]:8443", "[::1]"] {
            assert_eq!(status("GET", "/", &[("host", good)]), None, "{good}");
        }
        for bad in ["evil\"><script>", "a b", "", ":80", "host:99999", "host:+1", "a@b", "[::1", "a,b"] {
            assert_eq!(status("GET", "/", &[("host", bad)]), Some(400), "{bad}");
        }
        assert_eq!(status("GET", "/", &[]), Some(400));
        assert_eq!(status("GET", "/", &[("host", "a"), ("host", "b")]), Some(400));
    }

    #[test]
    fn paths_are_decoded_and_stay_inside() {
        let parts = |path: &str| path_parts(path).map(|parts| parts.map(|parts| parts.join("|")));
        assert_eq!(parts("/"), Ok(Some(String::new())));
        assert_eq!(parts("/team/first/"), Ok(Some("team|first".to_owned())));
        assert_eq!(parts("/a%20b/c%2Fd"), Ok(Some("a b|c/d".to_owned())));
        for outside in ["/a/../b", "/a/%2e%2e/b", "/./a", "/%ff%fe"] {
            assert_eq!(parts(outside), Ok(None), "{outside}");
        }
        assert!(parts("/a%00b").is_err());
    }
}

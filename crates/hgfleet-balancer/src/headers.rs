//! What of a request's and a reply's head goes on, and what is refused.

use std::net::IpAddr;

use hgfleet_log::Sequence;
use hgfleet_tokens::has_token;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Method, StatusCode, Uri, Version, request};
use ipnet::IpNet;

/// The position that a request must be answered at, and the one that a reply was answered at. Its
/// value is a sequence in decimal.
pub static POSITION: HeaderName = HeaderName::from_static("x-hgfleet-position");
/// On a request: the account that a trusted proxy names.
pub static ACCOUNT: HeaderName = HeaderName::from_static("x-hgfleet-account");
/// On a reply of status 503: another mirror may well answer. Its value says why, in one word:
/// `quarantined` or `unsure` when this mirror will not answer in a moment either.
pub static RETRY: HeaderName = HeaderName::from_static("x-hgfleet-retry");
/// On a reply: `lapsed`, when the mirror's membership has run out.
pub static MEMBERSHIP: HeaderName = HeaderName::from_static("x-hgfleet-membership");

/// The prefix that is the fleet's own, on requests and on replies.
const OWN: &str = "x-hgfleet-";
/// Longest header value, in bytes. Mercurial's own stay below 1 KiB.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Longest path with query, in bytes.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// A request that is not passed on: the status, and one line for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
}

const fn refused(status: StatusCode, text: &'static str) -> Refused {
    Refused { status, text }
}

/// Checks what can be checked of a request before anybody is asked.
pub(crate) fn check(head: &request::Parts) -> Result<(), Refused> {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    let is_upload = head.method == Method::PUT && is_of_lfs_object(head.uri.path());
    if ![Method::GET, Method::HEAD, Method::POST].contains(&head.method) && !is_upload {
        return Err(refused(
            StatusCode::METHOD_NOT_ALLOWED,
            "refused: only GET, HEAD and POST are answered, on this server. Use one of these",
        ));
    }
    check_target(&head.uri)?;
    let mut hosts = head.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let valid = host
                .to_str()
                .is_ok_and(|host| !host.contains('@') && host.parse::<Authority>().is_ok_and(|a| port_is_sane(&a)));
            if !valid {
                return Err(refused(BAD, "refused: no host's name, in the Host header. Send one"));
            }
        }
        (None, _) if head.version == Version::HTTP_10 => {}
        (None, _) => return Err(refused(BAD, "refused: none is there, of the Host header. Send one")),
        (Some(_), Some(_)) => return Err(refused(BAD, "refused: several are there, of the Host header. Send one")),
    }
    if head.headers.values().any(|v| v.len() > VALUE_BYTES_MAX) {
        return Err(refused(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "refused: too long, a header. Send less, or the arguments as X-HgArgs-Post",
        ));
    }
    Ok(())
}

/// Whether the path is that of an LFS object: nothing else is written over HTTP.
fn is_of_lfs_object(path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(folder, name)| folder.ends_with("/.hg/lfs/objects") && !name.is_empty())
}

/// An authenticating proxy before the balancer, and how it names the account of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedProxy {
    /// Where it connects from. What comes from elsewhere names nobody.
    pub from: Vec<IpNet>,
    /// The header with the account's mail address.
    pub header: HeaderName,
}

/// Takes the account's name out of a request, whoever sent it, and returns it where the sender is a trusted proxy. Then the
/// credentials that the proxy may have been shown go no further.
pub(crate) fn take_account(
    headers: &mut HeaderMap,
    proxy: Option<&TrustedProxy>,
    peer: IpAddr,
) -> Result<Option<HeaderValue>, Refused> {
    let Some(proxy) = proxy else { return Ok(None) };
    let several = headers.get_all(&proxy.header).iter().count() > 1;
    let account = headers.remove(&proxy.header);
    let peer = peer.to_canonical();
    if account.is_none() || !proxy.from.iter().any(|network| network.contains(&peer)) {
        return Ok(None);
    }
    if several {
        let text = "refused: several are there, of the header that names the account. Tell the proxy's administrators";
        return Err(refused(StatusCode::BAD_REQUEST, text));
    }
    headers.remove(header::AUTHORIZATION);
    Ok(account)
}

/// Checks that a request's target is a plain path, as `GET /team/first?cmd=heads` has it.
pub(crate) fn check_target(uri: &Uri) -> Result<(), Refused> {
    let text = uri.path_and_query().map_or("", |target| target.as_str());
    if uri.scheme().is_some() || uri.authority().is_some() || !text.starts_with('/') {
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "refused: another server or no path, as the request's target. Send a path",
        ));
    }
    if text.len() > TARGET_BYTES_MAX {
        return Err(refused(
            StatusCode::URI_TOO_LONG,
            "refused: too long, the address. Send less, or the arguments as X-HgArgs-Post",
        ));
    }
    if has_token(text) {
        // Before anything is logged: addresses lie in logs and histories.
        return Err(refused(
            StatusCode::BAD_REQUEST,
            "refused: a token, in the address. Revoke it, and send another one as a password",
        ));
    }
    if text.to_ascii_lowercase().contains("%00") {
        return Err(refused(StatusCode::BAD_REQUEST, "refused: a zero byte, in the address. Look at its spelling"));
    }
    Ok(())
}

fn port_is_sane(authority: &Authority) -> bool {
    let host = authority.host();
    let rest = &authority.as_str()[host.len()..];
    !host.is_empty() && (rest.is_empty() || authority.port_u16().is_some())
}

/// Takes out what belongs to one connection alone: the standard's list, and what `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ] {
        headers.remove(name);
    }
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Makes a client's headers into those that a mirror gets.
///
/// `host` is what links in the answer are made from: the client's own where it is one of ours.
pub(crate) fn prepare_request(
    headers: &mut HeaderMap,
    tag: Option<Sequence>,
    account: Option<HeaderValue>,
    host: HeaderValue,
    peer: &str,
) {
    remove_hop_by_hop(headers);
    remove_where(headers, |name| {
        name.starts_with(OWN)
            || name.starts_with("x-forwarded-")
            || name == "forwarded"
            || name == "expect"
            || name == "content-length"
            || name.contains("-override")
    });
    headers.insert(header::HOST, host);
    headers.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    if let Ok(peer) = HeaderValue::from_str(peer) {
        headers.insert(HeaderName::from_static("x-forwarded-for"), peer);
    }
    if let Some(account) = account {
        headers.insert(ACCOUNT.clone(), account);
    }
    if let Some(tag) = tag {
        headers.insert(POSITION.clone(), HeaderValue::from(tag.get()));
    }
}

/// What a mirror's reply says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyMarks {
    /// The position it was answered at.
    pub(crate) position: Option<Sequence>,
    /// The mirror's membership has run out.
    pub(crate) lapsed: bool,
    /// Another mirror is to be asked.
    pub(crate) retry: Option<Retry>,
}

/// What a mirror that can't answer says of its chances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// It may answer in a moment.
    Soon,
    /// It will not: the repository is damaged there, or it can't find out who asks.
    Elsewhere,
}

/// Reads the marks of a reply, then takes out what is not for clients.
pub(crate) fn prepare_reply(status: StatusCode, headers: &mut HeaderMap) -> ReplyMarks {
    let marks = ReplyMarks {
        position: headers.get(&POSITION).and_then(sequence),
        lapsed: headers.contains_key(&MEMBERSHIP),
        retry: headers.get(&RETRY).filter(|_| status == StatusCode::SERVICE_UNAVAILABLE).map(|why| {
            match why.as_bytes() {
                b"quarantined" | b"unsure" => Retry::Elsewhere,
                _ => Retry::Soon,
            }
        }),
    };
    let framed_by_length = headers.get(header::CONTENT_LENGTH).cloned();
    remove_hop_by_hop(headers);
    if let Some(length) = framed_by_length {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    remove_where(headers, |name| name.starts_with(OWN) && name != POSITION.as_str());
    marks
}

fn sequence(value: &HeaderValue) -> Option<Sequence> {
    Sequence::new(value.to_str().ok()?.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str, hosts: &[&str]) -> request::Parts {
        let mut request = http::Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn requests_that_are_no_page_of_ours_are_refused() {
        for (method, target, hosts, status) in [
            ("GET", "http://other/", &["a"][..], 400),
            ("GET", "/a%00b", &["a"], 400),
            ("GET", "/", &[], 400),
            ("GET", "/", &["a", "a"], 400),
            ("GET", "/", &["evil\"><script>"], 400),
            ("GET", "/", &["a:99999"], 400),
            ("GET", "/", &["a:"], 400),
            ("GET", "/", &["user@a"], 400),
            ("GET", "/", &[""], 400),
            ("OPTIONS", "*", &["a"], 405),
            ("TRACE", "/", &["a"], 405),
            ("CONNECT", "a:443", &["a"], 405),
            ("DELETE", "/", &["a"], 405),
            ("PUT", "/a", &["a"], 405),
            ("PUT", "/a/.hg/lfs/objects", &["a"], 405),
            ("PUT", "/a/.hg/lfs/objects/01/02", &["a"], 405),
        ] {
            let refused = check(&head(method, target, hosts)).expect_err(target);
            assert_eq!(refused.status.as_u16(), status, "{method} {target} {hosts:?}");
        }
        let long = format!("/{}", "x".repeat(TARGET_BYTES_MAX));
        let refused = check(&head("GET", &long, &["a"])).expect_err("too long");
        assert_eq!(refused.status, StatusCode::URI_TOO_LONG);
    }

    #[test]
    fn plain_requests_pass() {
        for host in ["localhost:8443", "127.0.0.1", "[::1]:8443", "hg.example.test"] {
            assert_eq!(check(&head("POST", "/a?cmd=batch", &[host])), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_clients_own_tags_and_hops_do_not_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-hgfleet-position", "99"),
            ("x-hgfleet-membership", "x"),
            ("x-hgfleet-account", "jane@example.com"),
            ("x-forwarded-user", "jane@example.com"),
            ("x-forwarded-host", "evil"),
            ("x-http-method-override", "DELETE"),
            ("connection", "close, x-secret"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-hgarg-1", "cmds=heads"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let host = HeaderValue::from_static("localhost:8443");
        prepare_request(&mut headers, Sequence::new(7), None, host, "192.0.2.1");
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().expect("text"))).collect();
        left.sort();
        assert_eq!(
            left,
            [
                "host: localhost:8443",
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-proto: https",
                "x-hgarg-1: cmds=heads",
                "x-hgfleet-position: 7",
            ]
        );
    }

    #[test]
    fn a_trusted_proxy_alone_names_an_account() {
        let proxy = TrustedProxy {
            from: vec!["192.0.2.0/24".parse().expect("a network"), "2001:db8::1/128".parse().expect("a network")],
            header: HeaderName::from_static("remote-user"),
        };
        let named = |proxy: Option<&TrustedProxy>, peer: &str, names: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static("Basic x"));
            for name in names {
                headers.append("remote-user", HeaderValue::from_static(name));
            }
            let account = take_account(&mut headers, proxy, peer.parse().expect("an address"));
            let account = account.map(|account| account.map(|account| account.to_str().expect("text").to_owned()));
            (account.map_err(|refused| refused.status.as_u16()), headers.len())
        };
        let jane = Ok(Some("jane@example.com".to_owned()));
        let (some, one) = (Some(&proxy), &["jane@example.com"][..]);
        assert_eq!(named(some, "192.0.2.9", one), (jane.clone(), 0));
        assert_eq!(named(some, "::ffff:192.0.2.9", one), (jane.clone(), 0));
        assert_eq!(named(some, "2001:db8::1", one), (jane, 0));
        assert_eq!(named(some, "192.0.2.9", &[]), (Ok(None), 1), "a token counts then");
        for elsewhere in ["192.0.3.9", "2001:db8::2", "::1"] {
            assert_eq!(named(some, elsewhere, one), (Ok(None), 1), "{elsewhere}: the header goes no further");
        }
        assert_eq!(named(some, "192.0.2.9", &["a@x", "b@x"]).0, Err(400));
        assert_eq!(named(None, "192.0.2.9", one), (Ok(None), 2));
    }

    #[test]
    fn a_reply_keeps_its_position_and_loses_the_rest() {
        let mut headers = HeaderMap::new();
        headers.insert(&POSITION, HeaderValue::from_static("7"));
        headers.insert(&RETRY, HeaderValue::from_static("behind"));
        headers.insert(&MEMBERSHIP, HeaderValue::from_static("lapsed"));
        let marks = prepare_reply(StatusCode::SERVICE_UNAVAILABLE, &mut headers);
        assert_eq!(marks, ReplyMarks { position: Sequence::new(7), lapsed: true, retry: Some(Retry::Soon) });
        assert_eq!(headers.len(), 1);
        headers.insert(&POSITION, HeaderValue::from_static("-1"));
        headers.insert(&RETRY, HeaderValue::from_static("behind"));
        let marks = prepare_reply(StatusCode::OK, &mut headers);
        assert_eq!((marks.position, marks.retry), (None, None));
    }
}

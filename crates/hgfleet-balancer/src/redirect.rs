//! Plain HTTP: every page lies at the same path of the HTTPS site.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};

use crate::body::ReplyBody;
use crate::forward::{Reply, refuse};
use crate::guard::BusyToken;
use crate::headers::check_target;
use crate::site::Site;

/// Answers a plain request with the address to use instead.
///
/// The host is the configured one, or the one asked for where that is ours as well, so that nobody
/// can make a link to us that leads elsewhere.
pub(crate) fn answer<B>(site: &Arc<Site>, request: &Request<B>, busy: BusyToken) -> Reply {
    if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
        let text = "refused: only GET, HEAD and POST are answered, on this port. Use HTTPS, and one of these";
        return refuse(StatusCode::METHOD_NOT_ALLOWED, text, busy);
    }
    if let Err(refused) = check_target(request.uri()) {
        return refuse(refused.status, refused.text, busy);
    }
    if request.uri().path() == "/healthz" {
        return site.health(busy);
    }
    let authority = site.authority(request.headers());
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    let location = format!("https://{authority}{target}");
    let Ok(value) = HeaderValue::from_str(&location) else {
        return refuse(StatusCode::BAD_REQUEST, "refused: it fits in no header, the address. Use HTTPS", busy);
    };
    let text = Bytes::from(format!("moved to {location}\n"));
    let mut response = Response::new(ReplyBody::whole(text, busy));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, value);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

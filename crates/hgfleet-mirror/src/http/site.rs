//! Repositories below a prefix, with a line for each request: what `hgfleet web` serves.

use super::{Peer, Repositories, ResponseBody, Service, answer};
use hyper::body::Incoming;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri};
use std::sync::Arc;

/// Takes one line of an access log, without its end.
pub type NoteAccess = Box<dyn Fn(&str) + Send + Sync>;

/// What is served at one address.
pub struct Site<R> {
    /// The repositories.
    pub repositories: Arc<R>,
    /// Where they begin: nothing, or `/` and words with `/` between.
    pub prefix: String,
    /// Takes a line for each request, as stock writes it: `PEER "METHOD TARGET VERSION" STATUS - HEADERS`, headers those that begin with `x-`.
    pub note: Option<NoteAccess>,
}

impl<R: Repositories> Service for Site<R> {
    async fn call(self: Arc<Self>, mut request: Request<Incoming>, peer: Peer) -> Response<ResponseBody> {
        let noted = self.note.as_ref().map(|note| (note, start_of_line(&request, &peer), headers(&request)));
        let response = match below(&self.prefix, request.uri()) {
            Some(uri) => {
                *request.uri_mut() = uri;
                answer(&self.repositories, request).await
            }
            None => {
                let mut response = Response::new(ResponseBody::whole("there is nothing at this address\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
        };
        if let Some((note, start, headers)) = noted {
            note(&format!("{start} {} -{headers}", response.status().as_u16()));
        }
        response
    }
}

fn start_of_line(request: &Request<Incoming>, Peer(peer): &Peer) -> String {
    format!("{peer} \"{} {} {:?}\"", request.method(), request.uri(), request.version())
}

fn headers(request: &Request<Incoming>) -> String {
    let mut named: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-"))
        .map(|(name, value)| format!(" {name}:{}", value.as_bytes().escape_ascii()))
        .collect();
    named.sort_unstable();
    named.concat()
}

/// The target without the prefix; `None`: it lies elsewhere.
fn below(prefix: &str, uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query()?.as_str().strip_prefix(prefix)?;
    if prefix.is_empty() && target.starts_with('/') {
        return Some(uri.clone());
    }
    let target = match target.as_bytes().first() {
        Some(b'/') => target.to_owned(),
        Some(b'?') | None => format!("/{target}"),
        Some(_) => return None,
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_is_taken_off() {
        for (prefix, target, expected) in [
            ("", "/a?cmd=heads", Some("/a?cmd=heads")),
            ("/hg", "/hg/a?cmd=heads", Some("/a?cmd=heads")),
            ("/hg", "/hg?cmd=heads", Some("/?cmd=heads")),
            ("/hg", "/hg", Some("/")),
            ("/hg", "/hgweb/a", None),
            ("/hg", "/", None),
            ("/hg/x", "/hg/x/a/b", Some("/a/b")),
        ] {
            let found = below(prefix, &target.parse().expect("a target"));
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected, "{prefix} {target}");
        }
    }
}

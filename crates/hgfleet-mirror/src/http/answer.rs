//! Answers one request.

use super::bundle_cache::{Claim, Found};
use super::checks::{self, Refused};
use super::lfs;
use super::request_body::RequestBody;
use super::{Absent, NotServed, Repositories, ResponseBody};
use hg_store::Snapshot;
use hg_web::{Page, RepositoryLine};
use hg_wire::hidden_access;
use hg_wire::http::{self as wire, HttpOptions};
use hyper::body::{Body, Incoming};
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

/// Parts of a path that may belong to a repository's name.
const NAME_PARTS_MAX: usize = 32;

/// Answers a request from a set of repositories: `/healthz`, a command of the wire protocol, or a page.
pub async fn answer<R: Repositories>(repositories: &Arc<R>, request: Request<Incoming>) -> Response<ResponseBody> {
    let (head, body) = request.into_parts();
    let parts = match checks::check(&head).and_then(|()| checks::path_parts(head.uri.path())) {
        Ok(parts) => parts,
        Err(Refused { status, text }) => {
            tracing::info!(status, text, "a request is refused");
            let mut response = page(hg_web::error(status, text));
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let Some(parts) = parts else {
        return page(hg_web::error(404, "There is no such page. The list of all repositories is on the front page."));
    };
    let found = find(repositories, &parts).await;
    if found.is_none() && parts == ["healthz"] {
        return health(repositories.health());
    }
    if let Some((name, rest)) = &found
        && let Some(asked) = wire::parse_lfs(&head, rest)
    {
        return match asked {
            Ok(asked) => lfs::answer(repositories, &head, name, asked, body).await,
            Err(refused) => from_wire(refused),
        };
    }
    match wire::parse(&head) {
        Err(refusal) => {
            tracing::info!(status = refusal.status, text = %refusal.text, "a command is refused");
            from_wire(refusal.into())
        }
        Ok(Some(request)) => match found {
            Some((name, [])) => command(repositories, &name, request, body).await,
            _ => no_repository(repositories.as_ref()),
        },
        Ok(None) => match found {
            Some((name, rest)) => repository_page(repositories, &head, name, rest.to_vec()).await,
            None if parts.is_empty() => {
                let names = repositories.names().await;
                let lines: Vec<_> = names.into_iter().map(|name| line(repositories.as_ref(), &head, name)).collect();
                page(hg_web::repositories(&lines))
            }
            None => no_page(repositories.as_ref()),
        },
    }
}

/// Finds the repository with the longest name that the path begins with; returns what is left of the path.
async fn find<'p, R: Repositories>(repositories: &Arc<R>, parts: &'p [String]) -> Option<(String, &'p [String])> {
    for count in (0..=parts.len().min(NAME_PARTS_MAX)).rev() {
        let name = parts[..count].join("/");
        if repositories.has(&name).await {
            return Some((name, &parts[count..]));
        }
    }
    None
}

/// The repository as it is shown now, or what a program reads that asks in vain.
pub(super) async fn snapshot_of<R: Repositories>(
    repositories: &Arc<R>,
    name: &str,
) -> Result<Arc<Snapshot>, Box<Response<ResponseBody>>> {
    repositories.snapshot(name).await.map_err(|error| {
        Box::new(match error {
            NotServed::Unknown => no_repository(repositories.as_ref()),
            NotServed::Unavailable { text, retry } => {
                from_wire(wire::Refusal { status: if retry { 503 } else { 500 }, text }.into())
            }
        })
    })
}

async fn command<R: Repositories>(
    repositories: &Arc<R>,
    name: &str,
    request: wire::Request,
    body: Incoming,
) -> Response<ResponseBody> {
    let mut snapshot = match snapshot_of(repositories, name).await {
        Ok(snapshot) => snapshot,
        Err(refused) => return *refused,
    };
    let user = repositories.user();
    if request.wants_hidden {
        let (plain, user) = (snapshot.clone(), user.clone());
        let seen = tokio::task::spawn_blocking(move || hidden_access::seen_by(&plain, user.as_deref()));
        snapshot = match seen.await {
            Ok(Ok(Some(seen))) => seen,
            Ok(Ok(None)) => {
                tracing::info!(repository = name, "a request to see hidden changesets is ignored: this reader may not");
                snapshot
            }
            Ok(Err(error)) => {
                tracing::error!(%error, repository = name, "hidden changesets can't be found");
                repositories.suspect(name);
                return from_wire(unreadable().into());
            }
            Err(_) => return from_wire(failed().into()),
        };
    }
    let mut body: Box<dyn Read + Send> = match body.is_end_stream() {
        true => Box::new(io::empty()),
        false => Box::new(RequestBody::new(body)),
    };
    let mut request = request;
    if request.posted_argument_bytes > 0 {
        let completed = tokio::task::spawn_blocking(move || {
            let request = wire::complete(request, &mut body);
            (request, body)
        });
        (request, body) = match completed.await {
            Ok((Ok(request), body)) => (request, body),
            Ok((Err(refused), _)) => return from_wire(refused),
            Err(_) => return from_wire(failed().into()),
        };
    }
    let may_read = snapshot.settings().may_read(user.as_deref().map(str::as_bytes));
    let kept = repositories.bundle_cache().filter(|_| may_read && snapshot.settings().allows_pull());
    let claim = match (kept, request.bundle_key(snapshot.settings())) {
        (Some(bundles), Some(key)) => match bundles.find(&snapshot, key).await {
            Some(Found::Kept(reader)) => {
                return with_head(wire::head_of_bundle(&request, snapshot.settings()), ResponseBody::bundle(reader));
            }
            Some(Found::Nothing(claim)) => Some(claim),
            None => None,
        },
        _ => None,
    };
    let options = HttpOptions { push_address: repositories.addresses(name).push, user };
    let answered = match wire::is_quick(&request, &snapshot) {
        // Another thread would cost more than the answer.
        true => panic::catch_unwind(AssertUnwindSafe(|| wire::answer(request, &mut body, &snapshot, &options)))
            .map_err(|_| None),
        false => tokio::task::spawn_blocking(move || wire::answer(request, &mut body, &snapshot, &options))
            .await
            .map_err(Some),
    };
    match answered {
        Ok(response) => {
            if response.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
                repositories.suspect(name);
            }
            let (repositories, name) = (repositories.clone(), name.to_owned());
            from_wire_or(response, claim, move || repositories.suspect(&name))
        }
        Err(error) => {
            tracing::error!(
                error = error.map(tracing::field::display),
                repository = name,
                "a command ended in a panic"
            );
            from_wire(failed().into())
        }
    }
}

async fn repository_page<R: Repositories>(
    repositories: &Arc<R>,
    head: &Parts,
    name: String,
    rest: Vec<String>,
) -> Response<ResponseBody> {
    let snapshot: Arc<Snapshot> = match repositories.snapshot(&name).await {
        Ok(snapshot) => snapshot,
        Err(NotServed::Unknown) => return no_page(repositories.as_ref()),
        Err(NotServed::Unavailable { text, retry }) => {
            return page(hg_web::error(if retry { 503 } else { 500 }, &text));
        }
    };
    if !snapshot.settings().may_read(repositories.user().as_deref().map(str::as_bytes)) {
        return page(hg_web::error(401, "You may not read this repository. Ask who keeps it."));
    }
    let line = line(repositories.as_ref(), head, name.clone());
    let made = tokio::task::spawn_blocking(move || {
        let seen = snapshot.seen_through(snapshot.settings().web_view())?;
        hg_web::repository(&seen, &line, &rest)
    });
    let made = made.await;
    match made {
        Ok(Ok(made)) => page(made),
        Ok(Err(error)) => {
            tracing::error!(%error, repository = name, "a page can't be made");
            repositories.suspect(&name);
            page(hg_web::error(503, "The repository can't be read on this server. Tell its administrators."))
        }
        Err(error) => {
            tracing::error!(%error, repository = name, "a page ended in a panic");
            page(hg_web::error(500, "The server failed on this request. Tell its administrators."))
        }
    }
}

/// What the pages say of a repository: its name, and where it is cloned from and pushed to.
pub(super) fn line<R: Repositories>(repositories: &R, head: &Parts, name: String) -> RepositoryLine {
    let addresses = repositories.addresses(&name);
    let prefix = repositories.prefix();
    let from_host = || {
        let host = head.headers.get(HOST)?.to_str().ok()?;
        // Said by the front door, where there is one; a client that says it itself misleads nobody else.
        let scheme = if head.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https") {
            "https"
        } else {
            repositories.scheme()
        };
        Some(format!("{scheme}://{host}{prefix}/{}", hg_web::url_path(&name)))
    };
    RepositoryLine {
        clone_address: addresses.http.or_else(from_host),
        push_address: addresses.push,
        prefix: prefix.to_owned(),
        name,
    }
}

fn health((is_well, text): (bool, String)) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(format!("{text}\n")));
    *response.status_mut() = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn page(page: Page) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(page.body));
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in page.headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Answers a command for a repository that is not there, or not for this reader.
fn no_repository<R: Repositories>(repositories: &R) -> Response<ResponseBody> {
    let absent = repositories.absent();
    let (status, text) = match absent {
        Absent::NotThere => (404, "refused: there is no repository, at this address. Look at its spelling"),
        Absent::SignIn => (
            401,
            "refused: there is no repository that everybody reads, at this address. \
             Look at its spelling, or show your mail address and a token",
        ),
        Absent::Unsure => {
            (503, "refused: it can't be found out who you are, for this address. Try again in a few minutes")
        }
    };
    challenge(absent, from_wire(wire::Refusal { status, text: text.to_owned() }.into()))
}

/// The same for a page.
fn no_page<R: Repositories>(repositories: &R) -> Response<ResponseBody> {
    let absent = repositories.absent();
    let (status, text) = match absent {
        Absent::NotThere => (404, "There is no such repository. The list of all is on the front page."),
        Absent::SignIn => (
            401,
            "There is no such repository that everybody reads. If you have a token, sign in with your mail address and it.",
        ),
        Absent::Unsure => (503, "It can't be found out now who you are. Try again in a few minutes."),
    };
    challenge(absent, page(hg_web::error(status, text)))
}

/// What `WWW-Authenticate` says: clients send credentials only to who asks for them.
pub(crate) const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"hgfleet\", charset=\"UTF-8\"");

fn challenge(absent: Absent, mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    if absent == Absent::SignIn {
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

pub(super) fn failed() -> wire::Refusal {
    let text = "refused: the server failed, on this request. Tell the administrators";
    wire::Refusal { status: 500, text: text.to_owned() }
}

fn unreadable() -> wire::Refusal {
    let text = "refused: the repository can't be read, on this server. Tell the administrators";
    wire::Refusal { status: 503, text: text.to_owned() }
}

pub(super) fn from_wire(answer: wire::Response) -> Response<ResponseBody> {
    from_wire_or(answer, None, || ())
}

/// `damaged` is called where a stream breaks off because of the store. With a claim the stream is kept.
fn from_wire_or(
    mut answer: wire::Response,
    claim: Option<Claim>,
    damaged: impl FnOnce() + Send + 'static,
) -> Response<ResponseBody> {
    let body = match std::mem::replace(&mut answer.body, wire::Body::Bytes(Vec::new())) {
        wire::Body::Bytes(bytes) => ResponseBody::whole(bytes),
        wire::Body::File(file) => ResponseBody::file(file),
        wire::Body::Stream(stream) => {
            let stream: wire::StreamBody = Box::new(|output| {
                stream(output).inspect_err(|error| {
                    if error.is_ours() {
                        tracing::error!(%error, "a stream broke off");
                        damaged();
                    }
                })
            });
            let kept = match claim {
                Some(claim) => claim.make(stream),
                None => Err(stream),
            };
            match kept {
                Ok(reader) => ResponseBody::bundle(reader),
                Err(stream) => ResponseBody::stream(|output| stream(output).map_err(io::Error::other)),
            }
        }
    };
    with_head(answer, body)
}

fn with_head(answer: wire::Response, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(reason) = ReasonPhrase::try_from(answer.reason.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    for (name, value) in answer.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

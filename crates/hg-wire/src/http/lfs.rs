//! LFS objects over HTTP: which are here (the *batch API*), and their content.
//!
//! ```text
//! POST REPOSITORY/.git/info/lfs/objects/batch   {"operation": "download", "objects": [{"oid", "size"}]}
//!   -> {"transfer": "basic", "objects": [{"oid", "size", "actions": {"download": {"href", "header", "expires_in"}}} or {.., "error": {"code", "message"}}]}
//! GET  REPOSITORY/.hg/lfs/objects/OID           the content
//! PUT  REPOSITORY/.hg/lfs/objects/OID           the content, to be stored
//! ```
//!
//! With the operation `upload`, the answer has the action `upload` for each object that isn't here. Who stores the content is another's matter
//! ([`answer_lfs_upload`]). Whether content that is sent matches its hash is looked at by who gets it; that costs each client what it asked for, and
//! not this server all of it once more.
//!
//! Source: git-lfs, `docs/api/batch.md` and `docs/api/basic-transfers.md`; what the client of Mercurial 7.2.4 sends.

use super::{Body, Refusal, Response};
use crate::error::shown;
use hg_store::Snapshot;
use hg_store::lfs::LfsOid;
use http::Method;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use std::io::{self, Read};

mod upload;

pub use upload::{answer_lfs_upload, is_lfs_object_here};

const MEDIA_TYPE: &str = "application/vnd.git-lfs+json";
/// Bytes of a request.
const REQUEST_BYTES_MAX: u64 = 8 << 20;
/// Objects in one request.
const OBJECTS_MAX: usize = 50_000;
/// For how long a client may use what it was told, in seconds. Nothing here runs out; clients want a number.
const EXPIRES_IN: u32 = 600;

/// A request about LFS objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LfsRequest {
    /// Something is asked for.
    Question(LfsQuestion),
    /// An object's content is sent, to be stored.
    Upload {
        /// The object.
        oid: LfsOid,
        /// How many bytes it has.
        bytes: u64,
    },
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LfsQuestion {
    /// Which objects are here.
    Batch {
        /// The client's credentials, which it is told to send again.
        authorization: Option<String>,
    },
    /// An object's content.
    Object(LfsOid),
}

impl LfsQuestion {
    /// The same, asked with these credentials where it has none.
    pub fn shown(self, credentials: Option<String>) -> LfsQuestion {
        match self {
            LfsQuestion::Batch { authorization } => LfsQuestion::Batch { authorization: authorization.or(credentials) },
            object => object,
        }
    }
}

/// Takes a request for what is below a repository; `None` where it is about something else.
///
/// # Errors
/// The answer to a request that is none.
pub fn parse_lfs(head: &Parts, below: &[String]) -> Option<Result<LfsRequest, Response>> {
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    match below[..] {
        [".git", "info", "lfs", "objects", "batch"] => Some(parse_batch(head)),
        [".hg", "lfs", "objects", oid] => Some(match LfsOid::from_hex(oid.as_bytes()) {
            _ if !matches!(head.method, Method::GET | Method::HEAD | Method::PUT) => {
                Err(refused(405, "refused: neither GET nor PUT, for an LFS object. Use one of these"))
            }
            Some(oid) if head.method == Method::PUT => upload::parse(head, oid),
            Some(oid) => Ok(LfsRequest::Question(LfsQuestion::Object(oid))),
            None => Err(refused(404, "refused: no SHA-256, as the name of an LFS object. Look at the address")),
        }),
        _ => None,
    }
}

fn parse_batch(head: &Parts) -> Result<LfsRequest, Response> {
    let value = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if head.method != Method::POST {
        return Err(refused(405, "refused: not a POST, to the LFS batch API. Update Mercurial"));
    }
    if !value(CONTENT_TYPE).starts_with(MEDIA_TYPE) {
        return Err(refused(415, "refused: another media type, in a request to the LFS batch API. Update Mercurial"));
    }
    if !value(ACCEPT).contains(MEDIA_TYPE) {
        return Err(refused(406, "refused: another media type is wanted, of the LFS batch API. Update Mercurial"));
    }
    let authorization = Some(value(AUTHORIZATION)).filter(|value| value.starts_with("Basic "));
    Ok(LfsRequest::Question(LfsQuestion::Batch { authorization: authorization.map(str::to_owned) }))
}

#[derive(Deserialize)]
struct BatchRequest {
    operation: String,
    #[serde(default = "basic")]
    transfers: Vec<String>,
    objects: Vec<Asked>,
}

fn basic() -> Vec<String> {
    vec!["basic".to_owned()]
}

#[derive(Deserialize)]
struct Asked {
    oid: String,
    #[serde(default)]
    size: u64,
}

#[derive(Serialize)]
struct BatchAnswer {
    transfer: &'static str,
    objects: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    oid: String,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    actions: Option<Actions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Wrong>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Actions {
    Download(Action),
    Upload(Action),
}

#[derive(Serialize)]
struct Action {
    href: String,
    header: Headers,
    expires_in: u32,
}

#[derive(Serialize)]
struct Headers {
    #[serde(rename = "Accept")]
    accept: &'static str,
    #[serde(rename = "Authorization", skip_serializing_if = "Option::is_none")]
    authorization: Option<String>,
}

#[derive(Serialize)]
struct Wrong {
    code: u16,
    message: &'static str,
}

/// Answers a question. `address` is the repository's, as this client reaches it, without a slash at its end; `may_upload` says
/// whether the client may bring objects, and if not, why.
pub fn answer_lfs(
    question: LfsQuestion,
    body: &mut dyn Read,
    snapshot: &Snapshot,
    address: &str,
    may_upload: Result<(), Refusal>,
) -> Response {
    let answer = upload::check_enabled(snapshot).and_then(|()| match question {
        LfsQuestion::Batch { authorization } => batch(body, snapshot, address, authorization, may_upload),
        LfsQuestion::Object(oid) => object(snapshot, oid),
    });
    answer.unwrap_or_else(|refused| refused)
}

fn batch(
    body: &mut dyn Read,
    snapshot: &Snapshot,
    address: &str,
    authorization: Option<String>,
    may_upload: Result<(), Refusal>,
) -> Result<Response, Response> {
    let mut text = Vec::new();
    let read = body.take(REQUEST_BYTES_MAX + 1).read_to_end(&mut text);
    if read.is_err() {
        return Err(refused(400, "refused: cut off, a request to the LFS batch API. Try again"));
    }
    if text.len() as u64 > REQUEST_BYTES_MAX {
        return Err(refused(
            413,
            "refused: too large, a request to the LFS batch API. Ask for fewer objects at a time",
        ));
    }
    let asked: BatchRequest = serde_json::from_slice(&text)
        .map_err(|_| refused(400, "refused: no JSON of the LFS batch API, in a request to it. Update Mercurial"))?;
    if asked.objects.len() > OBJECTS_MAX {
        return Err(refused(
            413,
            "refused: too many objects, in a request to the LFS batch API. Ask for fewer at a time",
        ));
    }
    if !asked.transfers.iter().any(|transfer| transfer == "basic") {
        return Err(refused(400, "refused: no transfer 'basic', in a request to the LFS batch API. Update the client"));
    }
    let is_upload = match asked.operation.as_str() {
        "download" => false,
        "upload" => {
            may_upload.map_err(upload::refusal)?;
            true
        }
        _ => {
            return Err(refused(
                400,
                "refused: an unknown operation, in a request to the LFS batch API. Update the client",
            ));
        }
    };
    let told = asked.objects.into_iter().map(|Asked { oid, size }| {
        let there = LfsOid::from_hex(oid.as_bytes()).map(|oid| snapshot.repository().lfs_object(oid));
        let (actions, error) = match there {
            None => (None, Some(Wrong { code: 422, message: "The oid is no SHA-256" })),
            Some(Err(error)) => {
                tracing::error!(%error, "an LFS object can't be read");
                (None, Some(Wrong { code: 500, message: "The object can't be read" }))
            }
            Some(Ok(None)) if !is_upload => (None, Some(Wrong { code: 404, message: "The object does not exist" })),
            // It is here already: nothing is to be done.
            Some(Ok(Some(_))) if is_upload => (None, None),
            Some(Ok(_)) => {
                let header = Headers { accept: "application/vnd.git-lfs", authorization: authorization.clone() };
                let href = format!("{address}/.hg/lfs/objects/{oid}");
                let action = Action { href, header, expires_in: EXPIRES_IN };
                (Some(if is_upload { Actions::Upload(action) } else { Actions::Download(action) }), None)
            }
        };
        // What is told again is what a client may have made up.
        let oid = if error.as_ref().is_some_and(|wrong| wrong.code == 422) { shown(oid.as_bytes()) } else { oid };
        Told { oid, size, actions, error }
    });
    let answer = BatchAnswer { transfer: "basic", objects: told.collect() };
    let body = serde_json::to_vec(&answer).map_err(|error| {
        tracing::error!(%error, "an answer of the LFS batch API can't be written");
        refused(500, "refused: the server failed, on this request. Tell the administrators")
    })?;
    Ok(Response {
        status: 200,
        reason: "OK".to_owned(),
        headers: vec![("content-type", MEDIA_TYPE.to_owned())],
        body: Body::Bytes(body),
    })
}

fn object(snapshot: &Snapshot, oid: LfsOid) -> Result<Response, Response> {
    let (file, bytes) = match snapshot.repository().lfs_object(oid) {
        Ok(Some(found)) => found,
        Ok(None) => return Err(refused(404, "refused: the LFS object is not here, on this repository. Push it again")),
        Err(error) => {
            tracing::error!(%error, "an LFS object can't be read");
            return Err(refused(500, "refused: the LFS object can't be read, on this server. Tell the administrators"));
        }
    };
    let send = move |output: &mut dyn io::Write| match io::copy(&mut file.take(bytes), output)? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    };
    Ok(Response {
        status: 200,
        reason: "OK".to_owned(),
        headers: vec![("content-type", "application/octet-stream".to_owned()), ("content-length", bytes.to_string())],
        body: Body::Stream(Box::new(send)),
    })
}

/// An answer whose text clients show: as the reason, and as the API's own errors have it.
fn refused(status: u16, text: &'static str) -> Response {
    upload::refusal(Refusal { status, text: text.to_owned() })
}

#[cfg(test)]
mod tests;

//! Objects that clients send.

use super::super::{Body, Refusal, Response};
use super::{LfsRequest, MEDIA_TYPE, refused};
use hg_store::Snapshot;
use hg_store::lfs::LfsOid;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;

/// Takes the head of an upload. Its length must be known before anybody is bothered.
pub(super) fn parse(head: &Parts, oid: LfsOid) -> Result<LfsRequest, Response> {
    let Some(length) = head.headers.get(CONTENT_LENGTH) else {
        return match head.headers.contains_key(TRANSFER_ENCODING) {
            true => Err(refused(411, "refused: no Content-Length, of an LFS object. Send one")),
            // Without either there is no body.
            false => Ok(LfsRequest::Upload { oid, bytes: 0 }),
        };
    };
    let digits = length.to_str().ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(bytes) => Ok(LfsRequest::Upload { oid, bytes }),
        None => Err(refused(400, "refused: no length, as the Content-Length of an LFS object. Send one")),
    }
}

/// Refuses where the repository takes no objects and has none.
pub(super) fn check_enabled(snapshot: &Snapshot) -> Result<(), Response> {
    match snapshot.serves_lfs() {
        true => Ok(()),
        false => Err(refused(404, DISABLED)),
    }
}

const DISABLED: &str = "refused: LFS is not enabled, on this repository. Ask its administrators for extensions.lfs";

/// Whether an object is in the store already.
///
/// # Errors
/// What a client is told that wants to send it: the repository takes none, or can't be read.
pub fn is_lfs_object_here(snapshot: &Snapshot, oid: LfsOid) -> Result<bool, Refusal> {
    if !snapshot.serves_lfs() {
        return Err(Refusal { status: 404, text: DISABLED.to_owned() });
    }
    snapshot.repository().lfs_object(oid).map(|found| found.is_some()).map_err(|error| {
        tracing::error!(%error, "an LFS object can't be read");
        let text = "refused: the LFS object can't be read, on this server. Tell the administrators".to_owned();
        Refusal { status: 500, text }
    })
}

/// The answer to an upload, once it is known what became of it.
pub fn answer_lfs_upload(stored: Result<(), Refusal>) -> Response {
    match stored {
        Ok(()) => Response {
            status: 200,
            reason: "OK".to_owned(),
            headers: vec![("content-type", "text/plain; charset=utf-8".to_owned())],
            body: Body::Bytes(Vec::new()),
        },
        Err(refused) => refusal(refused),
    }
}

/// A refusal as the API has it, with what makes clients show their credentials, or try again.
pub(super) fn refusal(Refusal { status, text }: Refusal) -> Response {
    let body = serde_json::json!({ "message": &text }).to_string();
    let mut headers = vec![("content-type", MEDIA_TYPE.to_owned())];
    if status == 503 {
        headers.push(("retry-after", "5".to_owned()));
    }
    Response { status, reason: text, headers, body: Body::Bytes(body.into_bytes()) }
}

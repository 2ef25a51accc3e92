//! Answers requests about LFS objects.

use super::answer::{CHALLENGE, failed, from_wire, line, snapshot_of};
use super::request_body::RequestBody;
use super::{Repositories, ResponseBody};
use crate::uploads::drain;
use hg_store::Snapshot;
use hg_store::lfs::LfsOid;
use hg_wire::http as wire;
use hyper::body::Incoming;
use hyper::header::WWW_AUTHENTICATE;
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// Answers a request about the repository of this name.
pub(super) async fn answer<R: Repositories>(
    repositories: &Arc<R>,
    head: &Parts,
    name: &str,
    asked: wire::LfsRequest,
    body: Incoming,
) -> Response<ResponseBody> {
    let snapshot = match snapshot_of(repositories, name).await {
        Ok(snapshot) => snapshot,
        Err(refused) => return *refused,
    };
    let user = repositories.user();
    let settings = snapshot.settings();
    if !settings.may_read(user.as_deref().map(str::as_bytes)) || !settings.allows_pull() {
        let text = "refused: not allowed, reading this repository over HTTP. Ask who keeps it";
        return from_wire(wire::Refusal { status: 401, text: text.to_owned() }.into());
    }
    let mut response = match asked {
        wire::LfsRequest::Upload { oid, bytes } => {
            let stored = upload(repositories, name, &snapshot, (oid, bytes), body).await;
            from_wire(wire::answer_lfs_upload(stored))
        }
        wire::LfsRequest::Question(question) => {
            let address = line(repositories.as_ref(), head, name.to_owned()).clone_address.unwrap_or_default();
            let may_upload = repositories.may_upload(name);
            // Else each object would be sent twice: once without credentials, to be asked for them.
            let question = question.shown(repositories.credentials());
            let mut body = RequestBody::new(body);
            let answered = tokio::task::spawn_blocking(move || {
                wire::answer_lfs(question, &mut body, &snapshot, address.trim_end_matches('/'), may_upload)
            });
            match answered.await {
                Ok(response) => from_wire(response),
                Err(error) => {
                    tracing::error!(%error, repository = name, "a request about LFS objects ended in a panic");
                    from_wire(failed().into())
                }
            }
        }
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

async fn upload<R: Repositories>(
    repositories: &Arc<R>,
    name: &str,
    snapshot: &Snapshot,
    (oid, bytes): (LfsOid, u64),
    body: Incoming,
) -> Result<(), wire::Refusal> {
    let may = repositories.may_upload(name).and_then(|()| wire::is_lfs_object_here(snapshot, oid));
    match may {
        Ok(false) => repositories.upload(name, oid, bytes, body).await,
        // Nobody wants what comes, also where it is here already.
        Ok(true) | Err(_) => {
            drain(body, bytes).await;
            may.map(drop)
        }
    }
}

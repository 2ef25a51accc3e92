//! `run/master.sock`: what the operator's commands ask for. One request each connection.

use std::sync::Arc;

use tokio::net::UnixStream;

use super::descriptors::FrameStream;
use super::master::{Master, No};
use crate::protocol::{MasterReply, MasterRequest, REQUEST_BYTES_MAX};

/// Serves one connection.
pub(crate) async fn serve(master: Arc<Master>, name: String, stream: UnixStream) {
    let user = stream.peer_cred().map(|peer| peer.uid());
    let who = user.map_or_else(|_| "operator".to_owned(), |user| format!("operator (uid {user})"));
    let mut stream = FrameStream::new(stream, REQUEST_BYTES_MAX);
    let request = match stream.read::<MasterRequest>().await {
        Ok(Some(request)) => request,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "a request on master.sock can't be read");
            return;
        }
    };
    tracing::info!(who, ?request, "request");
    let reply = answer(&master, &name, request, who).await.unwrap_or_else(|no| MasterReply::Refused(no.text));
    if let Err(error) = stream.write(&reply).await {
        tracing::warn!(%error, "a request's answer was not taken");
    }
}

async fn answer(master: &Master, itself: &str, request: MasterRequest, who: String) -> Result<MasterReply, No> {
    Ok(match request {
        MasterRequest::Create { name, non_publishing } => {
            MasterReply::Stored(master.create(&name, non_publishing, who).await?)
        }
        MasterRequest::Delete { name } => MasterReply::Stored(master.delete(&name, who).await?),
        MasterRequest::List => MasterReply::List(master.list()),
        MasterRequest::Import { path, name } => MasterReply::Stored(master.import(path, &name, who).await?),
        MasterRequest::Verify { name } => MasterReply::Verified(master.verify(&name, itself).await?),
    })
}

//! `run/master.sock`: what the operator's commands ask for. One request each connection.

use std::sync::Arc;

use tokio::net::UnixStream;

use super::descriptors::FrameStream;
use super::master::{Master, No, NoKind};
use super::repositories::Author;
use super::rewrite;
use crate::protocol::{MasterReply, MasterRequest, REQUEST_BYTES_MAX};

/// Serves one connection.
pub(crate) async fn serve(master: Arc<Master>, stream: UnixStream) {
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
    if let MasterRequest::Failover { to } = request {
        tracing::info!(who, ?to, "hand-over asked for");
        return hand_over(&master, to, &mut stream).await;
    }
    if !matches!(request, MasterRequest::Who) {
        tracing::info!(who, ?request, "request");
    }
    let answered = match (Author::operator(who), request) {
        (Err(no), _) => Err(no),
        (Ok(author), MasterRequest::Rewrite { name }) => rewrite::serve(&master, &name, author, &mut stream).await,
        (Ok(author), request) => answer(&master, request, author).await,
    };
    let reply = answered.unwrap_or_else(refusal);
    write(&mut stream, &reply).await;
}

async fn write(stream: &mut FrameStream, reply: &MasterReply) {
    if let Err(error) = stream.write(reply).await {
        tracing::warn!(%error, "a request's answer was not taken");
    }
}

fn refusal(no: No) -> MasterReply {
    match no.kind {
        NoKind::NotMaster => MasterReply::NotMaster,
        NoKind::Refused | NoKind::Failed => MasterReply::Refused(no.text),
    }
}

/// This server's term ends with the hand-over, so the answer comes first.
async fn hand_over(master: &Master, to: Option<String>, stream: &mut FrameStream) {
    let Ok(_handing) = master.handing.try_lock() else {
        return write(stream, &MasterReply::Refused("the lease is being handed over already".to_owned())).await;
    };
    match master.hand_over(to.as_deref()).await {
        Ok(done) => {
            let milliseconds = u64::try_from(done.took.as_millis()).unwrap_or(u64::MAX);
            let reply = MasterReply::HandedOver { to: done.to, epoch: done.epoch.get(), milliseconds };
            write(stream, &reply).await;
            master.fate.handed_over(done.epoch);
        }
        Err(no) => write(stream, &refusal(no)).await,
    }
}

async fn answer(master: &Master, request: MasterRequest, author: Author) -> Result<MasterReply, No> {
    Ok(match request {
        MasterRequest::Who => MasterReply::Who { is_master: master.takes_pushes(), epoch: master.epoch.get() },
        // It ends this server's term, so it is answered elsewhere.
        MasterRequest::Failover { .. } => MasterReply::NotMaster,
        // The one is served on its connection, the other comes there.
        MasterRequest::Rewrite { .. } | MasterRequest::Publish => {
            return Err(No::refused("no copy was asked for on this connection"));
        }
        MasterRequest::ListDeleted => MasterReply::Deleted(master.list_deleted()?),
        MasterRequest::Restore { name, new_name } => {
            MasterReply::Stored(master.restore(&name, new_name.as_deref(), author).await?)
        }
        MasterRequest::Rename { name, new_name } => MasterReply::Stored(master.rename(&name, &new_name, author).await?),
        MasterRequest::Config { name, set, unset } => {
            MasterReply::Config(master.config(&name, set, unset, author).await?)
        }
        MasterRequest::CloneBundles { name, change } => {
            MasterReply::CloneBundles(master.clone_bundles(&name, change, author).await?)
        }
        MasterRequest::PullBundles { name, change } => {
            MasterReply::PullBundles(master.pull_bundles(&name, change, author).await?)
        }
        MasterRequest::ReadOnly { name, change } => {
            MasterReply::ReadOnly(master.set_read_only(name.as_deref(), change, author).await?)
        }
        MasterRequest::Create { name, non_publishing } => {
            MasterReply::Stored(master.create(&name, non_publishing, author).await?)
        }
        MasterRequest::Delete { name } => MasterReply::Stored(master.delete(&name, author).await?),
        MasterRequest::Drain { name, drain } => {
            master.drain(&name, drain).await?;
            MasterReply::Done
        }
        MasterRequest::List => MasterReply::List(master.list()),
        MasterRequest::Import { path, name } => MasterReply::Stored(master.import(path, &name, author).await?),
        MasterRequest::Verify { name } => MasterReply::Verified(master.verify(&name).await?),
    })
}

//! `run/session.sock`: what sessions ask for.
//!
//! Nothing here creates, deletes or lists. A connection holds at most one lock, and it goes with the connection.

use std::fs::File;
use std::sync::Arc;

use hg_store::change::ChangeRef;
use hgfleet_access::{Action, Caller};
use hgfleet_directory::{AccountState, Mail};
use hgfleet_log::limits as record_limits;
use hgfleet_log::{RepositoryName, StoreKind};
use hgfleet_replica::ReplicaError;
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::change_file::ChangeFile;
use super::committer::{Change, Event, Push};
use super::descriptors::FrameStream;
use super::locks::WriteLock;
use super::master::{Master, No, NoKind, refusal};
use super::peers::Client;
use crate::protocol::{AppendRequest, PushEnd, REQUEST_BYTES_MAX, SessionReply, SessionRequest, UPGRADED, VERSION};

/// Serves one session's connection to its end.
pub(crate) async fn serve(master: Arc<Master>, stream: UnixStream) {
    let mut connection = Connection {
        client: Client { account: String::new(), address: String::new() },
        stream: FrameStream::new(stream, REQUEST_BYTES_MAX),
        master,
        held: None,
    };
    if let Err(error) = connection.run().await {
        tracing::info!(account = connection.client.account, %error, "a session's connection ended");
    }
}

struct Connection {
    master: Arc<Master>,
    stream: FrameStream,
    client: Client,
    held: Option<Held>,
}

/// The lock of this connection.
struct Held {
    lock: WriteLock,
    digest: [u8; 32],
    until: Instant,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            let request = match &self.held {
                None => self.stream.read().await?,
                Some(held) => match tokio::time::timeout_at(held.until, self.stream.read()).await {
                    Ok(request) => request?,
                    Err(_) => {
                        tracing::warn!(repository = %held.lock.repository, account = self.client.account, "a write lock was held too long; it is taken away");
                        self.held = None;
                        continue;
                    }
                },
            };
            let Some(request) = request else { return Ok(()) };
            let reply = match self.answer(request).await {
                Ok(reply) => reply,
                Err(No { text, kind: NoKind::Refused }) => SessionReply::Refused(text),
                Err(No { text, kind: NoKind::Failed }) => SessionReply::Failed(text),
                Err(No { kind: NoKind::NotMaster, .. }) => SessionReply::NotMaster,
            };
            self.stream.write(&reply).await?;
        }
    }

    async fn answer(&mut self, request: SessionRequest) -> Result<SessionReply, No> {
        match request {
            SessionRequest::Hello { version, account, address } => {
                if version != VERSION {
                    return Err(No::failed(UPGRADED));
                }
                let process = self.stream.peer_process();
                let known = process.and_then(|process| self.master.peers.get(process));
                self.client = known.unwrap_or(Client { account, address });
                Ok(SessionReply::Welcome {
                    epoch: self.master.epoch.get(),
                    is_master: self.master.takes_pushes(),
                    push_bytes_max: self.master.push_bytes_max,
                })
            }
            SessionRequest::Snapshot { repository } => {
                let name = parse(&repository)?;
                if !self.master.lease.may_read() {
                    return Err(No::not_master());
                }
                self.check_rights(&name, Action::Read).await?;
                Ok(SessionReply::Snapshot(self.master.grant(&name)?.0))
            }
            SessionRequest::Lock { repository } => {
                if self.held.is_some() {
                    return Err(No::refused("refused: a second write lock, in one session. Push again"));
                }
                let name = parse(&repository)?;
                self.check_rights(&name, Action::Write).await?;
                let (lock, grant, digest) = self.master.lock(&name).await?;
                let token = lock.token;
                self.held = Some(Held { lock, digest, until: Instant::now() + self.master.lock_limit });
                Ok(SessionReply::Locked { token, grant })
            }
            SessionRequest::Unlock => {
                self.held = None;
                Ok(SessionReply::Unlocked)
            }
            SessionRequest::Append(request) => {
                let ended = match self.take_over(request).await {
                    Ok(push) => self.follow(push).await,
                    Err(no) => PushEnd::Refused(no.text),
                };
                Ok(SessionReply::Ended(ended))
            }
            SessionRequest::Outcome { id, epoch } => Ok(SessionReply::Outcome(self.master.outcome(&id, epoch).await?)),
        }
    }

    /// Checks a push, trusting nothing that the session says of it.
    async fn take_over(&mut self, request: AppendRequest) -> Result<Push, No> {
        let asked = Instant::now();
        let descriptor = self.stream.take_descriptor();
        let Some(Held { lock, digest, .. }) = self.held.take().filter(|held| held.lock.token == request.token) else {
            return Err(No::refused("refused: the write lock was lost, on this push. Nothing was stored; push again"));
        };
        let name = lock.repository.clone();
        let on = |what: &str, advice: &str| No::refused(format!("refused: {what}, on {name}. {advice}"));
        let descriptor = descriptor.ok_or_else(|| on("the change is missing", "Push again"))?;
        if request.bytes > self.master.push_bytes_max {
            return Err(on(
                &format!("the push makes {} bytes and {} are allowed", request.bytes, self.master.push_bytes_max),
                "Push it in smaller pieces",
            ));
        }
        if request.summary.len() > record_limits::SUMMARY_BYTES_MAX {
            return Err(on("the push has too many changesets for one record", "Push it in smaller pieces"));
        }
        self.check_rights(&name, Action::Write).await?;
        self.master.check_room(&name, request.bytes)?;
        let master = self.master.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let change = ChangeFile::copy(&File::from(descriptor), request.bytes, &master.run)
                .map_err(|error| error.to_string())?;
            let parsed = ChangeRef::parse(change.bytes()).map_err(|error| error.to_string())?;
            let after = master.replica.digest_after(&lock.repository, &parsed).map_err(|error| error.to_string())?;
            Ok::<_, String>((change, after, lock))
        });
        let checked = checked.await.unwrap_or_else(|error| Err(error.to_string()));
        let (change, after, lock) = checked.map_err(|why| {
            tracing::error!(why, repository = %name, account = self.client.account, "a session's change is refused");
            // It may be the store that is not what it should be.
            self.master.resync.suspect(&name);
            on(
                "what the session prepared does not fit the store",
                "Push again, and tell the administrators if it happens twice",
            )
        })?;
        Ok(Push {
            id: request.id,
            repository: name,
            what: Change::Store(StoreKind::Alter),
            before: Some(digest),
            after: Some(after),
            who: cut(&self.client.account, record_limits::WHO_BYTES_MAX),
            source: cut(&format!("ssh:{}", self.client.address), record_limits::SOURCE_BYTES_MAX),
            summary: request.summary,
            change,
            lock: Some(lock),
            times: request.times,
            asked: asked.into_std(),
        })
    }

    /// Asks the directory and the access rules, as they are now: an account that was switched off while its push was on the way, or
    /// put out of its group, stores nothing any more.
    async fn check_rights(&self, name: &RepositoryName, action: Action) -> Result<(), No> {
        let Ok(mail) = Mail::parse(&self.client.account) else {
            return Err(No::refused(format!("refused: the account is unknown, on {name}. Ask an administrator")));
        };
        let directory = self.master.directory.clone();
        let account = tokio::task::spawn_blocking(move || match action {
            Action::Read => directory.account(&mail),
            _ => directory.account_to_write(&mail),
        });
        let account = match account.await {
            Ok(Ok(Some(account))) if account.state == AccountState::Enabled => account,
            Ok(Err(error)) => {
                tracing::error!(account = self.client.account, %error, "refused: nobody says whether its account is enabled");
                return Err(No::refused(format!(
                    "refused: the directory of accounts does not answer, on {name}. Nothing was stored; try again later"
                )));
            }
            _ => {
                return Err(No::refused(format!(
                    "refused: the account {} is not enabled any more, on {name}. Ask an administrator",
                    self.client.account
                )));
            }
        };
        let rules = self.master.access.rules();
        let caller = Caller::Account { mail: account.mail.as_str(), groups: &account.groups };
        if !rules.decide(caller, name.as_str(), Action::Read).is_allowed() {
            // Whoever may not read it does not learn that it is there.
            return Err(refusal(name, &ReplicaError::NotFound(name.clone())));
        }
        if action == Action::Read {
            return Ok(());
        }
        let decision = rules.decide(caller, name.as_str(), action);
        if decision.is_allowed() {
            return Ok(());
        }
        let groups: Vec<&str> =
            decision.granted().iter().map(String::as_str).filter(|granted| !granted.contains('@')).collect();
        let remedy = match groups[..] {
            [] => "Ask an administrator".to_owned(),
            _ => format!("Ask an administrator to make you a member of {}", groups.join(" or ")),
        };
        tracing::info!(account = self.client.account, repository = %name, %decision, "refused by the access rules");
        let (who, action) = (&self.client.account, action.as_str());
        Err(No::refused(format!("refused: the access rules don't let {who} {action}, on {name}. {remedy}")))
    }

    /// Passes on what happens to a push, until its end.
    async fn follow(&mut self, push: Push) -> PushEnd {
        let mut events = self.master.committer.commit(push);
        while let Some(event) = events.recv().await {
            match event {
                Event::Told(line) => {
                    if self.stream.write(&SessionReply::Told(line)).await.is_err() {
                        // Nobody is there any more; the push goes its way.
                        break;
                    }
                }
                Event::Ended(end) => return end,
            }
        }
        PushEnd::Unknown("outcome unknown: pull before you push again".to_owned())
    }
}

fn parse(name: &str) -> Result<RepositoryName, No> {
    RepositoryName::parse(name)
        .map_err(|error| No::refused(format!("refused: {error}, as a repository's name. Look at its spelling")))
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

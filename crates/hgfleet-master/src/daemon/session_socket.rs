//! `run/session.sock`: what sessions ask for.
//!
//! Whom a session serves the daemon knows itself, and what they may do it asks the directory and the access rules. A connection holds at most one lock, and it goes with the connection.

use std::fs::File;
use std::sync::Arc;

use hg_policy::Rule;
use hg_store::change::{ChangeRef, is_of_a_push};
use hgfleet_access::Action;
use hgfleet_log::limits as record_limits;
use hgfleet_log::{RepositoryName, StoreKind};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::change_file::ChangeFile;
use super::command_log::CommandLog;
use super::commands;
use super::committer::{Change, Event, Push};
use super::descriptors::FrameStream;
use super::locks::WriteLock;
use super::master::{Master, No, NoKind};
use super::peers::Client;
use super::sshd_session::SshdSession;
use crate::protocol::{
    AppendRequest, LoginRequest, Policy, PushEnd, REQUEST_BYTES_MAX, SessionReply, SessionRequest, UPGRADED, VERSION,
};

/// Serves one session's connection to its end.
pub(crate) async fn serve(master: Arc<Master>, stream: UnixStream) {
    let mut connection = Connection {
        client: Client { account: String::new(), address: String::new(), requester: None },
        stream: FrameStream::new(stream, REQUEST_BYTES_MAX),
        master,
        held: None,
        login: None,
        ran: CommandLog::default(),
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
    /// The session behind `sshd` that this connection stands for.
    login: Option<SshdSession>,
    ran: CommandLog,
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
            let pushed_to = match &request {
                SessionRequest::Lock { repository } => RepositoryName::parse(repository).ok(),
                SessionRequest::Append(_) => self.held.as_ref().map(|held| held.lock.repository.clone()),
                _ => None,
            };
            let answered = self.answer(request).await;
            if let Some(name) = pushed_to
                && let Err(No { text, kind: NoKind::Refused | NoKind::Failed })
                | Ok(Some(SessionReply::Ended(PushEnd::Refused(text)))) = &answered
            {
                self.master.refusals.add(&name, &self.client.account, text);
            }
            let reply = match answered {
                Ok(Some(reply)) => reply,
                Ok(None) => continue,
                Err(No { text, kind: NoKind::Refused }) => SessionReply::Refused(text),
                Err(No { text, kind: NoKind::Failed }) => SessionReply::Failed(text),
                Err(No { kind: NoKind::NotMaster, .. }) => SessionReply::NotMaster,
            };
            self.stream.write(&reply).await?;
        }
    }

    /// Answers a request; what a session only tells has no answer.
    async fn answer(&mut self, request: SessionRequest) -> Result<Option<SessionReply>, No> {
        let answered = match request {
            SessionRequest::Hello { version, account, address, requester } => {
                if version != VERSION {
                    return Err(No::failed(UPGRADED));
                }
                let process = self.stream.peer_process();
                let known = process.and_then(|process| self.master.peers.get(process));
                self.client = known.unwrap_or(Client { account, address, requester });
                Ok(SessionReply::Welcome {
                    epoch: self.master.epoch.get(),
                    is_master: self.master.takes_pushes(),
                    push_bytes_max: self.master.push_bytes_max,
                })
            }
            SessionRequest::Login(request) => self.log_in(request).await,
            SessionRequest::Ending(ending) => {
                if let Some(login) = &mut self.login {
                    login.ending = Some(ending);
                }
                return Ok(None);
            }
            SessionRequest::AuthorizedKeys { user, offered } => {
                let logins = self.master.logins.clone();
                let asked = tokio::task::spawn_blocking(move || logins.authorized_keys(&user, offered.as_deref()));
                let lines = asked.await.unwrap_or_else(|error| Err(error.to_string()));
                if let Err(text) = &lines {
                    tracing::info!(text, "sshd asked for keys");
                }
                lines.map(SessionReply::AuthorizedKeys).map_err(No::refused)
            }
            SessionRequest::Snapshot { repository } => {
                let name = parse(&repository)?;
                if !self.master.lease.may_read() {
                    return Err(No::not_master());
                }
                self.master.check_rights(&self.client, &name, Action::Read).await?;
                Ok(SessionReply::Snapshot(self.master.grant(&name)?.0))
            }
            SessionRequest::Lock { repository } => {
                if self.held.is_some() {
                    return Err(No::refused("refused: a second write lock, in one session. Push again"));
                }
                let name = parse(&repository)?;
                let rights = self.master.rights(&self.client, name.as_str(), false).await?;
                rights.check(&name, Action::Write)?;
                self.master.check_takes(&name)?;
                let (lock, grant, digest) = self.master.lock(&name).await?;
                // It may have become so while others held the lock; under it, it can't.
                self.master.check_takes(&name)?;
                let token = lock.token;
                // As it is now, with the lock: a rule may have changed while this one was waited for.
                let rules = self.master.policy.rules();
                let (_, rule) = rules.rule_for(name.as_str());
                let policy = Policy { rule: Box::new(Rule::clone(rule)), groups: rights.account.groups };
                self.held = Some(Held { lock, digest, until: Instant::now() + self.master.lock_limit });
                Ok(SessionReply::Locked { token, grant, policy })
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
            SessionRequest::Command(request) => {
                let reply = commands::answer(&self.master, &self.client, request).await?;
                Ok(SessionReply::Command(reply))
            }
            SessionRequest::PushRefused { repository, text } => {
                self.push_refused(&repository, &text).await;
                return Ok(None);
            }
            SessionRequest::Ran(ran) => {
                self.ran.add(&self.client, self.stream.peer_process(), &ran);
                return Ok(None);
            }
            SessionRequest::Outcome { id, epoch } => Ok(SessionReply::Outcome(self.master.outcome(&id, epoch).await?)),
        };
        answered.map(Some)
    }

    /// Says whom a session serves that `sshd` has started. From then on its process serves nobody else.
    async fn log_in(&mut self, request: LoginRequest) -> Result<SessionReply, No> {
        let process = self.stream.peer_process();
        if process.is_some_and(|process| self.master.peers.get(process).is_some()) {
            // Whom it serves is known; a session that a client has turned must not become somebody else's.
            tracing::error!(account = self.client.account, process, "a session wants to be another one's");
            return Err(No::refused("refused: a second login, in one session. Connect again"));
        }
        let (session, identity) = SshdSession::begin(&self.master, &self.client.address, process, request).await?;
        self.client = session.served();
        self.login = Some(session);
        Ok(SessionReply::LoggedIn(identity))
    }

    /// Keeps why a push was refused within the session. Whoever may not push must not write what others read; why not, they were told here.
    async fn push_refused(&self, repository: &str, text: &str) {
        if let Ok(name) = RepositoryName::parse(repository)
            && self.master.check_rights(&self.client, &name, Action::Write).await.is_ok()
            && self.master.replica.repository(&name).is_some()
        {
            self.master.refusals.add(&name, &self.client.account, text);
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
        self.master.check_rights(&self.client, &name, Action::Write).await?;
        self.master.check_takes(&name)?;
        self.master.check_room(&name, request.bytes)?;
        let master = self.master.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let change = ChangeFile::copy(&File::from(descriptor), request.bytes, &master.run)
                .map_err(|error| error.to_string())?;
            let parsed = ChangeRef::parse(change.bytes()).map_err(|error| error.to_string())?;
            if let Some(operation) = parsed.operations().find(|operation| !is_of_a_push(operation.path())) {
                return Err(format!("it names {}, which no push may alter", operation.path().escape_ascii()));
            }
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
            who: self.client.who(),
            source: self.client.source(),
            summary: request.summary,
            change,
            lock: Some(lock),
            times: request.times,
            asked: asked.into_std(),
        })
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

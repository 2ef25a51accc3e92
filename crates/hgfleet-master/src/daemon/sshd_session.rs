//! A session that OpenSSH's `sshd` has started, as the daemon knows it: from its login to the end of its connection.

use std::net::SocketAddr;
use std::time::{Instant, SystemTime};

use hgfleet_directory::Mail;

use super::master::{Master, No};
use super::peers::{Client, Registered};
use crate::door::SessionPlace;
use crate::login::{Denial, Proof};
use crate::protocol::{LoginRequest, SessionEnding};
use crate::session::{COMMAND_BYTES_MAX, Door, Identity};
use crate::session_event::SessionEvent;

/// One such session. It is logged when dropped.
pub(super) struct SshdSession {
    client: Client,
    command: Option<Vec<u8>>,
    process: Option<u32>,
    /// The daemon knows whom the process serves for as long as this lives.
    _registered: Option<Registered>,
    /// It counts among the sessions of its account and address.
    _place: SessionPlace,
    begun: SystemTime,
    started: Instant,
    /// What the session says of itself at its end; one that breaks off says nothing.
    pub ending: Option<SessionEnding>,
}

impl SshdSession {
    /// Finds whom the key or certificate opens. `seen` is where `sshd` has seen the client.
    pub(super) async fn begin(
        master: &Master,
        seen: &str,
        process: Option<u32>,
        request: LoginRequest,
    ) -> Result<(SshdSession, Identity), No> {
        let (begun, started) = (SystemTime::now(), Instant::now());
        let LoginRequest { proof, command, requester } = request;
        let seen_at: Option<SocketAddr> = seen.parse().ok();
        let behind = seen_at.and_then(|seen| master.passed_on.behind(seen));
        let Some(peer) = behind.or(seen_at) else {
            tracing::error!(seen, "a session behind sshd does not say where its client is");
            return Err(No::failed(
                "refused: the client's address is unknown, on this session. Tell the administrators",
            ));
        };
        let address = peer.to_string();
        let logins = master.logins.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let proof = Proof::parse(&proof)?;
            let account = logins.judge(None, &proof, Some(peer.ip()).into())?;
            logins.logged_in(&account);
            Ok::<_, Denial>((account, proof.fingerprint()))
        });
        let judged = judged.await.unwrap_or_else(|error| Err(Denial::Directory(error.to_string())));
        let (account, key) = judged.map_err(|denial| {
            tracing::info!(peer = address, reason = %denial, "login behind sshd refused");
            No::refused(denial.told())
        })?;
        if let Some(seen) = seen_at {
            master.passed_on.logged_in(seen);
        }
        let mail = account.mail.to_string();
        tracing::info!(peer = address, account = mail, key, "login behind sshd");
        let place = master.door.begin_session(peer, &mail).map_err(|text| {
            tracing::warn!(peer = address, account = mail, text, "session behind sshd refused");
            No::refused(text)
        })?;
        let mut identity =
            Identity::of(&account, master.logins.name_in_urls(&account), address.clone(), master.session_limits);
        identity.command = command.map(|mut command| {
            command.truncate(COMMAND_BYTES_MAX + 1);
            command
        });
        identity.requester = requester.and_then(|named| master.landing.requester(&account.mail, &named));
        if let Some(Ok(requester)) = identity.requester.as_deref().map(Mail::parse) {
            master.logins.asked(&requester);
        }
        let client = Client { account: mail, address, requester: identity.requester.clone() };
        let registered = process.map(|process| master.peers.register(process, client.served()));
        let command = identity.command.clone();
        let session = SshdSession {
            client,
            command,
            process,
            _registered: registered,
            _place: place,
            begun,
            started,
            ending: None,
        };
        Ok((session, identity))
    }

    /// Whom the process serves.
    pub(super) fn served(&self) -> Client {
        self.client.served()
    }
}

impl Drop for SshdSession {
    fn drop(&mut self) {
        let event = SessionEvent {
            door: Door::OpenSsh,
            client: &self.client,
            command: self.command.as_deref(),
            process: self.process,
            begun: self.begun,
            elapsed: self.started.elapsed(),
            end: self.ending.map(|ending| ending.used.into()).unwrap_or_default(),
            status: self.ending.map(|ending| u32::from(ending.status)),
            client_gone: None,
        };
        event.log();
    }
}

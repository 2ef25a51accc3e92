//! One SSH connection: who it is, and what it asks for.

use std::collections::HashMap;
use std::sync::Arc;

use hgfleet_directory::{Account, Mail};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelWriteHalf, Pty};
use tokio::sync::watch;

use super::inbound::{Inbound, Overrun};
use super::keys::{account_of_certificate, account_of_key};
use super::{Door, Peer, inbound, process};
use crate::login::{ClientAddress, Denial, Logins};
use crate::session::{COMMAND_BYTES_MAX, Identity};

/// Keys that a client may offer before it must have shown the right one: agents hold many.
const OFFERS_MAX: usize = 20;

/// Letters of a requester that are looked at: more than a mail address has, so that a longer one is refused as none.
const REQUESTER_CHARS_MAX: usize = 300;

pub(super) struct Connection {
    door: Arc<Door>,
    peer: Peer,
    logged_in: watch::Sender<bool>,
    account: Option<Account>,
    fingerprint: String,
    offers: usize,
    channels: HashMap<ChannelId, Open>,
}

/// A channel that is open.
enum Open {
    /// Nothing was asked for on it yet; a landing account may have named who asked for its push.
    Idle(ChannelWriteHalf<Msg>, Option<String>),
    /// A session works on it.
    Running(Inbound),
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error("the client offered more than {OFFERS_MAX} keys")]
    TooManyOffers,
    #[error("the client sends more than its window allows")]
    Overrun,
}

impl From<Overrun> for ConnectionError {
    fn from(_: Overrun) -> Self {
        ConnectionError::Overrun
    }
}

impl Connection {
    pub(super) fn new(door: Arc<Door>, peer: Peer) -> (Connection, watch::Receiver<bool>) {
        let (logged_in, receiver) = watch::channel(false);
        let connection = Connection {
            door,
            peer,
            logged_in,
            account: None,
            fingerprint: String::new(),
            offers: 0,
            channels: HashMap::new(),
        };
        (connection, receiver)
    }

    /// Looks a proof up, off the threads that must not block.
    async fn judge(
        &self,
        judge: impl FnOnce(&Logins, ClientAddress) -> Result<Account, Denial> + Send + 'static,
    ) -> Result<Account, Denial> {
        let (logins, address) = (self.door.logins.clone(), self.peer.ip().into());
        let lookup = tokio::task::spawn_blocking(move || judge(&logins, address));
        lookup.await.unwrap_or_else(|error| Err(Denial::Directory(error.to_string())))
    }

    async fn account_of(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Result<Account, Denial> {
        let (user, key, algorithm) = (user.to_owned(), key.clone(), algorithm.clone());
        self.judge(move |logins, address| account_of_key(logins, &user, &key, &algorithm, address)).await
    }

    /// Lets in, or says why not.
    fn admit(&mut self, judged: Result<Account, Denial>, user: &str, fingerprint: Fingerprint) -> Auth {
        match judged {
            Ok(account) => {
                self.fingerprint = fingerprint.to_string();
                self.account = Some(account);
                Auth::Accept
            }
            Err(denial) => {
                self.log_denial(user, &fingerprint, &denial);
                Auth::reject()
            }
        }
    }

    fn log_denial(&self, user: &str, key: &Fingerprint, denial: &Denial) {
        tracing::info!(peer = %self.peer, user = ?shortened(user), %key, reason = %denial, "ssh key refused");
    }

    /// Starts a session for what was asked for on a channel. False where the channel has one already.
    fn start(&mut self, id: ChannelId, command: Option<&[u8]>) -> bool {
        let Some(account) = &self.account else { return false };
        match self.channels.remove(&id) {
            Some(Open::Idle(write, requester)) => {
                if let Some(Ok(requester)) = requester.as_deref().map(Mail::parse) {
                    self.door.logins.asked(&requester);
                }
                let (input, reader) = inbound::channel();
                let mut identity = Identity::of(
                    account,
                    self.door.logins.name_in_urls(account),
                    self.peer.to_string(),
                    self.door.program.limits(),
                );
                identity.command = command.map(|command| command[..command.len().min(COMMAND_BYTES_MAX + 1)].to_vec());
                identity.requester = requester;
                tokio::spawn(process::run(self.door.program.clone(), identity, write, reader));
                self.channels.insert(id, Open::Running(input));
                true
            }
            Some(running) => {
                self.channels.insert(id, running);
                false
            }
            None => false,
        }
    }

    fn refuse(&self, id: ChannelId, what: &'static str, session: &mut Session) -> Result<(), ConnectionError> {
        tracing::info!(peer = %self.peer, account = self.account_name(), request = what, "ssh request refused");
        Ok(session.channel_failure(id)?)
    }

    fn account_name(&self) -> &str {
        self.account.as_ref().map_or("", |account| account.mail.as_str())
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

impl Handler for Connection {
    type Error = ConnectionError;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, ConnectionError> {
        self.offers += 1;
        if self.offers > OFFERS_MAX {
            return Err(ConnectionError::TooManyOffers);
        }
        match self.account_of(user, offer.public_key, offer.algorithm).await {
            Ok(_) => Ok(Auth::Accept),
            // The library doesn't say that it is a certificate which is offered: that shows when it is its turn to sign.
            Err(Denial::Unknown | Denial::Condition(_)) if self.door.logins.takes_certificates() => Ok(Auth::Accept),
            Err(denial) => {
                self.log_denial(user, &offer.public_key.fingerprint(HashAlg::Sha256), &denial);
                Ok(Auth::reject())
            }
        }
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, ConnectionError> {
        let judged = self.account_of(user, key.public_key, key.algorithm).await;
        Ok(self.admit(judged, user, key.public_key.fingerprint(HashAlg::Sha256)))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, ConnectionError> {
        let (name, offered) = (user.to_owned(), certificate.clone());
        let judged = self.judge(move |logins, address| account_of_certificate(logins, &name, &offered, address)).await;
        Ok(self.admit(judged, user, certificate.public_key().fingerprint(HashAlg::Sha256)))
    }

    async fn auth_succeeded(&mut self, _session: &mut Session) -> Result<(), ConnectionError> {
        tracing::info!(peer = %self.peer, account = self.account_name(), key = self.fingerprint, "ssh login");
        if let Some(account) = &self.account {
            self.door.logins.logged_in(account);
        }
        self.logged_in.send_replace(true);
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), ConnectionError> {
        if self.channels.len() >= self.door.limits.channels_max {
            tracing::info!(peer = %self.peer, account = self.account_name(), "too many ssh channels");
            // Dropping the handle refuses the channel.
            return Ok(());
        }
        let id = channel.id();
        // What arrives is taken in `data`; the read half's queue would stop the connection when full.
        let (_, write) = channel.split();
        self.channels.insert(id, Open::Idle(write, None));
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        if !self.channels.contains_key(&id) || matches!(self.channels.get(&id), Some(Open::Running(_))) {
            return self.refuse(id, "second exec", session);
        }
        session.channel_success(id)?;
        self.start(id, Some(command));
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), ConnectionError> {
        if !matches!(self.channels.get(&id), Some(Open::Idle(..))) {
            return self.refuse(id, "second exec", session);
        }
        session.channel_success(id)?;
        self.start(id, None);
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _session: &mut Session) -> Result<(), ConnectionError> {
        if let Some(Open::Running(input)) = self.channels.get(&id) {
            input.push(data).await?;
        }
        Ok(())
    }

    fn adjust_window(&mut self, id: ChannelId, current: u32) -> u32 {
        match self.channels.get(&id) {
            Some(Open::Running(input)) => input.window(),
            _ => current,
        }
    }

    async fn channel_eof(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), ConnectionError> {
        if let Some(Open::Running(input)) = self.channels.get_mut(&id) {
            input.end();
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), ConnectionError> {
        self.channels.remove(&id);
        Ok(())
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        self.refuse(id, "pty", session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        self.refuse(id, "x11", session)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        let lands = self.account.as_ref().is_some_and(|account| self.door.landing.accounts.contains(&account.mail));
        if lands
            && name == self.door.landing.variable
            && let Some(Open::Idle(_, requester)) = self.channels.get_mut(&id)
        {
            *requester = Some(value.chars().take(REQUESTER_CHARS_MAX).collect());
            return Ok(session.channel_success(id)?);
        }
        // Clients send these without being asked; one line each would drown the log.
        Ok(session.channel_failure(id)?)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        self.refuse(id, "subsystem", session)
    }

    async fn agent_request(&mut self, id: ChannelId, session: &mut Session) -> Result<bool, ConnectionError> {
        self.refuse(id, "agent", session)?;
        Ok(false)
    }
}

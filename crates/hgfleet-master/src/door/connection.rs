//! One SSH connection: who it is, and what it asks for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hgfleet_directory::{Account, Mail};
use russh::keys::ssh_key::Fingerprint;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelWriteHalf, Disconnect, Pty};
use tokio::sync::watch;

use super::counts::Held;
use super::inbound::{Inbound, Overrun};
use super::keys::{account_of_certificate, account_of_key};
use super::progress::{Progress, Running};
use super::{Door, inbound, process};
use crate::login::{ClientAddress, Denial, Logins};
use crate::session::{COMMAND_BYTES_MAX, Identity};

pub(super) struct Connection {
    door: Arc<Door>,
    peer: SocketAddr,
    progress: watch::Sender<Progress>,
    account: Option<Account>,
    /// Its place among the connections of its account.
    place: Option<Held<String>>,
    fingerprint: String,
    tries: usize,
    /// The key that was tried last.
    tried: Option<KeyData>,
    channels: HashMap<ChannelId, Open>,
}

/// A channel that is open.
enum Open {
    /// Nothing was asked for on it yet; a landing account may have named who asked for its push.
    Idle { write: ChannelWriteHalf<Msg>, input_has_ended: bool, requester: Option<String> },
    /// A session works on it.
    Running(Inbound),
    /// No session was begun on it, and its client was told why.
    Refused,
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error("the client tried more than {0} keys")]
    TooManyKeys(usize),
    #[error("the client sends more than its window allows")]
    Overrun,
}

impl From<Overrun> for ConnectionError {
    fn from(_: Overrun) -> Self {
        ConnectionError::Overrun
    }
}

impl ConnectionError {
    /// Whether the client did something that nobody does who means well, as opposed to going away.
    pub(super) fn is_the_clients(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match self {
            ConnectionError::Ssh(russh::Error::IO(error)) => {
                !matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
            }
            ConnectionError::Ssh(error) => !matches!(error, russh::Error::Disconnect | russh::Error::HUP),
            ConnectionError::TooManyKeys(_) | ConnectionError::Overrun => true,
        }
    }
}

impl Connection {
    pub(super) fn new(door: Arc<Door>, peer: SocketAddr) -> (Connection, watch::Receiver<Progress>) {
        let (progress, receiver) = watch::channel(Progress::default());
        let connection = Connection {
            door,
            peer,
            progress,
            account: None,
            place: None,
            fingerprint: String::new(),
            tries: 0,
            tried: None,
            channels: HashMap::new(),
        };
        (connection, receiver)
    }

    /// Looks a proof up by this key: one that is offered, or with which something was signed. A key that is offered first and then signs
    /// is tried once, and so is one that is its certificate's too.
    async fn try_key(
        &mut self,
        key: &KeyData,
        judge: impl FnOnce(&Logins, ClientAddress) -> Result<Account, Denial> + Send + 'static,
    ) -> Result<Result<Account, Denial>, ConnectionError> {
        let limit = self.door.limits.auth_attempts_max;
        if self.tried.as_ref() != Some(key) {
            if self.tries >= limit {
                return Err(ConnectionError::TooManyKeys(limit));
            }
            self.tries += 1;
            self.tried = Some(key.clone());
        }
        let judged = self.judge(judge).await;
        let unanswered = matches!(judged, Err(Denial::Directory(_)));
        self.progress.send_modify(|progress| {
            progress.tried = true;
            progress.unanswered |= unanswered;
        });
        Ok(judged)
    }

    /// Looks a proof up, off the threads that must not block.
    async fn judge(
        &self,
        judge: impl FnOnce(&Logins, ClientAddress) -> Result<Account, Denial> + Send + 'static,
    ) -> Result<Account, Denial> {
        let (logins, address) = (self.door.logins.clone(), ClientAddress::Known(self.peer.ip()));
        let lookup = tokio::task::spawn_blocking(move || judge(&logins, address));
        lookup.await.unwrap_or_else(|error| Err(Denial::Directory(error.to_string())))
    }

    async fn account_of(
        &mut self,
        user: &str,
        key: &PublicKey,
        algorithm: &Algorithm,
    ) -> Result<Result<Account, Denial>, ConnectionError> {
        let (user, owned, algorithm) = (user.to_owned(), key.clone(), algorithm.clone());
        self.try_key(key.key_data(), move |logins, address| account_of_key(logins, &user, &owned, &algorithm, address))
            .await
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

    /// Starts a session for what was asked for on a channel, or tells its client why none is. The channel has none yet.
    fn start(&mut self, id: ChannelId, command: Option<&[u8]>) {
        let Some(account) = &self.account else { return };
        let Some(Open::Idle { write, input_has_ended, requester }) = self.channels.remove(&id) else { return };
        let place = match self.door.admission.begin_session(self.peer, account.mail.as_str()) {
            Ok(place) => place,
            Err(text) => {
                tracing::warn!(peer = %self.peer, account = self.account_name(), text, "ssh session refused");
                tokio::spawn(process::refuse(write, text));
                self.channels.insert(id, Open::Refused);
                return;
            }
        };
        if let Some(Ok(requester)) = requester.as_deref().map(Mail::parse) {
            self.door.logins.asked(&requester);
        }
        let (mut input, reader) = inbound::channel();
        if input_has_ended {
            input.end();
        }
        let mut identity = Identity::of(
            account,
            self.door.logins.name_in_urls(account),
            self.peer.to_string(),
            self.door.program.limits(),
        );
        identity.command = command.map(|command| command[..command.len().min(COMMAND_BYTES_MAX + 1)].to_vec());
        identity.requester = requester;
        let running = Running::begin(&self.progress);
        let session = process::run(self.door.program.clone(), self.door.limits.idle, identity, write, reader);
        tokio::spawn(async move {
            let _counted = (place, running);
            session.await;
        });
        self.channels.insert(id, Open::Running(input));
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
        match self.account_of(user, offer.public_key, offer.algorithm).await? {
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
        let judged = self.account_of(user, key.public_key, key.algorithm).await?;
        Ok(self.admit(judged, user, key.public_key.fingerprint(HashAlg::Sha256)))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, ConnectionError> {
        let (name, offered) = (user.to_owned(), certificate.clone());
        let judge = move |logins: &Logins, address| account_of_certificate(logins, &name, &offered, address);
        let judged = self.try_key(certificate.public_key(), judge).await?;
        Ok(self.admit(judged, user, certificate.public_key().fingerprint(HashAlg::Sha256)))
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), ConnectionError> {
        tracing::info!(peer = %self.peer, account = self.account_name(), key = self.fingerprint, "ssh login");
        self.progress.send_modify(|progress| progress.logged_in = true);
        let Some(account) = &self.account else { return Ok(()) };
        match self.door.admission.logged_in(self.peer, account.mail.as_str()) {
            Ok(place) => self.place = Some(place),
            Err(text) => {
                tracing::warn!(peer = %self.peer, account = self.account_name(), text, "ssh connection refused");
                session.disconnect(Disconnect::TooManyConnections, &text, "")?;
                return Ok(());
            }
        }
        self.door.logins.logged_in(account);
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
        self.channels.insert(id, Open::Idle { write, input_has_ended: false, requester: None });
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), ConnectionError> {
        if !matches!(self.channels.get(&id), Some(Open::Idle { .. })) {
            return self.refuse(id, "second exec", session);
        }
        session.channel_success(id)?;
        self.start(id, Some(command));
        Ok(())
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), ConnectionError> {
        if !matches!(self.channels.get(&id), Some(Open::Idle { .. })) {
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
        match self.channels.get_mut(&id) {
            Some(Open::Running(input)) => input.end(),
            Some(Open::Idle { input_has_ended, .. }) => *input_has_ended = true,
            Some(Open::Refused) | None => {}
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
        if name == self.door.landing.variable
            && let Some(account) = &self.account
            && let Some(named) = self.door.landing.requester(&account.mail, value)
            && let Some(Open::Idle { requester, .. }) = self.channels.get_mut(&id)
        {
            *requester = Some(named);
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

//! A session that OpenSSH's `sshd` has started, as the daemon knows it: from its login to the end of its connection.

use std::time::{Instant, SystemTime};

use super::peers::{Client, Registered};
use crate::protocol::SessionEnding;
use crate::session::Door;
use crate::session_event::SessionEvent;

/// One such session. It is logged when dropped.
pub(super) struct SshdSession {
    pub client: Client,
    pub command: Option<Vec<u8>>,
    pub process: Option<u32>,
    /// The daemon knows whom the process serves for as long as this lives.
    pub _registered: Option<Registered>,
    pub begun: SystemTime,
    pub started: Instant,
    /// What the session says of itself at its end; one that breaks off says nothing.
    pub ending: Option<SessionEnding>,
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

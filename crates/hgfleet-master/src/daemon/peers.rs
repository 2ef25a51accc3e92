//! Which process serves whom: what the door knows, the daemon need not ask a session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hgfleet_directory::Mail;
use hgfleet_log::limits;

/// A client that a session serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Client {
    /// The account's mail address.
    pub account: String,
    /// Where the client is.
    pub address: String,
    /// For whom the account, a landing account, pushes.
    pub requester: Option<String>,
}

impl Client {
    /// The same, without a requester that is no mail address: the session refuses it, and no record names it.
    pub(crate) fn served(&self) -> Client {
        let requester = self.requester.clone().filter(|requester| Mail::parse(requester).is_ok());
        Client { requester, ..self.clone() }
    }

    /// Whom a record names: who asked for the push.
    pub(crate) fn who(&self) -> String {
        cut(self.requester.as_deref().unwrap_or(&self.account), limits::WHO_BYTES_MAX)
    }

    /// Where a record says that it came from, and from whom where that is somebody else.
    pub(crate) fn source(&self) -> String {
        let source = match self.requester {
            Some(_) => format!("ssh:{} by {}", self.address, self.account),
            None => format!("ssh:{}", self.address),
        };
        cut(&source, limits::SOURCE_BYTES_MAX)
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The sessions that the door has started, by process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<HashMap<u32, Client>>>);

/// Forgets a process when dropped.
#[derive(Debug)]
pub(crate) struct Registered {
    peers: Peers,
    process: u32,
}

impl Peers {
    pub(crate) fn register(&self, process: u32, client: Client) -> Registered {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(process, client);
        Registered { peers: self.clone(), process }
    }

    pub(crate) fn get(&self, process: u32) -> Option<Client> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&process).cloned()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.peers.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.process);
    }
}

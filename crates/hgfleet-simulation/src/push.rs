//! A client's push, through a real session.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hgfleet_log::RepositoryName;
use hgfleet_master::session;

use crate::history::{Changeset, History, Node};

/// Whom the sessions serve.
pub const ACCOUNT: &str = "user@example.com";

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// `stored as N`.
    Stored {
        /// Which.
        sequence: u64,
        /// Whether all mirrors in service know of it.
        visible: bool,
    },
    /// It was refused, and nothing was stored.
    Refused(String),
    /// Nobody knows.
    Unknown(String),
}

/// One push.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// What was pushed; none where it did not come to that.
    pub changeset: Option<Changeset>,
    /// What the client was told.
    pub told: Told,
}

enum Step {
    Heads,
    Invitation,
    Reply,
    Over,
}

struct Conversation {
    history: Arc<Mutex<History>>,
    step: Step,
    to_server: Vec<u8>,
    sent: usize,
    from_server: Vec<u8>,
    messages: Vec<u8>,
    bundle: Vec<u8>,
    changeset: Option<Changeset>,
}

#[derive(Clone)]
struct Shared(Arc<Mutex<Conversation>>);

impl Shared {
    fn get(&self) -> MutexGuard<'_, Conversation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Input(Shared);
struct Output(Shared);
struct Messages(Shared);

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut conversation = self.0.get();
        if conversation.sent == conversation.to_server.len() {
            conversation.go_on();
        }
        let rest = &conversation.to_server[conversation.sent..];
        let bytes = rest.len().min(into.len());
        into[..bytes].copy_from_slice(&rest[..bytes]);
        conversation.sent += bytes;
        Ok(bytes)
    }
}

impl Write for Output {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.get().from_server.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Messages {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.0.get().messages.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Conversation {
    /// The server waits for the client: it has answered all that was asked.
    fn go_on(&mut self) {
        let answer = std::mem::take(&mut self.from_server);
        (self.to_server, self.sent) = (Vec::new(), 0);
        match self.step {
            Step::Heads => {
                self.step = Step::Over;
                let heads = answer.split(|byte| *byte == b'\n').nth(1).unwrap_or_default();
                let heads: Vec<Node> =
                    String::from_utf8_lossy(heads).split(' ').filter_map(|head| Node::parse(head.trim())).collect();
                let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
                let [head] = heads[..] else { return };
                let Some(parent) = history.get(head) else { return };
                let (changeset, bundle) = history.grow(parent);
                (self.changeset, self.bundle) = (Some(changeset), bundle);
                self.to_server = format!("unbundle\nheads 40\n{head}").into_bytes();
                self.step = Step::Invitation;
            }
            Step::Invitation => {
                self.step = Step::Over;
                if answer == b"0\n" {
                    self.to_server = format!("{}\n", self.bundle.len()).into_bytes();
                    self.to_server.append(&mut self.bundle);
                    self.to_server.extend_from_slice(b"0\n");
                    self.step = Step::Reply;
                } else {
                    self.from_server = answer;
                }
            }
            Step::Reply => {
                self.step = Step::Over;
                self.from_server = answer;
            }
            Step::Over => {}
        }
    }
}

/// Pushes one changeset more to a repository, through a session of the server whose sockets are in `run`.
pub fn push(run: PathBuf, repository: &RepositoryName, history: &Arc<Mutex<History>>) -> Pushed {
    let shared = Shared(Arc::new(Mutex::new(Conversation {
        history: history.clone(),
        step: Step::Heads,
        to_server: b"heads\n".to_vec(),
        sent: 0,
        from_server: Vec::new(),
        messages: Vec::new(),
        bundle: Vec::new(),
        changeset: None,
    })));
    let client = (ACCOUNT.to_owned(), "192.0.2.1".to_owned());
    let served = session::serve_on(
        run,
        client,
        repository.clone(),
        Input(shared.clone()),
        Output(shared.clone()),
        Messages(shared.clone()),
    );
    let conversation = shared.get();
    let mut said = String::from_utf8_lossy(&conversation.messages).into_owned();
    if let Err(text) = served {
        said.push_str(&text);
    }
    let reply = String::from_utf8_lossy(&conversation.from_server).into_owned();
    let stored = said.lines().find_map(|line| line.strip_prefix("stored as ")?.split([',', ' ']).next()?.parse().ok());
    let told = match stored {
        Some(sequence) => Told::Stored { sequence, visible: said.contains("\nvisible on ") },
        None if said.contains("outcome unknown") => Told::Unknown(said),
        None if said.contains("refused: ")
            || reply.contains("please try again")
            || conversation.changeset.is_none() =>
        {
            Told::Refused(format!("{said}{reply}"))
        }
        None => Told::Unknown(format!("{said}{reply}")),
    };
    Pushed { changeset: conversation.changeset, told }
}

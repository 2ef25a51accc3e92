//! A push, from the write lock to what became of it.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hg_policy::Checks;
use hg_store::Snapshot;
use hg_store::observe::Observer;
use hg_store::prepare::PreparedChange;
use hg_wire::{CommitError, Push};
use hgfleet_log::{RecordId, planted, stop_at};

use super::{FleetHost, milliseconds};
use crate::protocol::{AppendRequest, PushEnd, SessionReply, SessionRequest, SessionTimes, Settled, Token};
use crate::session::daemon::{Daemon, unexpected};
use crate::summary::encode_summary;

/// How long a session that lost the daemon waits for the next one, which knows what became of its push.
const OUTCOME_WAIT: Duration = Duration::from_secs(30);
const OUTCOME_PAUSE: Duration = Duration::from_millis(200);

/// A push under the repository's write lock.
pub(super) struct FleetPush<'h> {
    pub host: &'h mut FleetHost,
    pub token: Token,
    pub snapshot: Arc<Snapshot>,
    pub checks: Option<Checks>,
    pub receive_ms: f64,
    pub lock_ms: f64,
    pub locked: Instant,
    pub handed_over: bool,
}

impl Drop for FleetPush<'_> {
    fn drop(&mut self) {
        if !self.handed_over {
            self.host.unlock();
        }
    }
}

impl Push for FleetPush<'_> {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    fn observer(&mut self) -> Option<Box<dyn Observer>> {
        self.checks.take().map(|checks| Box::new(checks) as Box<dyn Observer>)
    }

    fn commit(mut self: Box<Self>, change: PreparedChange, messages: &mut dyn Write) -> Result<(), CommitError> {
        stop_at("session.prepared");
        self.handed_over = true;
        let id = RecordId::random().map_err(|error| {
            CommitError::Refused(format!("refused: {error}, on this server. Nothing was stored; push again"))
        })?;
        let times =
            SessionTimes { receive_ms: self.receive_ms, lock_ms: self.lock_ms, prepare_ms: milliseconds(self.locked) };
        let request = SessionRequest::Append(AppendRequest {
            id,
            token: self.token,
            bytes: change.bytes,
            summary: encode_summary(change.summary),
            times,
        });
        let told = match self.host.daemon.as_mut() {
            Some(daemon) => hand_over(daemon, &request, &change.file, messages),
            None => Err(io::ErrorKind::NotConnected.into()),
        };
        let end = match told {
            Ok(end) => end,
            Err(error) if planted::is("unknown-told-refused") => PushEnd::Refused(format!(
                "refused: {error}, on {}. Nothing was stored; push again",
                self.host.repository
            )),
            Err(_) => {
                self.host.daemon = None;
                self.settle(id, messages)
            }
        };
        match end {
            PushEnd::Done => Ok(()),
            PushEnd::Refused(text) => Err(CommitError::Refused(text)),
            PushEnd::Unknown(text) => Err(CommitError::Unknown(text)),
            PushEnd::Stored(text) => Err(CommitError::Stored(text)),
        }
    }
}

impl FleetPush<'_> {
    /// The daemon is lost. The next one's epoch record has settled what became of the push.
    fn settle(&self, id: RecordId, messages: &mut dyn Write) -> PushEnd {
        let name = &self.host.repository;
        let started = Instant::now();
        while started.elapsed() < OUTCOME_WAIT {
            for mut daemon in self.host.address.connect_all() {
                match daemon.ask(&SessionRequest::Outcome { id, epoch: self.token.epoch }) {
                    Ok(SessionReply::Outcome(Settled::Stored(sequence))) => {
                        let _ = writeln!(messages, "stored as {sequence}");
                        let _ = messages.flush();
                        // Whether the mirrors were told nobody here knows; the client must not go on as if they were.
                        return PushEnd::Stored(format!(
                            "not yet visible everywhere, on {name}; it is safe in the log. The master was started anew: pull before you push again"
                        ));
                    }
                    Ok(SessionReply::Outcome(Settled::NotStored)) => {
                        return PushEnd::Refused(format!(
                            "refused: the master was started anew before the push was stored, on {name}. Nothing was stored; push again"
                        ));
                    }
                    // Open until a newer epoch has begun: the daemon that was lost may live still, and have the push under way.
                    _ => {}
                }
            }
            thread::sleep(OUTCOME_PAUSE);
        }
        PushEnd::Unknown("outcome unknown: pull before you push again".to_owned())
    }
}

/// Gives the change to the daemon and passes on what it says, until the end.
fn hand_over(
    daemon: &mut Daemon,
    request: &SessionRequest,
    file: &File,
    messages: &mut dyn Write,
) -> io::Result<PushEnd> {
    daemon.send_with(request, file)?;
    stop_at("session.handed-over");
    loop {
        match daemon.answer()? {
            SessionReply::Told(line) => {
                // A client that has gone changes nothing for the push.
                let _ = writeln!(messages, "{line}");
                let _ = messages.flush();
            }
            SessionReply::Ended(end) => return Ok(end),
            SessionReply::Refused(text) | SessionReply::Failed(text) => return Ok(PushEnd::Refused(text)),
            _ => return Err(unexpected()),
        }
    }
}

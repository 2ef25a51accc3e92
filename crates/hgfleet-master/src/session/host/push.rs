//! A push of a session: watched, approved, handed over to the daemon.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hg_policy::{BUNDLE, Checks, ExternalChecks, Place};
use hg_store::Snapshot;
use hg_store::observe::Observer;
use hg_store::prepare::PreparedChange;
use hg_wire::{CommitError, Push};
use hgfleet_log::{RecordId, planted, stop_at};
use tempfile::TempDir;

use super::super::daemon::{Daemon, unexpected};
use super::{FleetHost, milliseconds};
use crate::protocol::{AppendRequest, PushEnd, SessionReply, SessionRequest, SessionTimes, Settled, Token};
use crate::summary::encode_summary;

/// What the names of folders for programs that check begin with; a dead session's is removed by the next daemon.
pub(crate) const CHECK_FOLDER: &str = "check-";
/// How long a session that lost the daemon waits for the next one, which knows what became of its push.
const OUTCOME_WAIT: Duration = Duration::from_secs(30);
const OUTCOME_PAUSE: Duration = Duration::from_millis(200);

/// A push under the repository's write lock.
pub(super) struct FleetPush<'h> {
    pub(super) host: &'h mut FleetHost,
    pub(super) token: Token,
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) checks: Option<Checks>,
    pub(super) external: Option<ExternalChecks>,
    /// Where programs find what comes in.
    pub(super) folder: Option<TempDir>,
    /// The repository's folder.
    pub(super) store: PathBuf,
    pub(super) receive_ms: f64,
    pub(super) lock_ms: f64,
    pub(super) locked: Instant,
    pub(super) handed_over: bool,
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

    fn bundle(&mut self) -> io::Result<Option<File>> {
        if !self.external.as_ref().is_some_and(ExternalChecks::need_place) {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix(CHECK_FOLDER).tempdir_in(&self.host.address.run)?;
        let file = File::create_new(folder.path().join(BUNDLE))?;
        self.folder = Some(folder);
        Ok(Some(file))
    }

    fn approve(&mut self, messages: &mut dyn Write) -> Result<(), String> {
        let Some(external) = &self.external else { return Ok(()) };
        let place = self.folder.as_ref().map(|folder| Place { folder: folder.path(), store: &self.store });
        external.ask(place, messages)
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

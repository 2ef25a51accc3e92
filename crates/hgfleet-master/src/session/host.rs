//! The repository of a session, as the wire protocol sees it: reads from snapshots that the daemon names, pushes that it commits.

mod push;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hg_policy::{Checks, Pusher};
use hg_store::prepare::PrepareLimits;
use hg_store::{Repository, Snapshot, StoreError};
use hg_wire::command::CommandName;
use hg_wire::{CommandOutcome, Host, HostError, Push, PushLimits};
use hgfleet_log::{RepositoryName, stop_at};

use self::push::FleetPush;
use super::daemon::{Address, Daemon, unexpected};
use super::texts;
use super::traffic::Traffic;
use crate::protocol::{Grant, Policy, SessionReply, SessionRequest, Usage, WireCommand, WireOutcome};

pub(crate) use self::push::CHECK_FOLDER;

/// How long a session waits for a master, where there is none for a moment.
pub(super) const MASTER_WAIT: Duration = Duration::from_secs(20);
pub(super) const MASTER_PAUSE: Duration = Duration::from_millis(20);
/// How often what the daemon names is opened, where it is not there any more.
const LOOKS_MAX: u32 = 3;
/// Characters of a refusal that the daemon is told.
const REFUSAL_CHARS_MAX: usize = 2000;

/// One repository of the fleet.
pub(super) struct FleetHost {
    address: Address,
    daemon: Option<Daemon>,
    repository: RepositoryName,
    /// What was opened last: most commands of a session see the same record.
    opened: Option<Opened>,
    push_bytes_max: u64,
    /// Since when a bundle comes in.
    receiving: Option<Instant>,
    traffic: Traffic,
    /// What was used up to the end of the last command.
    used: Usage,
    /// The command that is worked on, and since when.
    running: Option<(CommandName, Instant)>,
    /// Whether it brought a push that was not taken.
    push_was_refused: bool,
}

struct Opened {
    sequence: u64,
    store: PathBuf,
    snapshot: Arc<Snapshot>,
}

impl FleetHost {
    /// Connects to the daemon, and makes sure that the repository is there.
    pub(super) fn open(address: Address, repository: RepositoryName, traffic: Traffic) -> Result<FleetHost, HostError> {
        let mut host = FleetHost {
            address,
            daemon: None,
            repository,
            opened: None,
            push_bytes_max: 0,
            receiving: None,
            traffic,
            used: Usage::default(),
            running: None,
            push_was_refused: false,
        };
        host.snapshot()?;
        Ok(host)
    }

    fn daemon(&mut self) -> io::Result<&mut Daemon> {
        let daemon = match self.daemon.take() {
            Some(daemon) => daemon,
            None => {
                let daemon = self.address.connect_master()?;
                self.push_bytes_max = daemon.push_bytes_max;
                // What was opened lies in another server's folder, perhaps.
                self.opened = None;
                daemon
            }
        };
        Ok(self.daemon.insert(daemon))
    }

    /// Asks the master, whoever that is, and waits for one where there is none for a moment. Only for what may be asked twice.
    fn ask(&mut self, request: &SessionRequest) -> Result<SessionReply, HostError> {
        let started = Instant::now();
        loop {
            match self.daemon().and_then(|daemon| daemon.ask(request)) {
                // Both texts are for the client; what an operator must know the daemon has logged.
                Ok(SessionReply::Refused(text) | SessionReply::Failed(text)) => return Err(HostError::Refused(text)),
                Ok(SessionReply::NotMaster) | Err(_) => self.daemon = None,
                Ok(reply) => return Ok(reply),
            }
            if started.elapsed() > MASTER_WAIT {
                return Err(HostError::Refused(texts::NO_MASTER.to_owned()));
            }
            thread::sleep(MASTER_PAUSE);
        }
    }

    /// Tells the daemon something on which nothing depends: where it is lost, the next request finds another.
    fn tell(&mut self, message: &SessionRequest) {
        if let Some(daemon) = &mut self.daemon {
            let _ = daemon.tell(message);
        }
    }

    /// Gives the lock back; with the connection it is lost anyway.
    fn unlock(&mut self) {
        let unlocked = self.daemon.as_mut().map(|daemon| daemon.ask(&SessionRequest::Unlock));
        if !matches!(unlocked, Some(Ok(_))) {
            self.daemon = None;
        }
    }

    /// Makes the checks of a push ready.
    fn checks(&self, policy: Policy) -> Result<Checks, HostError> {
        let Policy { rule, groups } = policy;
        let repository = self.repository.to_string();
        let pusher = Pusher { repository, account: self.address.account.clone(), groups };
        Checks::new(&rule, pusher)
            .map_err(|error| HostError::Failed(format!("the policy of {} can't be read: {error}", self.repository)))
    }

    /// Opens what the daemon has named.
    fn open_granted(&mut self, grant: Grant) -> Result<Arc<Snapshot>, HostError> {
        let wrong =
            |error: StoreError| HostError::Failed(format!("repository {} can't be read: {error}", self.repository));
        if let Some(opened) = &self.opened
            && opened.sequence == grant.sequence
        {
            return Ok(opened.snapshot.clone());
        }
        // Opened anew for each record: a repository may have been deleted and made again under the same name.
        let repository = Repository::open_indexed(&grant.path, &grant.index).map_err(wrong)?;
        if repository.identity().map_err(wrong)? != grant.folder {
            return Err(HostError::Failed(format!("repository {} was exchanged just now", self.repository)));
        }
        let snapshot = Arc::new(repository.snapshot(grant.state).map_err(wrong)?);
        self.opened = Some(Opened { sequence: grant.sequence, store: grant.path, snapshot: snapshot.clone() });
        Ok(snapshot)
    }
}

impl Host for FleetHost {
    fn snapshot(&mut self) -> Result<Arc<Snapshot>, HostError> {
        let request = SessionRequest::Snapshot { repository: self.repository.to_string() };
        let mut looks = 0;
        loop {
            let SessionReply::Snapshot(grant) = self.ask(&request)? else {
                return Err(HostError::Failed(unexpected().to_string()));
            };
            looks += 1;
            match self.open_granted(grant) {
                // It may have been renamed or exchanged in between: then the daemon says so, or names what is there now.
                Err(HostError::Failed(_)) if looks < LOOKS_MAX => {}
                opened => return opened,
            }
        }
    }

    fn spool(&mut self) -> io::Result<File> {
        // The bundle's is the first, the change's the second.
        self.receiving.get_or_insert_with(Instant::now);
        tempfile::tempfile_in(&self.address.run)
    }

    fn push_limits(&self) -> PushLimits {
        PushLimits {
            bundle_bytes_max: self.push_bytes_max,
            prepare: PrepareLimits { change_bytes: self.push_bytes_max, ..PrepareLimits::default() },
        }
    }

    fn begin_push(&mut self) -> Result<Box<dyn Push + '_>, HostError> {
        let received = Instant::now();
        let receive_ms = self.receiving.take().map_or(0.0, milliseconds);
        stop_at("session.received");
        let request = SessionRequest::Lock { repository: self.repository.to_string() };
        let (token, grant, policy) = match self.ask(&request)? {
            SessionReply::Locked { token, grant, policy } => (token, grant, policy),
            _ => return Err(HostError::Failed(unexpected().to_string())),
        };
        stop_at("session.locked");
        let lock_ms = milliseconds(received);
        let opened = self.open_granted(grant).and_then(|snapshot| Ok((snapshot, self.checks(policy)?)));
        let (snapshot, mut checks) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.unlock();
                return Err(error);
            }
        };
        let store = self.opened.as_ref().map(|opened| opened.store.clone()).unwrap_or_default();
        Ok(Box::new(FleetPush {
            host: self,
            token,
            snapshot,
            external: checks.take_external(),
            checks: Some(checks),
            folder: None,
            store,
            receive_ms,
            lock_ms,
            locked: Instant::now(),
            handed_over: false,
        }))
    }

    fn push_refused(&mut self, text: &str) {
        self.push_was_refused = true;
        let text = text.chars().take(REFUSAL_CHARS_MAX).collect();
        self.tell(&SessionRequest::PushRefused { repository: self.repository.to_string(), text });
    }

    fn command_began(&mut self, command: CommandName) {
        self.running = Some((command, Instant::now()));
        self.push_was_refused = false;
    }

    fn command_ended(&mut self, outcome: CommandOutcome) {
        let (used, before) = (self.traffic.used(), self.used);
        self.used = used;
        let Some((command, begun)) = self.running.take() else { return };
        let ran = WireCommand {
            command: command.as_str().to_owned(),
            repository: self.repository.to_string(),
            outcome: match outcome {
                CommandOutcome::Answered if self.push_was_refused => WireOutcome::Refused,
                CommandOutcome::Answered => WireOutcome::Done,
                CommandOutcome::Refused => WireOutcome::Refused,
                CommandOutcome::BrokenOff => WireOutcome::BrokenOff,
            },
            microseconds: u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
            used: used.since(before),
        };
        self.tell(&SessionRequest::Ran(ran));
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

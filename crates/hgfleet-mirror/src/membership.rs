//! The stream to the master: what is staged and told goes up, what is visible comes down, and with
//! each answered sign of life the mirror stays in service.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hgfleet_log::holder::{Holder, MIRRORS_SOCKET, holder};
use hgfleet_log::membership::MirrorService;
use hgfleet_log::stream::{self, Down, Hello, StreamError, Up, Welcome};
use hgfleet_log::{DiskUse, Incarnation, LogId, Member, RepositoryName, Role, Sequence, ServerState, View, boot_time};
use hgfleet_replica::{Replica, Scrubbed};
use hgfleet_resync::Resync;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::drained::Drained;
use crate::follow::Standing;
use crate::show::Showing;
use crate::staging::Staging;

/// The pauses between attempts to reach the master.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long the master may take to take a message.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// Answers that wait to be written.
const ANSWERS_MAX: usize = 64;
/// How long the last message may take at an orderly end.
const LEAVE_TIME: Duration = Duration::from_millis(300);
/// How long a mirror that can't stage stays a member, so that no push waits for it longer than that.
const PATIENCE: Duration = Duration::from_secs(2);

/// The mirror as the fleet sees it.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) incarnation: Incarnation,
    pub(crate) run: PathBuf,
    pub(crate) heartbeat: Duration,
    pub(crate) replica: Arc<Replica>,
    pub(crate) staging: Arc<Staging>,
    pub(crate) showing: Arc<Showing>,
    pub(crate) standing: Arc<Standing>,
    pub(crate) resync: Arc<Resync>,
    pub(crate) service: Mutex<MirrorService>,
    pub(crate) draining: AtomicBool,
    pub(crate) leaving: Notify,
    pub(crate) left: Notify,
    /// It serves since now, or serves no more.
    pub(crate) turned: Notify,
    /// The master, as the log last named it.
    pub(crate) master: Mutex<Option<Holder>>,
    /// Why the master leaves this mirror out, and since when, while it does.
    pub(crate) left_out: Mutex<Option<(Instant, String)>>,
    pub(crate) drained: Drained,
}

impl Membership {
    /// Whether a view names this mirror and its last renewal was answered in time.
    pub(crate) fn in_service(&self) -> bool {
        self.service().in_service(boot_time())
    }

    /// The end has begun.
    pub(crate) fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Says that this mirror serves nobody any more, so that no push waits for it.
    pub(crate) async fn leave(&self) {
        self.leaving.notify_one();
        let _ = timeout(LEAVE_TIME, self.left.notified()).await;
    }

    fn service(&self) -> std::sync::MutexGuard<'_, MirrorService> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the stream, for ever.
    pub(crate) async fn stay(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.is_stuck() {
                // It would hold up every push. It leaves, and comes back when it can.
                sleep(self.heartbeat).await;
                continue;
            }
            let begun = Instant::now();
            if let Err(error) = self.converse().await {
                tracing::debug!(%error, "no stream to the master");
            }
            self.standing.set_told(false);
            self.service().disconnected();
            // The next master judges anew.
            *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = None;
            if begun.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn is_stuck(&self) -> bool {
        let trouble = self.standing.trouble();
        trouble.is_some_and(|(since, _)| since.elapsed() > PATIENCE)
    }

    /// Says how this mirror is where `status` finds it without a master: in the log's folder, for ever, and at once where
    /// it begins to serve or no longer does.
    pub(crate) async fn report(&self) {
        loop {
            let Some(log) = self.standing.log() else {
                sleep(FIRST_PAUSE).await;
                continue;
            };
            if let Err(error) = log.put_heartbeat(self.member()).await {
                tracing::debug!(%error, "the heartbeat could not be written");
            }
            let _ = timeout(self.heartbeat, self.turned.notified()).await;
        }
    }

    async fn converse(&self) -> Result<(), StreamError> {
        let nobody = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        let holder = self.holder().await?.ok_or_else(nobody)?;
        let path = holder.socket(&self.run, MIRRORS_SOCKET).ok_or_else(nobody)?;
        let socket = UnixStream::connect(path).await?;
        let (mut input, mut output) = socket.into_split();
        let mut staged = self.showing.watch_staged();
        if !self.drained.get() {
            self.service().join();
        }
        say(&mut output, &Up::Hello(self.hello())).await?;
        let (answers, mut to_write) = mpsc::channel(ANSWERS_MAX);
        let listen = async {
            while let Some(message) = stream::read_async(&mut input).await? {
                if let Down::DigestWanted { number, repository } = message {
                    self.find_digest(number, repository, answers.clone());
                    continue;
                }
                let served = self.in_service();
                let answer = self.hear(message);
                if self.in_service() != served {
                    self.turned.notify_one();
                }
                if let Some(answer) = answer
                    && answers.send(answer).await.is_err()
                {
                    break;
                }
            }
            Ok(())
        };
        let speak = async {
            let mut ticks = interval(self.heartbeat);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut acknowledged = None;
            loop {
                tokio::select! {
                    answer = to_write.recv() => match answer {
                        Some(answer) => say(&mut output, &answer).await?,
                        None => return Ok(()),
                    },
                    changed = staged.changed() => {
                        let position = *staged.borrow_and_update();
                        if changed.is_err() {
                            return Ok(());
                        }
                        if let Some(position) = position.filter(|_| position > acknowledged) {
                            say(&mut output, &Up::Staged(position)).await?;
                            acknowledged = Some(position);
                        }
                    }
                    () = self.leaving.notified() => {
                        self.service().leave();
                        say(&mut output, &Up::Left).await?;
                        self.left.notify_one();
                        return Ok(());
                    }
                    _ = ticks.tick() => {
                        if self.is_stuck() {
                            // Said and not only done, so that a push waits no longer for it.
                            self.service().leave();
                            return say(&mut output, &Up::Left).await;
                        }
                        let number = self.service().sending(boot_time());
                        let member = self.member();
                        say(&mut output, &Up::Heartbeat { number, member }).await?;
                    }
                }
            }
        };
        let ended = tokio::select! {
            heard = listen => heard,
            spoken = speak => spoken,
            // One that is stopped says nothing, and its stream does not end.
            () = self.standing.epoch.newer_than(holder.epoch) => Ok(()),
        };
        let _ = output.shutdown().await;
        ended
    }

    /// The master, as the log names it; the last one, while the log can't be read.
    pub(crate) async fn holder(&self) -> Result<Option<Holder>, StreamError> {
        let kept = || self.master.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = self.standing.log() else { return Ok(kept().clone()) };
        let found = holder(&*log).await.map_err(std::io::Error::other)?;
        kept().clone_from(&found);
        Ok(found)
    }

    /// Takes a message in; gives what is to be said to it.
    fn hear(&self, message: Down) -> Option<Up> {
        match message {
            Down::Welcome(welcome) => {
                let Welcome { epoch, master, .. } = &welcome;
                tracing::info!(%epoch, master, "connected to the master");
                self.standing.set_told(true);
                welcome.view.and_then(|view| self.viewed(&view))
            }
            Down::Refused(why) => {
                tracing::warn!(why, "the master refuses this mirror");
                None
            }
            Down::View(view) => self.viewed(&view),
            Down::Visible(position) => self.told(Some(position)),
            Down::Appended(sequence) => {
                self.standing.appended(sequence);
                None
            }
            Down::Renewed { number } => {
                self.service().answered(number);
                None
            }
            Down::DigestWanted { .. } => None,
            Down::LeftOut(why) => {
                let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
                *left_out = why.map(|why| (Instant::now(), why));
                None
            }
            Down::Drain(drain) => Some(self.drain(drain)),
        }
    }

    /// An operator's wish: to serve nobody, or to serve again.
    fn drain(&self, drain: bool) -> Up {
        tracing::info!(drain, "asked to be drained, or not any more");
        if let Err(error) = self.drained.set(drain) {
            tracing::error!(%error, "that this mirror is drained does not survive its end");
        }
        if drain {
            self.service().leave();
            Up::Left
        } else {
            self.service().join();
            Up::Joined
        }
    }

    /// The view that names this mirror is what lets it serve, and counts as being told.
    fn viewed(&self, view: &View) -> Option<Up> {
        let told = self.service().view(view);
        self.told(told.or(view.visible))
    }

    /// From here on every request is answered at `visible` or above, if that is staged.
    fn told(&self, visible: Option<Sequence>) -> Option<Up> {
        self.showing.hear(visible);
        let visible = visible?;
        (self.showing.position() >= Some(visible)).then_some(Up::Told(visible))
    }

    /// Reads a store from disk, which takes its time, and answers with its digest.
    fn find_digest(&self, number: u64, repository: RepositoryName, answers: mpsc::Sender<Up>) {
        let (replica, resync) = (self.replica.clone(), self.resync.clone());
        tokio::task::spawn_blocking(move || {
            let answer = match digest(&replica, &repository) {
                Ok(digest) => Up::Digest { number, digest: Some(digest), reason: String::new() },
                Err(reason) => Up::Digest { number, digest: None, reason },
            };
            resync.wake();
            // The stream may have ended meanwhile; then nobody waits for it any more.
            let _ = answers.blocking_send(answer);
        });
    }

    /// The log that this mirror follows; none while it is new.
    pub(crate) fn log(&self) -> Option<LogId> {
        self.staging.tail().map(|(log, _)| log).or(self.replica.log())
    }

    fn hello(&self) -> Hello {
        Hello {
            version: stream::VERSION,
            log: self.log(),
            role: Role::Mirror,
            name: self.name.clone(),
            incarnation: Some(self.incarnation),
            address: self.address.clone(),
            pid: std::process::id(),
            staged: self.showing.staged(),
            position: self.replica.position(),
            serves: !self.drained.get(),
        }
    }

    /// How this mirror is.
    pub(crate) fn member(&self) -> Member {
        let (state, reason) = self.state();
        Member {
            name: self.name.clone(),
            role: Role::Mirror,
            state,
            address: self.address.clone(),
            pid: std::process::id(),
            incarnation: Some(self.incarnation),
            staged_position: self.showing.staged(),
            position: self.replica.position(),
            lag_seconds: self.showing.lag().as_secs_f64(),
            reason,
            at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            disk: DiskUse {
                staged_bytes: self.staging.bytes(),
                store_bytes: self.replica.store_bytes(),
                free_bytes: self.replica.free_bytes().unwrap_or(0),
                ..DiskUse::default()
            },
        }
    }

    fn state(&self) -> (ServerState, String) {
        let trouble = self.standing.trouble().map(|(_, text)| text);
        let trouble = trouble.or_else(|| self.showing.fault());
        let quarantined = || self.resync.summary().unwrap_or_default();
        if self.is_draining() {
            return (ServerState::Draining, "it is being stopped".to_owned());
        }
        if let Some(since) = self.drained.since() {
            return (ServerState::Draining, format!("drained by command, for {} seconds", since.as_secs()));
        }
        let left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((since, why)) = left_out {
            return (ServerState::Out, format!("{why}; for {} seconds", since.elapsed().as_secs()));
        }
        match (self.in_service(), trouble) {
            (true, trouble) => (ServerState::InService, trouble.unwrap_or_else(quarantined)),
            (false, Some(trouble)) => (ServerState::Out, trouble),
            (false, None) if self.showing.position() < self.showing.heard() => {
                (ServerState::CatchingUp, "it lacks visible records".to_owned())
            }
            (false, None) => (ServerState::CatchingUp, "no view names it, or the master does not answer".to_owned()),
        }
    }
}

/// The digest of a store whose files were all read and are as they should be, and the record that it belongs to.
fn digest(replica: &Replica, name: &RepositoryName) -> Result<(Sequence, [u8; 32]), String> {
    match replica.scrub(name, &mut |_| true).map_err(|error| error.to_string())? {
        Scrubbed::Whole(sequence, digest) => Ok((sequence, digest)),
        Scrubbed::Damaged(reason) => Err(reason),
        Scrubbed::Ended => Err("the repository was exchanged or deleted meanwhile".to_owned()),
    }
}

async fn say(output: &mut OwnedWriteHalf, message: &Up) -> Result<(), StreamError> {
    timeout(WRITE_TIME, stream::write_async(output, message))
        .await
        .unwrap_or_else(|_| Err(StreamError::Io(std::io::ErrorKind::TimedOut.into())))
}

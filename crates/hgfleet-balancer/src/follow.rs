//! How the balancer learns of the view: from the log, and sooner from the master.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hgfleet_log::stream::{self, Down, Hello, StreamError, Up};
use hgfleet_log::{Access, DiskUse, Log, LogError, LogLocation, Member, Role, ServerState, View};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::fleet::Fleet;
use crate::masters::Masters;
use crate::mirror::Health;

/// How often the log's view is read while the master tells of each new one.
const POLL_TOLD: Duration = Duration::from_millis(500);
/// How long the view may be unreadable, or name nobody, before sockets are looked for.
const VIEW_PATIENCE: Duration = Duration::from_secs(1);
/// The pauses between attempts to reach the master.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// How long the master may take to answer a hello, or to take a message.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Who follows, and from where.
pub(crate) struct Following {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) masters: Arc<Masters>,
    pub(crate) log: LogLocation,
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) poll: Duration,
    pub(crate) heartbeat: Duration,
    /// The master is connected and tells of each view.
    pub(crate) told: AtomicBool,
    /// Whether the log was asked for a view, and answered.
    pub(crate) asked: watch::Sender<bool>,
}

impl Following {
    /// Reads the view from the log, for ever, and says there how this balancer is. Where it can't be read, or no mirror was ever in it (a master
    /// outlived them, and a new one has not begun), the mirrors' sockets tell at least who is there.
    pub(crate) async fn read_views(&self) {
        let mut log = None;
        let mut unknown_since = Instant::now();
        let mut reported: Option<Instant> = None;
        loop {
            let read = self.read_view(&mut log).await;
            self.masters.set_log(log.clone());
            let is_read = read.is_ok();
            match read {
                Ok(()) => drop(self.asked.send_replace(true)),
                Err(error) => {
                    tracing::debug!(%error, "the view can't be read");
                    log = None;
                }
            }
            if is_read && self.fleet.knows_any() {
                unknown_since = Instant::now();
            } else if unknown_since.elapsed() > VIEW_PATIENCE {
                self.fleet.discover();
                unknown_since = Instant::now();
            }
            if reported.is_none_or(|at| at.elapsed() >= self.heartbeat) {
                self.report(log.as_deref()).await;
                reported = Some(Instant::now());
            }
            let told = self.told.load(Ordering::Relaxed);
            let pause = if told { POLL_TOLD } else { self.poll };
            if timeout(pause, self.fleet.turned.notified()).await.is_ok() {
                reported = None;
            }
        }
    }

    /// Says how this balancer is where `status` finds it without a master: in the log's folder.
    async fn report(&self, log: Option<&dyn Log>) {
        if let Some(log) = log
            && let Err(error) = log.put_heartbeat(self.member()).await
        {
            tracing::debug!(%error, "the heartbeat could not be written");
        }
    }

    /// Keeps a stream to the master, for ever: views come down, signs of life go up.
    pub(crate) async fn stay_connected(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let connected = Instant::now();
            if let Err(error) = self.converse().await {
                tracing::debug!(%error, "no stream to the master");
            }
            self.told.store(false, Ordering::Relaxed);
            if connected.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn converse(&self) -> Result<(), StreamError> {
        let nobody = || std::io::Error::from(std::io::ErrorKind::NotConnected);
        let holder = self.masters.holder().await.ok_or_else(nobody)?;
        let socket = UnixStream::connect(self.masters.streams(&holder).ok_or_else(nobody)?).await?;
        let (mut input, mut output) = socket.into_split();
        within(stream::write_async(&mut output, &Up::Hello(self.hello()))).await?;
        let listen = async {
            while let Some(message) = stream::read_async(&mut input).await? {
                self.told.store(true, Ordering::Relaxed);
                match message {
                    Down::View(view) => self.see(&view),
                    Down::Visible(position) => self.fleet.floor.raise(Some(position)),
                    Down::Refused(why) => tracing::warn!(why, "the master refuses this balancer"),
                    Down::Welcome(welcome) => {
                        if let Some(view) = welcome.view {
                            self.see(&view);
                        }
                    }
                    Down::Appended(_)
                    | Down::Renewed { .. }
                    | Down::LeftOut(_)
                    | Down::Drain(_)
                    | Down::DigestWanted { .. } => {}
                }
            }
            Ok(())
        };
        let speak = async {
            let mut ticks = interval(self.heartbeat);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for number in 1.. {
                ticks.tick().await;
                let member = self.member();
                within(stream::write_async(&mut output, &Up::Heartbeat { number, member })).await?;
            }
            Ok(())
        };
        tokio::select! {
            heard = listen => heard,
            spoken = speak => spoken,
            // One that is stopped says nothing, and its stream does not end.
            () = self.masters.epoch.newer_than(holder.epoch) => Ok(()),
        }
    }

    fn see(&self, view: &View) {
        self.masters.epoch.saw(view.epoch);
        self.fleet.follow(view);
    }

    async fn read_view(&self, log: &mut Option<Arc<dyn Log>>) -> Result<(), LogError> {
        let open = match log.take() {
            Some(open) => open,
            None => self.log.open(Access::Read).await?,
        };
        if let Some(view) = open.view().await? {
            self.see(&view);
        }
        *log = Some(open);
        Ok(())
    }

    fn hello(&self) -> Hello {
        Hello {
            version: stream::VERSION,
            log: None,
            role: Role::Balancer,
            name: self.name.clone(),
            incarnation: None,
            address: self.address.clone(),
            pid: std::process::id(),
            staged: None,
            position: None,
            serves: false,
        }
    }

    fn member(&self) -> Member {
        let mirrors = self.fleet.order();
        let serving = mirrors.iter().any(|m| m.health() == Health::Serving);
        let answering = mirrors.iter().any(|m| m.health() < Health::Silent);
        let (state, reason) = match (serving, answering) {
            (true, _) => (ServerState::InService, ""),
            (false, true) => (ServerState::InService, "no mirror says that it is in service"),
            (false, false) => (ServerState::Out, "no mirror answers"),
        };
        Member {
            name: self.name.clone(),
            role: Role::Balancer,
            state,
            address: self.address.clone(),
            pid: std::process::id(),
            incarnation: None,
            staged_position: None,
            position: self.fleet.floor.get(),
            lag_seconds: 0.0,
            reason: reason.to_owned(),
            at_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64),
            disk: DiskUse::default(),
        }
    }
}

async fn within(writing: impl Future<Output = Result<(), StreamError>>) -> Result<(), StreamError> {
    timeout(ANSWER_TIME, writing).await.unwrap_or_else(|_| Err(StreamError::Io(std::io::ErrorKind::TimedOut.into())))
}

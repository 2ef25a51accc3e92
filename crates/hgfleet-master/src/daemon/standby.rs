//! A server that is ready to become master: follows the log, applies it, and watches the lease.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hgfleet_log::{Epoch, LeaseWatch, Role, ServerState, Tail, boot_time, stop_at};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::descriptors::FrameStream;
use super::epoch::{self, Taken, Trouble};
use super::listen::{accept, bind};
use super::outcome;
use super::server::Server;
use super::volume;
use crate::options::MasterError;
use crate::protocol::{
    MASTER_SOCKET, MasterReply, MasterRequest, REQUEST_BYTES_MAX, SESSION_SOCKET, SessionReply, SessionRequest,
    UPGRADED, VERSION,
};

/// How often the log is looked at where nobody says that there is more; the lease as well, so that a hand-over takes no longer.
const LOOK: Duration = Duration::from_millis(25);
/// The pause after trouble with the log.
const TROUBLE_PAUSE: Duration = Duration::from_millis(500);
/// How often the standby says how it is.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How the standby is, as others see it.
#[derive(Debug)]
struct Standing {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    trouble: Option<String>,
    /// When it last had all of the log.
    whole: Instant,
    /// Whether it has all of it now, so far as it knows.
    is_whole: bool,
    epoch: Option<Epoch>,
}

impl Standing {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Follows until the next epoch is this server's. `eager`: a log that nobody ever held is taken at once.
pub(crate) async fn until_master(server: &Arc<Server>, eager: bool) -> Result<Taken, MasterError> {
    let state = State { trouble: None, whole: Instant::now(), is_whole: false, epoch: None };
    let standing = Arc::new(Standing { state: Mutex::new(state) });
    let mut tasks = JoinSet::new();
    let shared = (server.clone(), standing.clone());
    accept(&mut tasks, bind(&server.run.join(SESSION_SOCKET))?, "session.sock", move |stream| {
        serve_session(shared.0.clone(), shared.1.clone(), stream)
    });
    accept(&mut tasks, bind(&server.run.join(MASTER_SOCKET))?, "master.sock", refuse_operator);
    tasks.spawn(report(server.clone(), standing.clone()));
    let mut watch = LeaseWatch::new(server.options.lease, boot_time());
    let taken = loop {
        match follow(server, &standing, &mut watch, eager).await {
            Ok(Some(taken)) => break taken,
            Ok(None) => {}
            Err(Trouble::Fatal(error)) => return Err(error),
            Err(Trouble::Passing(why)) => {
                standing.with(|state| {
                    if state.trouble.as_ref() != Some(&why) {
                        tracing::warn!(reason = why, "this server can't follow the log");
                    }
                    state.trouble = Some(why);
                });
                tokio::time::sleep(TROUBLE_PAUSE).await;
            }
        }
    };
    tasks.shutdown().await;
    Ok(taken)
}

/// Follows and applies until it is time, and tries for the epoch. None: another was faster.
async fn follow(
    server: &Arc<Server>,
    standing: &Standing,
    watch: &mut LeaseWatch,
    eager: bool,
) -> Result<Option<Taken>, Trouble> {
    let mut follower = epoch::start(server).await?;
    if let Some(at) = follower.at() {
        server.apply_through(at.sequence).await?;
    }
    let mut epoch = follower.at().map(|tail| tail.epoch);
    loop {
        // Read before the lease: a process that is stopped in between must not take an old counter for one that stands still.
        let now = boot_time();
        let lease = server.log.lease().await?;
        watch.see(lease.as_ref(), now);
        let names_us = lease.as_ref().is_some_and(|lease| lease.holder == server.name());
        let nobody = eager && lease.is_none() && follower.at().is_none();
        if watch.has_lapsed(now) || names_us || nobody {
            epoch::read_on(server, &mut follower).await?;
            let tail = follower.at();
            heed(&mut epoch, tail, watch);
            // A lease of an epoch that has ended says nothing of the one that followed.
            let ours = names_us && lease.as_ref().is_some_and(|lease| lease.epoch == tail.map(|tail| tail.epoch));
            if watch.has_lapsed(now) || ours || (nobody && tail.is_none()) {
                stop_at(&format!("{}.takeover.lapsed", server.name()));
                let plan = match &server.options.volume {
                    Some(options) => Some(volume::prepare(server, options, tail, ours).await?),
                    None => None,
                };
                let counter = lease.map(|lease| lease.counter);
                let taken = epoch::take(server, &mut follower, counter, plan).await?;
                if taken.is_none() {
                    tracing::info!("another server was faster; a lease time is waited");
                    watch.wait_again(boot_time());
                }
                return Ok(taken);
            }
            // Whatever was read is applied when it is followed again.
            follower = epoch::start(server).await?;
        }
        let records = epoch::read_some(server, &mut follower).await?;
        let at = follower.at().copied();
        heed(&mut epoch, at.as_ref(), watch);
        if records.is_empty() {
            standing.with(|state| {
                state.trouble = None;
                (state.is_whole, state.whole) = (true, Instant::now());
                state.epoch = at.map(|at| at.epoch);
            });
            server.log.changed(at.map(|at| at.sequence), LOOK).await;
        } else {
            standing.with(|state| state.is_whole = false);
            server.apply(records).await?;
        }
    }
}

/// A new epoch is a sign of life as well: its holder has a lease time from there, whether or not it has renewed the lease yet.
fn heed(epoch: &mut Option<Epoch>, tail: Option<&Tail>, watch: &mut LeaseWatch) {
    let newest = tail.map(|tail| tail.epoch);
    if newest > *epoch {
        *epoch = newest;
        watch.wait_again(boot_time());
    }
}

/// Says how the standby is, until it is one no more.
async fn report(server: Arc<Server>, standing: Arc<Standing>) {
    loop {
        let (trouble, lag) = standing.with(|state| {
            let lag = if state.is_whole { Duration::ZERO } else { state.whole.elapsed() };
            (state.trouble.clone(), lag)
        });
        let state = match &trouble {
            Some(_) => ServerState::Out,
            None if lag > HEARTBEAT => ServerState::CatchingUp,
            None => ServerState::InService,
        };
        let member = server.member(Role::Standby, state, trouble.unwrap_or_default(), lag).await;
        if let Err(error) = server.log.put_heartbeat(member).await {
            tracing::warn!(%error, "the heartbeat could not be written");
        }
        tokio::time::sleep(HEARTBEAT).await;
    }
}

/// A standby knows from the log what became of a push; everything else is the master's.
async fn serve_session(server: Arc<Server>, standing: Arc<Standing>, stream: UnixStream) {
    let mut stream = FrameStream::new(stream, REQUEST_BYTES_MAX);
    while let Ok(Some(request)) = stream.read::<SessionRequest>().await {
        let reply = match request {
            SessionRequest::Hello { version, .. } if version != VERSION => SessionReply::Failed(UPGRADED.to_owned()),
            SessionRequest::Hello { .. } => {
                let epoch = standing.with(|state| state.epoch).map_or(0, Epoch::get);
                SessionReply::Welcome { epoch, is_master: false, push_bytes_max: server.options.push_bytes_max }
            }
            SessionRequest::Outcome { id, epoch } => match outcome::settled(server.log.as_ref(), &id, epoch).await {
                Ok(settled) => SessionReply::Outcome(settled),
                Err(error) => SessionReply::Failed(format!("the log can't be read: {error}")),
            },
            _ => SessionReply::NotMaster,
        };
        if stream.write(&reply).await.is_err() {
            return;
        }
    }
}

async fn refuse_operator(stream: UnixStream) {
    let mut stream = FrameStream::new(stream, REQUEST_BYTES_MAX);
    if let Ok(Some(request)) = stream.read::<MasterRequest>().await {
        let reply = match request {
            MasterRequest::Who => MasterReply::Who { is_master: false, epoch: 0 },
            _ => MasterReply::NotMaster,
        };
        // Whoever asked may have gone.
        let _ = stream.write(&reply).await;
    }
}

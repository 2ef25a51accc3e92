//! The view's one owner: feeds what mirrors say to the keeper, and does what the keeper wants.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hgfleet_log::membership::{Keeper, KeeperTimes, MirrorInView, View, ViewKeeper};
use hgfleet_log::stream::{Down, Welcome};
use hgfleet_log::{Epoch, Log, LogError, RepositoryName, Sequence, ViewError, boot_time};
use tokio::sync::{mpsc, oneshot};

use super::again::again;
use super::fate::Fate;
use super::lease::HeldLease;

/// Messages that may wait for one stream; a stream that takes them no faster is cut.
pub(crate) const STREAM_MESSAGES_MAX: usize = 256;

/// Pause before the log is asked again whether a view was written.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// Something that concerns the view.
#[derive(Debug)]
pub(crate) enum ViewInput {
    /// A stream has begun.
    Joined {
        /// What it is answered, but for the view.
        welcome: Welcome,
        /// Its number.
        stream: u64,
        /// The mirror at its other end; none for a balancer.
        mirror: Option<MirrorInView>,
        /// Up to where it has staged.
        staged: Option<Sequence>,
        /// Whether it may be put in service.
        serves: bool,
        /// Where messages for it go.
        to: mpsc::Sender<Down>,
    },
    /// A stream has ended.
    Gone { stream: u64 },
    /// A mirror's sign of life, with its number, and what ails it.
    Heartbeat(MirrorInView, u64, Option<String>),
    /// A mirror has staged up to here.
    Staged(MirrorInView, Sequence),
    /// A mirror shows up to here.
    Told(MirrorInView, Sequence),
    /// A mirror serves nobody any more, it says on this stream.
    Left(MirrorInView, u64),
    /// A mirror that had left serves again, it says on this stream.
    Returned(MirrorInView, u64),
    /// An operator wants the mirror of this name out of service, or in again. The answer: why that can't be.
    Drain { name: String, drain: bool, answer: oneshot::Sender<Result<(), String>> },
    /// Every mirror that is connected shall say which digest a store has; their names are the answer.
    AskDigests { number: u64, repository: RepositoryName, asked: oneshot::Sender<Vec<String>> },
    /// The log has grown.
    Appended(Sequence),
    /// Somebody wants to know when the mirrors were told of this sequence.
    Push { sequence: Sequence, answer: oneshot::Sender<(usize, usize)> },
}

/// Where inputs go.
pub(crate) type ViewSender = mpsc::UnboundedSender<ViewInput>;

/// Starts the owner of the view under a new epoch.
pub(crate) async fn start(
    log: Arc<dyn Log>,
    epoch: Epoch,
    end: Sequence,
    lease: Arc<HeldLease>,
    times: KeeperTimes,
    fate: Fate,
) -> Result<ViewSender, LogError> {
    let current = again(|| log.view()).await?;
    let keeper = ViewKeeper::take_over(epoch, Some(end), current, times, boot_time());
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut owner = Owner {
        log,
        lease,
        keeper,
        fate,
        streams: HashMap::new(),
        pushes: HashMap::new(),
        next_push: 0,
        unwritten: false,
    };
    // The view is this epoch's before anything else happens in it.
    owner.work().await;
    tokio::spawn(owner.run(receiver));
    Ok(sender)
}

struct Owner {
    log: Arc<dyn Log>,
    lease: Arc<HeldLease>,
    keeper: ViewKeeper,
    fate: Fate,
    streams: HashMap<u64, Stream>,
    pushes: HashMap<u64, oneshot::Sender<(usize, usize)>>,
    next_push: u64,
    /// The view could not be written, and that is said.
    unwritten: bool,
}

/// The master's end of a stream.
struct Stream {
    mirror: Option<MirrorInView>,
    to: mpsc::Sender<Down>,
}

impl Owner {
    async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<ViewInput>) {
        loop {
            let pause = self.keeper.deadline().map(|at| at.saturating_sub(boot_time()));
            // A deadline that has passed still leaves others their turn.
            let pause = pause.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1));
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                () = tokio::time::sleep(pause) => self.keeper.tick(boot_time()),
            }
            self.work().await;
        }
    }

    fn take(&mut self, input: ViewInput) {
        let now = boot_time();
        match input {
            ViewInput::Joined { welcome, stream, mirror, staged, serves, to } => {
                // From here, so that no other message about the view comes before it.
                let view = self.keeper.view().cloned();
                let _ = to.try_send(Down::Welcome(Welcome { view, ..welcome }));
                self.streams.insert(stream, Stream { mirror: mirror.clone(), to });
                if let Some(mirror) = mirror {
                    if serves {
                        self.keeper.hello(&mirror, staged, now);
                    } else {
                        self.keeper.hello_aside(&mirror, staged, now);
                    }
                }
            }
            ViewInput::Gone { stream } => {
                let mirror = self.streams.remove(&stream).and_then(|stream| stream.mirror);
                // A mirror that has connected again before its old stream's end was noticed is still there.
                let other = self.streams.values().any(|other| other.mirror == mirror);
                if let Some(mirror) = mirror.filter(|_| !other) {
                    self.keeper.disconnected(&mirror);
                }
            }
            ViewInput::Heartbeat(mirror, number, ailment) => {
                self.keeper.ailing(&mirror, ailment);
                // Once another may be master, and count without this mirror, it must not go on because of this one.
                if self.lease.may_read() {
                    self.keeper.heartbeat(&mirror, number, now);
                }
            }
            ViewInput::Staged(mirror, position) => self.keeper.staged(&mirror, position),
            ViewInput::Told(mirror, position) => self.keeper.told(&mirror, position),
            ViewInput::Left(mirror, stream) if self.is_newest(&mirror, stream) => self.keeper.left(&mirror),
            ViewInput::Returned(mirror, stream) if self.is_newest(&mirror, stream) => self.keeper.joined(&mirror, now),
            ViewInput::Left(..) | ViewInput::Returned(..) => {}
            ViewInput::Drain { name, drain, answer } => {
                let _ = answer.send(self.drain(&name, drain));
            }
            ViewInput::AskDigests { number, repository, asked } => {
                let mut names = Vec::new();
                for stream in self.streams.values() {
                    let Some(mirror) = &stream.mirror else { continue };
                    if stream.to.try_send(Down::DigestWanted { number, repository: repository.clone() }).is_ok() {
                        names.push(mirror.name.clone());
                    }
                }
                let _ = asked.send(names);
            }
            ViewInput::Appended(sequence) => {
                self.send(&Down::Appended(sequence));
                self.keeper.appended(sequence);
            }
            ViewInput::Push { sequence, answer } => {
                let push = self.next_push;
                self.next_push += 1;
                self.pushes.insert(push, answer);
                self.keeper.push(push, sequence, now);
            }
        }
    }

    /// Whether a mirror has not connected again since. Streams are read side by side: what was said on an old one may come after
    /// what the mirror has said on the next one, and must not undo it.
    fn is_newest(&self, mirror: &MirrorInView, stream: u64) -> bool {
        let mut others = self.streams.iter();
        !others.any(|(number, other)| *number > stream && other.mirror.as_ref() == Some(mirror))
    }

    async fn work(&mut self) {
        while let Some(wanted) = self.keeper.next() {
            match wanted {
                Keeper::WriteView { expected, view } => self.write(expected, view).await,
                Keeper::SendView(view) => self.send(&Down::View(view)),
                Keeper::Visible(position) => self.send(&Down::Visible(position)),
                Keeper::Renewed { mirror, number } => self.tell(&mirror, &Down::Renewed { number }),
                Keeper::LeftOut { mirror, why } => {
                    tracing::warn!(mirror = mirror.name, why, "a mirror is left out, or not any more");
                    self.tell(&mirror, &Down::LeftOut(why));
                }
                Keeper::PushAnswered { push, told, of } => {
                    if let Some(answer) = self.pushes.remove(&push) {
                        let _ = answer.send((told, of));
                    }
                }
            }
        }
    }

    async fn write(&mut self, expected: Option<u64>, view: View) {
        match self.log.set_view(expected, view.clone()).await {
            Ok(()) => {
                if self.unwritten {
                    tracing::info!("the view is written again");
                }
                self.unwritten = false;
                self.keeper.written();
            }
            Err(ViewError::Fenced { newest }) => self.fate.fenced(newest),
            Err(ViewError::Conflict { current }) => {
                // Only the newest epoch writes it, and that is this process alone.
                let epoch = current.map_or(Epoch::FIRST, |view| view.epoch);
                self.fate.fenced(epoch);
            }
            Err(error @ ViewError::Invalid(_)) => self.fate.failed(format!("the view: {error}")),
            Err(ViewError::Log(error)) => {
                if !std::mem::replace(&mut self.unwritten, true) {
                    tracing::error!(%error, "the view can't be written: nothing becomes visible until it can");
                }
                self.settle(&view).await;
            }
        }
    }

    /// Reads whether a view was written.
    async fn settle(&mut self, view: &View) {
        loop {
            match self.log.view().await {
                Ok(Some(found)) if found == *view => return self.keeper.written(),
                Ok(_) => return self.keeper.not_written(),
                Err(error @ LogError::Closed(_)) => return self.fate.failed(error.to_string()),
                Err(error) => {
                    tracing::error!(%error, "the view can't be read");
                    tokio::time::sleep(SETTLE_PAUSE).await;
                }
            }
        }
    }

    fn drain(&self, name: &str, drain: bool) -> Result<(), String> {
        let is_named = |stream: &&Stream| stream.mirror.as_ref().is_some_and(|mirror| mirror.name == name);
        let Some(stream) = self.streams.values().find(is_named) else {
            return Err(format!("no mirror called {name} is connected to the master. Look at `hgfleet status`"));
        };
        let in_view = self.keeper.view().map_or(&[][..], |view| &view.mirrors);
        if drain && !in_view.iter().any(|mirror| mirror.name != name) {
            return Err(format!("{name} is the last mirror in service. Bring another one into service first"));
        }
        let sent = stream.to.try_send(Down::Drain(drain));
        sent.map_err(|_| format!("{name} does not take messages. Look at `hgfleet status`"))
    }

    fn tell(&mut self, mirror: &MirrorInView, message: &Down) {
        for stream in self.streams.values().filter(|stream| stream.mirror.as_ref() == Some(mirror)) {
            let _ = stream.to.try_send(message.clone());
        }
    }

    fn send(&mut self, message: &Down) {
        self.streams.retain(|number, stream| match stream.to.try_send(message.clone()) {
            Ok(()) => true,
            Err(_) => {
                tracing::warn!(stream = number, "a mirror's or balancer's stream is too slow; it is cut");
                false
            }
        });
    }
}

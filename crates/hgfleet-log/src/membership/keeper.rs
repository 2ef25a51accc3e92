//! The master's side of the view: pure, no clock and no I/O of its own.

use std::time::Duration;

use super::{MirrorInView, View};
use crate::ids::{Epoch, Sequence};

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct KeeperTimes {
    /// A mirror is dropped this long after its last renewal was received (5 s).
    pub drop_after: Duration,
    /// A push that not every mirror was told of is answered after this wait.
    pub told_wait: Duration,
}

impl Default for KeeperTimes {
    fn default() -> KeeperTimes {
        KeeperTimes { drop_after: Duration::from_secs(5), told_wait: Duration::from_secs(5) }
    }
}

/// What the keeper wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// Put this view in the place of the one with version `expected`, then say how that went:
    /// [`ViewKeeper::written`] or [`ViewKeeper::not_written`]. There is one at a time.
    WriteView {
        /// Version of the view that it replaces.
        expected: Option<u64>,
        /// The new one.
        view: View,
    },
    /// Send the view to every mirror that is connected: the mirrors in service have changed.
    SendView(View),
    /// Send the visible position to every mirror that is connected.
    Visible(Sequence),
    /// Answer this push.
    PushAnswered {
        /// Which, as [`ViewKeeper::push`] named it.
        push: u64,
        /// How many of the mirrors in service were told its position.
        told: usize,
        /// How many are in service.
        of: usize,
    },
}

/// Keeps the view: decides when a mirror enters or leaves, when the visible position moves, and when a push
/// is answered.
///
/// `now` is a reading of one monotonic clock that goes on while the machine is suspended, since any origin. After each
/// call, take what it wants done by [`ViewKeeper::next`] until there is nothing more.
#[derive(Debug)]
pub struct ViewKeeper {}

impl ViewKeeper {
    /// Takes over the view under a new epoch: the first thing it wants written is the same view in that epoch.
    /// The mirrors in it are kept and have `drop_after` from `now` on to renew.
    pub fn take_over(epoch: Epoch, current: Option<View>, times: KeeperTimes, now: Duration) -> ViewKeeper {
        let _ = (epoch, current, times, now);
        todo!()
    }

    /// A mirror has connected, and says up to where it has staged. Counts as a renewal.
    pub fn hello(&mut self, mirror: &MirrorInView, staged: Option<Sequence>, now: Duration) {
        let _ = (mirror, staged, now);
        todo!()
    }

    /// A mirror's heartbeat was received; answer it whatever this wants done.
    pub fn heartbeat(&mut self, mirror: &MirrorInView, now: Duration) {
        let _ = (mirror, now);
        todo!()
    }

    /// A mirror has staged up to here.
    pub fn staged(&mut self, mirror: &MirrorInView, position: Sequence) {
        let _ = (mirror, position);
        todo!()
    }

    /// A mirror was told that this position is visible.
    pub fn told(&mut self, mirror: &MirrorInView, position: Sequence) {
        let _ = (mirror, position);
        todo!()
    }

    /// A mirror says that it serves nobody any more, so it may be dropped at once.
    pub fn left(&mut self, mirror: &MirrorInView) {
        let _ = mirror;
        todo!()
    }

    /// A push has this sequence and waits until every mirror was told.
    pub fn push(&mut self, push: u64, sequence: Sequence, now: Duration) {
        let _ = (push, sequence, now);
        todo!()
    }

    /// The view that was wanted is written.
    pub fn written(&mut self) {
        todo!()
    }

    /// It was not written, and nothing else was: another try may follow. A conflict or a newer epoch fences the master instead.
    pub fn not_written(&mut self) {
        todo!()
    }

    /// Time goes on.
    pub fn tick(&mut self, now: Duration) {
        let _ = now;
        todo!()
    }

    /// Returns when [`ViewKeeper::tick`] is needed next.
    pub fn deadline(&self) -> Option<Duration> {
        todo!()
    }

    /// Returns the view as it stands in the log.
    pub fn view(&self) -> Option<&View> {
        todo!()
    }

    /// Returns the next thing that it wants done.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Keeper> {
        todo!()
    }
}

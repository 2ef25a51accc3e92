//! The master's side of the view: pure, no clock and no I/O of its own.

mod lag;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::{MIRRORS_MAX, MirrorInView, View};
use crate::ids::{Epoch, Sequence};
use crate::planted;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct KeeperTimes {
    /// A mirror is dropped this long after its last renewal was received. Must be longer than
    /// [`MirrorService::SERVICE`](super::MirrorService::SERVICE).
    pub drop_after: Duration,
    /// A push that not every mirror was told of is answered after this wait.
    pub told_wait: Duration,
    /// A view that could not be written is tried again after this pause.
    pub retry_after: Duration,
    /// A mirror whose staged position is older than this is left out, so that the others move on.
    pub lag_max: Duration,
    /// So is one that has this many records less than the log.
    pub lag_records_max: u64,
}

impl Default for KeeperTimes {
    fn default() -> KeeperTimes {
        KeeperTimes {
            drop_after: Duration::from_secs(5),
            told_wait: Duration::from_secs(5),
            retry_after: Duration::from_millis(100),
            lag_max: Duration::from_secs(15),
            lag_records_max: 10_000,
        }
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
    /// Send the view to every mirror and balancer that is connected: the mirrors in service have changed.
    SendView(View),
    /// Send the visible position to every mirror and balancer that is connected.
    Visible(Sequence),
    /// Answer this mirror's heartbeat, after everything that was to be sent to it before.
    Renewed {
        /// Whose.
        mirror: MirrorInView,
        /// The heartbeat's number.
        number: u64,
    },
    /// Tell this mirror that it is left out and why, or (none) that nothing keeps it out any more.
    LeftOut {
        /// Whom.
        mirror: MirrorInView,
        /// The reason, for people.
        why: Option<String>,
    },
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
/// call, do what it wants done, in order, by [`ViewKeeper::next`], until there is nothing more. A master whose lease has lapsed
/// by its own clock answers no heartbeat: another may be master already, and count without it.
#[derive(Clone, Debug)]
pub struct ViewKeeper {
    epoch: Epoch,
    times: KeeperTimes,
    now: Duration,
    /// The log's end, so far as the master knows it: nothing beyond it becomes visible.
    end: Option<Sequence>,
    /// As it stands in the log.
    view: Option<View>,
    writing: Option<View>,
    retry_at: Option<Duration>,
    mirrors: BTreeMap<MirrorInView, Known>,
    /// When the log's newest records came, oldest first.
    appended: VecDeque<(Sequence, Duration)>,
    pushes: Vec<Push>,
    wants: VecDeque<Keeper>,
}

/// What is known of a mirror, in service or not.
#[derive(Clone, Debug)]
struct Known {
    staged: Option<Sequence>,
    told: Option<Sequence>,
    /// When the last renewal that counts was received.
    renewed: Duration,
    /// A heartbeat that waits until it is certain whether the mirror is dropped.
    unanswered: Option<u64>,
    connected: bool,
    /// It serves nobody, and said so.
    left: bool,
    /// It serves again, and said so while the view named it still: once that view is gone, it may enter the next one.
    returns: bool,
    /// It has less on its disk than it said: it is dropped, whatever it renews.
    lost: bool,
    /// What it says is wrong with it.
    ailment: Option<String>,
    /// It is left out, until what was the reason has passed.
    left_out: bool,
}

#[derive(Clone, Debug)]
struct Push {
    push: u64,
    sequence: Sequence,
    deadline: Duration,
}

impl ViewKeeper {
    /// Takes over the view under a new epoch, in a log that ends at `end`: the first thing it wants written is the same view in
    /// that epoch. The mirrors in it are kept and have `drop_after` from `now` on to renew.
    pub fn take_over(
        epoch: Epoch,
        end: Option<Sequence>,
        current: Option<View>,
        times: KeeperTimes,
        now: Duration,
    ) -> ViewKeeper {
        let known = |visible| Known { renewed: now, connected: false, ..Known::new(visible, now) };
        let mirrors = current.iter().flat_map(|view| {
            // It was in the view, so it has staged what is visible.
            view.mirrors.iter().map(|mirror| (mirror.clone(), known(view.visible)))
        });
        let mirrors = mirrors.collect();
        let mut keeper = ViewKeeper {
            epoch,
            times,
            now,
            end: end.max(current.as_ref().and_then(|view| view.visible)),
            view: current,
            writing: None,
            retry_at: None,
            mirrors,
            appended: VecDeque::new(),
            pushes: Vec::new(),
            wants: VecDeque::new(),
        };
        keeper.advance();
        keeper
    }

    /// A mirror has connected, and says up to where it has staged. Counts as a renewal.
    pub fn hello(&mut self, mirror: &MirrorInView, staged: Option<Sequence>, now: Duration) {
        self.connected(mirror, staged, true, now);
    }

    /// A mirror has connected that serves nobody for the time being: [`ViewKeeper::joined`] says when it does.
    pub fn hello_aside(&mut self, mirror: &MirrorInView, staged: Option<Sequence>, now: Duration) {
        self.connected(mirror, staged, false, now);
    }

    fn connected(&mut self, mirror: &MirrorInView, staged: Option<Sequence>, serves: bool, now: Duration) {
        self.now = self.now.max(now);
        if self.mirrors.len() >= MIRRORS_MAX && !self.mirrors.contains_key(mirror) {
            return;
        }
        let visible = self.visible();
        let in_view = self.in_view(mirror);
        let dropping = self.is_dropping(mirror);
        let known = self.mirrors.entry(mirror.clone()).or_insert_with(|| Known::new(staged, now));
        known.connected = true;
        known.returns = serves && known.left && in_view;
        known.left = !serves || known.returns;
        known.left_out &= in_view;
        known.staged = staged;
        known.unanswered = None;
        known.lost |= in_view && staged < visible;
        if !known.lost && !dropping {
            known.renewed = self.now;
        }
        self.advance();
    }

    /// A mirror's heartbeat with this number was received; [`Keeper::Renewed`] says when to answer.
    pub fn heartbeat(&mut self, mirror: &MirrorInView, number: u64, now: Duration) {
        self.now = self.now.max(now);
        let in_view = self.in_view(mirror);
        let dropping = self.is_dropping(mirror);
        let Some(known) = self.mirrors.get_mut(mirror) else { return };
        if in_view && (known.lost || known.left || known.left_out) {
            // It is on its way out.
        } else if dropping {
            // The answer would have it serve on while the view that is being written moves on without it.
            known.unanswered = Some(number);
        } else {
            known.renewed = self.now;
            self.wants.push_back(Keeper::Renewed { mirror: mirror.clone(), number });
        }
        self.advance();
    }

    /// A mirror has staged up to here.
    pub fn staged(&mut self, mirror: &MirrorInView, position: Sequence) {
        if let Some(known) = self.mirrors.get_mut(mirror) {
            known.staged = known.staged.max(Some(position));
            self.advance();
        }
    }

    /// A mirror was told that this position is visible.
    pub fn told(&mut self, mirror: &MirrorInView, position: Sequence) {
        if let Some(known) = self.mirrors.get_mut(mirror) {
            known.told = known.told.max(Some(position));
            self.advance();
        }
    }

    /// A mirror says that it serves nobody any more, so it may be dropped at once.
    pub fn left(&mut self, mirror: &MirrorInView) {
        if let Some(known) = self.mirrors.get_mut(mirror) {
            (known.left, known.returns) = (true, false);
            self.advance();
        }
    }

    /// A mirror that had left serves again, as far as it is concerned. Counts as a renewal.
    pub fn joined(&mut self, mirror: &MirrorInView, now: Duration) {
        self.now = self.now.max(now);
        let in_view = self.in_view(mirror);
        match self.mirrors.get_mut(mirror) {
            Some(known) if in_view => known.returns = known.left,
            Some(known) => {
                known.left = false;
                known.renewed = self.now;
                self.advance();
            }
            None => {}
        }
    }

    /// What a mirror says is wrong with it, that keeps it from service; none: nothing.
    pub fn ailing(&mut self, mirror: &MirrorInView, ailment: Option<String>) {
        if let Some(known) = self.mirrors.get_mut(mirror) {
            known.ailment = ailment;
        }
    }

    /// A mirror's connection has ended. It stays in service until its time is over.
    pub fn disconnected(&mut self, mirror: &MirrorInView) {
        if let Some(known) = self.mirrors.get_mut(mirror) {
            known.connected = false;
            known.unanswered = None;
            self.advance();
        }
    }

    /// The log has grown up to here, and every record up to here is settled.
    pub fn appended(&mut self, end: Sequence) {
        self.grown(end);
        self.advance();
    }

    /// A push is in the log under this sequence and waits until every mirror was told.
    pub fn push(&mut self, push: u64, sequence: Sequence, now: Duration) {
        self.now = self.now.max(now);
        self.grown(sequence);
        self.pushes.push(Push { push, sequence, deadline: self.now + self.times.told_wait });
        self.advance();
    }

    /// The view that was wanted is written.
    pub fn written(&mut self) {
        let Some(view) = self.writing.take() else { return };
        let before = self.view.replace(view.clone());
        let (visible_before, mirrors_before) = match before {
            Some(before) => (before.visible, before.mirrors),
            None => (None, Vec::new()),
        };
        for mirror in &view.mirrors {
            if let Some(known) = self.mirrors.get_mut(mirror)
                && !mirrors_before.contains(mirror)
            {
                // It serves only after it has read this view.
                known.told = known.told.max(view.visible);
            }
        }
        if view.mirrors != mirrors_before {
            self.wants.push_back(Keeper::SendView(view.clone()));
        }
        if let Some(visible) = view.visible
            && view.visible > visible_before
        {
            self.wants.push_back(Keeper::Visible(visible));
        }
        for (mirror, known) in &mut self.mirrors {
            // It may have said while the view was being written that it has less than before.
            known.lost = view.names(mirror) && (known.lost || known.staged < view.visible);
            if known.returns && !view.names(mirror) {
                (known.left, known.returns) = (false, false);
            }
        }
        self.answer_held_back();
        self.advance();
    }

    /// It was not written, for certain, and nothing else was: it is tried again after a pause. A conflict or a newer epoch fences the
    /// master instead.
    pub fn not_written(&mut self) {
        if self.writing.take().is_some() {
            self.retry_at = Some(self.now + self.times.retry_after);
            self.answer_held_back();
            self.advance();
        }
    }

    /// Time goes on.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.advance();
    }

    /// Returns when [`ViewKeeper::tick`] is needed next.
    pub fn deadline(&self) -> Option<Duration> {
        let drops = self.view.iter().flat_map(|view| &view.mirrors).filter_map(|mirror| self.mirrors.get(mirror));
        let drops = drops.map(|known| known.renewed + self.times.drop_after);
        // While a view is being written or waits to be tried again, another can't be.
        let drops = drops.filter(|_| self.writing.is_none() && self.retry_at.is_none());
        let pushes = self.pushes.iter().map(|push| push.deadline);
        drops.chain(pushes).chain(self.retry_at).min()
    }

    /// Returns the view as it stands in the log.
    pub fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// Returns the next thing that it wants done.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Option<Keeper> {
        self.wants.pop_front()
    }

    fn visible(&self) -> Option<Sequence> {
        self.view.as_ref().and_then(|view| view.visible)
    }

    fn in_view(&self, mirror: &MirrorInView) -> bool {
        self.view.as_ref().is_some_and(|view| view.names(mirror))
    }

    /// Whether the view that is being written drops this mirror.
    fn is_dropping(&self, mirror: &MirrorInView) -> bool {
        self.in_view(mirror) && self.writing.as_ref().is_some_and(|writing| !writing.names(mirror))
    }

    /// Heartbeats that came while it was uncertain whether their sender is dropped.
    fn answer_held_back(&mut self) {
        for (mirror, known) in &mut self.mirrors {
            if let Some(number) = known.unanswered.take() {
                known.renewed = self.now;
                self.wants.push_back(Keeper::Renewed { mirror: mirror.clone(), number });
            }
        }
    }

    fn advance(&mut self) {
        self.answer_pushes();
        self.leave_out();
        if self.writing.is_some() || self.retry_at.is_some_and(|at| self.now < at) {
            return;
        }
        self.retry_at = None;
        let visible = self.visible();
        let in_view = |mirror: &MirrorInView| self.view.as_ref().is_some_and(|view| view.names(mirror));
        let drop_after = self.times.drop_after;
        let stay = |mirror: &MirrorInView, known: &Known| {
            let alive = self.now < known.renewed + drop_after && !known.left;
            let may_enter = known.connected && !known.lost && !known.left_out && known.staged >= visible;
            alive && (in_view(mirror) || may_enter)
        };
        // Before all else the view is this epoch's, as it was.
        let taken_over = self.view.as_ref().is_some_and(|view| view.epoch == self.epoch);
        let mirrors: Vec<MirrorInView> = match &self.view {
            Some(view) if !taken_over => view.mirrors.clone(),
            _ => {
                let staying = self.mirrors.iter().filter(|(mirror, known)| stay(mirror, known));
                staying.map(|(mirror, _)| mirror.clone()).take(MIRRORS_MAX).collect()
            }
        };
        let staged = mirrors.iter().filter_map(|mirror| self.mirrors.get(mirror)).map(|known| known.staged).min();
        let moved = match staged {
            Some(_) if taken_over && planted::is("visible-before-staged") => self.end.max(visible),
            Some(staged) if taken_over => staged.min(self.end).max(visible),
            _ => visible,
        };
        let changed = self.view.as_ref().is_none_or(|view| view.mirrors != mirrors) || moved != visible;
        if taken_over && !changed {
            // Whoever is out of the view and out of touch is forgotten.
            let view = &self.view;
            let in_view = |mirror: &MirrorInView| view.as_ref().is_some_and(|view| view.names(mirror));
            self.mirrors.retain(|mirror, known| known.connected || in_view(mirror));
            return;
        }
        let expected = self.view.as_ref().map(|view| view.version);
        let view = View { epoch: self.epoch, version: expected.unwrap_or(0) + 1, visible: moved, mirrors };
        self.writing = Some(view.clone());
        self.wants.push_back(Keeper::WriteView { expected, view });
    }

    fn answer_pushes(&mut self) {
        let visible = self.visible();
        let in_service = self.view.as_ref().map_or(&[][..], |view| &view.mirrors);
        let told = |sequence: Sequence| {
            let told = |mirror: &&MirrorInView| {
                self.mirrors.get(*mirror).is_some_and(|known| known.told.min(visible) >= Some(sequence))
            };
            in_service.iter().filter(told).count()
        };
        let of = in_service.len();
        let (mut waiting, mut answers) = (Vec::new(), Vec::new());
        for push in &self.pushes {
            let told = told(push.sequence);
            if (of > 0 && told == of) || self.now >= push.deadline {
                answers.push(Keeper::PushAnswered { push: push.push, told, of });
            } else {
                waiting.push(push.clone());
            }
        }
        self.pushes = waiting;
        self.wants.extend(answers);
    }
}

impl Known {
    fn new(staged: Option<Sequence>, now: Duration) -> Known {
        Known {
            staged,
            told: None,
            renewed: now,
            unanswered: None,
            connected: true,
            left: false,
            returns: false,
            lost: false,
            ailment: None,
            left_out: false,
        }
    }
}

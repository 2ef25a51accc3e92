//! Which record may be applied next.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use hgfleet_log::{Record, RepositoryName, Sequence, planted};

/// A repository's queue; none: records that concern no repository.
pub(super) type Queue = Option<RepositoryName>;

/// A record that says which repositories there are.
#[derive(Debug)]
pub(super) struct OfNames {
    /// It waits in each of them, and keeps all of them busy.
    pub(super) queues: Vec<Queue>,
    /// It waits for all records before it.
    pub(super) is_barrier: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) staged: Option<Sequence>,
    pub(super) heard: Option<Sequence>,
    /// Staged and not applied, with the time each was made.
    pub(super) pending: BTreeMap<Sequence, u64>,
    pub(super) queues: HashMap<Queue, VecDeque<Sequence>>,
    pub(super) busy: HashSet<Queue>,
    /// Queues that somebody wants to be left alone.
    pub(super) held: HashSet<Queue>,
    /// Threads that work on queues.
    pub(super) workers: usize,
    /// Pending records that say which repositories there are. They are applied in their order, whatever they are about.
    pub(super) names: BTreeMap<Sequence, OfNames>,
    pub(super) fault: Option<String>,
}

impl State {
    pub(super) fn add(&mut self, record: &Record) {
        let mut queues: Vec<Queue> = record.repositories().map(|name| Some(name.clone())).collect();
        if queues.is_empty() {
            queues.push(None);
        }
        self.pending.insert(record.sequence, record.time_ms);
        for queue in &queues {
            self.queues.entry(queue.clone()).or_default().push_back(record.sequence);
        }
        if record.is_of_names() {
            self.names.insert(record.sequence, OfNames { queues, is_barrier: record.is_barrier() });
        }
    }

    /// Returns whether a record of another queue may have waited for this one.
    pub(super) fn applied(&mut self, queue: &Queue, sequence: Sequence) -> bool {
        self.pending.remove(&sequence);
        let of_names = self.names.remove(&sequence);
        let waited_for = of_names.is_some() || !self.names.is_empty();
        for done in of_names.map_or_else(|| vec![queue.clone()], |record| record.queues) {
            if done != *queue {
                self.busy.remove(&done);
            }
            if let Some(records) = self.queues.get_mut(&done) {
                records.pop_front();
                if records.is_empty() {
                    self.queues.remove(&done);
                }
            }
        }
        waited_for
    }

    /// Somebody begins to apply the first record of a queue.
    pub(super) fn begin(&mut self, queue: &Queue, sequence: Sequence) {
        self.busy.insert(queue.clone());
        let others = self.names.get(&sequence).into_iter().flat_map(|record| &record.queues);
        self.busy.extend(others.cloned());
    }

    /// A record is not applied after all, for now.
    pub(super) fn leave_others(&mut self, queue: &Queue, sequence: Sequence) {
        let others = self.names.get(&sequence).into_iter().flat_map(|record| &record.queues);
        others.filter(|other| *other != queue).for_each(|other| {
            self.busy.remove(other);
        });
    }

    /// The first record of a queue, if it may be applied now.
    pub(super) fn next_of(&self, queue: &Queue) -> Option<Sequence> {
        let next = *self.queues.get(queue)?.front()?;
        let free = |queue: &Queue| !self.busy.contains(queue) && !self.held.contains(queue);
        let comes_first = |queue: &Queue| self.queues.get(queue).and_then(|records| records.front()) == Some(&next);
        let is_due = match self.names.get(&next) {
            None => free(queue),
            Some(record) => {
                self.names.keys().next() == Some(&next)
                    && record.queues.iter().all(|queue| free(queue) && comes_first(queue))
                    && (!record.is_barrier || self.pending.keys().next() == Some(&next))
            }
        };
        (Some(next) <= self.may_show() && is_due).then_some(next)
    }

    /// Up to where records may be applied.
    pub(super) fn may_show(&self) -> Option<Sequence> {
        if planted::is("shown-before-visible") { self.staged } else { self.heard }
    }

    pub(super) fn shown(&self) -> Option<Sequence> {
        self.heard.min(self.staged)
    }

    /// The queue with the oldest record that may be applied, of those that nobody works on.
    pub(super) fn ready(&self) -> Option<(Queue, Sequence)> {
        let ready = self.queues.keys().filter_map(|queue| Some((queue, self.next_of(queue)?)));
        ready.min_by_key(|(_, next)| *next).map(|(queue, next)| (queue.clone(), next))
    }
}

//! Which push may append when: none while the outcome of an append is unknown.

use std::collections::{HashSet, VecDeque};

/// The order of appends. Pure; a push is a number that the driver chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    waiting: VecDeque<u64>,
    appending: HashSet<u64>,
    unsettled: HashSet<u64>,
    together: bool,
    closed: bool,
}

impl Turns {
    /// Returns an order in which one append follows the other's answer, or, where the log refuses
    /// all that stand behind a refused one, in which they may be under way together.
    pub fn new(together: bool) -> Turns {
        Turns { together, ..Turns::default() }
    }

    /// A push waits for its turn.
    pub fn wait(&mut self, push: u64) {
        self.waiting.push_back(push);
    }

    /// A push's append has no certain answer.
    pub fn unknown(&mut self, push: u64) {
        if self.appending.remove(&push) {
            self.unsettled.insert(push);
        }
    }

    /// A push needs the log no more: stored, refused, or given up before its turn.
    pub fn settled(&mut self, push: u64) {
        self.waiting.retain(|waiting| *waiting != push);
        self.appending.remove(&push);
        self.unsettled.remove(&push);
    }

    /// Another server is master: nobody's turn comes any more.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Returns whether the outcome of an append is unknown.
    pub fn is_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// Returns the push whose turn it is now; its append is under way from then on. Ask again until there is none.
    pub fn next(&mut self) -> Option<u64> {
        if self.closed || self.is_unsettled() || (!self.together && !self.appending.is_empty()) {
            return None;
        }
        let push = self.waiting.pop_front()?;
        self.appending.insert(push);
        Some(push)
    }
}

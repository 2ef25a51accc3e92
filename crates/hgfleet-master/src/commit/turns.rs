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
    #[allow(clippy::should_implement_trait)]
    pub fn take(&mut self) -> Option<u64> {
        if self.closed || self.is_unsettled() || (!self.together && !self.appending.is_empty()) {
            return None;
        }
        let push = self.waiting.pop_front()?;
        self.appending.insert(push);
        Some(push)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(turns: &mut Turns) -> Vec<u64> {
        std::iter::from_fn(|| turns.take()).collect()
    }

    fn waiting(together: bool) -> Turns {
        let mut turns = Turns::new(together);
        (1..=4).for_each(|push| turns.wait(push));
        turns
    }

    #[test]
    fn one_append_follows_the_others_answer() {
        let mut turns = waiting(false);
        assert_eq!(all(&mut turns), [1]);
        turns.settled(1);
        assert_eq!(all(&mut turns), [2]);
    }

    #[test]
    fn or_all_that_wait_go_together() {
        let mut turns = waiting(true);
        assert_eq!(all(&mut turns), [1, 2, 3, 4]);
    }

    #[test]
    fn while_an_outcome_is_unknown_no_append_begins() {
        for together in [false, true] {
            let mut turns = waiting(together);
            let first = turns.take().expect("first");
            turns.unknown(first);
            assert!(turns.is_unsettled());
            assert_eq!(all(&mut turns), [0; 0]);
            // Another that was under way is acknowledged meanwhile; that settles nothing.
            turns.settled(99);
            assert_eq!(all(&mut turns), [0; 0]);
            turns.settled(first);
            assert_eq!(turns.take(), Some(2));
        }
    }

    #[test]
    fn a_push_that_gave_up_waiting_has_no_turn() {
        let mut turns = waiting(true);
        turns.settled(2);
        assert_eq!(all(&mut turns), [1, 3, 4]);
    }

    #[test]
    fn a_fenced_master_gives_no_turns() {
        let mut turns = waiting(true);
        turns.close();
        assert_eq!(all(&mut turns), [0; 0]);
    }
}

//! How many are open at once, by account or source.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts what is held, for each key, up to a bound.
#[derive(Debug)]
pub(super) struct Counts<K> {
    bound: usize,
    held: Mutex<HashMap<K, usize>>,
}

/// One that is counted, until it is dropped.
#[derive(Debug)]
pub(super) struct Held<K: Hash + Eq> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl<K: Hash + Eq + Clone> Counts<K> {
    pub(super) fn new(bound: usize) -> Arc<Counts<K>> {
        Arc::new(Counts { bound, held: Mutex::default() })
    }

    /// One more, unless there are as many as there may be.
    pub(super) fn enter(self: &Arc<Self>, key: K) -> Option<Held<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&key).copied().unwrap_or(0);
        if count >= self.bound {
            return None;
        }
        held.insert(key.clone(), count + 1);
        Some(Held { counts: self.clone(), key })
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }
}

impl<K: Hash + Eq> Drop for Held<K> {
    fn drop(&mut self) {
        let mut held = self.counts.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_bound_and_what_ends_makes_room() {
        let counts = Counts::new(2);
        let (one, two) = (counts.enter("a"), counts.enter("a"));
        assert!(one.is_some() && two.is_some() && counts.enter("a").is_none());
        assert!(counts.enter("b").is_some());
        drop(one);
        assert!(counts.enter("a").is_some());
        drop(two);
        assert!(counts.held.lock().unwrap().is_empty(), "nothing is kept of who is gone");
    }
}

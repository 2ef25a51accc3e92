//! Judging the lease: by whoever waits for it, and by whoever holds it. Pure; times are readings of
//! [`boot_time`](crate::boot_time).

use std::time::Duration;

use crate::log::Lease;

/// A contender's look at the lease: it has lapsed when its counter has stood still for a whole lease time, by the
/// contender's own clock. No clock of any other machine matters.
#[derive(Clone, Debug)]
pub struct LeaseWatch {
    lease_time: Duration,
    counter: Option<u64>,
    since: Duration,
}

impl LeaseWatch {
    /// Begins to watch; nothing has lapsed before a whole lease time from `now` on.
    pub fn new(lease_time: Duration, now: Duration) -> LeaseWatch {
        LeaseWatch { lease_time, counter: None, since: now }
    }

    /// Takes the lease as it was read at `now`.
    pub fn see(&mut self, lease: Option<&Lease>, now: Duration) {
        let counter = lease.map(|lease| lease.counter);
        if counter != self.counter {
            self.counter = counter;
            self.since = now;
        }
    }

    /// Another contender took the epoch: a whole lease time begins again.
    pub fn wait_again(&mut self, now: Duration) {
        self.since = now;
    }

    /// Returns whether it is time to try for the next epoch.
    pub fn has_lapsed(&self, now: Duration) -> bool {
        now >= self.since + self.lease_time
    }
}

/// The holder's own look at its lease.
#[derive(Clone, Debug)]
pub struct LeaseHold {
    lease_time: Duration,
    renewed: Option<Duration>,
}

impl LeaseHold {
    /// Returns a lease that was not renewed yet.
    pub fn new(lease_time: Duration) -> LeaseHold {
        LeaseHold { lease_time, renewed: None }
    }

    /// A renewal was answered; it was sent at `sent`.
    pub fn renewed(&mut self, sent: Duration) {
        self.renewed = self.renewed.max(Some(sent));
    }

    /// Returns whether no contender can have judged it lapsed yet: reads and heartbeats may be answered.
    pub fn is_held(&self, now: Duration) -> bool {
        self.renewed.is_some_and(|sent| now < sent + self.lease_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn lease(counter: u64) -> Lease {
        Lease { holder: "master".to_owned(), epoch: None, counter }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_lease_that_is_renewed_never_lapses() {
        let mut watch = LeaseWatch::new(TIME, seconds(100));
        for second in 0..100 {
            watch.see(Some(&lease(second / 5)), seconds(100 + second));
            assert!(!watch.has_lapsed(seconds(100 + second)));
        }
    }

    #[test]
    fn a_lease_that_stands_still_or_is_not_there_lapses_after_its_time() {
        for found in [Some(lease(7)), None] {
            let mut watch = LeaseWatch::new(TIME, seconds(100));
            watch.see(found.as_ref(), seconds(100));
            watch.see(found.as_ref(), seconds(109));
            assert!(!watch.has_lapsed(seconds(109)));
            assert!(watch.has_lapsed(seconds(110)));
            watch.wait_again(seconds(110));
            assert!(!watch.has_lapsed(seconds(119)));
        }
    }

    /// The holder stops before any contender begins: it counts from sending, they from seeing, which is later.
    #[test]
    fn the_holder_stops_first() {
        let mut hold = LeaseHold::new(TIME);
        assert!(!hold.is_held(seconds(100)));
        hold.renewed(seconds(100));
        let mut watch = LeaseWatch::new(TIME, seconds(90));
        watch.see(Some(&lease(1)), seconds(101));
        for second in 100..130 {
            assert!(!(hold.is_held(seconds(second)) && watch.has_lapsed(seconds(second))), "{second}");
        }
    }
}

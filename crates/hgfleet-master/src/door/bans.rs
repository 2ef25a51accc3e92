//! Sources that have failed to log in too often, and are refused for a while.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::limits::BanLimits;
use super::source::Source;

/// Sources that are kept. When there are more, the one goes that has failed the longest time ago.
const SOURCES_MAX: usize = 16_384;

#[derive(Debug)]
pub(super) struct Bans {
    limits: BanLimits,
    sources: Mutex<HashMap<Source, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    /// The first of those that count.
    since: Instant,
    last: Instant,
    until: Option<Instant>,
}

impl Bans {
    pub(super) fn new(limits: BanLimits) -> Bans {
        Bans { limits, sources: Mutex::default() }
    }

    /// How long this source is refused still.
    pub(super) fn remaining(&self, source: Source, now: Instant) -> Option<Duration> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let until = sources.get(&source)?.until?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Counts a failed login. True where it was the one too many.
    pub(super) fn failed(&self, address: IpAddr, now: Instant) -> bool {
        if self.limits.failures == 0 || self.limits.never.iter().any(|network| network.contains(&address)) {
            return false;
        }
        let source = Source::of(address);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if !sources.contains_key(&source) && sources.len() >= SOURCES_MAX {
            self.make_room(&mut sources, now);
        }
        let fresh = Failures { count: 0, since: now, last: now, until: None };
        let failures = sources.entry(source).or_insert(fresh);
        if self.is_over(failures, now) {
            *failures = Failures { count: 0, since: now, last: now, until: None };
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        if failures.until.is_some() || failures.count < self.limits.failures {
            return false;
        }
        failures.until = Some(now + self.limits.time);
        true
    }

    /// Somebody has logged in from there: what failed before was an honest mistake, or a neighbour's.
    pub(super) fn succeeded(&self, address: IpAddr) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).remove(&Source::of(address));
    }

    /// How long a ban lasts.
    pub(super) fn seconds(&self) -> u64 {
        self.limits.time.as_secs()
    }

    fn is_over(&self, failures: &Failures, now: Instant) -> bool {
        match failures.until {
            Some(until) => until <= now,
            None => now.saturating_duration_since(failures.since) > self.limits.within,
        }
    }

    fn make_room(&self, sources: &mut HashMap<Source, Failures>, now: Instant) {
        sources.retain(|_, failures| !self.is_over(failures, now));
        if sources.len() >= SOURCES_MAX
            && let Some(oldest) = sources.iter().min_by_key(|(_, failures)| failures.last).map(|(source, _)| *source)
        {
            sources.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn bans() -> Bans {
        Bans::new(BanLimits {
            failures: 3,
            within: 10 * MINUTE,
            time: 5 * MINUTE,
            never: vec!["198.51.100.0/24".parse().unwrap()],
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_third_failure_bans_for_a_while_and_then_all_is_forgotten() {
        let (bans, start, address) = (bans(), Instant::now(), ip("192.0.2.1"));
        let remaining = |now| bans.remaining(Source::of(address), now);
        assert!(!bans.failed(address, start) && !bans.failed(address, start));
        assert_eq!(remaining(start), None);
        assert!(bans.failed(address, start + MINUTE));
        assert_eq!(remaining(start + 2 * MINUTE), Some(4 * MINUTE));
        assert_eq!(bans.remaining(Source::of(ip("192.0.2.2")), start + MINUTE), None);
        assert!(!bans.failed(address, start + 2 * MINUTE), "one that came in before is no second ban");
        assert_eq!(remaining(start + 6 * MINUTE), None);
        assert!(!bans.failed(address, start + 6 * MINUTE), "it begins anew");
    }

    #[test]
    fn failures_far_apart_a_success_between_and_named_networks_ban_nobody() {
        let (bans, start) = (bans(), Instant::now());
        for minutes in [0, 1, 11, 12] {
            assert!(!bans.failed(ip("192.0.2.1"), start + minutes * MINUTE), "{minutes}");
        }
        for _ in 0..2 {
            assert!(!bans.failed(ip("192.0.2.3"), start));
            assert!(!bans.failed(ip("192.0.2.3"), start));
            bans.succeeded(ip("192.0.2.3"));
        }
        for _ in 0..10 {
            assert!(!bans.failed(ip("198.51.100.7"), start));
        }
        let off = Bans::new(BanLimits { failures: 0, ..BanLimits::default() });
        assert!((0..100).all(|_| !off.failed(ip("192.0.2.1"), start)));
    }

    #[test]
    fn a_whole_network_of_ipv6_is_banned_together() {
        let (bans, start) = (bans(), Instant::now());
        for address in ["2001:db8::1", "2001:db8::2"] {
            assert!(!bans.failed(ip(address), start));
        }
        assert!(bans.failed(ip("2001:db8::3"), start));
        assert!(bans.remaining(Source::of(ip("2001:db8::4")), start).is_some());
    }

    #[test]
    fn twenty_thousand_sources_take_no_more_room_than_there_is() {
        let (bans, start) = (bans(), Instant::now());
        for _ in 0..3 {
            bans.failed(ip("192.0.2.1"), start + MINUTE);
        }
        for number in 0..20_000u32 {
            bans.failed(IpAddr::from((0x0a00_0000 + number).to_be_bytes()), start);
        }
        assert_eq!(bans.sources.lock().unwrap().len(), SOURCES_MAX);
        assert!(bans.remaining(Source::of(ip("192.0.2.1")), start + MINUTE).is_some(), "who failed last is kept");
    }
}

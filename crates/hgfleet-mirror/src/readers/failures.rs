//! How often wrong credentials came from an address.
//!
//! Nobody guesses 256 bits; the bound keeps who tries, or a program with an old token in a loop, from filling logs. Right
//! credentials are never refused for it, whoever shares the address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Wrong credentials of one address in [`WINDOW`].
pub(super) const FAILURES_MAX: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are counted.
const ADDRESSES_MAX: usize = 10_000;

/// The count of each address.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<IpAddr, Window>>);

#[derive(Debug)]
struct Window {
    since: Instant,
    count: u32,
}

impl Failures {
    /// Counts one more; returns whether they are too many.
    pub(super) fn note(&self, address: Option<IpAddr>) -> bool {
        self.note_at(address, Instant::now())
    }

    fn note_at(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let address = address.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), network);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |window: &Window| now.saturating_duration_since(window.since) >= WINDOW;
        if counts.len() >= ADDRESSES_MAX && !counts.contains_key(&address) {
            counts.retain(|_, window| !is_over(window));
            if counts.len() >= ADDRESSES_MAX {
                return true;
            }
        }
        let window = counts.entry(address).or_insert(Window { since: now, count: 0 });
        if is_over(window) {
            *window = Window { since: now, count: 0 };
        }
        window.count = window.count.saturating_add(1);
        window.count > FAILURES_MAX
    }
}

/// Whom an address belongs to: of IPv6 everybody has 2^64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_too_many_waits_a_minute_and_others_do_not() {
        let failures = Failures::default();
        let begun = Instant::now();
        let note = |address: &str, seconds: u64| {
            failures.note_at(Some(address.parse().expect("an address")), begun + Duration::from_secs(seconds))
        };
        assert!((0..20).all(|second| !note("192.0.2.1", second)));
        assert!(note("::ffff:192.0.2.1", 20), "the same one");
        assert!(!note("192.0.2.2", 20));
        assert!(!note("192.0.2.1", 60));
        assert!((0..20).all(|host| !note(&format!("2001:db8::{host:x}"), 0)));
        assert!(note("2001:db8::ffff", 0), "one network");
        assert!(!note("2001:db8:0:1::1", 0));
    }

    #[test]
    fn so_many_addresses_that_they_are_not_counted_wait_all() {
        let failures = Failures::default();
        let begun = Instant::now();
        let note = |number: u32, seconds| {
            failures.note_at(Some(IpAddr::V4(number.into())), begun + Duration::from_secs(seconds))
        };
        assert!((0..10_000).all(|number| !note(number, 0)));
        assert!(note(10_000, 1));
        assert!(!note(10_000, 60), "the others' minute is over");
    }
}

//! The newest answer that was seen: a replica that lags must not give back what was taken away.
//!
//! Servers stamp each entry: `entryCSN` (OpenLDAP, orders changes of all servers) or `modifyTimestamp` (RFC 4512, 3.4.4; whole seconds).
//! An answer whose stamp is older than one already seen does not count; the newer one does, for as long as answers count at all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::search::Entry;
use crate::{Account, Mail};

/// The attributes that hold stamps. They come only when asked for by name.
pub(super) const STAMPS: [&str; 2] = ["entryCSN", "modifyTimestamp"];
/// Most accounts, and most groups, that are remembered.
const REMEMBERED_MAX: usize = 100_000;
const STAMP_BYTES_MAX: usize = 64;

/// When an entry was last changed, as its server says. Stamps of the same kind sort as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp {
    kind: usize,
    text: Vec<u8>,
}

impl Stamp {
    pub(super) fn of(entry: &Entry) -> Option<Stamp> {
        STAMPS.iter().enumerate().find_map(|(kind, name)| {
            let mut values = entry.values(name);
            let text = values.next().filter(|text| text.len() <= STAMP_BYTES_MAX)?.to_vec();
            values.next().is_none().then_some(Stamp { kind, text })
        })
    }

    /// Certainly older: stamps of two kinds say nothing of each other.
    fn is_before(&self, other: &Stamp) -> bool {
        self.kind == other.kind && self.text < other.text
    }
}

/// What was seen last, and when.
#[derive(Debug)]
pub(super) struct Newest {
    accounts: HashMap<Mail, Seen>,
    groups: HashMap<String, (Stamp, Instant)>,
    lasts: Duration,
}

#[derive(Debug)]
struct Seen {
    stamp: Option<Stamp>,
    answer: Option<Account>,
    at: Instant,
}

impl Newest {
    /// `lasts`: how long an answer counts at all.
    pub(super) fn new(lasts: Duration) -> Newest {
        Newest { accounts: HashMap::new(), groups: HashMap::new(), lasts }
    }

    /// Takes an answer, and returns the one that counts.
    pub(super) fn take(
        &mut self,
        mail: &Mail,
        answer: Option<Account>,
        stamp: Option<Stamp>,
        now: Instant,
    ) -> Option<Account> {
        let seen = self.accounts.get(mail).filter(|seen| now.duration_since(seen.at) < self.lasts);
        if let (Some(Seen { stamp: Some(known), answer: newest, .. }), Some(stamp)) = (seen, &stamp) {
            // An entry that was gone and comes back unchanged was never gone where this answer comes from.
            if stamp.is_before(known) || (newest.is_none() && answer.is_some() && stamp == known) {
                tracing::warn!(account = %mail, "a server gave an older answer than before; it does not count");
                return newest.clone();
            }
        }
        // That an entry is gone has no stamp: the last one that it had stays.
        let known = seen.and_then(|seen| seen.stamp.clone());
        let (stamp, at) = (stamp.or(known), now);
        make_room(&mut self.accounts, |seen| now.duration_since(seen.at) < self.lasts);
        self.accounts.insert(mail.clone(), Seen { stamp, answer: answer.clone(), at });
        answer
    }

    /// Takes a group as it is now. False: it was seen newer, so who is in it is not believed.
    pub(super) fn group(&mut self, dn: &str, stamp: Option<Stamp>, now: Instant) -> bool {
        let Some(stamp) = stamp else { return true };
        let dn = dn.to_ascii_lowercase();
        if let Some((known, at)) = self.groups.get(&dn)
            && now.duration_since(*at) < self.lasts
            && stamp.is_before(known)
        {
            return false;
        }
        make_room(&mut self.groups, |(_, at)| now.duration_since(*at) < self.lasts);
        self.groups.insert(dn, (stamp, now));
        true
    }
}

fn make_room<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, fresh: impl Fn(&V) -> bool) {
    if map.len() >= REMEMBERED_MAX {
        map.retain(|_, value| fresh(value));
    }
    if map.len() >= REMEMBERED_MAX {
        map.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AccountState;

    #[test]
    fn an_older_answer_gives_nothing_back() {
        let mail = Mail::parse("a@x").unwrap();
        let account = |state| Account { mail: mail.clone(), state, keys: Vec::new(), groups: Vec::new() };
        let stamp = |text: &str| Stamp::of(&Entry::of("", &[("modifytimestamp", &[text])]));
        let (enabled, disabled) = (account(AccountState::Enabled), account(AccountState::Disabled));
        let (mut newest, start) = (Newest::new(Duration::from_secs(900)), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            newest.take(&mail, Some(disabled.clone()), stamp("20260102030405Z"), later(0)),
            Some(disabled.clone())
        );
        assert_eq!(
            newest.take(&mail, Some(enabled.clone()), stamp("20260102030404Z"), later(1)),
            Some(disabled.clone())
        );
        assert_eq!(
            newest.take(&mail, Some(enabled.clone()), stamp("20260102030406Z"), later(2)),
            Some(enabled.clone())
        );
        // Gone, and back on a server that has not heard of it.
        assert_eq!(newest.take(&mail, None, None, later(3)), None);
        assert_eq!(newest.take(&mail, Some(enabled.clone()), stamp("20260102030406Z"), later(4)), None);
        // Made anew.
        assert_eq!(
            newest.take(&mail, Some(enabled.clone()), stamp("20260102030409Z"), later(5)),
            Some(enabled.clone())
        );
        // A backup that was played back counts when the newer answers are too old to count.
        assert_eq!(newest.take(&mail, Some(disabled.clone()), stamp("20250101000000Z"), later(800)), Some(enabled));
        assert_eq!(newest.take(&mail, Some(disabled.clone()), stamp("20250101000000Z"), later(906)), Some(disabled));
        assert!(newest.group("cn=G", stamp("20260102030405Z"), later(0)));
        assert!(!newest.group("cn=g", stamp("20260102030404Z"), later(1)));
        assert!(newest.group("cn=g", None, later(1)));
    }
}

//! When an account was last used: `hgAccessDate`, for whoever switches off what nobody uses.
//!
//! Written on a thread of its own, at most once a day for each account, and nothing waits for it: a date that can't be written is
//! a line in the log.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use ldap3::ldap_escape;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::options::LdapOptions;
use super::pool::Pool;
use super::search::{Change, Query, Request};
use super::{Background, DirectoryError};
use crate::{Clock, Mail};

const DAY: Duration = Duration::from_secs(86_400);
/// Logins that wait for the thread. More are forgotten: the next login of that account notes it.
const WAITING_MAX: usize = 1000;
/// Accounts that are known to have been noted within a day.
const NOTED_MAX: usize = 100_000;

const WRITTEN: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day][hour][minute][second].[subsecond digits:6]Z");
/// What older tools wrote.
const WHOLE_SECONDS: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day][hour][minute][second]Z");

/// The way to the thread. It ends when this is dropped.
pub(super) struct AccessDates(SyncSender<Mail>);

impl AccessDates {
    /// Starts the thread. `pool` leads to the server that may be written.
    pub(super) fn start(
        options: LdapOptions,
        pool: Arc<Pool>,
        runtime: Arc<Background>,
        clock: Clock,
    ) -> io::Result<AccessDates> {
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let writer = Writer { options, pool, runtime, clock, noted: HashMap::new() };
        thread::Builder::new().name("access-dates".to_owned()).spawn(move || writer.run(&receiver))?;
        Ok(AccessDates(sender))
    }

    /// Notes a login. Never waits.
    pub(super) fn note(&self, mail: &Mail) {
        if self.0.try_send(mail.clone()).is_err() {
            tracing::warn!(account = %mail, "too many logins wait for their access date; this one gets none");
        }
    }
}

struct Writer {
    options: LdapOptions,
    pool: Arc<Pool>,
    runtime: Arc<Background>,
    clock: Clock,
    noted: HashMap<Mail, Instant>,
}

impl Writer {
    fn run(mut self, logins: &Receiver<Mail>) {
        while let Ok(mail) = logins.recv() {
            let now = self.clock.now();
            if self.noted.get(&mail).is_some_and(|at| now.duration_since(*at) < DAY) {
                continue;
            }
            if self.noted.len() >= NOTED_MAX {
                self.noted.clear();
            }
            match self.write(&mail) {
                Ok(()) => drop(self.noted.insert(mail, now)),
                Err(error) => tracing::warn!(account = %mail, %error, "an access date is not written"),
            }
        }
    }

    fn write(&self, mail: &Mail) -> Result<(), DirectoryError> {
        let names = &self.options.attributes;
        let query = Query {
            base: self.options.base.clone(),
            scope: self.options.scope,
            filter: format!("(&({}={})({}=TRUE))", names.mail, ldap_escape(mail.as_str()), names.enabled),
            attributes: vec![names.mail.clone(), names.access_date.clone(), "objectClass".to_owned()],
            entries_max: 2,
            cut: true,
        };
        let entries = self.runtime.ask(&self.pool, Request::Search(query))?;
        let [entry] = &entries[..] else { return Ok(()) };
        let class = names.access_date_class.as_bytes();
        if !entry.values("objectClass").any(|value| value.eq_ignore_ascii_case(class)) {
            return Ok(());
        }
        let now = OffsetDateTime::now_utc();
        let dates: Vec<&[u8]> = entry.values(&names.access_date).collect();
        if let [date] = dates[..]
            && is_recent(date, now)
        {
            return Ok(());
        }
        let value = now.format(WRITTEN).map_err(|error| DirectoryError::Unreachable { reason: error.to_string() })?;
        let (dn, attribute) = (entry.dn.clone(), names.access_date.clone());
        let change = Change::Replace(value.into_bytes());
        self.runtime.ask(&self.pool, Request::Modify { dn, attribute, change }).map(drop)
    }
}

/// Whether a date lies within the day before `now`. One that can't be read, or lies ahead, is none.
fn is_recent(date: &[u8], now: OffsetDateTime) -> bool {
    let Ok(text) = std::str::from_utf8(date) else { return false };
    let parsed = PrimitiveDateTime::parse(text, WRITTEN).or_else(|_| PrimitiveDateTime::parse(text, WHOLE_SECONDS));
    let age = parsed.map(|date| now - date.assume_utc());
    age.is_ok_and(|age| !age.is_negative() && age < DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn a_date_is_written_anew_after_a_day() {
        let now = datetime!(2026-11-27 12:00:00.5 UTC);
        assert_eq!(now.format(WRITTEN).unwrap(), "20261127120000.500000Z");
        for (date, recent) in [
            ("20261127120000.500000Z", true),
            ("20261126120001Z", true),
            ("20261126120001.000000Z", true),
            ("20261126120000Z", false),
            ("20271126120000Z", false),
            ("yesterday", false),
            ("", false),
        ] {
            assert_eq!(is_recent(date.as_bytes(), now), recent, "{date}");
        }
    }
}

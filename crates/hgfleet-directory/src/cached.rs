//! Answers that are kept: for a short time to spare the servers, for a longer one while they are down.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{Account, Clock, Directory, DirectoryError, LdapOptions, Mail, PublicKey};

/// Answers of each kind that are kept. Those that found nobody are counted apart, so that strangers drive out nobody's account.
const KEPT_MAX: usize = 10_000;
/// A backend that failed is not asked again for so long: nobody else waits for its time limit.
const PAUSE: Duration = Duration::from_secs(5);

/// How long answers count.
#[derive(Debug, Clone, Copy)]
pub struct CacheOptions {
    /// While the backend answers: so long what was changed there may not be seen.
    pub fresh: Duration,
    /// While it doesn't, for logins and reads.
    pub stale_read: Duration,
    /// While it doesn't, for what stores something.
    pub stale_write: Duration,
}

impl CacheOptions {
    /// What the options of an LDAP directory say.
    pub fn of(options: &LdapOptions) -> CacheOptions {
        CacheOptions {
            fresh: Duration::from_secs(options.cache_seconds),
            stale_read: Duration::from_secs(options.stale_read_seconds),
            stale_write: Duration::from_secs(options.stale_write_seconds),
        }
    }
}

/// What an answer is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A login, or reading.
    Read,
    /// Storing something.
    Write,
}

/// An answer and its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The account, or that there is none.
    pub account: Option<Account>,
    /// How long ago the backend was asked for it.
    pub age: Duration,
}

/// Any directory that may fail, with what it answered before.
#[derive(Debug)]
pub struct CachedDirectory<D> {
    backend: D,
    options: CacheOptions,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_key: Kept<Vec<u8>>,
    by_mail: Kept<Mail>,
    /// Why the backend could not be asked, and when that was.
    failed: Option<(String, Instant)>,
}

#[derive(Debug)]
struct Kept<K> {
    found: HashMap<K, (Account, Instant)>,
    missing: HashMap<K, Instant>,
}

impl<K> Default for Kept<K> {
    fn default() -> Self {
        Kept { found: HashMap::new(), missing: HashMap::new() }
    }
}

impl<K: Hash + Eq + Clone> Kept<K> {
    fn get(&self, key: &K) -> Option<(Option<Account>, Instant)> {
        let found = self.found.get(key).map(|(account, at)| (Some(account.clone()), *at));
        found.or_else(|| self.missing.get(key).map(|at| (None, *at)))
    }

    fn put(&mut self, key: K, account: Option<Account>, at: Instant) {
        match account {
            Some(account) => {
                self.missing.remove(&key);
                make_room(&mut self.found, |(_, at)| *at);
                self.found.insert(key, (account, at));
            }
            None => {
                self.found.remove(&key);
                make_room(&mut self.missing, |at| *at);
                self.missing.insert(key, at);
            }
        }
    }

    fn forget(&mut self, key: &K) {
        self.found.remove(key);
        self.missing.remove(key);
    }
}

/// Drops the older half of what is full.
fn make_room<K: Hash + Eq, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> Instant) {
    if map.len() >= KEPT_MAX {
        let mut times: Vec<Instant> = map.values().map(&at).collect();
        let middle = times.len() / 2;
        let middle = *times.select_nth_unstable(middle).1;
        map.retain(|_, value| at(value) > middle);
    }
}

impl<D: Directory> CachedDirectory<D> {
    /// Puts a cache before a directory.
    pub fn new(backend: D, options: CacheOptions) -> CachedDirectory<D> {
        CachedDirectory::with_clock(backend, options, Clock::system())
    }

    /// As [`CachedDirectory::new`], with a clock of the caller's.
    pub fn with_clock(backend: D, options: CacheOptions, clock: Clock) -> CachedDirectory<D> {
        CachedDirectory { backend, options, clock, state: Mutex::default() }
    }

    /// As [`Directory::account_by_key`], with the answer's age.
    ///
    /// # Errors
    ///
    /// The backend's own; [`DirectoryError::TooOld`] where it is down and no answer is young enough for the purpose.
    pub fn ask_by_key(&self, blob: &[u8], purpose: Purpose) -> Result<Answer, DirectoryError> {
        self.answer(blob.to_vec(), purpose, |state| &mut state.by_key, |backend| backend.account_by_key(blob))
    }

    /// As [`Directory::account`], with the answer's age.
    ///
    /// # Errors
    ///
    /// As [`CachedDirectory::ask_by_key`].
    pub fn ask(&self, mail: &Mail, purpose: Purpose) -> Result<Answer, DirectoryError> {
        self.answer(mail.clone(), purpose, |state| &mut state.by_mail, |backend| backend.account(mail))
    }

    fn answer<K: Hash + Eq + Clone>(
        &self,
        key: K,
        purpose: Purpose,
        kept: impl Fn(&mut State) -> &mut Kept<K>,
        ask: impl FnOnce(&D) -> Result<Option<Account>, DirectoryError>,
    ) -> Result<Answer, DirectoryError> {
        let asked = self.clock.now();
        let age = |at: Instant| asked.saturating_duration_since(at);
        let known = {
            let mut state = self.state();
            let known = kept(&mut state).get(&key);
            if let Some((account, at)) = &known
                && age(*at) < self.options.fresh
            {
                return Ok(Answer { account: account.clone(), age: age(*at) });
            }
            let paused = state.failed.as_ref().filter(|(_, at)| age(*at) < PAUSE);
            if let Some((reason, _)) = paused {
                let reason = reason.clone();
                drop(state);
                return self.stale(known, purpose, asked, reason);
            }
            known
        };
        // Not held while the backend is asked: others' answers are here already.
        let answer = ask(&self.backend);
        let mut state = self.state();
        match answer {
            Ok(account) => {
                state.failed = None;
                kept(&mut state).put(key, account.clone(), asked);
                Ok(Answer { account, age: Duration::ZERO })
            }
            Err(error) if error.is_outage() => {
                let reason = error.to_string();
                if state.failed.is_none() {
                    tracing::error!(reason, "the directory is down; what was answered lately still counts");
                }
                state.failed = Some((reason.clone(), self.clock.now()));
                drop(state);
                self.stale(known, purpose, asked, reason)
            }
            // That an answer is refused is newer than what was kept.
            Err(error) => {
                state.failed = None;
                kept(&mut state).forget(&key);
                Err(error)
            }
        }
    }

    fn stale(
        &self,
        known: Option<(Option<Account>, Instant)>,
        purpose: Purpose,
        now: Instant,
        reason: String,
    ) -> Result<Answer, DirectoryError> {
        let bound = match purpose {
            Purpose::Read => self.options.stale_read,
            Purpose::Write => self.options.stale_write,
        };
        match known.map(|(account, at)| Answer { account, age: now.saturating_duration_since(at) }) {
            Some(answer) if answer.age < bound => Ok(answer),
            _ => Err(DirectoryError::TooOld { reason, bound }),
        }
    }

    /// Forgets what was answered of an account.
    fn forget(&self, mail: &Mail) {
        let mut state = self.state();
        state.by_mail.forget(mail);
        state.by_key.found.retain(|_, (account, _)| account.mail != *mail);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Directory> Directory for CachedDirectory<D> {
    fn account_by_key(&self, blob: &[u8]) -> Result<Option<Account>, DirectoryError> {
        Ok(self.ask_by_key(blob, Purpose::Read)?.account)
    }

    fn account(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        Ok(self.ask(mail, Purpose::Read)?.account)
    }

    fn account_to_write(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        Ok(self.ask(mail, Purpose::Write)?.account)
    }

    fn takes_keys(&self) -> bool {
        self.backend.takes_keys()
    }

    fn give_key(&self, mail: &Mail, key: &PublicKey) -> Result<(), DirectoryError> {
        let given = self.backend.give_key(mail, key);
        // Also where it failed: it may have been done.
        self.forget(mail);
        self.state().by_key.forget(&key.blob().to_vec());
        given
    }

    fn take_key(&self, mail: &Mail, fingerprint: &str) -> Result<(), DirectoryError> {
        let taken = self.backend.take_key(mail, fingerprint);
        self.forget(mail);
        taken
    }

    fn logged_in(&self, mail: &Mail) {
        self.backend.logged_in(mail);
    }
}

#[cfg(test)]
mod tests;

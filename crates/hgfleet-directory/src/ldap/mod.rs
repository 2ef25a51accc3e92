//! A directory in an LDAP server (RFC 4511).
//!
//! An account is asked for by its address, each time. Which account a key belongs to can't be asked for: keys are stored with comments,
//! and their attribute has no substring match. So all keys are read, page by page, at most once in the time that answers count,
//! and what the index says is checked against the account itself.

mod access_date;
mod connection;
mod guard;
mod lookup;
mod newest;
mod options;
mod own_keys;
mod pool;
mod search;
mod settings;
mod tls;

pub use guard::read_message;
pub use options::{LdapAttributes, LdapBind, LdapOptions, LdapOptionsError, LdapScope, Password};

use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::{Account, AuthorizedKey, Clock, Directory, DirectoryError, Mail, PublicKey, values};
use access_date::AccessDates;
use connection::Connector;
use newest::{Newest, Stamp};
use pool::Pool;
use search::{Entry, Request};

/// A directory in an LDAP server. Calls block; questions go over a few connections that are kept open.
pub struct LdapDirectory {
    options: LdapOptions,
    group_base: String,
    pool: Arc<Pool>,
    runtime: Arc<Background>,
    index: Mutex<Option<Arc<Index>>>,
    /// How often the index could not be read, and why the last time.
    index_failures: Mutex<(u64, String)>,
    newest: Mutex<Newest>,
    /// The way to the server that may be written.
    writer: Option<Arc<Pool>>,
    /// Held while an account's keys are changed: what was looked at is still so when it is written.
    changing: Mutex<()>,
    access_dates: Option<AccessDates>,
    clock: Clock,
}

/// Which account a key belongs to; `None` where several claim it.
struct Index {
    owners: HashMap<Vec<u8>, Option<Mail>>,
    read: Instant,
}

/// The thread on which connections live.
struct Background(Option<Runtime>);

impl LdapDirectory {
    /// Checks the options. No server is asked yet: a fleet starts without its directory.
    ///
    /// # Errors
    ///
    /// Options that don't fit together, a file that can't be read, a thread that can't be started.
    pub fn open(options: LdapOptions) -> Result<LdapDirectory, DirectoryError> {
        LdapDirectory::open_with(options, Clock::system())
    }

    /// As [`LdapDirectory::open`], with a clock of the caller's.
    ///
    /// # Errors
    ///
    /// As [`LdapDirectory::open`].
    pub fn open_with(options: LdapOptions, clock: Clock) -> Result<LdapDirectory, DirectoryError> {
        let settings = options.check()?;
        let connector = Arc::new(Connector {
            tls: tls::client(&options)?,
            credentials: settings.credentials,
            plain_on_loopback: options.plain_on_loopback,
        });
        let thread = |error| DirectoryError::Io { verb: "start the threads of", path: "directory".into(), error };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ldap")
            .enable_all()
            .build()
            .map_err(thread)?;
        let runtime = Arc::new(Background(Some(runtime)));
        let pool = |servers, connections| {
            Arc::new(Pool::new(servers, connector.clone(), settings.connect, settings.operation, connections))
        };
        let writer = settings.write_server.map(|server| pool(vec![server], 1));
        let access_dates =
            writer.clone().map(|pool| AccessDates::start(options.clone(), pool, runtime.clone(), clock.clone()));
        let lasts = options.cache_seconds.max(options.stale_read_seconds).max(options.stale_write_seconds);
        Ok(LdapDirectory {
            group_base: settings.group_base,
            pool: pool(settings.servers, options.connections),
            runtime,
            index: Mutex::new(None),
            index_failures: Mutex::default(),
            newest: Mutex::new(Newest::new(Duration::from_secs(lasts))),
            writer,
            changing: Mutex::new(()),
            access_dates: access_dates.transpose().map_err(thread)?,
            clock,
            options,
        })
    }

    fn ask(&self, request: Request) -> Result<Vec<Entry>, DirectoryError> {
        self.runtime.ask(&self.pool, request)
    }

    /// The index, read anew where it is older than answers may be.
    fn index(&self) -> Result<Arc<Index>, DirectoryError> {
        let failures = || self.index_failures.lock().unwrap_or_else(PoisonError::into_inner);
        let before = failures().0;
        // Held while it is read: those who come meanwhile need the same.
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = Duration::from_secs(self.options.cache_seconds);
        if let Some(index) = index.as_ref().filter(|index| self.clock.now().duration_since(index.read) < lasts) {
            return Ok(index.clone());
        }
        // Who waited while another one's reading failed does not wait for it once more.
        let (now, reason) = failures().clone();
        if now != before {
            return Err(DirectoryError::Unreachable { reason });
        }
        let read = self.read_index();
        match &read {
            Ok(read) => *index = Some(read.clone()),
            Err(error) => {
                let mut failures = failures();
                let reason = match error {
                    DirectoryError::Unreachable { reason } => reason.clone(),
                    other => other.to_string(),
                };
                *failures = (failures.0 + 1, reason);
            }
        }
        read
    }

    fn read_index(&self) -> Result<Arc<Index>, DirectoryError> {
        let read = self.clock.now();
        let entries = self.ask(Request::Pages(lookup::keys_query(&self.options)))?;
        let mut owners: HashMap<Vec<u8>, Option<Mail>> = HashMap::new();
        for entry in &entries {
            let mail = match lookup::mail_of(&self.options, entry) {
                Ok(Some(mail)) => mail,
                Ok(None) => continue,
                Err(()) => {
                    tracing::error!(entry = entry.dn, "an entry with several mail addresses: its keys are nobody's");
                    continue;
                }
            };
            for AuthorizedKey { key, .. } in values::keys(entry.values(&self.options.attributes.keys), &mail) {
                let owner = owners.entry(key.blob().to_vec()).or_insert_with(|| Some(mail.clone()));
                if owner.as_ref() != Some(&mail) {
                    tracing::error!(account = %mail, %key, "a key that another account has too: it is nobody's");
                    *owner = None;
                }
            }
        }
        let groups = self.ask(Request::Pages(lookup::all_groups_query(&self.options, &self.group_base)))?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for group in &groups {
            newest.group(&group.dn, Stamp::of(group), read);
        }
        tracing::debug!(accounts = entries.len(), keys = owners.len(), "directory read");
        Ok(Arc::new(Index { owners, read }))
    }

    /// The entry with this address, as one of these servers has it. More than one, or one that has other addresses too, is an error.
    fn entry(&self, pool: &Arc<Pool>, mail: &Mail) -> Result<Option<Entry>, DirectoryError> {
        let ambiguous = |reason| DirectoryError::Ambiguous { mail: mail.clone(), reason };
        let mut entries = self.runtime.ask(pool, Request::Search(lookup::account_query(&self.options, mail)))?;
        if let [first, second, ..] = &entries[..] {
            return Err(ambiguous(format!("two entries have it, {:?} and {:?}", first.dn, second.dn)));
        }
        let Some(entry) = entries.pop() else { return Ok(None) };
        match lookup::mail_of(&self.options, &entry) {
            // The server finds addresses whatever their case; here they are names, letter for letter.
            Ok(found) => Ok((found.as_ref() == Some(mail)).then_some(entry)),
            Err(()) => Err(ambiguous(format!("the entry {:?} has several addresses", entry.dn))),
        }
    }

    /// The groups that name an account. One that was seen newer is left out: who is in it now is not known from this answer.
    fn groups(&self, mail: &Mail, dn: &str) -> Result<Vec<String>, DirectoryError> {
        let Some(query) = lookup::groups_query(&self.options, &self.group_base, mail, dn) else {
            return Ok(Vec::new());
        };
        let entries = self.ask(Request::Search(query))?;
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let current = entries.iter().filter(|entry| newest.group(&entry.dn, Stamp::of(entry), now));
        Ok(current.flat_map(|entry| lookup::group_names(&self.options, entry)).collect())
    }

    /// An account as one of these servers has it, unless it was seen newer.
    fn account_from(&self, pool: &Arc<Pool>, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        let entry = self.entry(pool, mail)?;
        let stamp = entry.as_ref().and_then(Stamp::of);
        let account = match entry {
            None => None,
            Some(entry) => {
                let mut account = lookup::account_of(&self.options, &self.group_base, &entry, mail.clone());
                account.groups.extend(self.groups(mail, &entry.dn)?);
                account.groups.sort();
                account.groups.dedup();
                Some(account)
            }
        };
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(newest.take(mail, account, stamp, self.clock.now()))
    }
}

impl Directory for LdapDirectory {
    fn account_by_key(&self, blob: &[u8]) -> Result<Option<Account>, DirectoryError> {
        let Some(owner) = self.index()?.owners.get(blob).cloned() else { return Ok(None) };
        let Some(mail) = owner else {
            tracing::error!("a key that several accounts have: none of them is taken");
            return Ok(None);
        };
        let account = self.account(&mail)?;
        Ok(account.filter(|account| account.has_key(blob)))
    }

    fn account(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        self.account_from(&self.pool, mail)
    }

    fn takes_keys(&self) -> bool {
        self.writer.is_some()
    }

    fn give_key(&self, mail: &Mail, key: &PublicKey) -> Result<(), DirectoryError> {
        self.add_own_key(mail, key)
    }

    fn take_key(&self, mail: &Mail, fingerprint: &str) -> Result<(), DirectoryError> {
        self.remove_own_key(mail, fingerprint)
    }

    fn logged_in(&self, mail: &Mail) {
        if let Some(dates) = &self.access_dates {
            dates.note(mail);
        }
    }
}

impl Background {
    /// Asks, and waits for the answer on this thread.
    fn ask(&self, pool: &Arc<Pool>, request: Request) -> Result<Vec<Entry>, DirectoryError> {
        let unreachable = |reason: String| DirectoryError::Unreachable { reason };
        let runtime = self.0.as_ref().ok_or_else(|| unreachable("it is closed".to_owned()))?;
        let (sender, receiver) = sync_channel(1);
        let patience = pool.patience(&request);
        let pool = pool.clone();
        // On a task of its own: should the library panic on an answer, that ends the task and nothing else.
        runtime.spawn(async move {
            let _ = sender.send(pool.perform(&request).await);
        });
        // Twice: others may have the connections first.
        receiver.recv_timeout(patience * 2).unwrap_or_else(|error| {
            Err(unreachable(match error {
                std::sync::mpsc::RecvTimeoutError::Timeout => "no connection is free".to_owned(),
                std::sync::mpsc::RecvTimeoutError::Disconnected => "what it sends is no LDAP".to_owned(),
            }))
        })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Dropped in the usual way it would wait for its tasks, which is not allowed on another runtime's threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for LdapDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdapDirectory").field("servers", &self.options.servers).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! Repositories in quarantine are tried again, and where that does not help, copied from another server.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hgfleet_log::RepositoryName;
use hgfleet_replica::{Outcome, Scrubbed};
use tokio::net::UnixListener;
use tokio::runtime::Handle;

use crate::host::Host;
use crate::pace::Pace;
use crate::progress::{Copies, Progress};
use crate::take::Taking;
use crate::{DOOR_ENDING, ResyncOptions, door, scrub};

/// Repositories that are repaired at a time.
const WORKERS: usize = 2;
/// How often it is looked whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Pauses between tries that don't help.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How long the threads may take to end.
const END_WAIT: Duration = Duration::from_secs(3);

/// One server's repair, scrub and inner door.
pub struct Resync {
    host: Arc<dyn Host>,
    pub(crate) options: ResyncOptions,
    runtime: Handle,
    copies: Copies,
    pace: Pace,
    state: Mutex<State>,
    changed: Condvar,
    stopped: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    /// An operator wants a copy of them.
    wanted: BTreeSet<RepositoryName>,
    /// Somebody got bytes of them that were not as they should be.
    suspects: BTreeSet<RepositoryName>,
    busy: BTreeSet<RepositoryName>,
    /// When those that could not be repaired are tried again, and the pause after that.
    later: BTreeMap<RepositoryName, (Instant, Duration)>,
}

/// Why a repository is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Wanted,
    Suspect,
    Quarantine,
}

impl Resync {
    /// Begins to repair and to scrub. The door is bound, and served by [`Resync::serve`].
    ///
    /// # Errors
    /// The door can't be bound, or there are no threads.
    pub fn start(
        host: Arc<dyn Host>,
        options: ResyncOptions,
        runtime: Handle,
    ) -> io::Result<(Arc<Self>, UnixListener)> {
        let listener = hgfleet_log::sockets::bind(&options.run.join(format!("{}{DOOR_ENDING}", host.name())))?;
        let resync = Arc::new(Self {
            host,
            options,
            runtime,
            copies: Copies::default(),
            pace: Pace::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            threads: Mutex::default(),
        });
        let mut threads = Vec::new();
        for _ in 0..WORKERS {
            let theirs = resync.clone();
            threads.push(std::thread::Builder::new().name("repair".to_owned()).spawn(move || theirs.work())?);
        }
        let theirs = resync.clone();
        threads.push(std::thread::Builder::new().name("scrub".to_owned()).spawn(move || scrub::run(&theirs))?);
        *resync.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok((resync, listener))
    }

    /// Serves the inner door, for ever.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        door::serve(listener, self).await;
    }

    /// Asks the threads to end, and waits for them for a moment. Blocks.
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let begun = Instant::now();
        while threads.iter().any(|thread| !thread.is_finished()) && begun.elapsed() < END_WAIT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The server that this is of.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// Takes a copy of a repository, whatever state it is in.
    pub fn request(&self, name: &RepositoryName) {
        self.copies.set(name, Progress::Waiting);
        self.state().wanted.insert(name.clone());
        self.changed.notify_all();
    }

    /// Reads a repository's files at once: a reader, or another server, has got bytes that are not as they should be.
    pub fn suspect(&self, name: &RepositoryName) {
        self.state().suspects.insert(name.clone());
        self.changed.notify_all();
    }

    /// Says that there may be something in quarantine.
    pub fn wake(&self) {
        self.changed.notify_all();
    }

    /// How the copy of a repository goes on, where there is or was one.
    pub fn progress(&self, name: &RepositoryName) -> Option<Progress> {
        self.copies.get(name)
    }

    /// What is wrong and what is done about it, in one line for `status`; none where all is well.
    pub fn summary(&self) -> Option<String> {
        let running = self.copies.running();
        let quarantined = self.host.replica().quarantined();
        let (name, what) = match running.first() {
            Some((name, progress)) => (name.clone(), progress.to_string()),
            None => {
                let (name, reason) = quarantined.first()?.clone();
                let failed = self.copies.get(&name).filter(|progress| matches!(progress, Progress::Failed(_)));
                let failed = failed.map_or(String::new(), |failed| format!("; it {failed}"));
                (name, format!("is in quarantine: {reason}{failed}"))
            }
        };
        Some(match quarantined.len() {
            0 | 1 => format!("{name} {what}"),
            more => format!("{name} {what}; {more} are in quarantine"),
        })
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((name, why)) = self.next() {
            let repaired = catch_unwind(AssertUnwindSafe(|| self.repair(&name, why)));
            let is_well = repaired.unwrap_or_else(|_| {
                let why = "repairing it panicked".to_owned();
                self.copies.set(&name, Progress::Failed(why));
                false
            });
            let mut state = self.state();
            state.busy.remove(&name);
            if is_well {
                state.later.remove(&name);
            } else {
                let pause = state.later.get(&name).map_or(FIRST_PAUSE, |(_, pause)| (*pause * 2).min(LONGEST_PAUSE));
                state.later.insert(name, (Instant::now() + pause, pause));
            }
        }
    }

    /// Waits for a repository that needs something; none: the end.
    fn next(&self) -> Option<(RepositoryName, Why)> {
        let mut state = self.state();
        loop {
            if self.is_stopped() {
                return None;
            }
            let free = |names: &BTreeSet<RepositoryName>| names.difference(&state.busy).next().cloned();
            let found = match (free(&state.wanted), free(&state.suspects)) {
                (Some(name), _) => Some((name, Why::Wanted)),
                (None, Some(name)) => Some((name, Why::Suspect)),
                (None, None) => {
                    let quarantined = self.host.replica().quarantined();
                    state.later.retain(|name, _| quarantined.iter().any(|(other, _)| other == name));
                    let due = |name: &RepositoryName| state.later.get(name).is_none_or(|(at, _)| *at <= Instant::now());
                    let ready = quarantined.into_iter().map(|(name, _)| name);
                    ready
                        .filter(|name| !state.busy.contains(name) && due(name))
                        .map(|name| (name, Why::Quarantine))
                        .next()
                }
            };
            if let Some((name, why)) = found {
                state.wanted.remove(&name);
                state.suspects.remove(&name);
                state.busy.insert(name.clone());
                return Some((name, why));
            }
            let waited = self.changed.wait_timeout(state, LOOK_EVERY);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Does what is needed; `false`: it is to be tried again.
    fn repair(&self, name: &RepositoryName, why: Why) -> bool {
        let replica = self.host.replica();
        self.copies.keep(|name| replica.position_of(name).is_some());
        let repository = name.as_str();
        match why {
            Why::Wanted => {}
            Why::Suspect => match replica.scrub(name, &mut |_| !self.is_stopped()) {
                Ok(Scrubbed::Damaged(_)) => {}
                Ok(Scrubbed::Whole(..)) => {
                    tracing::info!(repository, "nothing is wrong with a repository that somebody could not read");
                    return true;
                }
                _ => return true,
            },
            Why::Quarantine => {
                let held = self.host.hold(name);
                match replica.retry(name, held.end, &mut |sequence| self.host.fetch(sequence)) {
                    Ok(Outcome::Quarantined(_)) => {}
                    Ok(_) => {
                        tracing::info!(repository, "back from quarantine");
                        return true;
                    }
                    Err(error) => tracing::error!(repository, %error, "a repository could not be tried again"),
                }
            }
        }
        if why != Why::Wanted && replica.was_altered(name) && !self.host.heals_altered() {
            let why = format!(
                "`hgfleet repo resync {repository} --server {}` puts a mirror's copy in its place, and keeps what is there aside",
                self.host.name()
            );
            self.copies.set(name, Progress::Failed(why));
            return false;
        }
        let taking = Taking {
            host: &*self.host,
            run: &self.options.run,
            runtime: &self.runtime,
            copies: &self.copies,
            pace: &self.pace,
            bytes_per_second: self.options.bytes_per_second,
            stopped: &|| self.is_stopped(),
        };
        let begun = Instant::now();
        match taking.take(name) {
            Ok((source, sequence)) => {
                let milliseconds = begun.elapsed().as_millis() as u64;
                tracing::info!(repository, source, %sequence, milliseconds, "a copy is in service");
                self.copies.set(name, Progress::Done { source, sequence });
                true
            }
            Err(error) => {
                tracing::warn!(repository, %error, "a repository could not be copied");
                self.copies.set(name, Progress::Failed(error.to_string()));
                false
            }
        }
    }
}

/// Ends the threads when it is dropped: whoever started them holds it.
#[derive(Debug)]
pub struct StopOnDrop(pub Arc<Resync>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl std::fmt::Debug for Resync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resync").field("server", &self.host.name()).finish_non_exhaustive()
    }
}

//! Accounts and their groups, as the fleet's directory has them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hgfleet_directory::{Account, Directory, DirectoryError, DirectoryLocation, Mail};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Questions at a time: while the directory hangs, threads are left for those who need none of it.
const AT_ONCE: usize = 32;
/// How long a request waits for an answer.
const WAIT: Duration = Duration::from_secs(10);
/// How long a directory that can't be opened is left alone.
const PAUSE: Duration = Duration::from_secs(5);

/// The directory, opened when it is first needed: a mirror starts, and serves what everybody reads, without it.
pub(crate) struct Accounts {
    location: DirectoryLocation,
    opened: Arc<Mutex<Opened>>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Opened {
    directory: Option<Arc<dyn Directory>>,
    /// When it could not be opened, and why.
    failed: Option<(Instant, String)>,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("location", &self.location).finish_non_exhaustive()
    }
}

impl Accounts {
    pub(crate) fn new(location: DirectoryLocation) -> Accounts {
        Accounts { location, opened: Arc::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Returns an account, in whatever state it is.
    pub(crate) async fn get(&self, mail: &Mail) -> Result<Option<Account>, DirectoryError> {
        let unreachable = |reason: &str| DirectoryError::Unreachable { reason: reason.to_owned() };
        let asking = async {
            let place = self.places.clone().acquire_owned().await;
            let (location, opened, mail) = (self.location.clone(), self.opened.clone(), mail.clone());
            let asked = spawn_blocking(move || {
                // Held by the thread: a request that goes away leaves the question behind.
                let _place = place;
                open(&location, &opened)?.account(&mail)
            });
            asked.await.unwrap_or_else(|error| Err(unreachable(&error.to_string())))
        };
        timeout(WAIT, asking).await.unwrap_or_else(|_| Err(unreachable("it takes too long")))
    }

    /// Notes that an account was used. Never waits for the directory.
    pub(crate) fn note_use(&self, mail: &Mail) {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(directory) = &opened.directory {
            directory.logged_in(mail);
        }
    }
}

fn open(location: &DirectoryLocation, opened: &Mutex<Opened>) -> Result<Arc<dyn Directory>, DirectoryError> {
    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(directory) = &opened.directory {
        return Ok(directory.clone());
    }
    if let Some((at, reason)) = &opened.failed
        && at.elapsed() < PAUSE
    {
        return Err(DirectoryError::Unreachable { reason: reason.clone() });
    }
    match location.open_to_read() {
        Ok(directory) => {
            *opened = Opened { directory: Some(directory.clone()), failed: None };
            Ok(directory)
        }
        Err(error) => {
            opened.failed = Some((Instant::now(), error.to_string()));
            Err(error)
        }
    }
}

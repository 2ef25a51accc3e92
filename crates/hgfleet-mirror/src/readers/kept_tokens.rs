//! The fleet's tokens as this mirror knows them: read from the log each second, kept in a file.
//!
//! The file's time says when the log was read last, to the minute. What is known counts for a bounded time without the log: so
//! long, and no longer, a mirror that is cut off may take a token that was revoked.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hgfleet_access::RepositoryPatterns;
use hgfleet_log::{Log, LogError, ValueError, boot_time};
use hgfleet_tokens::{LAST_USED_KEY, LastUsed, TOKENS_KEY, Token, TokenId, Tokens, TokensError};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::token_file;
use crate::follow::Standing;

/// How often the log is read.
const EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that unknown tokens ask for.
const PAUSE: Duration = Duration::from_millis(200);
/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(5);
/// How long a request with an unknown token waits for a look at the log.
const WAIT: Duration = Duration::from_secs(1);
/// How exactly the file's time says when the log was read.
const STAMP_EVERY: Duration = Duration::from_secs(60);

/// What is known of a token that somebody shows.
#[derive(Debug)]
pub(crate) enum Found {
    /// It counts, for this account.
    Good {
        id: TokenId,
        /// The repositories that it is for; none: all.
        only: Option<Arc<RepositoryPatterns>>,
        /// Whether it may bring LFS objects.
        uploads: bool,
    },
    /// It doesn't.
    Wrong,
    /// The log could not be read for too long.
    Unsure,
}

/// The tokens, and when they were read.
#[derive(Debug)]
pub(crate) struct KeptTokens {
    path: PathBuf,
    standing: Arc<Standing>,
    stale: Duration,
    known: Mutex<Known>,
    /// Somebody shows a token that is unknown.
    asked: Notify,
    begun: AtomicU64,
    done: watch::Sender<u64>,
    uses: Mutex<Uses>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of the document.
    digest: Option<blake3::Hash>,
    tokens: Arc<Readable>,
    /// When the log was read last; none: never.
    read: Option<Read>,
    /// Of the document in the file, and when that was stamped.
    kept: Option<(blake3::Hash, Duration)>,
}

/// When the log was read, by the clock that runs since the machine's start.
#[derive(Debug, Clone, Copy)]
struct Read {
    at: Duration,
    /// How old it was then already: it may have been before the start.
    age: Duration,
}

impl Read {
    fn age(self) -> Duration {
        boot_time().saturating_sub(self.at) + self.age
    }
}

/// Tokens with their patterns made ready.
#[derive(Debug, Default)]
struct Readable {
    tokens: Tokens,
    only: HashMap<TokenId, Arc<RepositoryPatterns>>,
}

/// Uses of tokens, by day.
#[derive(Debug, Default)]
struct Uses {
    noted: HashMap<TokenId, u32>,
    /// Those that the log is yet to be told of.
    waiting: BTreeMap<TokenId, u32>,
}

/// Why the log was not read.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the log can't be read")]
    Away,
    #[error("the log takes too long")]
    Slow,
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Tokens(#[from] TokensError),
    #[error("the file of tokens: {0}")]
    Io(#[from] io::Error),
}

impl Readable {
    fn new(tokens: Tokens) -> Result<Readable, TokensError> {
        let mut only = HashMap::new();
        for entry in tokens.iter().filter(|entry| !entry.repositories.is_empty()) {
            let id = entry.digest.id();
            let patterns = RepositoryPatterns::new(&entry.repositories).or_else(|error| {
                tracing::error!(%error, token = %id, "a token's patterns are none; it is for no repository");
                RepositoryPatterns::new(&[])
            });
            let patterns = patterns.map_err(|error| TokensError::Bound(error.to_string()))?;
            only.insert(id, Arc::new(patterns));
        }
        Ok(Readable { tokens, only })
    }
}

impl KeptTokens {
    /// Takes what lies in the file, if it is sound. `stale` is how long it counts without the log.
    pub(crate) fn open(path: PathBuf, standing: Arc<Standing>, stale: Duration) -> KeptTokens {
        let known = match load(&path) {
            Ok(known) => known,
            Err(Trouble::Io(error)) if error.kind() == io::ErrorKind::NotFound => Known::default(),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the kept tokens are not taken; they come from the log");
                Known::default()
            }
        };
        KeptTokens {
            path,
            standing,
            stale,
            known: Mutex::new(known),
            asked: Notify::new(),
            begun: AtomicU64::new(0),
            done: watch::Sender::new(0),
            uses: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tokens, unless the log was out of reach for too long.
    fn current(&self) -> Option<Arc<Readable>> {
        let known = self.known();
        (known.read?.age() <= self.stale).then(|| known.tokens.clone())
    }

    /// Looks for a token. One that is unknown may be newer than the last look, and waits for another.
    pub(crate) async fn find(&self, token: &Token, mail: &str, now: u64) -> Found {
        let is_known = |readable: &Readable| readable.tokens.find(token).is_some();
        let mut current = self.current();
        if !current.as_deref().is_some_and(is_known) {
            self.look_again().await;
            current = self.current();
        }
        let Some(readable) = current else { return Found::Unsure };
        match readable.tokens.find(token) {
            Some(entry) if entry.mail == mail && !entry.has_expired(now) => {
                let id = entry.digest.id();
                Found::Good { id, only: readable.only.get(&id).cloned(), uploads: entry.uploads }
            }
            _ => Found::Wrong,
        }
    }

    /// Waits for a look at the log that begins from now on.
    async fn look_again(&self) {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut done = self.done.subscribe();
        self.asked.notify_one();
        // In vain: what is known counts.
        let _ = timeout(WAIT, done.wait_for(|done| *done >= wanted)).await;
    }

    /// Notes that a token was used on a day; returns whether that is news.
    pub(crate) fn note_use(&self, id: TokenId, day: u32) -> bool {
        let mut uses = self.uses();
        if uses.noted.insert(id, day) == Some(day) {
            return false;
        }
        uses.waiting.insert(id, day);
        true
    }

    /// Follows the log, for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut was_well = true;
        loop {
            let begun = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let looked = timeout(LOOK_MAX, self.look()).await.unwrap_or(Err(Trouble::Slow));
            match &looked {
                // Whoever follows the log says so already.
                Ok(()) | Err(Trouble::Away) => {}
                Err(error) if was_well => {
                    tracing::error!(%error, "the tokens are not read; those that are known count on")
                }
                Err(error) => tracing::debug!(%error, "the tokens are not read"),
            }
            was_well = looked.is_ok();
            self.done.send_replace(begun);
            tokio::select! {
                () = sleep(EVERY) => {}
                () = async { sleep(PAUSE).await; self.asked.notified().await } => {}
            }
        }
    }

    async fn look(&self) -> Result<(), Trouble> {
        let log = self.standing.log().ok_or(Trouble::Away)?;
        let asked_at = boot_time();
        let bytes = match log.value(TOKENS_KEY).await? {
            Some(value) => value.bytes,
            None => Tokens::default().to_bytes()?,
        };
        let digest = blake3::hash(&bytes);
        if self.known().digest != Some(digest) {
            let readable = Arc::new(Readable::new(Tokens::parse(&bytes)?)?);
            let mut known = self.known();
            (known.digest, known.tokens) = (Some(digest), readable);
        }
        // It counts already; a disk that is full costs what a restart without the log would have had of it.
        let kept = {
            let mut known = self.known();
            known.read = Some(Read { at: asked_at, age: Duration::ZERO });
            known.kept
        };
        let path = self.path.clone();
        let keeping = match kept {
            Some((kept, at)) if kept == digest && asked_at.saturating_sub(at) < STAMP_EVERY => return Ok(()),
            Some((kept, _)) if kept == digest => spawn_blocking(move || token_file::stamp(&path)),
            _ => spawn_blocking(move || token_file::keep(&path, &bytes)),
        };
        keeping.await.map_err(io::Error::other)??;
        self.known().kept = Some((digest, asked_at));
        Ok(())
    }

    /// Tells the log of uses, for ever. Nobody waits for it, and what fails is tried again.
    pub(crate) async fn tell_of_uses(self: Arc<Self>) {
        loop {
            sleep(EVERY).await;
            let waiting = self.uses().waiting.clone();
            let (Some(log), false) = (self.standing.log(), waiting.is_empty()) else { continue };
            match timeout(LOOK_MAX, self.tell(log.as_ref(), &waiting)).await.unwrap_or(Err(Trouble::Slow)) {
                Ok(()) => self.uses().waiting.retain(|id, day| waiting.get(id) != Some(day)),
                Err(error) => tracing::debug!(%error, "the uses of tokens are not told yet"),
            }
        }
    }

    async fn tell(&self, log: &dyn Log, uses: &BTreeMap<TokenId, u32>) -> Result<(), Trouble> {
        let value = log.value(LAST_USED_KEY).await?;
        let mut last_used = match &value {
            Some(value) => LastUsed::parse(&value.bytes)?,
            None => LastUsed::default(),
        };
        let news = uses.iter().filter(|(id, day)| last_used.note(**id, **day)).count();
        if news > 0 {
            last_used.keep_only(&self.known().tokens.clone().tokens);
            log.set_value(LAST_USED_KEY, value.map(|value| value.version), last_used.to_bytes()?).await?;
        }
        Ok(())
    }
}

fn load(path: &Path) -> Result<Known, Trouble> {
    let (bytes, age) = token_file::load(path)?;
    let tokens = Arc::new(Readable::new(Tokens::parse(&bytes)?)?);
    let read = age.map(|age| Read { at: boot_time(), age });
    Ok(Known { digest: Some(blake3::hash(&bytes)), tokens, read, kept: None })
}

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::AccountState;

const OPTIONS: CacheOptions = CacheOptions {
    fresh: Duration::from_secs(60),
    stale_read: Duration::from_secs(900),
    stale_write: Duration::from_secs(300),
};

/// What a test says the directory has.
#[derive(Default)]
struct Backend {
    answer: Mutex<Option<Account>>,
    fault: Mutex<Option<fn() -> DirectoryError>>,
    asked: AtomicUsize,
}

impl Directory for Arc<Backend> {
    fn account_by_key(&self, _: &[u8]) -> Result<Option<Account>, DirectoryError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match *self.fault.lock().unwrap() {
            Some(fault) => Err(fault()),
            None => Ok(self.answer.lock().unwrap().clone()),
        }
    }

    fn account(&self, _: &Mail) -> Result<Option<Account>, DirectoryError> {
        self.account_by_key(b"")
    }

    fn give_key(&self, _: &Mail, _: &PublicKey) -> Result<(), DirectoryError> {
        Ok(())
    }

    fn take_key(&self, _: &Mail, _: &str) -> Result<(), DirectoryError> {
        Err(DirectoryError::NotWritable)
    }
}

struct Fixture {
    backend: Arc<Backend>,
    cache: CachedDirectory<Arc<Backend>>,
    seconds: Arc<AtomicU64>,
}

fn fixture() -> Fixture {
    let (backend, seconds) = (Arc::new(Backend::default()), Arc::new(AtomicU64::new(0)));
    let (start, passed) = (Instant::now(), seconds.clone());
    let clock = Clock::from_fn(move || start + Duration::from_secs(passed.load(Ordering::Relaxed)));
    let cache = CachedDirectory::with_clock(backend.clone(), OPTIONS, clock);
    Fixture { backend, cache, seconds }
}

impl Fixture {
    fn at(&self, seconds: u64) -> &CachedDirectory<Arc<Backend>> {
        self.seconds.store(seconds, Ordering::Relaxed);
        &self.cache
    }

    fn has(&self, account: Option<Account>) {
        *self.backend.answer.lock().unwrap() = account;
    }

    fn fails(&self, fault: Option<fn() -> DirectoryError>) {
        *self.backend.fault.lock().unwrap() = fault;
    }

    fn asked(&self) -> usize {
        self.backend.asked.load(Ordering::Relaxed)
    }
}

fn mail() -> Mail {
    Mail::parse("a@x").unwrap()
}

fn account() -> Account {
    Account { mail: mail(), state: AccountState::Enabled, keys: Vec::new(), groups: Vec::new() }
}

fn down() -> DirectoryError {
    DirectoryError::Unreachable { reason: "down".to_owned() }
}

fn ambiguous() -> DirectoryError {
    DirectoryError::Ambiguous { mail: mail(), reason: "two".to_owned() }
}

#[test]
fn a_removed_key_opens_nothing_after_the_short_time() {
    let fixture = fixture();
    fixture.has(Some(account()));
    assert!(fixture.at(0).account_by_key(b"key").unwrap().is_some());
    fixture.has(None);
    assert!(fixture.at(59).account_by_key(b"key").unwrap().is_some());
    assert_eq!(fixture.asked(), 1);
    assert_eq!(fixture.at(60).account_by_key(b"key").unwrap(), None);
    // That there is nobody is kept for as long.
    fixture.has(Some(account()));
    assert_eq!(fixture.at(119).account_by_key(b"key").unwrap(), None);
    assert_eq!(fixture.asked(), 2);
    assert!(fixture.at(120).account_by_key(b"key").unwrap().is_some());
}

#[test]
fn what_an_account_changes_itself_counts_at_once() {
    let fixture = fixture();
    let key =
        PublicKey::parse_line(b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH")
            .unwrap();
    let ask = || {
        (fixture.cache.account_by_key(b"old"), fixture.cache.account_by_key(key.blob()), fixture.cache.account(&mail()))
    };
    fixture.has(Some(account()));
    assert!(fixture.at(0).account_by_key(b"old").unwrap().is_some());
    fixture.has(None);
    assert_eq!(fixture.at(1).account_by_key(key.blob()).unwrap(), None);
    fixture.has(Some(account()));
    fixture.at(2).give_key(&mail(), &key).unwrap();
    assert!(matches!(ask(), (Ok(Some(_)), Ok(Some(_)), Ok(Some(_)))));
    // It may have been done although it failed.
    fixture.has(None);
    assert!(fixture.at(3).take_key(&mail(), "").is_err());
    assert!(matches!(ask(), (Ok(None), Ok(None), Ok(None))));
}

#[test]
fn while_the_directory_is_down_answers_count_for_a_bounded_time() {
    let fixture = fixture();
    fixture.has(Some(account()));
    fixture.at(0).account(&mail()).unwrap();
    fixture.fails(Some(down));
    let answer = fixture.at(200).ask(&mail(), Purpose::Read).unwrap();
    assert_eq!((answer.account, answer.age), (Some(account()), Duration::from_secs(200)));
    assert!(fixture.at(299).account_to_write(&mail()).is_ok());
    // Storing ends before reading does.
    assert!(matches!(fixture.at(300).account_to_write(&mail()), Err(DirectoryError::TooOld { .. })));
    assert!(fixture.at(899).account(&mail()).unwrap().is_some());
    let refused = fixture.at(900).account(&mail()).unwrap_err();
    assert!(refused.to_string().contains("down") && refused.to_string().contains("900"), "{refused}");
    // Who was never asked for is not let in.
    assert!(fixture.at(901).account_by_key(b"other").is_err());
    fixture.fails(None);
    assert!(fixture.at(906).account(&mail()).unwrap().is_some());
}

#[test]
fn a_directory_that_is_down_is_not_asked_by_everyone() {
    let fixture = fixture();
    fixture.fails(Some(down));
    for second in 0..5 {
        assert!(fixture.at(second).account(&mail()).is_err());
    }
    assert_eq!(fixture.asked(), 1);
    assert!(fixture.at(5).account(&mail()).is_err());
    assert_eq!(fixture.asked(), 2);
}

#[test]
fn an_answer_that_is_refused_is_no_outage() {
    let fixture = fixture();
    fixture.has(Some(account()));
    fixture.at(0).account(&mail()).unwrap();
    fixture.fails(Some(ambiguous));
    assert!(matches!(fixture.at(60).account(&mail()), Err(DirectoryError::Ambiguous { .. })));
    fixture.fails(Some(down));
    assert!(fixture.at(61).account(&mail()).is_err(), "what was known before the refusal counts no more");
}

#[test]
fn strangers_drive_out_no_account() {
    let fixture = fixture();
    fixture.has(Some(account()));
    fixture.at(0).account_by_key(b"known").unwrap();
    fixture.has(None);
    for stranger in 0..3 * KEPT_MAX as u64 {
        fixture.at(stranger / 1000).account_by_key(&stranger.to_be_bytes()).unwrap();
    }
    assert!(fixture.cache.state().by_key.missing.len() <= KEPT_MAX);
    let asked = fixture.asked();
    assert!(fixture.at(31).account_by_key(b"known").unwrap().is_some());
    assert_eq!(fixture.asked(), asked);
}

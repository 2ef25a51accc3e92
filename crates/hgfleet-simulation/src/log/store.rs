//! What the log holds, and its rules.

use std::collections::BTreeMap;
use std::time::Duration;

use hgfleet_log::membership::{MIRRORS_MAX, SERVER_NAME_BYTES_MAX};
use hgfleet_log::{
    Body, ChainHash, Epoch, Lease, LeaseError, LogError, Member, READ_ONLY_BYTES_MAX, Record, RecordId, Refusal,
    RepositoryName, Sequence, StoredValue, Tail, VALUE_BYTES_MAX, ValueError, View, ViewError, planted,
};

/// Most bytes of records in one answer, and one record at least.
const READ_BYTES_MAX: usize = 16 << 20;
/// Longest text of a heartbeat, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// A record with its change.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The record.
    pub record: Record,
    /// Its change's bytes.
    pub change: Vec<u8>,
}

/// All that the log holds.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<u64, Entry>,
    /// The last record of each repository, which outlives trimming.
    last_of: BTreeMap<RepositoryName, Record>,
    trimmed: u64,
    end: Option<Tail>,
    /// Appends on their way, with the time at which each arrives.
    late: Vec<(Duration, Entry)>,
    /// How many of them were stored.
    pub late_stored: u64,
    /// The lease.
    pub lease: Option<Lease>,
    /// The view.
    pub view: Option<View>,
    /// Why the fleet takes no pushes.
    pub read_only: Option<String>,
    /// Every view that there ever was, oldest first.
    pub views: Vec<View>,
    /// The shared values.
    pub values: BTreeMap<String, StoredValue>,
    /// What servers last said of themselves.
    pub members: BTreeMap<String, Member>,
}

impl Store {
    pub(super) fn end(&self) -> Option<Tail> {
        self.end
    }

    pub(super) fn first(&self) -> Sequence {
        Sequence::new(self.trimmed + 1).unwrap_or(Sequence::FIRST)
    }

    /// All records that were not trimmed, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn comes_late(&mut self, at: Duration, entry: Entry) {
        self.late.push((at, entry));
    }

    /// Appends that have arrived by now, in the order of their arrival. Nobody waits for what becomes of them.
    pub(super) fn let_late_ones_in(&mut self, now: Duration) {
        let mut arrived: Vec<_> = Vec::new();
        self.late.retain(|(at, entry)| {
            if *at <= now {
                arrived.push((*at, entry.clone()));
            }
            *at > now
        });
        arrived.sort_by_key(|(at, _)| *at);
        for (_, entry) in arrived {
            self.late_stored += u64::from(self.append(entry).is_ok());
        }
    }

    pub(super) fn append(&mut self, entry: Entry) -> Result<Record, Refusal> {
        let record = &entry.record;
        if !planted::is("stale-append-taken") {
            self.check(record)?;
        }
        if self.find(&record.id).is_some() {
            return Err(Refusal::Duplicate(record.id));
        }
        if let Some(store) = record.store() {
            self.last_of.insert(store.repository.clone(), record.clone());
        }
        self.end = Some(Tail::of(record));
        let record = record.clone();
        self.entries.insert(record.sequence.get(), entry);
        Ok(record)
    }

    /// Epoch, place and chain: whether this record may follow.
    fn check(&self, record: &Record) -> Result<(), Refusal> {
        let newest = self.end.map(|end| end.epoch);
        let due = if matches!(record.body, Body::Epoch { .. }) { Epoch::after(newest) } else { newest };
        let last = self.end.map(|end| end.sequence);
        match newest {
            Some(newest) if Some(record.epoch) < due => return Err(Refusal::Fenced { newest }),
            _ if last != record.sequence.previous() => return Err(Refusal::WrongLastSequence { last }),
            _ if due != Some(record.epoch) => return Err(Refusal::EpochNotBegun(record.epoch)),
            _ => {}
        }
        let hash = self.end.map_or(ChainHash::NONE, |end| end.hash);
        if record.previous == hash { Ok(()) } else { Err(Refusal::BrokenChain) }
    }

    pub(super) fn read(&self, from: Sequence, max: usize) -> Result<Vec<Record>, LogError> {
        if from < self.first() {
            return Err(LogError::Trimmed { from, first: self.first() });
        }
        let mut bytes = 0;
        let mut records = Vec::new();
        for Entry { record, .. } in self.entries.range(from.get()..).map(|(_, entry)| entry).take(max) {
            bytes += record.store().map_or(0, |store| store.summary.len()) + 512;
            if bytes > READ_BYTES_MAX && !records.is_empty() {
                break;
            }
            records.push(record.clone());
        }
        Ok(records)
    }

    pub(super) fn change(&self, record: &Record) -> Result<Vec<u8>, LogError> {
        match self.entries.get(&record.sequence.get()) {
            Some(entry) if entry.record == *record => Ok(entry.change.clone()),
            Some(_) => Err(LogError::Value(format!("record {} is another one", record.sequence))),
            None => Err(LogError::Trimmed { from: record.sequence, first: self.first() }),
        }
    }

    pub(super) fn last_of(&self, repository: &RepositoryName) -> Option<Record> {
        self.last_of.get(repository).cloned()
    }

    pub(super) fn find(&self, id: &RecordId) -> Option<Record> {
        self.entries.values().find(|entry| entry.record.id == *id).map(|entry| entry.record.clone())
    }

    pub(super) fn trim(&mut self, checkpoint: Sequence) -> Result<(), LogError> {
        if Some(checkpoint) > self.end.map(|end| end.sequence) {
            return Err(LogError::Value(format!("checkpoint {checkpoint} lies beyond the log's end")));
        }
        self.trimmed = self.trimmed.max(checkpoint.get());
        self.entries = self.entries.split_off(&(self.trimmed + 1));
        Ok(())
    }

    pub(super) fn renew_lease(
        &mut self,
        holder: &str,
        epoch: Option<Epoch>,
        counter: Option<u64>,
    ) -> Result<Lease, LeaseError> {
        if self.lease.as_ref().map(|lease| lease.counter) != counter {
            return Err(LeaseError::Lost { current: self.lease.clone() });
        }
        let lease = Lease { holder: holder.to_owned(), epoch, counter: counter.map_or(1, |counter| counter + 1) };
        Ok(self.lease.insert(lease).clone())
    }

    pub(super) fn set_view(&mut self, expected: Option<u64>, view: View) -> Result<(), ViewError> {
        let Some(end) = self.end else { return Err(ViewError::Invalid("the log has no epoch yet")) };
        if planted::is("stale-view-taken") {
            self.views.push(view.clone());
            self.view = Some(view);
            return Ok(());
        }
        if view.epoch < end.epoch {
            return Err(ViewError::Fenced { newest: end.epoch });
        }
        if self.view.as_ref().map(|view| view.version) != expected {
            return Err(ViewError::Conflict { current: self.view.clone() });
        }
        let mut names: Vec<_> = view.mirrors.iter().collect();
        names.sort();
        names.dedup();
        let is_named = |name: &str| !name.is_empty() && name.len() <= SERVER_NAME_BYTES_MAX;
        let visible = self.view.as_ref().and_then(|view| view.visible);
        let wrong = match () {
            () if view.epoch > end.epoch => "its epoch has not begun",
            () if view.version != expected.unwrap_or(0) + 1 => "its version is not the next",
            () if view.visible < visible => "its position lies below the one that is shown",
            () if view.visible > Some(end.sequence) => "its position lies beyond the log's end",
            () if view.mirrors.len() > MIRRORS_MAX => "it has too many mirrors",
            () if names.len() != view.mirrors.len() => "a mirror is in it twice",
            () if !view.mirrors.iter().all(|mirror| is_named(&mirror.name)) => "a mirror's name is empty or too long",
            () => {
                self.views.push(view.clone());
                self.view = Some(view);
                return Ok(());
            }
        };
        Err(ViewError::Invalid(wrong))
    }

    pub(super) fn set_read_only(&mut self, epoch: Epoch, reason: Option<String>) -> Result<(), ViewError> {
        let Some(end) = self.end else { return Err(ViewError::Invalid("the log has no epoch yet")) };
        match () {
            () if epoch < end.epoch => Err(ViewError::Fenced { newest: end.epoch }),
            () if epoch > end.epoch => Err(ViewError::Invalid("its epoch has not begun")),
            () if reason.as_ref().is_some_and(|reason| reason.len() > READ_ONLY_BYTES_MAX) => {
                Err(ViewError::Invalid("the reason is too long"))
            }
            () => {
                self.read_only = reason;
                Ok(())
            }
        }
    }

    pub(super) fn value(&self, key: &str) -> Result<Option<StoredValue>, LogError> {
        let is_key = (1..=32).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'-'));
        if is_key { Ok(self.values.get(key).cloned()) } else { Err(LogError::Value(format!("{key:?} is no key"))) }
    }

    pub(super) fn set_value(&mut self, key: &str, expected: Option<u64>, bytes: Vec<u8>) -> Result<u64, ValueError> {
        if bytes.len() > VALUE_BYTES_MAX {
            return Err(ValueError::TooLarge { bytes: bytes.len() });
        }
        if self.value(key)?.map(|value| value.version) != expected {
            return Err(ValueError::Conflict);
        }
        let version = expected.map_or(1, |version| version + 1);
        self.values.insert(key.to_owned(), StoredValue { version, bytes });
        Ok(version)
    }

    pub(super) fn put(&mut self, member: Member) -> Result<(), LogError> {
        if [&member.name, &member.address, &member.reason].iter().any(|text| text.len() > TEXT_BYTES_MAX) {
            return Err(LogError::Value("a heartbeat with a text that is too long".to_owned()));
        }
        self.members.insert(member.name.clone(), member);
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.change.len() as u64 + 512).sum()
    }
}

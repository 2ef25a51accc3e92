//! A log in memory, and a replica that follows it.

mod copy;
mod crash;
mod follow;
mod quarantine;
mod volume;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Cursor};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use hg_store::apply::{ApplyMode, apply};
use hg_store::change::{ChangeRef, ChangeWriter};
use hg_store::digest::{digest_of_store, state_files};
use hg_store::{Repository, StoreFormat};
use hgfleet_log::{
    Body, ChainHash, ChangePayload, Draft, Epoch, LogId, Record, RecordId, RepositoryName, Sequence, StoreKind,
    StoreRecord,
};
use tempfile::TempDir;

use crate::{Fetched, Outcome, Replica, ReplicaError, Scrubbed};

type Writer = ChangeWriter<Cursor<Vec<u8>>>;

/// A log, the same for the same calls, with the stores as they must become.
struct Log {
    records: Vec<(Record, Vec<u8>)>,
    models: TempDir,
    /// What was deleted, by the records that did.
    aside: TempDir,
}

fn name(name: &str) -> RepositoryName {
    RepositoryName::parse(name).unwrap()
}

fn at(number: usize) -> Sequence {
    Sequence::new(number as u64).unwrap()
}

fn change_of(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = ChangeWriter::new(Cursor::new(Vec::new())).unwrap();
    fill(&mut writer);
    writer.finish().unwrap().0.into_inner()
}

impl Log {
    fn new() -> Self {
        Self { records: Vec::new(), models: TempDir::new().unwrap(), aside: TempDir::new().unwrap() }
    }

    fn model(&self, repository: &str) -> PathBuf {
        self.models.path().join(repository)
    }

    fn digest(&self, repository: &str) -> Option<[u8; 32]> {
        let hg = self.model(repository).join(".hg");
        hg.exists().then(|| *digest_of_store(&hg).unwrap().as_bytes())
    }

    fn add(&mut self, body: Body, change: Vec<u8>) -> Sequence {
        let last = self.records.last().map(|(record, _)| record);
        let draft = Draft {
            id: RecordId::from_bytes([self.records.len() as u8; 16]),
            epoch: Epoch::FIRST,
            expected: last.map(|last| last.sequence),
            previous: last.map_or(ChainHash::NONE, |last| last.chain_hash()),
            time_ms: 0,
            body,
        };
        let record = draft.seal(LogId::from_bytes([7; 16])).unwrap();
        let sequence = record.sequence;
        self.records.push((record, change));
        sequence
    }

    fn store(
        &mut self,
        repository: &str,
        kind: StoreKind,
        digests: [Option<[u8; 32]>; 2],
        change: Vec<u8>,
    ) -> Sequence {
        let record = StoreRecord {
            repository: name(repository),
            kind,
            before: digests[0],
            after: digests[1],
            who: "someone".to_owned(),
            source: "test".to_owned(),
            summary: Vec::new(),
            change: ChangePayload::of(&change),
        };
        self.add(Body::Store(record), change)
    }

    fn create(&mut self, repository: &str) -> Sequence {
        let change = change_of(|writer| {
            for (path, bytes) in Repository::create_files(StoreFormat::Current, None) {
                writer.create(&path, &bytes).unwrap();
            }
            writer.create(b"store/data/a.i", repository.as_bytes()).unwrap();
        });
        self.create_with(repository, change)
    }

    fn create_with(&mut self, repository: &str, change: Vec<u8>) -> Sequence {
        let hg = self.model(repository).join(".hg");
        fs::create_dir_all(hg.join("store")).unwrap();
        apply(&hg, &ChangeRef::parse(&change).unwrap(), ApplyMode::Normal).unwrap();
        self.store(repository, StoreKind::Create, [None, self.digest(repository)], change)
    }

    fn alter(&mut self, repository: &str, change: Vec<u8>) -> Sequence {
        let before = self.digest(repository);
        let hg = self.model(repository).join(".hg");
        apply(&hg, &ChangeRef::parse(&change).unwrap(), ApplyMode::Normal).unwrap();
        self.store(repository, StoreKind::Alter, [before, self.digest(repository)], change)
    }

    /// A push, of a kind: a file that grows, a new one, fncache, small files.
    fn push(&mut self, repository: &str, number: usize) -> Sequence {
        let change = self.push_change(repository, number);
        self.alter(repository, change)
    }

    fn push_change(&self, repository: &str, number: usize) -> Vec<u8> {
        let hg = self.model(repository).join(".hg");
        let bytes = |path: &str| fs::metadata(hg.join(path)).map(|meta| meta.len()).ok();
        change_of(|writer| {
            let a = bytes("store/data/a.i").unwrap();
            // Every third one exchanges the file that grows in the others, for a shorter one.
            match number % 3 {
                2 => writer.replace(b"store/data/a.i", Some(a), format!("exchanged {number}").as_bytes()).unwrap(),
                _ => writer.append(b"store/data/a.i", a, &[number as u8; 3000]).unwrap(),
            }
            writer.create(format!("store/data/new{number}.i").as_bytes(), b"new").unwrap();
            let line = format!("data/new{number}.i\n");
            writer.append(b"store/fncache", bytes("store/fncache").unwrap_or(0), line.as_bytes()).unwrap();
            let phaseroots = bytes("store/phaseroots");
            writer.replace(b"store/phaseroots", phaseroots, format!("1 {number:040x}\n").as_bytes()).unwrap();
        })
    }

    fn delete(&mut self, repository: &str) -> Sequence {
        let digests = [self.digest(repository), None];
        let sequence = self.store(repository, StoreKind::Delete, digests, Vec::new());
        fs::rename(self.model(repository), self.aside.path().join(sequence.to_string())).unwrap();
        sequence
    }

    fn restore(&mut self, deleted: Sequence, repository: &str) -> Sequence {
        fs::rename(self.aside.path().join(deleted.to_string()), self.model(repository)).unwrap();
        let digests = [None, self.digest(repository)];
        self.store(repository, StoreKind::Restore { deleted }, digests, Vec::new())
    }

    fn rename(&mut self, from: &str, to: &str) -> Sequence {
        fs::rename(self.model(from), self.model(to)).unwrap();
        let digest = self.digest(to);
        self.store(to, StoreKind::Rename { from: name(from) }, [digest, digest], Vec::new())
    }

    /// Exchanges one file for a shorter one, and takes one away.
    fn rewrite(&mut self, repository: &str, removed: &str) -> Sequence {
        let hg = self.model(repository).join(".hg");
        let bytes = |path: &str| fs::metadata(hg.join(path)).unwrap().len();
        let change = change_of(|writer| {
            let a = bytes("store/data/a.i");
            writer.replace(b"store/data/a.i", Some(a), b"rewritten").unwrap();
            writer.remove(removed.as_bytes(), bytes(removed)).unwrap();
        });
        let before = self.digest(repository);
        apply(&hg, &ChangeRef::parse(&change).unwrap(), ApplyMode::Normal).unwrap();
        self.store(repository, StoreKind::Rewrite, [before, self.digest(repository)], change)
    }

    fn source(&self) -> impl FnMut(Sequence) -> io::Result<Option<Fetched>> + '_ {
        |sequence| {
            let found = self.records.get(sequence.get() as usize - 1).cloned();
            Ok(found.map(|(record, change)| (record, Box::new(change) as Box<dyn AsRef<[u8]>>)))
        }
    }

    fn end(&self) -> Option<Sequence> {
        self.records.last().map(|(record, _)| record.sequence)
    }
}

/// Opens a server's folder. One that was just closed may be held for a moment more, by a process that another test is about to start.
fn begin(dir: &Path) -> Replica {
    loop {
        match Replica::open(dir) {
            Err(ReplicaError::InUse(_)) => std::thread::sleep(std::time::Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
}

fn open(dir: &Path, log: &Log) -> Replica {
    let replica = begin(dir);
    let recovery = replica.recover(log.end(), &mut log.source()).unwrap();
    assert_eq!(recovery.quarantined, []);
    replica
}

/// Applies the records that are not applied yet.
fn follow(replica: &Replica, log: &Log) -> Vec<Outcome> {
    let from = replica.position().map_or(0, |position| position.get() as usize);
    log.records[from..].iter().map(|(record, change)| replica.apply(record, change).unwrap()).collect()
}

/// Compares all stores with what they must be, by what is kept and by what is on disk.
#[track_caller]
fn assert_whole(replica: &Replica, dir: &Path, log: &Log) {
    assert_eq!(replica.position(), log.end());
    let mut found = 0;
    for status in replica.repositories() {
        let model = log.model(status.name.as_str());
        assert_eq!(status.quarantine, None, "{}", status.name.as_str());
        let kept = replica.snapshot(&status.name).unwrap();
        assert_eq!(Some(kept.digest), log.digest(status.name.as_str()), "{}", status.name.as_str());
        let scrubbed = replica.scrub(&status.name, &mut |_| true).unwrap();
        assert_eq!(scrubbed, Scrubbed::Whole(status.sequence, status.digest), "{}", status.name.as_str());
        assert_eq!(*digest_of_store(&kept.path.join(".hg")).unwrap().as_bytes(), status.digest);
        assert_eq!(kept.state, Repository::open(&model).unwrap().current_state().unwrap());
        assert_eq!(kept.path, dir.join("repos").join(status.name.as_str()));
        assert!(!kept.path.join(".hg/store/journal").exists());
        let bytes = |path: &Vec<u8>| fs::metadata(kept.path.join(".hg").join(OsStr::from_bytes(path))).unwrap().len();
        assert_eq!(status.bytes, state_files(&kept.path.join(".hg")).unwrap().iter().map(bytes).sum::<u64>());
        found += 1;
    }
    let mut models = Vec::new();
    find_repositories(log.models.path(), &mut models);
    let mut ours = Vec::new();
    find_repositories(&dir.join("repos"), &mut ours);
    assert_eq!((models.len(), ours.len()), (found, found), "{ours:?}");
}

fn find_repositories(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.join(".hg").exists() => found.push(path),
            path => find_repositories(&path, found),
        }
    }
}

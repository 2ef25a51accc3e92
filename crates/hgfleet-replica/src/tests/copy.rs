//! Damage is found, and a copy of another server's repository takes the place of what is damaged.

use super::*;
use crate::{Copied, Theirs};
use hgfleet_log::Tail;

/// Two servers at the log's end, with repositories `a` and `b`.
fn pair() -> (TempDir, TempDir, Log, Replica, Replica) {
    let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut log = Log::new();
    log.create("a");
    log.create("b");
    log.push("a", 0);
    log.push("b", 0);
    let (our, their) = (open(ours.path(), &log), open(theirs.path(), &log));
    follow(&our, &log);
    follow(&their, &log);
    (ours, theirs, log, our, their)
}

fn scrub(replica: &Replica, repository: &str) -> Scrubbed {
    replica.scrub(&name(repository), &mut |_| true).unwrap()
}

/// Copies what a server has of a repository, as it lies there.
fn copy(from: &Replica, to: &Replica, repository: &str) -> Copied {
    let listing = from.listing(&name(repository)).unwrap();
    let hg = to.copy_folder(listing.created).unwrap();
    for file in &listing.files {
        let path = hg.join(OsStr::from_bytes(&file.path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        let mut source = from.listed_file(&name(repository), listing.created, &file.path).unwrap().unwrap();
        io::Read::read_to_end(&mut source, &mut bytes).unwrap();
        if let Some(content) = &file.content {
            assert_eq!(content, &bytes);
        }
        fs::write(path, &bytes[..file.bytes as usize]).unwrap();
    }
    to.copied(&name(repository), listing.created, listing.sequence, listing.digest).unwrap().unwrap()
}

#[test]
fn a_flipped_bit_is_found_and_a_copy_heals_it() {
    let (dir, _theirs, mut log, our, their) = pair();
    let path = dir.path().join("repos/a/.hg/store/data/a.i");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1] ^= 4;
    // As a disk does it: in place, without anybody's knowledge.
    use std::os::unix::fs::FileExt as _;
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&bytes[1..2], 1).unwrap();
    assert!(matches!(scrub(&our, "b"), Scrubbed::Whole(..)));
    let Scrubbed::Damaged(reason) = scrub(&our, "a") else { panic!("not found") };
    assert!(reason.starts_with("damaged: store/data/a.i"), "{reason}");
    assert!(matches!(our.snapshot(&name("a")), Err(ReplicaError::Quarantined { .. })));
    assert!(!our.was_altered(&name("a")));
    // Records that came while it was copied are brought into the copy.
    let copied = copy(&their, &our, "a");
    let sequence = log.push("a", 1);
    log.push("b", 1);
    follow(&our, &log);
    let (record, change) = &log.records[sequence.get() as usize - 1];
    let copied = copied.follow(sequence, record.store().unwrap(), change).unwrap();
    our.exchange(copied).unwrap();
    assert_whole(&our, dir.path(), &log);
    assert!(dir.path().join("old").join(format!("{sequence}.1")).join(".hg").exists());
    drop(our);
    let our = open(dir.path(), &log);
    assert_whole(&our, dir.path(), &log);
    log.push("a", 2);
    assert_eq!(follow(&our, &log), [Outcome::Applied]);
    assert_whole(&our, dir.path(), &log);
}

#[test]
fn what_somebody_else_wrote_is_named_and_kept() {
    let (dir, _theirs, log, our, their) = pair();
    our.look(&name("a")).unwrap();
    let hg = dir.path().join("repos/a/.hg");
    fs::write(hg.join("store/bookmarks"), "mine").unwrap();
    let Err(ReplicaError::Quarantined { reason, .. }) = our.look(&name("a")) else { panic!("not seen") };
    assert!(reason.contains("behind the fleet's back"), "{reason}");
    assert!(our.was_altered(&name("a")));
    let copied = copy(&their, &our, "a");
    our.exchange(copied).unwrap();
    assert_whole(&our, dir.path(), &log);
    let kept = fs::read_dir(dir.path().join("altered")).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::read(kept.join(".hg/store/bookmarks")).unwrap(), b"mine");
    // A file that grew, one too many: the beginning of a commit with stock Mercurial, and no disk's work. One that is missing.
    for (path, what) in [("store/data/a.i", "bytes and not"), ("store/data/none.i", "no record made it")] {
        let (dir, _theirs, _log, our, _) = pair();
        let path = dir.path().join("repos/a/.hg").join(path);
        let before = fs::read(&path).ok();
        let mut content = before.clone().unwrap_or_default();
        content.push(0);
        fs::write(&path, content).unwrap();
        let Scrubbed::Damaged(reason) = scrub(&our, "a") else { panic!("not found") };
        assert!(reason.contains("behind the fleet's back") && reason.contains(what), "{reason}");
        assert!(our.listing(&name("a")).is_err());
        assert!(our.was_altered(&name("a")));
        match before {
            Some(content) => fs::write(&path, content).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert!(!our.was_altered(&name("a")), "nothing is left that anybody could miss");
    }
    let (dir, _theirs, _log, our, _) = pair();
    fs::remove_file(dir.path().join("repos/a/.hg/store/data/a.i")).unwrap();
    assert!(matches!(our.listing(&name("a")), Err(ReplicaError::Quarantined { .. })));
}

#[test]
fn a_copy_that_is_older_or_does_not_follow_is_refused() {
    let (dir, _theirs, mut log, our, their) = pair();
    let older = copy(&their, &our, "a");
    log.push("a", 1);
    log.push("a", 2);
    follow(&our, &log);
    assert!(matches!(our.exchange(older), Err(ReplicaError::Copy { .. })));
    assert_whole(&our, dir.path(), &log);
    let (record, change) = log.records.last().unwrap();
    let copied = copy(&their, &our, "a");
    let followed = copied.follow(record.sequence, record.store().unwrap(), change);
    assert!(matches!(followed, Err(ReplicaError::Copy { .. })));
    // What is not what it says is no copy.
    let listing = their.listing(&name("a")).unwrap();
    let hg = our.copy_folder(listing.created).unwrap();
    fs::write(hg.join("store/data/a.i"), "other").unwrap();
    assert!(our.copied(&name("a"), listing.created, listing.sequence, listing.digest).unwrap().is_none());
    our.drop_copy(listing.created).unwrap();
    assert!(!hg.exists());
}

#[test]
fn an_empty_server_goes_on_from_a_later_record() {
    let (_dir, _theirs, mut log, _our, their) = pair();
    let dir = TempDir::new().unwrap();
    let our = begin(dir.path());
    our.recover(None, &mut |_| Ok(None)).unwrap();
    let last = log.records.last().unwrap().0.clone();
    let status = their.repositories();
    let theirs: Vec<Theirs> = status
        .iter()
        .map(|one| Theirs { name: one.name.clone(), created: one.created, sequence: one.sequence })
        .collect();
    for _ in 0..2 {
        assert_eq!(our.jump(last.log, Tail::of(&last), &theirs, &|_| false).unwrap(), 2);
    }
    assert_eq!((our.position(), our.durable_position()), (log.end(), log.end()));
    our.exchange(copy(&their, &our, "a")).unwrap();
    drop(our);
    let our = begin(dir.path());
    let recovery = our.recover(log.end(), &mut |_| Ok(None)).unwrap();
    assert_eq!(recovery.quarantined.len(), 1);
    let sequence = log.push("b", 1);
    assert!(matches!(&follow(&our, &log)[..], [Outcome::Quarantined(_)]));
    let (record, change) = &log.records[sequence.get() as usize - 1];
    let copied = copy(&their, &our, "b").follow(sequence, record.store().unwrap(), change).unwrap();
    our.exchange(copied).unwrap();
    assert_whole(&our, dir.path(), &log);
    // A repository that another server no longer has was deleted meanwhile; one that it made anew is copied.
    log.delete("b");
    let to = Tail::of(&log.records.last().unwrap().0);
    assert_eq!(our.jump(last.log, to, &theirs[..1], &|_| false).unwrap(), 0);
    assert_whole(&our, dir.path(), &log);
}

#[test]
fn what_is_damaged_is_renamed_and_then_healed_and_what_is_lost_is_copied() {
    let (dir, _theirs, mut log, our, their) = pair();
    fs::write(dir.path().join("repos/a/.hg/store/data/a.i"), "damaged").unwrap();
    assert!(matches!(scrub(&our, "a"), Scrubbed::Damaged(_)));
    let before = copy(&their, &our, "a");
    log.rename("a", "c");
    let deleted = log.delete("b");
    follow(&our, &log);
    follow(&their, &log);
    // A copy under the old name comes too late.
    assert!(matches!(our.exchange(before), Err(ReplicaError::Copy { .. })));
    // What was kept is no longer what it was.
    let kept = dir.path().join("deleted").join(deleted.to_string()).join(".hg/store/data/a.i");
    fs::write(kept, "damaged").unwrap();
    assert!(matches!(our.digest_of_deleted(deleted), Err(ReplicaError::Copy { .. })));
    assert_eq!(their.deleted().unwrap().len(), 1);
    log.restore(deleted, "b");
    follow(&our, &log);
    follow(&their, &log);
    let names = our.quarantined().into_iter().map(|(name, _)| name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["b", "c"]);
    for repository in ["b", "c"] {
        our.exchange(copy(&their, &our, repository)).unwrap();
    }
    assert_whole(&our, dir.path(), &log);
    assert_eq!((our.deleted().unwrap(), their.deleted().unwrap()), (vec![], vec![]));
}

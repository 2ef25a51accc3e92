//! Making, taking in and checking repositories. Each is a record, as a push is.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use hg_store::change::{ChangeRef, ChangeWriter, check_path, is_excluded};
use hg_store::{Repository, StoreError, StoreFormat};
use hgfleet_log::{LogError, RecordId, RepositoryName, Sequence, StoreKind};
use hgfleet_replica::Scrubbed;

use super::change_file::ChangeFile;
use super::committer::{Change, Event, Push};
use super::digests::Answer;
use super::locks::{NoLock, WriteLock};
use super::master::{Master, No};
use crate::client::{RepositoryLine, ServerDigest, VerifyAnswer};
use crate::options::StoreFormatName;
use crate::protocol::{PushEnd, SessionTimes};

/// What a non-publishing repository's configuration is.
pub(super) const NON_PUBLISHING: &[u8] = b"[phases]\npublish = False\n";
/// Files that one import may bring.
const FILES_MAX: usize = 8_000_000;
/// Bytes that are read at once.
const PIECE_BYTES: usize = 1 << 20;

/// In whose name a record is stored, and by which it is known before it is.
#[derive(Debug)]
pub(crate) struct Author {
    pub id: RecordId,
    pub who: String,
    pub source: String,
}

impl Author {
    /// Whoever may use `master.sock`.
    pub(crate) fn operator(who: String) -> Result<Author, No> {
        let id = RecordId::random().map_err(|error| No::failed(error.to_string()))?;
        Ok(Author { id, who, source: "local".to_owned() })
    }
}

impl Master {
    /// Makes an empty repository.
    pub(crate) async fn create(&self, name: &str, non_publishing: bool, author: Author) -> Result<u64, No> {
        let name = parse(name)?;
        let _naming = self.naming.lock().await;
        self.create_named(&name, non_publishing, author).await
    }

    /// The same, for whoever gives names just now.
    pub(super) async fn create_named(
        &self,
        name: &RepositoryName,
        non_publishing: bool,
        author: Author,
    ) -> Result<u64, No> {
        let format = match self.format {
            StoreFormatName::Current => StoreFormat::Current,
            StoreFormatName::Since49 => StoreFormat::Since49,
        };
        let (run, replica, new) = (self.run.clone(), self.replica.clone(), name.clone());
        let made = blocking(move || {
            let mut writer = ChangeWriter::new(tempfile::tempfile_in(&run).map_err(text)?).map_err(text)?;
            for (path, bytes) in Repository::create_files(format, non_publishing.then_some(NON_PUBLISHING)) {
                writer.create(&path, &bytes).map_err(text)?;
            }
            finish(writer, &new, |name, change| replica.digest_of_new(name, change))
        });
        let (change, after) = made.await?;
        let lock = self.name_lock(name).await?;
        self.store(StoreKind::Create, None, Some(after), change, lock, author).await
    }

    /// Takes the store of a folder in, as it is.
    pub(crate) async fn import(&self, path: PathBuf, name: &str, author: Author) -> Result<u64, No> {
        let name = parse(name)?;
        if !path.is_absolute() {
            return Err(No::refused(format!("{} is not an absolute path", path.display())));
        }
        self.replica.check_name(&name).map_err(|error| No::refused(error.to_string()))?;
        let run = self.run.clone();
        // Several may be read at a time; names are given one at a time.
        let made = blocking(move || {
            let before = survey(&path)?;
            check(&path)?;
            let mut writer = ChangeWriter::new(tempfile::tempfile_in(&run).map_err(text)?).map_err(text)?;
            let hg = path.join(".hg");
            for file in &before {
                copy(&hg, file, &mut writer)?;
            }
            if survey(&path)? != before {
                return Err(format!(
                    "{} was written to while it was read. Import it again when nobody writes",
                    path.display()
                ));
            }
            let (file, _) = writer.finish().map_err(text)?;
            ChangeFile::own(file).map_err(text)
        });
        let change = made.await?;
        self.check_room(&name, change.bytes().len() as u64)?;
        let _naming = self.naming.lock().await;
        self.take_in(&name, change, author).await
    }

    /// Stores a change that is a whole repository, for whoever gives names just now.
    pub(super) async fn take_in(&self, name: &RepositoryName, change: ChangeFile, author: Author) -> Result<u64, No> {
        let (replica, new) = (self.replica.clone(), name.clone());
        let digested = blocking(move || {
            let after = replica.digest_of_new(&new, &ChangeRef::parse(change.bytes()).map_err(text)?);
            Ok((after.map_err(text)?, change))
        });
        let (after, change) = digested.await?;
        let lock = self.name_lock(name).await?;
        self.store(StoreKind::Create, None, Some(after), change, lock, author).await
    }

    /// All repositories of this server.
    pub(crate) fn list(&self) -> Vec<RepositoryLine> {
        let all = self.replica.repositories().into_iter();
        all.map(|repository| RepositoryLine {
            name: repository.name.to_string(),
            sequence: repository.sequence.get(),
            digest: hex(&repository.digest),
            quarantine: repository.quarantine,
        })
        .collect()
    }

    /// Rebuilds and hashes every revision, reads all files on all servers, and compares the digests with the log's
    /// records. Nothing waits for it: each server says at which record it was.
    pub(crate) async fn verify(&self, name: &str) -> Result<VerifyAnswer, No> {
        let name = parse(name)?;
        let (grant, _) = self.grant(&name)?;
        let replica = self.replica.clone();
        let on = name.clone();
        let report = blocking(move || {
            let repository = Repository::open(&grant.path).map_err(text)?;
            if repository.identity().map_err(text)? != grant.folder {
                return Err(format!("{on} was exchanged or renamed just now. Verify it again"));
            }
            let snapshot = repository.snapshot(grant.state).map_err(text)?;
            hg_store::verify(&snapshot).map_err(text)
        });
        let on = name.clone();
        let scrubbed = blocking(move || replica.scrub(&on, &mut |_| true).map_err(text));
        let (report, scrubbed, mut answers) = tokio::join!(report, scrubbed, self.digests.ask(&self.view, &name));
        let (report, scrubbed) = (report?, scrubbed?);
        let digest = match scrubbed {
            Scrubbed::Whole(sequence, digest) => Ok((sequence, digest)),
            Scrubbed::Damaged(reason) => {
                self.resync.wake();
                Err(reason)
            }
            Scrubbed::Ended => Err("the repository was exchanged or deleted meanwhile".to_owned()),
        };
        answers.insert(0, Answer { server: self.name.clone(), digest });
        let mut problems = report.problems;
        let mut servers = Vec::new();
        for Answer { server, digest } in answers {
            let (sequence, digest) = match digest {
                Ok(found) => found,
                Err(why) => {
                    problems.push(format!("{server}: {why}"));
                    continue;
                }
            };
            if let Some(expected) = self.digest_at(&name, sequence).await?
                && expected != digest
            {
                let (digest, expected) = (hex(&digest), hex(&expected));
                problems.push(format!("{server}: it has digest {digest} and record {sequence} says {expected}"));
            }
            servers.push(ServerDigest { server, sequence: sequence.get(), digest: hex(&digest) });
        }
        Ok(VerifyAnswer {
            changesets: report.changesets,
            revisions: report.changesets + report.manifests + report.file_revisions,
            problems,
            servers,
        })
    }

    /// The digest that a record left a repository with; none where the log no longer says.
    async fn digest_at(&self, name: &RepositoryName, sequence: Sequence) -> Result<Option<[u8; 32]>, No> {
        let unreadable = |error: LogError| No::failed(format!("the log can't be read: {error}"));
        let record = match self.log.read(sequence, 1).await {
            Ok(records) => records.into_iter().next(),
            Err(LogError::Trimmed { .. }) => self.log.last_of(name).await.map_err(unreadable)?,
            Err(error) => return Err(unreadable(error)),
        };
        let record = record.filter(|record| record.sequence == sequence);
        Ok(record.as_ref().and_then(|record| record.store()).and_then(|store| store.after))
    }

    /// The lock of a name that no repository has yet.
    pub(super) async fn name_lock(&self, name: &RepositoryName) -> Result<WriteLock, No> {
        if !self.takes_pushes() {
            return Err(No::not_master());
        }
        self.locks.take(name, self.lock_wait).await.map_err(|no| match no {
            NoLock::Closed => No::not_master(),
            NoLock::Held => No::refused(format!("{name} is being worked on. Try again in a while")),
        })
    }

    pub(super) async fn store(
        &self,
        kind: StoreKind,
        before: Option<[u8; 32]>,
        after: Option<[u8; 32]>,
        change: ChangeFile,
        lock: WriteLock,
        Author { id, who, source }: Author,
    ) -> Result<u64, No> {
        self.committed(Push {
            id,
            repository: lock.repository.clone(),
            what: Change::Store(kind),
            before,
            after,
            who,
            source,
            summary: Vec::new(),
            change,
            lock: Some(lock),
            times: SessionTimes::default(),
            asked: Instant::now(),
        })
        .await
    }

    /// Waits for the end of what an operator, or time, has asked for; returns its sequence.
    pub(super) async fn committed(&self, push: Push) -> Result<u64, No> {
        let id = push.id;
        let mut events = self.committer.commit(push);
        while let Some(event) = events.recv().await {
            match event {
                Event::Told(_) => {}
                Event::Ended(PushEnd::Done) => break,
                Event::Ended(PushEnd::Refused(text) | PushEnd::Unknown(text) | PushEnd::Stored(text)) => {
                    return Err(No::refused(text));
                }
            }
        }
        match self.log.find(&id).await {
            Ok(Some(record)) => Ok(record.sequence.get()),
            Ok(None) => Err(No::failed("the log does not have the record")),
            Err(error) => Err(No::failed(error.to_string())),
        }
    }
}

pub(super) fn parse(name: &str) -> Result<RepositoryName, No> {
    RepositoryName::parse(name).map_err(|error| No::refused(format!("{name:?} can't be a repository's name: {error}")))
}

pub(super) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, No> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(error.to_string())).map_err(No::refused)
}

pub(super) fn finish<E: std::fmt::Display>(
    writer: ChangeWriter<File>,
    name: &RepositoryName,
    digest: impl FnOnce(&RepositoryName, &ChangeRef<'_>) -> Result<[u8; 32], E>,
) -> Result<(ChangeFile, [u8; 32]), String> {
    let (file, _) = writer.finish().map_err(text)?;
    let change = ChangeFile::own(file).map_err(text)?;
    let after = digest(name, &ChangeRef::parse(change.bytes()).map_err(text)?).map_err(text)?;
    Ok((change, after))
}

/// One file of a store that is taken in.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Relative to `.hg`.
    path: Vec<u8>,
    bytes: u64,
    modified: (i64, i64),
}

/// Lists the files that make up a store's state, sorted.
fn survey(root: &Path) -> Result<Vec<Found>, String> {
    let hg = root.join(".hg");
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("store")];
    for name in ["00changelog.i", "bookmarks", "largefiles", "requires"] {
        note(&hg, Path::new(name), &mut found, &mut folders)?;
    }
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(hg.join(&folder));
        let entries = entries.map_err(|error| format!("cannot read {}: {error}", hg.join(&folder).display()))?;
        for entry in entries {
            let entry = entry.map_err(text)?;
            note(&hg, &folder.join(entry.file_name()), &mut found, &mut folders)?;
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn note(hg: &Path, path: &Path, found: &mut Vec<Found>, folders: &mut Vec<PathBuf>) -> Result<(), String> {
    let shown = hg.join(path);
    let bytes = path.as_os_str().as_bytes();
    if is_excluded(bytes) || is_node_map(bytes) {
        return Ok(());
    }
    let metadata = match fs::symlink_metadata(&shown) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot read {}: {error}", shown.display())),
    };
    if metadata.is_dir() {
        folders.push(path.to_owned());
        return Ok(());
    }
    if !metadata.is_file() {
        return Err(format!("{} is no regular file. A store has only files and folders", shown.display()));
    }
    check_path(bytes).map_err(text)?;
    if found.len() >= FILES_MAX {
        return Err(format!("{} has more than {FILES_MAX} files", hg.display()));
    }
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    found.push(Found { path: bytes.to_vec(), bytes: metadata.len(), modified });
    Ok(())
}

/// Mercurial's own map from nodes to revisions: a cache, though it lies in the store. It makes it again where it is missing.
pub(super) fn is_node_map(path: &[u8]) -> bool {
    let Some(name) = path.strip_prefix(b"store/") else { return false };
    [&b"00changelog"[..], b"00manifest"].iter().any(|log| {
        name.strip_prefix(*log).is_some_and(|rest| rest == b".n" || (rest.starts_with(b"-") && rest.ends_with(b".nd")))
    })
}

/// Makes sure that what is taken in can be read, written and is whole.
pub(super) fn check(root: &Path) -> Result<(), String> {
    let readable = |error: StoreError| error.to_string();
    let repository = Repository::open(root).map_err(readable)?;
    if repository.requirements().shared() {
        return Err(format!(
            "{} is a share, without a store of its own. Import {}, or make it one of its own with `hg unshare`",
            root.display(),
            repository.hg_of_store().with_file_name("").display()
        ));
    }
    if !repository.requirements().store() {
        return Err(format!(
            "{}: a repository without requirement 'store' can't be kept by a fleet. Copy it to a current format with `hg clone --pull`, then import the copy",
            root.display()
        ));
    }
    let snapshot = repository.current_state().and_then(|state| repository.snapshot(state)).map_err(readable)?;
    let report = hg_store::verify(&snapshot).map_err(readable)?;
    match report.problems.first() {
        None => Ok(()),
        Some(first) => Err(format!(
            "{} is damaged ({} problems, the first: {first}). Look with `hg verify`",
            root.display(),
            report.problems.len()
        )),
    }
}

fn copy(hg: &Path, found: &Found, writer: &mut ChangeWriter<File>) -> Result<(), String> {
    let path = hg.join(std::ffi::OsStr::from_bytes(&found.path));
    let wrong = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
    let mut file = File::options().read(true).custom_flags(no_follow).open(&path).map_err(wrong)?;
    writer.begin_create(&found.path).map_err(text)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let filled = file.read(&mut piece).map_err(wrong)?;
        if filled == 0 {
            break;
        }
        writer.write(&piece[..filled]).map_err(text)?;
    }
    writer.end();
    Ok(())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_locks_and_leftovers_are_not_taken_in() {
        let folder = tempfile::tempdir().unwrap();
        let hg = folder.path().join(".hg");
        for path in [
            "requires",
            "hgrc",
            "dirstate",
            "branch",
            "cache/branch2-served",
            "undo.bookmarks",
            "store/00changelog.i",
            "store/00changelog.n",
            "store/00changelog-1234.nd",
            "store/undo",
            "store/journal",
            "store/lock",
            "store/data/undo.i",
            "store/data/journal.backup.x.i",
            "store/data-s/x.i",
            "store/fncache",
            "store/lfs/objects/00/11",
            "largefiles/dirstate",
            "largefiles/0123456789abcdef0123456789abcdef01234567",
        ] {
            let path = hg.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let paths: Vec<String> = survey(folder.path())
            .unwrap()
            .iter()
            .map(|found| String::from_utf8_lossy(&found.path).into_owned())
            .collect();
        let expected = [
            "largefiles/0123456789abcdef0123456789abcdef01234567",
            "requires",
            "store/00changelog.i",
            "store/data/journal.backup.x.i",
            "store/data/undo.i",
            "store/fncache",
            "store/lfs/objects/00/11",
        ];
        assert_eq!(paths, expected);
        std::os::unix::fs::symlink("/etc/passwd", hg.join("store/data/link.i")).unwrap();
        assert!(survey(folder.path()).unwrap_err().contains("no regular file"));
    }
}

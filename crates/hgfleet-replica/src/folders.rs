//! The folders of a server.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hgfleet_log::{RepositoryName, Sequence};
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock};
use rustix::io::Errno;

use crate::ReplicaError;
use crate::exchange::remove;

/// How long a deleted repository stays for those who still read it.
const OLD_KEPT: Duration = Duration::from_secs(600);

/// The name of the folder of an epoch's tree.
pub(crate) fn tree_name(epoch: u64) -> String {
    format!("e{epoch}")
}

fn make_all(dir: &Path) -> Result<(), ReplicaError> {
    let folders = ["repos", "old", "deleted", "new", "rewrite", "index", "copy", "altered"];
    for folder in folders.map(|folder| dir.join(folder)) {
        fs::create_dir_all(&folder).map_err(ReplicaError::io("create", &folder))?;
    }
    Ok(())
}

/// A server's folder, held by this process alone.
#[derive(Debug)]
pub(crate) struct Folders {
    dir: PathBuf,
    /// The server's name, for the names of steps.
    label: String,
    /// Locks in its stores are those of a server that is fenced off.
    breaks_locks: bool,
    /// Locked as long as it is open. None for a tree of a shared volume, which the log gives to one server.
    _lock: Option<fs::File>,
}

impl Folders {
    pub(crate) fn open(dir: &Path) -> Result<Self, ReplicaError> {
        make_all(dir)?;
        let lock = fs::File::open(dir).map_err(ReplicaError::io("open", dir))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(ReplicaError::InUse(dir.to_owned())),
            Err(error) => return Err(ReplicaError::io("lock", dir)(error)),
        }
        let label = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self::opened(Self { dir: dir.to_owned(), label, breaks_locks: false, _lock: Some(lock) })
    }

    /// Opens a tree of a shared volume, for the server called `label`.
    pub(crate) fn open_tree(dir: &Path, label: &str, breaks_locks: bool) -> Result<Self, ReplicaError> {
        make_all(dir)?;
        Self::opened(Self { dir: dir.to_owned(), label: label.to_owned(), breaks_locks, _lock: None })
    }

    fn opened(folders: Self) -> Result<Self, ReplicaError> {
        // What was being made when a process ended is made again from the record.
        for (_, path) in folders.numbered("new")?.into_iter().chain(folders.numbered("rewrite")?) {
            fs::remove_dir_all(&path).map_err(ReplicaError::io("remove", &path))?;
        }
        Ok(folders)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The server's name.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Whether locks in its stores are those of a server that is fenced off.
    pub(crate) fn breaks_locks(&self) -> bool {
        self.breaks_locks
    }

    /// Removes the locks of a repository, whoever holds them.
    pub(crate) fn break_locks(&self, name: &RepositoryName) -> Result<(), ReplicaError> {
        let hg = self.repository(name).join(".hg");
        for lock in ["wlock", "wlock.break", "store/lock", "store/lock.break"].map(|lock| hg.join(lock)) {
            match fs::remove_file(&lock) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(ReplicaError::io("remove", &lock)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The folder of a repository in another tree of the volume in which this one is.
    pub(crate) fn in_tree(&self, tree: u64, name: &RepositoryName) -> PathBuf {
        self.dir.with_file_name(tree_name(tree)).join("repos").join(name.as_str())
    }

    /// Puts a folder in a repository's place, over what an earlier try has left there.
    pub(crate) fn place_over(&self, made: &Path, name: &RepositoryName) -> Result<(), ReplicaError> {
        let to = self.repository(name);
        remove(&to)?;
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(ReplicaError::io("create", parent))?;
        }
        fs::rename(made, &to).map_err(ReplicaError::io("rename", &to))
    }

    /// The folder of a repository.
    pub(crate) fn repository(&self, name: &RepositoryName) -> PathBuf {
        self.dir.join("repos").join(name.as_str())
    }

    /// Makes a folder in which a record's repository is made.
    pub(crate) fn make(&self, sequence: Sequence) -> Result<PathBuf, ReplicaError> {
        self.make_in("new", sequence.get())
    }

    /// Makes a folder in which an operator's command works.
    pub(crate) fn make_rewrite(&self, number: u64) -> Result<PathBuf, ReplicaError> {
        self.make_in("rewrite", number)
    }

    fn make_in(&self, folder: &str, number: u64) -> Result<PathBuf, ReplicaError> {
        let path = self.dir.join(folder).join(number.to_string());
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(ReplicaError::io("remove", &path)(error)),
            _ => {}
        }
        let store = path.join(".hg/store");
        fs::create_dir_all(&store).map_err(ReplicaError::io("create", &store))?;
        Ok(path)
    }

    /// Puts a folder in a repository's place. One that is there, which no record made, is moved to `old/`.
    pub(crate) fn place(&self, made: &Path, name: &RepositoryName, sequence: Sequence) -> Result<(), ReplicaError> {
        let to = self.repository(name);
        if to.join(".hg").symlink_metadata().is_ok() {
            self.retire(name, sequence)?;
        }
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(ReplicaError::io("create", parent))?;
        }
        fs::rename(made, &to).map_err(ReplicaError::io("rename", &to))
    }

    /// Moves a repository to `old/`, under the sequence of the record that asks for it. Once is enough: where that is
    /// there already, nothing is moved.
    pub(crate) fn retire(&self, name: &RepositoryName, sequence: Sequence) -> Result<(), ReplicaError> {
        let from = self.repository(name);
        let to = self.retired(sequence);
        if to.symlink_metadata().is_ok() {
            return Ok(());
        }
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(ReplicaError::io("rename", &from)(error)),
        }
        self.remove_empty_above(&from);
        Ok(())
    }

    /// Removes empty folders above a repository's: they would be in the way of a repository of such a name.
    fn remove_empty_above(&self, from: &Path) {
        let repos = self.dir.join("repos");
        let above = from.ancestors().skip(1).take_while(|folder| *folder != repos);
        for folder in above {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }

    /// Moves away what a copy takes the place of, or what was deleted without its record being seen. Returns to where;
    /// `None` where there was nothing.
    pub(crate) fn set_aside(
        &self,
        name: &RepositoryName,
        sequence: Sequence,
        altered: bool,
    ) -> Result<Option<PathBuf>, ReplicaError> {
        let from = self.repository(name);
        let folder = self.dir.join(if altered { "altered" } else { "old" });
        let Some(to) = free_name(&folder, sequence) else { return Ok(None) };
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ReplicaError::io("rename", &from)(error)),
        }
        self.remove_empty_above(&from);
        Ok(Some(to))
    }

    /// What is kept of the repository that a record deleted.
    pub(crate) fn deleted(&self, sequence: Sequence) -> PathBuf {
        self.dir.join("deleted").join(sequence.to_string())
    }

    /// Moves a repository that a record deletes to where it is kept. Where that has happened, nothing is done.
    pub(crate) fn keep_deleted(&self, name: &RepositoryName, sequence: Sequence) -> Result<(), ReplicaError> {
        let (from, to) = (self.repository(name), self.deleted(sequence));
        if to.symlink_metadata().is_ok() {
            return Ok(());
        }
        match fs::rename(&from, &to) {
            Ok(()) => self.remove_empty_above(&from),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(ReplicaError::io("rename", &from)(error)),
        }
        Ok(())
    }

    /// Gives up what is kept of a deleted repository, for the record `sequence`.
    pub(crate) fn purge(&self, deleted: Sequence, sequence: Sequence) -> Result<(), ReplicaError> {
        let from = self.deleted(deleted);
        let Some(to) = free_name(&self.dir.join("old"), sequence) else { return Ok(()) };
        match fs::rename(&from, &to) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(ReplicaError::io("rename", &from)(error)),
            _ => Ok(()),
        }
    }

    /// Gives a folder the place of a repository. Where it has gone there already, nothing is done; another one that is there, which
    /// no record made, is moved to `old/`.
    pub(crate) fn move_to(&self, from: &Path, name: &RepositoryName, sequence: Sequence) -> Result<(), ReplicaError> {
        if from.join(".hg").symlink_metadata().is_err() {
            return Ok(());
        }
        self.place(from, name, sequence)?;
        if from.starts_with(self.dir.join("repos")) {
            self.remove_empty_above(from);
        }
        Ok(())
    }

    /// Exchanges a repository's folder for the one that was made for it, whose place the old one gets in `old/`.
    pub(crate) fn exchange(&self, made: &Path, name: &RepositoryName, sequence: Sequence) -> Result<(), ReplicaError> {
        let place = self.repository(name);
        let aside = free_name(&self.dir.join("old"), sequence).unwrap_or_else(|| self.retired(sequence));
        match rustix::fs::renameat_with(CWD, made, CWD, &place, RenameFlags::EXCHANGE) {
            Ok(()) => fs::rename(made, &aside).map_err(ReplicaError::io("rename", made)),
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                fs::rename(&place, &aside).map_err(ReplicaError::io("rename", &place))?;
                fs::rename(made, &place).map_err(ReplicaError::io("rename", made))
            }
            Err(error) => Err(ReplicaError::io("exchange", &place)(error)),
        }
    }

    /// Puts back what an exchange that broke off had moved away.
    pub(crate) fn put_back(&self, name: &RepositoryName, sequence: Sequence) -> Result<(), ReplicaError> {
        let (place, aside) = (self.repository(name), self.dir.join("old").join(format!("{sequence}.1")));
        if place.join(".hg").symlink_metadata().is_ok() || aside.join(".hg").symlink_metadata().is_err() {
            return Ok(());
        }
        fs::rename(&aside, &place).map_err(ReplicaError::io("rename", &aside))
    }

    /// Gives what speeds up reading a repository to the one that it is since another record. It can be done without.
    pub(crate) fn move_index(&self, from: Sequence, to: Sequence) {
        // Where it can't be moved it is made again.
        let _ = fs::rename(self.index(from), self.index(to));
    }

    /// The folder in which a copy is put together.
    pub(crate) fn copy(&self, created: Sequence) -> PathBuf {
        self.dir.join("copy").join(created.to_string())
    }

    /// Puts a copy in the repository's place, which is free.
    pub(crate) fn move_in(&self, name: &RepositoryName, created: Sequence) -> Result<(), ReplicaError> {
        let to = self.repository(name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(ReplicaError::io("create", parent))?;
        }
        fs::rename(self.copy(created), &to).map_err(ReplicaError::io("rename", &to))
    }

    pub(crate) fn retired(&self, sequence: Sequence) -> PathBuf {
        self.dir.join("old").join(sequence.to_string())
    }

    /// The folder of the index of the repository that a record made.
    pub(crate) fn index(&self, created: Sequence) -> PathBuf {
        self.dir.join("index").join(created.to_string())
    }

    /// Removes the indexes of repositories that are gone.
    pub(crate) fn remove_indexes(&self, is_used: impl Fn(Sequence) -> bool) -> Result<(), ReplicaError> {
        for (created, path) in self.numbered("index")? {
            if !is_used(created) {
                fs::remove_dir_all(&path).map_err(ReplicaError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Removes what was deleted by records up to `durable`, a while ago.
    pub(crate) fn remove_old(&self, durable: Option<Sequence>) -> Result<(), ReplicaError> {
        for (sequence, path) in self.old()? {
            // Being moved changes the inode's time, and not that of the content.
            let moved = fs::symlink_metadata(&path).ok().and_then(|meta| u64::try_from(meta.ctime()).ok());
            let age = moved.and_then(|moved| (UNIX_EPOCH + Duration::from_secs(moved)).elapsed().ok());
            if Some(sequence) <= durable && age.is_some_and(|age| age > OLD_KEPT) {
                fs::remove_dir_all(&path).map_err(ReplicaError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Brings to disk what lies where in this folder.
    pub(crate) fn sync(&self) -> Result<(), ReplicaError> {
        let dir = fs::File::open(&self.dir).map_err(ReplicaError::io("open", &self.dir))?;
        rustix::fs::syncfs(&dir).map_err(ReplicaError::io("sync", &self.dir))
    }

    /// Returns what lies in `old/`: what records deleted, and what copies took the place of.
    fn old(&self) -> Result<Vec<(Sequence, PathBuf)>, ReplicaError> {
        self.named("old", |name| name.split('.').next().unwrap_or_default())
    }

    /// Returns the folders that are named by a sequence.
    fn numbered(&self, folder: &str) -> Result<Vec<(Sequence, PathBuf)>, ReplicaError> {
        self.named(folder, |name| name)
    }

    fn named(&self, folder: &str, number: fn(&str) -> &str) -> Result<Vec<(Sequence, PathBuf)>, ReplicaError> {
        let folder = self.dir.join(folder);
        let entries = fs::read_dir(&folder).map_err(ReplicaError::io("read", &folder))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ReplicaError::io("read", &folder))?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| number(name).parse().ok()).and_then(Sequence::new);
            found.extend(number.map(|sequence| (sequence, entry.path())));
        }
        Ok(found)
    }

    /// Removes copies that were begun of repositories that are gone.
    pub(crate) fn remove_copies(&self, is_used: impl Fn(Sequence) -> bool) -> Result<(), ReplicaError> {
        for (created, path) in self.numbered("copy")? {
            if !is_used(created) {
                fs::remove_dir_all(&path).map_err(ReplicaError::io("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// A name in `folder` that is free, for what a record moves there.
fn free_name(folder: &Path, sequence: Sequence) -> Option<PathBuf> {
    (1u64..).map(|number| folder.join(format!("{sequence}.{number}"))).find(|path| !path.exists())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_deleted_stays_for_a_while() {
        let dir = tempfile::TempDir::new().unwrap();
        let folders = Folders::open(dir.path()).unwrap();
        let name = RepositoryName::parse("team/a").unwrap();
        let repository = folders.repository(&name);
        fs::create_dir_all(repository.join(".hg")).unwrap();
        // Its content is old, its deletion is not.
        let old = fs::FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        fs::File::open(&repository).unwrap().set_times(old).unwrap();
        folders.retire(&name, Sequence::FIRST).unwrap();
        folders.remove_old(Some(Sequence::FIRST)).unwrap();
        assert!(folders.retired(Sequence::FIRST).join(".hg").exists());
        assert!(!dir.path().join("repos/team").exists());
    }
}

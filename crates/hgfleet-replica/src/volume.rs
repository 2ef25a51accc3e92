//! A volume that the servers which can be master share: a tree of folders for each epoch.
//!
//! ```text
//! VOLUME/e7/               the tree of epoch 7: a server's folder, as the crate's page has it
//!        e7/tree           whose it is: see [`TreeNote`]
//!        e9.making/        a tree that is being made; nobody reads it
//! ```
//!
//! Nothing here relies on more than NFSv4 promises. A tree has one writer, because the log gives its epoch to one server,
//! and not because of a lock. It appears by the rename of a folder whose content is on disk. What another server wrote is read
//! with files that are opened for it, which is when NFS looks again, and believed for its checksums and digests.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use hgfleet_log::{ChainHash, Epoch, Incarnation, LogId, RepositoryName, Sequence};

use crate::ReplicaError;
use crate::exchange::remove;
use crate::folders::tree_name;
use crate::state::{self, StateFile};
use crate::tree::repositories_below;

/// The file that says whose a tree is.
const NOTE: &str = "tree";
/// Its first line.
const NOTE_HEAD: &str = "hgfleet tree 1";
/// Longest such file, in bytes.
const NOTE_BYTES_MAX: u64 = 4096;
/// How often the copy of a `state.sqlite` is begun again while its owner writes a new generation of its write-ahead log.
const STATE_TRIES_MAX: u32 = 100;
/// The head of a write-ahead log has two numbers that change when it begins anew, at this place.
const SALTS: std::ops::Range<usize> = 16..24;

/// A shared volume, mounted here.
#[derive(Debug, Clone)]
pub struct Volume {
    dir: PathBuf,
}

/// Who writes to a tree, and since which record. It is written before anything else in the tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeNote {
    /// The log whose epoch it is.
    pub log: LogId,
    /// The epoch whose holder writes: the tree's own, or a later one that goes on in it.
    pub epoch: Epoch,
    /// That epoch's record.
    pub sequence: Sequence,
    /// Its hash.
    pub hash: ChainHash,
    /// The server that holds the epoch.
    pub holder: String,
    /// The life of that server's own folder.
    pub incarnation: Incarnation,
    /// The boot of its machine.
    pub boot: String,
}

impl TreeNote {
    /// Whether what was written to the tree was written by this boot of this machine, through the server's folder of this life.
    /// Whoever holds that folder now knows that the process which wrote has ended.
    pub fn is_of(&self, incarnation: Incarnation) -> bool {
        self.incarnation == incarnation && self.boot == state::boot_id()
    }

    /// The note of an epoch that a server with this folder takes on this machine.
    pub fn new(
        (log, epoch): (LogId, Epoch),
        (sequence, hash): (Sequence, ChainHash),
        holder: &str,
        incarnation: Incarnation,
    ) -> Self {
        Self { log, epoch, sequence, hash, holder: holder.to_owned(), incarnation, boot: state::boot_id() }
    }

    fn encode(&self) -> String {
        let Self { log, epoch, sequence, hash, holder, incarnation, boot } = self;
        format!(
            "{NOTE_HEAD}\nlog {log}\nepoch {epoch}\nsequence {sequence}\nhash {hash}\nholder {holder}\nincarnation {incarnation}\nboot {boot}\n"
        )
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != NOTE_HEAD {
            return None;
        }
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        let note = Self {
            log: value("log")?.parse().ok()?,
            epoch: Epoch::new(value("epoch")?.parse().ok()?)?,
            sequence: Sequence::new(value("sequence")?.parse().ok()?)?,
            hash: value("hash")?.parse().ok()?,
            holder: value("holder")?.to_owned(),
            incarnation: value("incarnation")?.parse().ok()?,
            boot: value("boot")?.to_owned(),
        };
        lines.next().is_none().then_some(note)
    }
}

impl Volume {
    /// The volume at this folder, which is not looked at yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The folder of an epoch's tree.
    pub fn tree(&self, epoch: u64) -> PathBuf {
        self.dir.join(tree_name(epoch))
    }

    /// Returns the epochs that have a whole tree, the oldest first.
    ///
    /// # Errors
    /// The volume can't be read, or written to.
    pub fn trees(&self) -> Result<Vec<u64>, ReplicaError> {
        // A client may remember the names in a folder for a while. One that has just written there itself looks again.
        let probe = self.dir.join(format!(".looking-{}", std::process::id()));
        fs::create_dir(&probe)
            .or_else(|error| if error.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
            .map_err(ReplicaError::io("write to", &self.dir))?;
        fs::remove_dir(&probe)
            .or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .map_err(ReplicaError::io("write to", &self.dir))?;
        let mut trees = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(ReplicaError::io("read", &self.dir))? {
            let name = entry.map_err(ReplicaError::io("read", &self.dir))?.file_name();
            let number =
                name.to_str().and_then(|name| name.strip_prefix('e')).and_then(|rest| rest.parse::<u64>().ok());
            trees.extend(number.filter(|number| name.to_str() == Some(&tree_name(*number))));
        }
        trees.sort_unstable();
        Ok(trees)
    }

    /// Reads whose a tree is; none where it has no note, as one that an operator has put there.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub fn note(&self, epoch: u64) -> Result<Option<TreeNote>, ReplicaError> {
        let path = self.tree(epoch).join(NOTE);
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(NOTE_BYTES_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(ReplicaError::io("read", &path)(error)),
        }
        let note = TreeNote::decode(&text);
        note.map(Some).ok_or_else(|| ReplicaError::Format { path, what: "not a tree's note".to_owned() })
    }

    /// Makes the tree of an epoch that was taken: empty, or with all repositories of the tree `from`, which stay where they
    /// are. Returns its folder. No store is read.
    ///
    /// # Errors
    /// There is one of this epoch; the volume fails.
    pub fn begin(&self, epoch: u64, from: Option<u64>, note: &TreeNote) -> Result<PathBuf, ReplicaError> {
        let tree = self.tree(epoch);
        if tree.symlink_metadata().is_ok() {
            let what = "there is a tree of this epoch, and it was not made by this server. The log was exchanged";
            return Err(ReplicaError::Format { path: tree, what: what.to_owned() });
        }
        let making = self.dir.join(format!("{}.making", tree_name(epoch)));
        remove(&making)?;
        fs::create_dir(&making).map_err(ReplicaError::io("create", &making))?;
        if let Some(from) = from {
            copy_state_file(&self.tree(from), &making)?;
        }
        let (state, _) = StateFile::open_alone(&making)?;
        if let Some(from) = from {
            state.leave_in(from)?;
        }
        state.sync()?;
        // Closed before the folder's name changes, and with its write-ahead log brought into the file.
        drop(state);
        write_durably(&making.join(NOTE), note.encode().as_bytes())?;
        sync_folder(&making)?;
        match fs::rename(&making, &tree) {
            Ok(()) => {}
            // A server of NFSv4.0 may answer the repetition of a request that it has done.
            Err(error) if error.kind() == ErrorKind::NotFound && tree.join(NOTE).exists() => {}
            Err(error) => return Err(ReplicaError::io("rename", &making)(error)),
        }
        sync_folder(&self.dir)?;
        Ok(tree)
    }

    /// Notes that the holder of a later epoch goes on in a tree. Returns its folder.
    ///
    /// # Errors
    /// The volume fails.
    pub fn go_on(&self, epoch: u64, note: &TreeNote) -> Result<PathBuf, ReplicaError> {
        let tree = self.tree(epoch);
        let passing = tree.join(format!("{NOTE}.new"));
        write_durably(&passing, note.encode().as_bytes())?;
        fs::rename(&passing, tree.join(NOTE)).map_err(ReplicaError::io("rename", &passing))?;
        sync_folder(&tree)?;
        Ok(tree)
    }

    /// Returns the repositories that lie in a tree, also those that are of no use any more, as paths below its `repos`.
    ///
    /// # Errors
    /// It can't be read.
    pub fn repositories(&self, epoch: u64) -> Result<Vec<PathBuf>, ReplicaError> {
        repositories_below(&self.tree(epoch).join("repos"))
    }

    /// Removes a repository from a tree that nobody writes to and reads it from.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove_repository(&self, epoch: u64, below: &Path) -> Result<(), ReplicaError> {
        let repos = self.tree(epoch).join("repos");
        remove(&repos.join(below))?;
        let above = below.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        for folder in above {
            if fs::remove_dir(repos.join(folder)).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Removes a whole tree. One in which something lies that was altered behind the fleet's back stays: an operator has to
    /// look at that. Returns whether it is gone.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove_tree(&self, epoch: u64) -> Result<bool, ReplicaError> {
        let tree = self.tree(epoch);
        let altered = tree.join("altered");
        if fs::read_dir(&altered).is_ok_and(|mut entries| entries.next().is_some()) {
            return Ok(false);
        }
        // Under another name first: half a tree must not be taken for one.
        let going = self.dir.join(format!("{}.removed", tree_name(epoch)));
        remove(&going)?;
        fs::rename(&tree, &going).map_err(ReplicaError::io("rename", &tree))?;
        remove(&going)?;
        Ok(true)
    }

    /// Removes what was left of trees that were being made or removed, of epochs before that of the tree called `ours`.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn tidy(&self, ours: &str) -> Result<(), ReplicaError> {
        let number = |name: &str| name.strip_prefix('e')?.parse::<u64>().ok();
        for entry in fs::read_dir(&self.dir).map_err(ReplicaError::io("read", &self.dir))? {
            let entry = entry.map_err(ReplicaError::io("read", &self.dir))?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let tree = name.strip_suffix(".making").or_else(|| name.strip_suffix(".removed")).and_then(number);
            if tree.is_some() && tree < number(ours) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Whether `name` is that of the repository that lies at `below`.
    pub fn is_at(name: &RepositoryName, below: &Path) -> bool {
        below == Path::new(name.as_str())
    }
}

/// Copies `state.sqlite` of a tree whose owner may be dead, may have lost what was not on disk, or may be writing.
///
/// SQLite writes the file itself only from what its write-ahead log has on disk, and begins that log anew, with other salts,
/// only when all of it is in the file. So a copy of the file is whole together with a log that was read before and after it
/// and has the same salts: whatever of the file was new is in the log as well. The log's own checksums say up to where it was
/// written. A state that is a little old is made up for by the redo.
fn copy_state_file(from: &Path, to: &Path) -> Result<(), ReplicaError> {
    let wal = |dir: &Path| dir.join(format!("{}-wal", state::FILE));
    for _ in 0..STATE_TRIES_MAX {
        let before = salts(&wal(from))?;
        let (file, log) = (to.join(state::FILE), wal(to));
        remove_file(&log)?;
        fs::copy(from.join(state::FILE), &file).map_err(ReplicaError::io("copy", &from.join(state::FILE)))?;
        match fs::copy(wal(from), &log) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(ReplicaError::io("copy", &wal(from))(error)),
        }
        if salts(&log)? == before && salts(&wal(from))? == before {
            return Ok(());
        }
    }
    let what = "another server writes to it all the time, though its epoch has ended".to_owned();
    Err(ReplicaError::Format { path: from.join(state::FILE), what })
}

/// The numbers that change when a write-ahead log begins anew; none where there is no log, or an empty one.
fn salts(wal: &Path) -> Result<Option<Vec<u8>>, ReplicaError> {
    let mut head = Vec::new();
    match File::open(wal).and_then(|file| file.take(SALTS.end as u64).read_to_end(&mut head)) {
        Ok(_) => Ok(head.get(SALTS).map(<[u8]>::to_vec)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ReplicaError::io("read", wal)(error)),
    }
}

fn remove_file(path: &Path) -> Result<(), ReplicaError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(ReplicaError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), ReplicaError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(ReplicaError::io("write", path))
}

fn sync_folder(dir: &Path) -> Result<(), ReplicaError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(ReplicaError::io("sync", dir))
}

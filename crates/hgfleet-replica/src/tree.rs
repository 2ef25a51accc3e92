//! A repository that lies in an older tree of a shared volume is copied before the first byte is written to it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hg_store::apply::StoreStat;
use hg_store::digest::digest_of_store;
use hgfleet_log::RepositoryName;

use crate::ReplicaError;
use crate::copy::copy_store;
use crate::folders::Folders;
use crate::replica::{Inner, Replica};
use crate::repository::{Entry, Writer};
use crate::state::StateFile;

/// How often a copy is begun again where it is not what it should be: a server whose epoch has ended may be writing the last
/// bytes of the original.
const TRIES_MAX: u32 = 3;

impl Replica {
    /// Opens the tree of an epoch that this server holds, made by [`crate::Volume::begin`], for the server called `label`.
    /// [`Self::recover`] must follow, up to the record before the epoch's: what the tree is a copy of may have been written to
    /// until then, and may lack what was not durable.
    ///
    /// # Errors
    /// The tree can't be used.
    pub fn open_tree(dir: &Path, label: &str) -> Result<Self, ReplicaError> {
        Self::open_in_volume(dir, label, false, false)
    }

    /// Opens a tree that an earlier epoch wrote to, to go on in it. `is_ours`: it was this machine, since its last boot, by a
    /// process that has ended, so that nothing that was written is lost; else a server that can't write any more, as is known
    /// from outside. Its locks are broken.
    ///
    /// # Errors
    /// The tree can't be used.
    pub fn continue_tree(dir: &Path, label: &str, is_ours: bool) -> Result<Self, ReplicaError> {
        Self::open_in_volume(dir, label, !is_ours, is_ours)
    }

    fn open_in_volume(dir: &Path, label: &str, breaks_locks: bool, is_ours: bool) -> Result<Self, ReplicaError> {
        let folders = Folders::open_tree(dir, label, breaks_locks)?;
        let (state, mut server) = StateFile::open_alone(dir)?;
        server.same_boot &= is_ours;
        Self::of(folders, state, server)
    }

    /// Copies a repository from the older tree in which it lies, and compares the copy's digest; nothing is done for one that
    /// lies here. Readers go on meanwhile, records for it wait. Nothing is written to the older tree.
    ///
    /// # Errors
    /// As for [`Self::snapshot`]; [`ReplicaError::Copy`] where the copy has another digest; a disk that fails or is full.
    pub fn bring_here(&self, name: &RepositoryName) -> Result<(), ReplicaError> {
        let (entry, _) = self.inner.readable(name)?;
        let mut writer = entry.writer();
        self.inner.bring_here(&entry, &mut writer)
    }

    /// Returns the name of the folder: of a tree, `e` and its epoch.
    pub fn tree_name(&self) -> String {
        self.inner.folders.dir().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the repositories that lie in older trees, by those trees' epochs.
    pub fn in_older_trees(&self) -> BTreeMap<u64, Vec<RepositoryName>> {
        let mut trees = BTreeMap::<u64, Vec<RepositoryName>>::new();
        for entry in self.inner.entries() {
            if let Some(tree) = entry.tree() {
                trees.entry(tree).or_default().push(entry.name.clone());
            }
        }
        trees
    }

    /// Whether a repository lies in an older tree; then also its bytes.
    pub fn lies_elsewhere(&self, name: &RepositoryName) -> Option<u64> {
        let entry = self.inner.entry(name)?;
        entry.tree().map(|_| entry.current().bytes)
    }
}

impl Inner {
    /// See [`Replica::bring_here`]; the caller writes to it next.
    pub(crate) fn bring_here(&self, entry: &Entry, writer: &mut Writer) -> Result<(), ReplicaError> {
        let Some(tree) = entry.tree() else { return Ok(()) };
        let expected = entry.current().digest;
        let hg = self.folders.repository(&entry.name).join(".hg");
        let mut tries = 0;
        loop {
            tries += 1;
            self.copy_here(entry)?;
            if *digest_of_store(&hg)?.as_bytes() == expected {
                break;
            }
            if tries == TRIES_MAX {
                let what =
                    format!("what lies in the volume's tree e{tree} has another digest than its last record says");
                return Err(ReplicaError::Copy { name: entry.name.clone(), what });
            }
        }
        self.stop("copied");
        let stat = StoreStat::of(&hg)
            .map_err(|error| ReplicaError::Copy { name: entry.name.clone(), what: error.to_string() })?;
        // Its bytes and names are on disk, see `copy_here`; from here on this is where it lies.
        self.state.set_here(entry.id, &stat)?;
        writer.stat = stat;
        entry.is_here();
        self.volatile.index_later(&entry.name);
        tracing::info!(repository = entry.name.as_str(), from = tree, "copied into this epoch's tree");
        Ok(())
    }

    /// Copies the files of a store, as they lie in an older tree, to its place here, and brings them to disk. What an earlier
    /// try has left here is removed: only [`StateFile::set_here`] makes it what counts.
    pub(crate) fn copy_here(&self, entry: &Entry) -> Result<(), ReplicaError> {
        let Some(tree) = entry.tree() else { return Ok(()) };
        let mut tries = 1;
        while let Err(error) = self.copy_files(entry, tree) {
            if tries == TRIES_MAX {
                return Err(error);
            }
            tries += 1;
        }
        Ok(())
    }

    fn copy_files(&self, entry: &Entry, tree: u64) -> Result<(), ReplicaError> {
        let from = self.folders.in_tree(tree, &entry.name).join(".hg");
        let made = self.folders.make(entry.created)?;
        copy_store(&from, &made.join(".hg"), || self.stop("copying"))?;
        self.folders.place_over(&made, &entry.name)?;
        self.folders.sync()
    }
}

/// Finds the repositories that lie below `repos`, relative to it.
pub(crate) fn repositories_below(repos: &Path) -> Result<Vec<PathBuf>, ReplicaError> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(folder) = waiting.pop() {
        let path = repos.join(&folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(ReplicaError::io("read", &path)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(ReplicaError::io("read", &path))?;
            let below = folder.join(entry.file_name());
            if !entry.file_type().map_err(ReplicaError::io("stat", &entry.path()))?.is_dir() {
                continue;
            }
            match entry.path().join(".hg").symlink_metadata() {
                Ok(_) => found.push(below),
                Err(_) => waiting.push(below),
            }
        }
    }
    Ok(found)
}

//! A new digest, and what has to be kept for the next.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustc_hash::FxHashSet;
use rustix::fs::{FileType, OFlags};

use super::content::{ContentHasher, Peaks};
use super::tree::{self, PathHash, Write, file_hash, file_key, path_hash};
use super::{Digest, DigestError, DigestNodes, state_files};
use crate::apply::Directories;
use crate::change::{ChangeRef, Operation};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The digest after something changed, with the nodes that have to be kept for it. Nothing is kept before
/// [`DigestUpdate::keep`].
#[must_use = "nothing is kept before keep()"]
#[derive(Debug)]
pub struct DigestUpdate {
    digest: Digest,
    growth: i64,
    pub(super) writes: Vec<Write>,
}

impl DigestUpdate {
    /// Computes the digest after `change` of the store in `hg`, whose nodes are kept in `nodes`, before the change is
    /// applied. It costs what the change costs: its bytes are hashed, and of each file that grows the last chunk.
    ///
    /// # Errors
    /// [`DigestError::Unexpected`] where the change does not fit: an old length, a file that should exist or not, or
    /// one whose end is not as it was kept, so that damage never gets into a new digest.
    pub fn of_change(hg: &Path, nodes: &mut dyn DigestNodes, change: &ChangeRef<'_>) -> Result<Self, DigestError> {
        let mut directories = Directories::open(hg).map_err(DigestError::read(b".hg"))?;
        let created: FxHashSet<&[u8]> = change
            .operations()
            .filter(|operation| matches!(operation, Operation::Create { .. }))
            .map(|operation| operation.path())
            .collect();
        let mut builder = Builder::new(nodes);
        let mut grown = Vec::new();
        for operation in change.operations() {
            let path = operation.path();
            let place = path_hash(path);
            let before = builder.peaks(&place)?;
            operation
                .check_old(before.as_ref().map(|peaks| peaks.bytes))
                .map_err(|why| DigestError::unexpected(path, why))?;
            if before.is_none() {
                check_free(&mut directories, path)?;
                check_not_below(path, &created)?;
            }
            let old = before.as_ref().map_or(0, |peaks| peaks.bytes);
            let mut hasher = match (&operation, before) {
                (Operation::Remove { .. }, before) => {
                    builder.remove(place, before.as_ref());
                    continue;
                }
                (Operation::Append { .. }, Some(before)) => {
                    let hasher = resume(&mut directories, path, before)?;
                    grown.push((path, hasher.clone()));
                    hasher
                }
                _ => ContentHasher::new(),
            };
            operation.content().pieces().for_each(|piece| hasher.update(piece));
            builder.set(place, hasher, old);
        }
        builder.check_grown(grown)?;
        builder.finish()
    }

    /// Computes the digest of a new store whose whole content is `change`.
    ///
    /// # Errors
    /// [`DigestError::Unexpected`] where the change does more than create files.
    pub fn of_new(change: &ChangeRef<'_>) -> Result<Self, DigestError> {
        let created: FxHashSet<&[u8]> = change.operations().map(|operation| operation.path()).collect();
        let mut nothing = HashMap::new();
        let mut builder = Builder::new(&mut nothing);
        for operation in change.operations() {
            let path = operation.path();
            if !matches!(operation, Operation::Create { .. }) {
                return Err(DigestError::unexpected(path, "a new store has no files to alter"));
            }
            check_not_below(path, &created)?;
            let mut hasher = ContentHasher::new();
            operation.content().pieces().for_each(|piece| hasher.update(piece));
            builder.set(path_hash(path), hasher, 0);
        }
        builder.finish()
    }

    /// Computes the digest of the store in `hg` from its files alone.
    ///
    /// # Errors
    /// A file that can't be read, or that is neither a regular file nor a directory.
    pub fn of_store(hg: &Path) -> Result<Self, DigestError> {
        let mut nothing = HashMap::new();
        let files = state_files(hg)?;
        Self::of_files(hg, &mut nothing, files.iter().map(|path| path.as_slice()))
    }

    /// Computes the digest of the store in `hg` whose nodes are kept in `nodes`, but for these files, each named once,
    /// which are read from disk whole, or are gone.
    ///
    /// # Errors
    /// A file that can't be read, or is not one.
    pub fn of_files<'p>(
        hg: &Path,
        nodes: &mut dyn DigestNodes,
        paths: impl Iterator<Item = &'p [u8]>,
    ) -> Result<Self, DigestError> {
        let mut directories = Directories::open(hg).map_err(DigestError::read(b".hg"))?;
        let mut builder = Builder::new(nodes);
        let mut buffer = vec![0; BUFFER_BYTES];
        for path in paths {
            let place = path_hash(path);
            let before = builder.peaks(&place)?;
            match directories.file(path, OFlags::RDONLY).map_err(DigestError::read(path))? {
                None => builder.remove(place, before.as_ref()),
                Some(mut file) => {
                    let mut hasher = ContentHasher::new();
                    loop {
                        match file.read(&mut buffer).map_err(DigestError::read(path))? {
                            0 => break,
                            len => hasher.update(&buffer[..len]),
                        }
                    }
                    builder.set(place, hasher, before.map_or(0, |peaks| peaks.bytes));
                }
            }
        }
        builder.finish()
    }

    /// Returns the digest.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns by how many bytes the files have grown, all together; of a whole store, how many there are.
    pub fn growth(&self) -> i64 {
        self.growth
    }

    /// Returns this update with one that was computed from the state after it: together they are one.
    pub fn then(mut self, later: DigestUpdate) -> Self {
        self.writes.extend(later.writes);
        Self { digest: later.digest, growth: self.growth + later.growth, writes: self.writes }
    }

    /// Keeps the nodes: those that the update was computed from, or others that are equal.
    ///
    /// # Errors
    /// Where they can't be written.
    pub fn keep(&self, nodes: &mut dyn DigestNodes) -> Result<(), DigestError> {
        self.writes.iter().try_for_each(|(key, value)| nodes.put(key, value.as_deref()))
    }
}

/// Nodes, each read once however often it is asked for.
struct Read<'a> {
    nodes: &'a mut dyn DigestNodes,
    seen: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl DigestNodes for Read<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, DigestError> {
        if let Some(seen) = self.seen.get(key) {
            return Ok(seen.clone());
        }
        let node = self.nodes.get(key)?;
        self.seen.insert(key.to_vec(), node.clone());
        Ok(node)
    }

    fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), DigestError> {
        self.seen.remove(key);
        self.nodes.put(key, value)
    }
}

struct Builder<'a> {
    nodes: Read<'a>,
    files: Vec<(PathHash, Option<[u8; 32]>)>,
    growth: i64,
    writes: Vec<Write>,
}

impl<'a> Builder<'a> {
    fn new(nodes: &'a mut dyn DigestNodes) -> Self {
        let nodes = Read { nodes, seen: HashMap::new() };
        Self { nodes, files: Vec::new(), growth: 0, writes: Vec::new() }
    }

    fn peaks(&mut self, place: &PathHash) -> Result<Option<Peaks>, DigestError> {
        let Some(kept) = self.nodes.get(&file_key(place))? else { return Ok(None) };
        let peaks = Peaks::decode(&kept).ok_or_else(|| DigestError::Nodes("the peaks of a file are damaged".into()))?;
        Ok(Some(peaks))
    }

    /// `before`: the file's length so far, in bytes.
    fn set(&mut self, place: PathHash, hasher: ContentHasher, before: u64) {
        let (content, peaks) = hasher.finish();
        self.growth += peaks.bytes as i64 - before as i64;
        self.files.push((place, Some(file_hash(&place, peaks.bytes, &content))));
        self.writes.push((file_key(&place), Some(peaks.encode())));
    }

    fn remove(&mut self, place: PathHash, before: Option<&Peaks>) {
        self.growth -= before.map_or(0, |peaks| peaks.bytes as i64);
        self.files.push((place, None));
        self.writes.push((file_key(&place), None));
    }

    /// Checks that files that grow are, as far as they were read, what was kept of them.
    fn check_grown(&mut self, grown: Vec<(&[u8], ContentHasher)>) -> Result<(), DigestError> {
        let mut files: Vec<_> = grown
            .into_iter()
            .map(|(path, hasher)| {
                let place = path_hash(path);
                let (content, peaks) = hasher.finish();
                (path, place, file_hash(&place, peaks.bytes, &content))
            })
            .collect();
        files.sort_unstable_by_key(|(_, place, _)| *place);
        let found: Vec<_> = files.iter().map(|(_, place, file)| (*place, Some(*file))).collect();
        // All at once, since files have branches in common; which one is different is looked for when one is.
        let mut unused = Vec::new();
        if tree::update(&mut self.nodes, &[], &mut unused)? == tree::update(&mut self.nodes, &found, &mut unused)? {
            return Ok(());
        }
        for (path, place, file) in &files {
            if tree::file(&mut self.nodes, place)? != Some(*file) {
                return Err(DigestError::unexpected(path, "its content is not what was written, it is damaged"));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<DigestUpdate, DigestError> {
        self.files.sort_unstable_by_key(|(place, _)| *place);
        let digest = tree::update(&mut self.nodes, &self.files, &mut self.writes)?;
        Ok(DigestUpdate { digest, growth: self.growth, writes: self.writes })
    }
}

/// Goes on with a file that grows: only its last chunk, where that is not whole, is read.
fn resume(directories: &mut Directories, path: &[u8], peaks: Peaks) -> Result<ContentHasher, DigestError> {
    let tail = peaks.bytes - peaks.tail_at();
    let at = peaks.tail_at();
    let mut hasher = ContentHasher::resume(peaks);
    if tail > 0 {
        let file = directories.file(path, OFlags::RDONLY).map_err(DigestError::read(path))?;
        let file = file.ok_or_else(|| DigestError::unexpected(path, "it is absent"))?;
        let mut bytes = vec![0; tail as usize];
        file.read_exact_at(&mut bytes, at).map_err(DigestError::read(path))?;
        hasher.update(&bytes);
    }
    Ok(hasher)
}

/// Checks that a file can be made at `path`, of which the tree knows nothing: there may be a directory, or a file in
/// the place of a directory on the way.
fn check_free(directories: &mut Directories, path: &[u8]) -> Result<(), DigestError> {
    match directories.stat(path) {
        Ok(None) => Ok(()),
        Ok(Some(stat)) => Err(DigestError::unexpected(
            path,
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => "it is a directory",
                _ => "it exists, but no record made it",
            },
        )),
        Err(error) => Err(DigestError::unexpected(path, error.to_string())),
    }
}

/// Checks that no directory on the way to `path` is a file that the same change creates.
fn check_not_below(path: &[u8], created: &FxHashSet<&[u8]>) -> Result<(), DigestError> {
    let mut slashes = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/');
    match slashes.any(|(at, _)| created.contains(&path[..at])) {
        true => Err(DigestError::unexpected(path, "it lies in a file")),
        false => Ok(()),
    }
}

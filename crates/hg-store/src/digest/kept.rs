//! What is kept of a store's files, read back; and the same of files that are read or sent one by one.

use std::collections::{BTreeMap, HashMap};

use super::content::{ContentHasher, Peaks};
use super::tree::{self, PathHash, file_hash, file_key, path_hash};
use super::{Digest, DigestError, DigestNodes};

/// A file as a digest knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDigest {
    /// Its length, in bytes.
    pub bytes: u64,
    /// Over its path, its length and its content.
    pub hash: [u8; 32],
}

/// All files of a store as its kept nodes know them. No file is read.
#[derive(Debug)]
pub struct KeptFiles {
    files: BTreeMap<PathHash, FileDigest>,
    digest: Digest,
}

impl KeptFiles {
    /// Reads them.
    ///
    /// # Errors
    /// Nodes that can't be read, or that don't belong together.
    pub fn read(nodes: &mut dyn DigestNodes) -> Result<Self, DigestError> {
        let mut found = Vec::new();
        tree::files(nodes, &mut found)?;
        let digest = digest_of(found.iter().copied())?;
        let mut files = BTreeMap::new();
        for (place, hash) in found {
            let missing = || DigestError::Nodes("the peaks of a file are missing or damaged".to_owned());
            let peaks = nodes.get(&file_key(&place))?.as_deref().and_then(Peaks::decode).ok_or_else(missing)?;
            files.insert(place, FileDigest { bytes: peaks.bytes, hash });
        }
        Ok(Self { files, digest })
    }

    /// Returns the digest that these files make.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns how many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Returns what is known of the file at this path below `.hg`.
    pub fn get(&self, path: &[u8]) -> Option<FileDigest> {
        self.files.get(&path_hash(path)).copied()
    }
}

/// Hashes a file as a digest does, piece by piece.
#[derive(Debug)]
pub struct FileHasher {
    place: PathHash,
    content: ContentHasher,
}

impl FileHasher {
    /// Begins with the file at this path below `.hg`.
    pub fn new(path: &[u8]) -> Self {
        Self { place: path_hash(path), content: ContentHasher::new() }
    }

    /// Adds the next bytes of its content.
    pub fn update(&mut self, bytes: &[u8]) {
        self.content.update(bytes);
    }

    /// Returns what a digest knows of a file with this content.
    pub fn finish(self) -> FileDigest {
        let (content, peaks) = self.content.finish();
        FileDigest { bytes: peaks.bytes, hash: file_hash(&self.place, peaks.bytes, &content) }
    }
}

/// Returns the digest of a store that has just these files: paths, each once, and hashes.
///
/// # Errors
/// A path that comes twice.
pub fn digest_of_files<'p>(files: impl Iterator<Item = (&'p [u8], [u8; 32])>) -> Result<Digest, DigestError> {
    digest_of(files.map(|(path, hash)| (path_hash(path), hash)))
}

fn digest_of(files: impl Iterator<Item = (PathHash, [u8; 32])>) -> Result<Digest, DigestError> {
    let mut files: Vec<_> = files.map(|(place, hash)| (place, Some(hash))).collect();
    files.sort_unstable_by_key(|(place, _)| *place);
    if files.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(DigestError::Nodes("a path comes twice".to_owned()));
    }
    tree::update(&mut HashMap::new(), &files, &mut Vec::new())
}

/// Returns the length of the file that a kept node is of, in bytes; none where it is a node of another kind.
pub fn bytes_of_node(key: &[u8], value: &[u8]) -> Option<u64> {
    (key.first() == Some(&b'f')).then(|| Peaks::decode(value)).flatten().map(|peaks| peaks.bytes)
}

//! The tree over a store's files: a trie by the half bytes of the paths' hashes. Which nodes there are follows from the
//! set of paths alone, however it came about.

use super::{Digest, DigestError, DigestNodes, hash};

const PATH: &[u8; 32] = b"hgfleet store digest 1, path    ";
const FILE: &[u8; 32] = b"hgfleet store digest 1, file    ";
const BRANCH: &[u8; 32] = b"hgfleet store digest 1, branch  ";
const STORE: &[u8; 32] = b"hgfleet store digest 1, store   ";

/// Half bytes of a path's hash.
const DEPTH_MAX: usize = 64;

/// The hash by which a path has its place.
pub(super) type PathHash = [u8; 32];
/// What a tree's writes are: key, and the new value or none.
pub(super) type Write = (Vec<u8>, Option<Vec<u8>>);

/// Returns a path's place.
pub(super) fn path_hash(path: &[u8]) -> PathHash {
    hash(PATH, &[path])
}

/// Returns the hash of a file as a whole.
pub(super) fn file_hash(path: &PathHash, bytes: u64, content: &[u8; 32]) -> [u8; 32] {
    hash(FILE, &[path, &bytes.to_be_bytes(), content])
}

/// What stands below one half byte of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Slot {
    /// No file.
    #[default]
    Empty,
    /// One file.
    File { path: PathHash, file: [u8; 32] },
    /// Several, in a branch of their own, of this hash.
    Branch([u8; 32]),
}

impl Slot {
    fn hash(&self) -> [u8; 32] {
        match self {
            Self::Empty => [0; 32],
            Self::File { file, .. } => *file,
            Self::Branch(hash) => *hash,
        }
    }
}

/// Files whose place in the tree changes, by path hash: `None`, no such file any more.
pub(super) type Files = [(PathHash, Option<[u8; 32]>)];

/// Sets `files`, sorted by path hash and each once; returns the tree's digest. What has to be kept is added to `writes`.
pub(super) fn update(
    nodes: &mut dyn DigestNodes,
    files: &Files,
    writes: &mut Vec<Write>,
) -> Result<Digest, DigestError> {
    let root = Tree { nodes, writes }.update(&mut Vec::new(), files)?;
    Ok(Digest(hash(STORE, &[&root.hash()])))
}

/// Lists the files of a tree by their places, as the kept nodes say.
pub(super) fn files(nodes: &mut dyn DigestNodes, found: &mut Vec<(PathHash, [u8; 32])>) -> Result<(), DigestError> {
    let mut waiting = vec![Vec::new()];
    while let Some(prefix) = waiting.pop() {
        let wrong = |what: &str| DigestError::Nodes(format!("node {prefix:x?} is {what}"));
        let slots = match nodes.get(&key(&prefix))? {
            Some(node) => decode(&node).ok_or_else(|| wrong("damaged"))?,
            None if prefix.is_empty() => return Ok(()),
            None => return Err(wrong("missing")),
        };
        for (digit, slot) in slots.iter().enumerate() {
            match slot {
                Slot::Empty => {}
                Slot::File { path, file } => found.push((*path, *file)),
                Slot::Branch(_) if prefix.len() + 1 >= DEPTH_MAX => return Err(wrong("too deep")),
                Slot::Branch(_) => waiting.push([&prefix[..], &[digit as u8]].concat()),
            }
        }
    }
    Ok(())
}

/// Returns what is kept of the file at this place; `None`: no such file.
pub(super) fn file(nodes: &mut dyn DigestNodes, place: &PathHash) -> Result<Option<[u8; 32]>, DigestError> {
    let mut prefix = Vec::new();
    while prefix.len() < DEPTH_MAX {
        let Some(node) = nodes.get(&key(&prefix))? else { return Ok(None) };
        let slots = decode(&node).ok_or_else(|| DigestError::Nodes(format!("node {prefix:x?} is damaged")))?;
        let digit = digit(place, prefix.len());
        match slots[usize::from(digit)] {
            Slot::Branch(_) => prefix.push(digit),
            Slot::File { path, file } if path == *place => return Ok(Some(file)),
            Slot::File { .. } | Slot::Empty => return Ok(None),
        }
    }
    Ok(None)
}

struct Tree<'a> {
    nodes: &'a mut dyn DigestNodes,
    writes: &'a mut Vec<Write>,
}

impl Tree<'_> {
    /// Updates the branch below `prefix`, which is kept or is the root.
    fn update(&mut self, prefix: &mut Vec<u8>, files: &Files) -> Result<Slot, DigestError> {
        let mut slots = match self.nodes.get(&key(prefix))? {
            Some(node) => decode(&node).ok_or_else(|| DigestError::Nodes(format!("node {prefix:x?} is damaged")))?,
            None if prefix.is_empty() => Box::default(),
            None => return Err(DigestError::Nodes(format!("node {prefix:x?} is missing"))),
        };
        for (digit, files) in by_digit(files, prefix.len()) {
            let slot = &mut slots[usize::from(digit)];
            prefix.push(digit);
            *slot = match *slot {
                Slot::Branch(_) => self.update(prefix, files)?,
                Slot::Empty => self.build(prefix, &present(files, None)),
                Slot::File { path, file } => self.build(prefix, &present(files, Some((path, file)))),
            };
            prefix.pop();
        }
        Ok(self.keep(prefix, &slots))
    }

    /// Makes what stands below `prefix`, where nothing is kept, of these files.
    fn build(&mut self, prefix: &mut Vec<u8>, files: &[(PathHash, [u8; 32])]) -> Slot {
        match files {
            [] => return Slot::Empty,
            [(path, file)] => return Slot::File { path: *path, file: *file },
            _ => {}
        }
        let mut slots = Box::<[Slot; 16]>::default();
        for (digit, files) in by_digit(files, prefix.len()) {
            prefix.push(digit);
            slots[usize::from(digit)] = self.build(prefix, files);
            prefix.pop();
        }
        self.keep(prefix, &slots)
    }

    /// Keeps a branch and returns its slot. One with a single file is none: the file stands in its place.
    fn keep(&mut self, prefix: &[u8], slots: &[Slot; 16]) -> Slot {
        let mut used = slots.iter().filter(|slot| **slot != Slot::Empty);
        let alone = match (used.next(), used.next()) {
            (None, _) => Some(Slot::Empty),
            (Some(file @ Slot::File { .. }), None) => Some(*file),
            _ => None,
        };
        // The root is kept whatever is in it: where it is missing, the store is empty.
        let kept = match alone {
            Some(Slot::Empty) => None,
            Some(_) if !prefix.is_empty() => None,
            _ => Some(encode(slots)),
        };
        self.writes.push((key(prefix), kept));
        alone.unwrap_or_else(|| {
            let hashes = slots.map(|slot| slot.hash());
            Slot::Branch(hash(BRANCH, &hashes.each_ref().map(|hash| hash.as_slice())))
        })
    }
}

/// Returns the files that there are after `changes`, of which one may have been there `before`.
fn present(changes: &Files, before: Option<(PathHash, [u8; 32])>) -> Vec<(PathHash, [u8; 32])> {
    let mut files: Vec<_> = changes.iter().filter_map(|&(path, file)| Some((path, file?))).collect();
    if let Some(before) = before.filter(|(path, _)| !changes.iter().any(|(changed, _)| changed == path)) {
        let at = files.partition_point(|file| file.0 < before.0);
        files.insert(at, before);
    }
    files
}

/// Splits sorted files by their half byte at `depth`.
fn by_digit<T>(files: &[(PathHash, T)], depth: usize) -> impl Iterator<Item = (u8, &[(PathHash, T)])> {
    files
        .chunk_by(move |a, b| digit(&a.0, depth) == digit(&b.0, depth))
        .map(move |group| (digit(&group[0].0, depth), group))
}

fn digit(path: &PathHash, depth: usize) -> u8 {
    debug_assert!(depth < DEPTH_MAX, "two paths of the same hash");
    let byte = path[(depth / 2).min(31)];
    if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

/// Returns the key of a branch: its depth, and its prefix with two half bytes in each.
fn key(prefix: &[u8]) -> Vec<u8> {
    let mut key = vec![b'n', prefix.len() as u8];
    key.extend(prefix.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)));
    key
}

/// Returns the key of a file's peaks.
pub(super) fn file_key(path: &PathHash) -> Vec<u8> {
    [b"f".as_slice(), path].concat()
}

/// A kind for each slot, then what each has.
fn encode(slots: &[Slot; 16]) -> Vec<u8> {
    let mut node = Vec::with_capacity(16 + 16 * 64);
    node.extend(slots.iter().map(|slot| match slot {
        Slot::Empty => 0,
        Slot::File { .. } => 1,
        Slot::Branch(_) => 2,
    }));
    for slot in slots {
        match slot {
            Slot::Empty => {}
            Slot::File { path, file } => {
                node.extend_from_slice(path);
                node.extend_from_slice(file);
            }
            Slot::Branch(hash) => node.extend_from_slice(hash),
        }
    }
    node
}

fn decode(node: &[u8]) -> Option<Box<[Slot; 16]>> {
    let (kinds, mut rest) = node.split_first_chunk::<16>()?;
    let mut slots = Box::<[Slot; 16]>::default();
    for (slot, kind) in slots.iter_mut().zip(kinds) {
        let mut hash = || {
            let (hash, after) = rest.split_first_chunk::<32>()?;
            rest = after;
            Some(*hash)
        };
        *slot = match kind {
            0 => Slot::Empty,
            1 => Slot::File { path: hash()?, file: hash()? },
            2 => Slot::Branch(hash()?),
            _ => return None,
        };
    }
    rest.is_empty().then_some(slots)
}

//! The file `heads`: behind the header, each number in 4 bytes: how many heads there are and their numbers; how many branches; for each
//! the length of its name, the name, how many heads it has, and for each of them twice its number, plus one where it closes the branch.
//! Nothing is left out: what is secret or obsolete is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::{Digest, Sha1};

use super::{Header, name_of_last, open, replace};
use crate::branchmap::{Branch, BranchHead};
use crate::{Revision, Revlog, StoreError, changeset, walk};

const FILE: &str = "heads";
const MAGIC: [u8; 8] = *b"hgfhead1";
/// A longer file is none.
const BYTES_MAX: u32 = 256 << 20;
/// Where more changesets came since, whoever asks looks at all of them.
const UNCOVERED_MAX: usize = 10_000;

/// Heads of a whole changelog, and those of each branch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptHeads {
    heads: BTreeSet<u32>,
    /// By name: each head's number, and whether it closes the branch.
    branches: BTreeMap<Vec<u8>, BTreeMap<u32, bool>>,
}

impl KeptHeads {
    /// What was found by looking at all changesets.
    pub(crate) fn of(heads: &[Revision], branches: &[Branch]) -> KeptHeads {
        let heads = heads.iter().map(|head| head.get()).collect();
        let of = |branch: &Branch| branch.heads.iter().map(|head| (head.revision.get(), head.closed)).collect();
        KeptHeads { heads, branches: branches.iter().map(|branch| (branch.name.clone(), of(branch))).collect() }
    }

    /// What the file says, and the changesets that came since. `None` when there is no usable file.
    pub(crate) fn read(folder: &Path, changelog: &Revlog) -> Result<Option<KeptHeads>, StoreError> {
        let Some((mut kept, covered)) = KeptHeads::open(folder, changelog) else { return Ok(None) };
        for revision in changelog.revisions().skip(covered as usize) {
            kept.add(changelog, revision)?;
        }
        Ok(Some(kept))
    }

    /// Whether the file is of the whole changelog, as far as its header says.
    pub(crate) fn covers(folder: &Path, changelog: &Revlog) -> bool {
        KeptHeads::usable(folder, changelog).is_some_and(|(_, header)| header.covered as usize == changelog.len())
    }

    /// Writes the file.
    pub(crate) fn write(&self, folder: &Path, changelog: &Revlog) -> io::Result<()> {
        let bytes = self.encode();
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let header = Header { check: check_of(&bytes), ..Header::of(MAGIC, changelog, length) };
        replace(folder, FILE, &[&header.encode(), &bytes])
    }

    /// The heads, highest first.
    pub(crate) fn heads(&self) -> Vec<Revision> {
        self.heads.iter().rev().map(|number| Revision::new(*number)).collect()
    }

    /// The branches, sorted by name.
    pub(crate) fn branches(&self) -> Vec<Branch> {
        let head = |(number, closed): (&u32, &bool)| BranchHead { revision: Revision::new(*number), closed: *closed };
        let of = |(name, heads): (&Vec<u8>, &BTreeMap<u32, bool>)| Branch {
            name: name.clone(),
            heads: heads.iter().map(head).collect(),
        };
        self.branches.iter().map(of).collect()
    }

    fn open(folder: &Path, changelog: &Revlog) -> Option<(KeptHeads, u32)> {
        let (mut file, header) = KeptHeads::usable(folder, changelog)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let kept = KeptHeads::decode(bytes.get(super::HEADER_BYTES..)?, header)?;
        Some((kept, header.covered))
    }

    /// The file and its header, where that is of this changelog.
    fn usable(folder: &Path, changelog: &Revlog) -> Option<(File, Header)> {
        let file = open(folder, FILE, false)?;
        let header = Header::read(&file, MAGIC).filter(|header| header.extra <= BYTES_MAX)?;
        let uncovered = changelog.len().checked_sub(header.covered as usize)?;
        let is_of_it = uncovered <= UNCOVERED_MAX && name_of_last(changelog, header.covered) == header.last_name;
        is_of_it.then_some((file, header))
    }

    fn add(&mut self, changelog: &Revlog, revision: Revision) -> Result<(), StoreError> {
        let (branch, closes) = changeset::stored_branch_of(changelog, revision)?;
        let heads = self.branches.entry(branch.unwrap_or_else(|| b"default".to_vec())).or_default();
        let mut crosses = false;
        for parent in changelog.parents(revision).into_iter().flatten() {
            self.heads.remove(&parent.get());
            crosses |= heads.remove(&parent.get()).is_none();
        }
        self.heads.insert(revision.get());
        heads.insert(revision.get(), closes);
        // A parent that was no head of the branch, or is on another one: descendants of a head may lead to it.
        if crosses && heads.len() > 1 {
            let all: Vec<Revision> = heads.keys().map(|number| Revision::new(*number)).collect();
            let left: BTreeSet<Revision> = walk::heads_of(changelog, &all).into_iter().collect();
            heads.retain(|number, _| left.contains(&Revision::new(*number)));
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let word = |bytes: &mut Vec<u8>, word: u32| bytes.extend_from_slice(&word.to_le_bytes());
        word(&mut bytes, self.heads.len() as u32);
        self.heads.iter().for_each(|head| word(&mut bytes, *head));
        word(&mut bytes, self.branches.len() as u32);
        for (name, heads) in &self.branches {
            word(&mut bytes, name.len() as u32);
            bytes.extend_from_slice(name);
            word(&mut bytes, heads.len() as u32);
            heads.iter().for_each(|(number, closed)| word(&mut bytes, number << 1 | u32::from(*closed)));
        }
        bytes
    }

    /// `None` where it is not what the header says, or names changesets that the header does not cover.
    fn decode(bytes: &[u8], header: Header) -> Option<KeptHeads> {
        let is_whole = bytes.len() == header.extra as usize && check_of(bytes) == header.check;
        let mut rest = is_whole.then_some(bytes)?;
        let mut kept = KeptHeads::default();
        let covered = |number: u32| (number < header.covered).then_some(number);
        for _ in 0..word(&mut rest)? {
            kept.heads.insert(covered(word(&mut rest)?)?);
        }
        for _ in 0..word(&mut rest)? {
            let length = word(&mut rest)? as usize;
            let (name, after) = rest.split_at_checked(length)?;
            rest = after;
            let mut heads = BTreeMap::new();
            for _ in 0..word(&mut rest)? {
                let word = word(&mut rest)?;
                heads.insert(covered(word >> 1)?, word & 1 == 1);
            }
            kept.branches.insert(name.to_vec(), heads);
        }
        rest.is_empty().then_some(kept)
    }
}

fn check_of(bytes: &[u8]) -> [u8; 8] {
    let digest = Sha1::digest(bytes);
    std::array::from_fn(|n| digest[n])
}

fn word(rest: &mut &[u8]) -> Option<u32> {
    let (word, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u32::from_le_bytes(*word))
}

//! The files `branches` and `branch-names`: behind the header, for each changeset the first 4 bytes of its name, and 4
//! bytes: twice the number of its branch, plus one where it closes it; names one after the other, each behind its length in 4 bytes. Branch 0 is `default` and
//! not among the names.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{HEADER_BYTES, Header};
use crate::{Revision, Revlog};

const ENTRY_BYTES: usize = 8;

const FILE: &str = "branches";
const NAMES_FILE: &str = "branch-names";
const MAGIC: [u8; 8] = *b"hgfbran1";

/// Branches of the first changesets.
#[derive(Default)]
pub(crate) struct KeptBranches {
    /// From number 1 on.
    pub(crate) names: Vec<Vec<u8>>,
    /// The changeset of the first entry.
    pub(crate) first: usize,
    /// For each changeset its branch's number, and whether it closes it.
    pub(crate) entries: Vec<(u32, bool)>,
}

impl KeptBranches {
    /// `None` when there are no usable files. No more entries than changesets.
    pub(crate) fn open(folder: &Path, changelog: &Revlog) -> Option<KeptBranches> {
        let (file, names, count) = KeptBranches::usable(folder, changelog)?;
        let bytes = read(&file, HEADER_BYTES as u64, count * ENTRY_BYTES)?;
        let entries = bytes.chunks_exact(ENTRY_BYTES).map(|entry| {
            let word = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
            (word >> 1, word & 1 == 1)
        });
        let entries: Vec<(u32, bool)> = entries.collect();
        let is_sound = entries.iter().all(|(number, _)| *number as usize <= names.len());
        is_sound.then_some(KeptBranches { names, first: 0, entries })
    }

    /// The same without the entries: names, and where the next entry belongs.
    pub(crate) fn end(folder: &Path, changelog: &Revlog) -> Option<KeptBranches> {
        let (_, names, first) = KeptBranches::usable(folder, changelog)?;
        Some(KeptBranches { names, first, entries: Vec::new() })
    }

    /// The file with entries, the names, and how many entries are about the changelog.
    fn usable(folder: &Path, changelog: &Revlog) -> Option<(File, Vec<Vec<u8>>, usize)> {
        let file = super::open(folder, FILE, false)?;
        let header = Header::read(&file, MAGIC)?;
        let names = parse_names(&read(&super::open(folder, NAMES_FILE, false)?, 0, header.extra as usize)?)?;
        let last = header.last_common(changelog);
        if let Some(last) = last {
            let at = HEADER_BYTES + last.index() * ENTRY_BYTES;
            if read(&file, at as u64, 4)? != prefix(changelog, last) {
                return None;
            }
        }
        Some((file, names, last.map_or(0, |last| last.index() + 1)))
    }

    /// Writes what these, which cover the whole changelog, have more than the files, of which `kept` changesets are good.
    pub(crate) fn update(&self, folder: &Path, changelog: &Revlog, kept: usize) -> io::Result<()> {
        let names = encode_names(&self.names);
        let header = Header::of(MAGIC, changelog, names.len() as u32);
        let files = super::open(folder, FILE, true).zip(super::open(folder, NAMES_FILE, true));
        if let Some((file, names_file)) = files.filter(|_| kept > 0) {
            let Some(old) = Header::read(&file, MAGIC) else { return Ok(()) };
            if old.covered as usize >= self.first + self.entries.len() {
                return Ok(());
            }
            names_file.write_all_at(&names, 0)?;
            file.write_all_at(&self.encode(changelog, kept), (HEADER_BYTES + kept * ENTRY_BYTES) as u64)?;
            return file.write_all_at(&header.encode(), 0);
        }
        // Nobody takes the new names for those of an old header.
        match std::fs::remove_file(folder.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        super::replace(folder, NAMES_FILE, &[&names])?;
        super::replace(folder, FILE, &[&header.encode(), &self.encode(changelog, 0)])
    }

    /// The entries from that of this changeset on.
    fn encode(&self, changelog: &Revlog, from: usize) -> Vec<u8> {
        let numbered = changelog.revisions().skip(self.first).zip(&self.entries).skip(from - self.first);
        let entries = numbered.flat_map(|(revision, (number, closes))| {
            let branch = (number << 1 | u32::from(*closes)).to_le_bytes();
            prefix(changelog, revision).into_iter().chain(branch)
        });
        entries.collect()
    }
}

/// The first bytes of a changeset's name.
fn prefix(changelog: &Revlog, revision: Revision) -> [u8; 4] {
    let node = changelog.node(revision);
    let [a, b, c, d, ..] = *node.as_bytes();
    [a, b, c, d]
}

fn read(file: &File, at: u64, count: usize) -> Option<Vec<u8>> {
    if file.metadata().ok()?.len() < at + count as u64 {
        return None;
    }
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

fn encode_names(names: &[Vec<u8>]) -> Vec<u8> {
    let parts = names.iter().map(|name| [(name.len() as u32).to_le_bytes().as_slice(), name].concat());
    parts.collect::<Vec<_>>().concat()
}

fn parse_names(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        names.push(name.to_vec());
        bytes = rest;
    }
    Some(names)
}

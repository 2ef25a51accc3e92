//! The list of store paths of all tracked files: `store/fncache`, or what lies in a store that has no such file.

use std::hash::{BuildHasher, RandomState};

use crate::StoreError;
use crate::folder::Folder;
use crate::path_encoding::{PathEncoding, decode_directories};

const PATH: &[u8] = b"fncache";

/// The lines of `store/fncache`, checked: each below `data/`, or of a manifest below `meta/`, ended by a newline, none twice.
#[derive(Debug)]
pub struct Fncache {
    /// Paths, one after the other.
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
    /// An open-addressed table of lines plus one; 0 is free.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Fncache {
    pub(crate) fn read(store: &Folder, bytes: u64) -> Result<Fncache, StoreError> {
        let content = store.map(PATH, bytes)?;
        Fncache::parse(&content).map_err(|what| StoreError::corrupt(store.path_of(PATH), what))
    }

    /// Lists what lies in a store without the file, whose names tell their paths.
    pub(crate) fn walk(store: &Folder, encoding: PathEncoding) -> Result<Fncache, StoreError> {
        let mut paths = Vec::new();
        let mut found = |name: &[u8]| {
            if !name.ends_with(b".i") && !name.ends_with(b".d") {
                return Ok(());
            }
            match encoding.decode(name).filter(|path| is_store_path(path)) {
                Some(path) => paths.push(path),
                None => return Err(StoreError::corrupt(store.path_of(name), "no name of a tracked file")),
            }
            Ok(())
        };
        store.each_file(b"data", &mut found)?;
        store.each_file(b"meta", &mut found)?;
        paths.sort_unstable();
        let bytes: usize = paths.iter().map(Vec::len).sum();
        if u32::try_from(bytes).is_err() {
            return Err(StoreError::corrupt(store.path_of(b"data"), "over 4 GiB of names"));
        }
        let mut list = Fncache::sized(paths.len(), bytes);
        for path in &paths {
            list.add(path);
        }
        Ok(list)
    }

    fn sized(lines: usize, bytes: usize) -> Fncache {
        Fncache {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(lines),
            slots: vec![0; (lines * 2).next_power_of_two()],
            hasher: RandomState::new(),
        }
    }

    fn parse(content: &[u8]) -> Result<Fncache, String> {
        if u32::try_from(content.len()).is_err() {
            return Err("over 4 GiB".into());
        }
        if content.last().is_some_and(|last| *last != b'\n') {
            return Err("doesn't end with a newline".into());
        }
        let lines = memchr::memchr_iter(b'\n', content).count();
        let mut list = Fncache::sized(lines, content.len());
        let mut rest = content;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            if !is_store_path(line) {
                return Err(format!("'{}' is no path of a tracked file", line.escape_ascii()));
            }
            let slot = if memchr::memmem::find(line, b".hg/").is_some() {
                list.add(&decode_directories(line))
            } else {
                list.add(line)
            };
            if !slot {
                return Err(format!("'{}' is listed twice", line.escape_ascii()));
            }
        }
        Ok(list)
    }

    /// Whether the path was new.
    fn add(&mut self, path: &[u8]) -> bool {
        let slot = self.slot(path);
        if self.slots[slot] != 0 {
            return false;
        }
        self.bytes.extend_from_slice(path);
        self.ends.push(self.bytes.len() as u32);
        self.slots[slot] = self.ends.len() as u32;
        true
    }

    /// The slot of this path, or the free one where it would be.
    fn slot(&self, path: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(path) as usize & mask;
        // At most half of the slots are taken, so this ends.
        while let Some(line) = self.slots[slot].checked_sub(1) {
            if self.path(line as usize) == path {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn path(&self, line: usize) -> &[u8] {
        let start = line.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[line] as usize]
    }

    /// The store paths such as `data/x.i`, directories not encoded, in the file's order.
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|line| self.path(line))
    }

    /// The names of tracked files, in the file's order.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        self.paths().filter_map(|path| path.strip_prefix(b"data/")?.strip_suffix(b".i"))
    }

    /// Whether a store path such as `data/x.i` (directories not encoded) is listed.
    pub fn contains(&self, path: &[u8]) -> bool {
        !self.ends.is_empty() && self.slots[self.slot(path)] != 0
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

/// Below `data/`, of a `.i` or `.d`, and nothing that leads elsewhere; or a folder's manifest.
fn is_store_path(line: &[u8]) -> bool {
    let name = match line.strip_prefix(b"meta/") {
        Some(tree) if tree.ends_with(b"/00manifest.i") || tree.ends_with(b"/00manifest.d") => Some(tree),
        Some(_) => None,
        None => line.strip_prefix(b"data/"),
    };
    let Some(name) = name else { return false };
    let Some(name) = name.strip_suffix(b".i").or_else(|| name.strip_suffix(b".d")) else { return false };
    let mut parts = name.split(|byte| *byte == b'/');
    !name.contains(&0) && parts.all(|part| !part.is_empty() && part != b".." && part != b".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_finds() {
        let list =
            Fncache::parse(b"data/a.i\ndata/x.i.hg/b.i\ndata/x.i.hg/b.d\nmeta/x/00manifest.i\n").expect("parsed");
        assert_eq!(
            list.paths().collect::<Vec<_>>(),
            [b"data/a.i".as_slice(), b"data/x.i/b.i", b"data/x.i/b.d", b"meta/x/00manifest.i"]
        );
        assert_eq!(list.files().collect::<Vec<_>>(), [b"a".as_slice(), b"x.i/b"]);
        assert!(list.contains(b"data/x.i/b.i") && !list.contains(b"data/x.i.hg/b.i"));
        let empty = Fncache::parse(b"").expect("parsed");
        assert!(empty.is_empty() && !empty.contains(b"data/a.i"));
    }

    #[test]
    fn damaged_lists_are_refused() {
        for content in [
            "data/a.i",
            "data/a.i\ndata/a.i\n",
            "data/../x.i\n",
            "data/a/..i\n",
            "/data/a.i\n",
            "data/a\n",
            "meta/a.i\n",
            "meta/00manifest.i\n",
            "meta/../00manifest.i\n",
            "data//a.i\n",
            "\n",
            "data/.i\n",
        ] {
            assert!(Fncache::parse(content.as_bytes()).is_err(), "{content}");
        }
    }
}

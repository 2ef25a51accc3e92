//! Which files one manifest in trees has otherwise than others: folders that are the same are not looked into.
//!
//! A repository may have manifests of both kinds, the flat ones from before it had trees: a flat manifest is taken for the trees that
//! it would be.

use std::cmp::Ordering;
use std::sync::Arc;

use memchr::memchr;

use super::{FileEntry, ManifestSource, whole_changes};
use crate::folder::DEPTH_MAX;
use crate::manifest::{self, Flag};
use crate::prepare::PrepareError;
use crate::{Node, StoreError};

/// Is told a path, what each parent has there, and what the manifest has.
pub(crate) type EachChange<'e> = &'e mut dyn FnMut(&[u8], &[Option<FileEntry>], Option<FileEntry>);

/// Tells every path that a manifest has otherwise than one of its parents, in the order of paths. All are given by the name of the top.
pub(crate) fn tree_changes(
    source: &mut dyn ManifestSource,
    now: &Node,
    parents: &[Node],
    each: EachChange<'_>,
) -> Result<(), PrepareError> {
    let side = |parent: &Node| match parent == now {
        true => Side::Same,
        false => Side::Other(Folder::Tree(*parent)),
    };
    let parents: Vec<Side> = parents.iter().map(side).collect();
    Walk { source, each, path: Vec::new(), depth: 0 }.folder(&Folder::Tree(*now), &parents)
}

/// A folder in one manifest.
#[derive(Clone)]
enum Folder {
    Absent,
    /// It has a manifest of this name.
    Tree(Node),
    /// Lines of a flat manifest.
    Flat(Lines),
}

impl Folder {
    fn is(&self, other: &Folder) -> bool {
        match (self, other) {
            (Folder::Tree(one), Folder::Tree(other)) => one == other,
            (Folder::Flat(one), Folder::Flat(other)) => one.bytes() == other.bytes(),
            _ => false,
        }
    }
}

/// A stretch of a manifest's text, whole lines.
#[derive(Clone)]
struct Lines {
    text: Arc<Vec<u8>>,
    range: (usize, usize),
    /// Bytes of the folder's own path before each name.
    prefix: usize,
}

impl Lines {
    fn whole(text: Arc<Vec<u8>>) -> Lines {
        Lines { range: (0, text.len()), text, prefix: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.text[self.range.0..self.range.1]
    }

    /// Whether there are, or may be, lines of files in folders below.
    fn is_flat(&self) -> bool {
        memchr(b'/', self.bytes()).is_some()
    }

    /// What lies in the folder, in the order of paths.
    fn items(&self) -> Vec<(&[u8], Item)> {
        let mut items: Vec<(&[u8], Item)> = Vec::new();
        let mut at = self.range.0;
        for line in manifest::lines(self.bytes()).flatten() {
            // Path, NUL, 40 digits, LF; and a flag.
            let bytes = line.path.len() + 42 + usize::from(line.flag != Flag::Plain);
            let name = line.path.get(self.prefix..).unwrap_or_default();
            let range = (at, at + bytes);
            at = range.1;
            match (memchr(b'/', name), items.last_mut()) {
                (Some(end), Some((folder, Item::Folder(Folder::Flat(lines))))) if *folder == &name[..end] => {
                    lines.range.1 = range.1;
                }
                (Some(end), _) => {
                    let lines = Lines { text: Arc::clone(&self.text), range, prefix: self.prefix + end + 1 };
                    items.push((&name[..end], Item::Folder(Folder::Flat(lines))));
                }
                (None, _) if line.flag == Flag::Tree => items.push((name, Item::Folder(Folder::Tree(line.node)))),
                (None, _) => items.push((name, Item::File(FileEntry { node: line.node, flag: line.flag }))),
            }
        }
        items.sort_by(|a, b| order((a.0, a.1.is_folder()), (b.0, b.1.is_folder())));
        items
    }
}

/// A file, or a folder.
enum Item {
    File(FileEntry),
    Folder(Folder),
}

impl Item {
    fn is_folder(&self) -> bool {
        matches!(self, Item::Folder(_))
    }
}

/// What one parent has.
enum Side {
    /// What the manifest itself has.
    Same,
    Other(Folder),
}

/// One name that differs. A file that becomes a folder is two of them.
enum Differs {
    File { was: Option<FileEntry>, now: Option<FileEntry> },
    Folder { was: Folder, now: Folder },
}

struct Change<'a> {
    name: &'a [u8],
    differs: Differs,
}

impl Change<'_> {
    fn key(&self) -> (&[u8], bool) {
        (self.name, matches!(self.differs, Differs::Folder { .. }))
    }
}

/// The order of the paths below: all those in a folder begin with its name and a slash.
fn order(one: (&[u8], bool), other: (&[u8], bool)) -> Ordering {
    fn bytes((name, is_folder): (&[u8], bool)) -> impl Iterator<Item = u8> {
        name.iter().copied().chain(is_folder.then_some(b'/'))
    }
    bytes(one).cmp(bytes(other))
}

/// The differences of one folder, in the order of paths.
fn differences<'a>(old: &'a Lines, new: &'a Lines) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    if !old.is_flat() && !new.is_flat() {
        whole_changes(old.bytes(), new.bytes(), &mut |(name, was, now)| {
            let file = |entry: Option<FileEntry>| entry.filter(|entry| entry.flag != Flag::Tree);
            let folder = |entry: Option<FileEntry>| match entry.filter(|entry| entry.flag == Flag::Tree) {
                Some(entry) => Folder::Tree(entry.node),
                None => Folder::Absent,
            };
            if file(was) != file(now) {
                changes.push(Change { name, differs: Differs::File { was: file(was), now: file(now) } });
            }
            let (was, now) = (folder(was), folder(now));
            if !matches!((&was, &now), (Folder::Absent, Folder::Absent)) {
                changes.push(Change { name, differs: Differs::Folder { was, now } });
            }
        });
    } else {
        let mut old = old.items().into_iter().peekable();
        let mut new = new.items().into_iter().peekable();
        loop {
            let key = |(name, item): &(&'a [u8], Item)| (*name, item.is_folder());
            let next = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(was), Some(now)) => order(key(was), key(now)),
            };
            let was = if next == Ordering::Greater { None } else { old.next() };
            let now = if next == Ordering::Less { None } else { new.next() };
            let Some(name) = was.as_ref().or(now.as_ref()).map(|(name, _)| *name) else { break };
            let differs = match (was.map(|was| was.1), now.map(|now| now.1)) {
                (Some(Item::File(was)), Some(Item::File(now))) if was == now => continue,
                (Some(Item::Folder(was)), Some(Item::Folder(now))) if was.is(&now) => continue,
                (Some(Item::File(was)), now) => Differs::File { was: Some(was), now: now.and_then(file_of) },
                (was, Some(Item::File(now))) => Differs::File { was: was.and_then(file_of), now: Some(now) },
                (was, now) => Differs::Folder { was: folder_of(was), now: folder_of(now) },
            };
            changes.push(Change { name, differs });
        }
    }
    changes.sort_by(|a, b| order(a.key(), b.key()));
    changes
}

fn file_of(item: Item) -> Option<FileEntry> {
    match item {
        Item::File(entry) => Some(entry),
        Item::Folder(_) => None,
    }
}

fn folder_of(item: Option<Item>) -> Folder {
    match item {
        Some(Item::Folder(folder)) => folder,
        _ => Folder::Absent,
    }
}

struct Walk<'w> {
    source: &'w mut dyn ManifestSource,
    each: EachChange<'w>,
    /// Of the folder that is looked at, with a slash at its end.
    path: Vec<u8>,
    depth: usize,
}

impl Walk<'_> {
    fn open(&mut self, folder: &Folder) -> Result<Lines, PrepareError> {
        Ok(match folder {
            Folder::Absent => Lines::whole(Arc::default()),
            Folder::Tree(node) => Lines::whole(self.source.text(&self.path, node)?),
            Folder::Flat(lines) => lines.clone(),
        })
    }

    fn folder(&mut self, now: &Folder, parents: &[Side]) -> Result<(), PrepareError> {
        if self.depth > DEPTH_MAX {
            let what = "manifests of folders in folders, without an end".to_owned();
            let path = self.path.escape_ascii().to_string().into();
            return Err(StoreError::Corrupt { path, what }.into());
        }
        let now = self.open(now)?;
        let mut opened = Vec::with_capacity(parents.len());
        for parent in parents {
            opened.push(match parent {
                Side::Same => None,
                Side::Other(folder) => Some(self.open(folder)?),
            });
        }
        let mut changes: Vec<_> = opened
            .iter()
            .map(|lines| lines.as_ref().map_or_else(Vec::new, |lines| differences(lines, &now)).into_iter().peekable())
            .collect();
        loop {
            let least =
                changes.iter_mut().filter_map(|of_parent| Some(of_parent.peek()?.key())).min_by(|a, b| order(*a, *b));
            let Some((name, is_folder)) = least.map(|(name, is_folder)| (name.to_vec(), is_folder)) else {
                return Ok(());
            };
            let of_parents: Vec<Option<Change<'_>>> = changes
                .iter_mut()
                .map(|of_parent| of_parent.next_if(|change| change.key() == (&name, is_folder)))
                .collect();
            let parent = self.path.len();
            self.path.extend_from_slice(&name);
            match is_folder {
                true => self.changed_folder(of_parents)?,
                false => self.changed_file(of_parents),
            }
            self.path.truncate(parent);
        }
    }

    /// What is told of one parent alone the others have as it is now.
    fn changed_file(&mut self, of_parents: Vec<Option<Change<'_>>>) {
        let now = of_parents.iter().flatten().find_map(|change| match change.differs {
            Differs::File { now, .. } => Some(now),
            Differs::Folder { .. } => None,
        });
        let now = now.flatten();
        let entry = |change: &Option<Change<'_>>| match change {
            Some(Change { differs: Differs::File { was, .. }, .. }) => *was,
            _ => now,
        };
        let parents: Vec<Option<FileEntry>> = of_parents.iter().map(entry).collect();
        (self.each)(&self.path, &parents, now);
    }

    fn changed_folder(&mut self, of_parents: Vec<Option<Change<'_>>>) -> Result<(), PrepareError> {
        let mut is_now = Folder::Absent;
        let mut sides = Vec::with_capacity(of_parents.len());
        for change in of_parents {
            sides.push(match change {
                Some(Change { differs: Differs::Folder { was, now }, .. }) => {
                    is_now = now;
                    Side::Other(was)
                }
                _ => Side::Same,
            });
        }
        self.path.push(b'/');
        self.depth += 1;
        let done = self.folder(&is_now, &sides);
        self.depth -= 1;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::super::made_trees::{Files, Made, flat, trees};
    use super::*;
    use proptest::prelude::*;

    fn files() -> impl Strategy<Value = Files> {
        // None has the name of a folder.
        let path = prop_oneof!["[ab.-]{1,2}", "[ab.-]{1,2}/[ab.0]{1,2}", "[ab.-]{1,2}/[ab.0]{1,2}/[ab]"];
        prop::collection::btree_map(path.prop_map(String::into_bytes), 1..4u8, 0..12).prop_map(|files| {
            let is_folder = |path: &Vec<u8>| files.keys().any(|other| other.starts_with(&[path, &b"/"[..]].concat()));
            files.iter().filter(|(path, _)| !is_folder(path)).map(|(path, digit)| (path.clone(), *digit)).collect()
        })
    }

    type Told = Vec<(Vec<u8>, Vec<Option<u8>>, Option<u8>)>;

    fn expected(now: &Files, parents: &[Files]) -> Told {
        let mut paths: Vec<&Vec<u8>> = parents.iter().flat_map(Files::keys).chain(now.keys()).collect();
        paths.sort();
        paths.dedup();
        let told = paths.into_iter().map(|path| {
            let of_parents = parents.iter().map(|parent| parent.get(path).copied()).collect::<Vec<_>>();
            (path.clone(), of_parents, now.get(path).copied())
        });
        told.filter(|(_, of_parents, now)| of_parents.iter().any(|was| was != now)).collect()
    }

    proptest! {
        #[test]
        fn every_path_that_differs_is_told_in_order(
            now in files(),
            parents in prop::collection::vec((files(), any::<bool>()), 1..3),
            like_first in any::<bool>(),
            is_flat in any::<bool>(),
        ) {
            let mut made = Made::default();
            let now = if like_first { parents[0].0.clone() } else { now };
            let root = if is_flat { flat(&mut made, &now) } else { trees(&mut made, &now) };
            let roots: Vec<Node> = parents
                .iter()
                .map(|(files, is_flat)| if *is_flat { flat(&mut made, files) } else { trees(&mut made, files) })
                .collect();
            let mut told = Told::new();
            let digit = |entry: &Option<FileEntry>| entry.map(|entry| entry.node.as_bytes()[0]);
            tree_changes(&mut made, &root, &roots, &mut |path, parents, now| {
                told.push((path.to_vec(), parents.iter().map(digit).collect(), digit(&now)));
            })
            .expect("read");
            let parents: Vec<Files> = parents.into_iter().map(|(files, _)| files).collect();
            prop_assert_eq!(told, expected(&now, &parents));
        }
    }

    #[test]
    fn folders_that_are_the_same_are_not_read() {
        let mut made = Made::default();
        let before: Files = (0..100u8).map(|n| (format!("d{n}/e/f").into_bytes(), 1)).collect();
        let mut after = before.clone();
        after.insert(b"d7/e/f".to_vec(), 2);
        let roots = [trees(&mut made, &before), trees(&mut made, &after)];
        let mut told = 0;
        tree_changes(&mut made, &roots[1], &roots[..1], &mut |_, _, _| told += 1).expect("read");
        assert_eq!((told, made.read), (1, 6));
    }
}

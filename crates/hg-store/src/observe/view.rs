//! What an observer may ask of a changeset's manifest, flat or in trees.
//!
//! In trees a folder's manifest is read when something in it is asked for, and not before.

use std::sync::Arc;

use memchr::{memchr, memrchr};

use super::FileEntry;
use crate::manifest::{self, Flag, ManifestLine};
use crate::prepare::PrepareError;
use crate::{Node, Revision};

/// Where manifests are read.
pub(crate) trait ManifestSource {
    /// The text of a folder's manifest; the folder ends with a slash, and is empty for the top. The null manifest is empty.
    fn text(&mut self, folder: &[u8], node: &Node) -> Result<Arc<Vec<u8>>, PrepareError>;

    /// The manifests of the nearest common ancestors of a merge's parents; none where it is no merge.
    fn of_common_ancestors(&mut self, merge: Revision) -> Result<Vec<Node>, PrepareError>;
}

/// The manifest of a changeset whose entries are over, and those of changesets before it.
pub struct ObservedManifest<'a> {
    changeset: Revision,
    text: Arc<Vec<u8>>,
    source: &'a mut dyn ManifestSource,
}

impl<'a> ObservedManifest<'a> {
    /// `text`: that of the top.
    pub(crate) fn new(
        changeset: Revision,
        text: Arc<Vec<u8>>,
        source: &'a mut dyn ManifestSource,
    ) -> ObservedManifest<'a> {
        ObservedManifest { changeset, text, source }
    }

    /// Whether it has a file of this path.
    ///
    /// # Errors
    /// A manifest can't be read; so for the others.
    pub fn has_file(&mut self, path: &[u8]) -> Result<bool, PrepareError> {
        Ok(find(self.source, &self.text, path)?.is_some())
    }

    /// Whether it has a file below a folder of this path, which has no slash at its end.
    pub fn has_folder(&mut self, path: &[u8]) -> Result<bool, PrepareError> {
        let mut text = Arc::clone(&self.text);
        let mut from = 0;
        loop {
            let rest = &path[from..];
            let below = [rest, b"/"].concat();
            if first_from(&text, &below).is_some_and(|found| found.starts_with(&below)) {
                return Ok(true);
            }
            let end = memchr(b'/', rest).unwrap_or(rest.len());
            match line_of(&text, &rest[..end]).filter(|line| line.flag == Flag::Tree) {
                Some(_) if end == rest.len() => return Ok(true),
                Some(line) => {
                    from += end + 1;
                    text = self.source.text(&path[..from], &line.node)?;
                }
                None => return Ok(false),
            }
        }
    }

    /// Tells the paths of files, and of folders that have a manifest of their own. Into those it goes where `enter` says so of their
    /// path; a flat manifest is told whole. Returns whether all files were told.
    pub fn each_name(
        &mut self,
        enter: &mut dyn FnMut(&[u8]) -> bool,
        each: &mut dyn FnMut(&[u8]),
    ) -> Result<bool, PrepareError> {
        let mut all = true;
        let mut waiting = Vec::new();
        let mut tell = |folder: &[u8], text: &[u8], waiting: &mut Vec<(Vec<u8>, Node)>| {
            for line in manifest::lines(text).flatten() {
                match (line.flag, folder) {
                    (Flag::Tree, _) => {
                        let path = [folder, line.path, b"/"].concat();
                        let name = &path[..path.len() - 1];
                        each(name);
                        match enter(name) {
                            true => waiting.push((path, line.node)),
                            false => all = false,
                        }
                    }
                    (_, b"") => each(line.path),
                    (_, folder) => each(&[folder, line.path].concat()),
                }
            }
        };
        tell(b"", &self.text, &mut waiting);
        while let Some((folder, node)) = waiting.pop() {
            let text = self.source.text(&folder, &node)?;
            tell(&folder, &text, &mut waiting);
        }
        Ok(all)
    }

    /// What the nearest common ancestors of the changeset's parents have at a path; one element for each, none where it is no merge.
    pub fn at_common_ancestors(&mut self, path: &[u8]) -> Result<Vec<Option<FileEntry>>, PrepareError> {
        let nodes = self.source.of_common_ancestors(self.changeset)?;
        let mut found = Vec::with_capacity(nodes.len());
        for node in nodes {
            let text = self.source.text(b"", &node)?;
            found.push(find(self.source, &text, path)?);
        }
        Ok(found)
    }
}

/// What the manifest with this text at its top has at a path.
fn find(source: &mut dyn ManifestSource, text: &Arc<Vec<u8>>, path: &[u8]) -> Result<Option<FileEntry>, PrepareError> {
    let mut text = Arc::clone(text);
    let mut from = 0;
    loop {
        let rest = &path[from..];
        if let Some(line) = line_of(&text, rest).filter(|line| line.flag != Flag::Tree) {
            return Ok(Some(FileEntry { node: line.node, flag: line.flag }));
        }
        let Some(end) = memchr(b'/', rest) else { return Ok(None) };
        let Some(line) = line_of(&text, &rest[..end]).filter(|line| line.flag == Flag::Tree) else { return Ok(None) };
        from += end + 1;
        text = source.text(&path[..from], &line.node)?;
    }
}

/// The line of a path in one text that was checked.
pub(super) fn line_of<'t>(text: &'t [u8], path: &[u8]) -> Option<ManifestLine<'t>> {
    manifest::find(text, path).ok().flatten()
}

/// The first path of one text that is not below `path` in the order of bytes.
fn first_from<'t>(text: &'t [u8], path: &[u8]) -> Option<&'t [u8]> {
    // Both are starts of lines.
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = memrchr(b'\n', &text[low..middle]).map_or(low, |lf| low + lf + 1);
        let end = memchr(b'\n', &text[start..]).map_or(text.len(), |lf| start + lf + 1);
        if &text[start..start + memchr(0, &text[start..end])?] < path {
            low = end;
        } else {
            high = start;
        }
    }
    let line = &text[low..];
    (!line.is_empty()).then(|| &line[..memchr(0, line).unwrap_or(line.len())])
}

#[cfg(test)]
mod tests {
    use super::super::made_trees::{Made, flat, trees};
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn files_and_folders_are_found_where_they_are(
            paths in prop::collection::btree_set("[ab-]{1,2}(/[ab-]{1,2}){0,2}", 0..30),
            asked in "[ab-]{1,2}(/[ab-]{1,2}){0,2}",
        ) {
            // No file has the name of a folder.
            let paths: BTreeSet<Vec<u8>> = paths.iter().map(|path| path.clone().into_bytes()).collect();
            let is_folder = |path: &Vec<u8>| paths.iter().any(|other| other.starts_with(&[path, &b"/"[..]].concat()));
            let files: BTreeMap<Vec<u8>, u8> =
                paths.iter().filter(|path| !is_folder(path)).map(|path| (path.clone(), 1)).collect();
            let asked = asked.as_bytes();
            let below = [asked, b"/"].concat();
            let mut made = Made::default();
            for root in [flat(&mut made, &files), trees(&mut made, &files)] {
                let text = made.text(b"", &root).expect("made");
                let mut manifest = ObservedManifest::new(Revision::new(0), text, &mut made);
                prop_assert_eq!(manifest.has_file(asked).expect("read"), files.contains_key(asked));
                let has_folder = files.keys().any(|path| path.starts_with(&below));
                prop_assert_eq!(manifest.has_folder(asked).expect("read"), has_folder);
                let mut told = BTreeSet::new();
                let mut tell = |name: &[u8]| {
                    told.insert(name.to_vec());
                };
                prop_assert!(manifest.each_name(&mut |_| true, &mut tell).expect("read"));
                told.retain(|name| files.contains_key(name));
                prop_assert!(told.iter().eq(files.keys()));
            }
        }
    }

    #[test]
    fn folders_that_nobody_wants_are_not_read() {
        let mut made = Made::default();
        let files = [(&b"a/b/c"[..], 1), (b"a/d", 1), (b"e/f", 1)].map(|(path, digit)| (path.to_vec(), digit)).into();
        let root = trees(&mut made, &files);
        let text = made.text(b"", &root).expect("made");
        let read = made.read;
        let mut told = Vec::new();
        let mut manifest = ObservedManifest::new(Revision::new(0), text, &mut made);
        let all = manifest.each_name(&mut |folder| folder == b"a", &mut |name| told.push(name.to_vec())).expect("read");
        assert!(!all);
        assert_eq!(told, [&b"a"[..], b"e", b"a/b", b"a/d"]);
        assert_eq!(made.read - read, 1);
    }
}

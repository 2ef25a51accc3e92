//! Changegroups with manifests of folders made by hand, good ones and bad ones.

use std::collections::{BTreeMap, VecDeque};

use hg_store::Node;
use hg_store::prepare::{Incoming, IncomingRevision};

use super::history::{pieces, revision};

/// Revisions of files or folders by path.
type Groups = BTreeMap<Vec<u8>, Vec<IncomingRevision>>;

/// A folder, and what its manifest's text becomes.
pub type Edit = (&'static [u8], fn(Vec<u8>) -> Vec<u8>);

/// A linear history in trees, as a push sends it.
#[derive(Clone, Default)]
pub struct TreeHistory {
    pub changesets: Vec<IncomingRevision>,
    pub manifests: Vec<IncomingRevision>,
    /// Paths end with a slash, so that a folder comes before those in it.
    pub trees: Groups,
    pub files: Groups,
    tree: BTreeMap<Vec<u8>, Node>,
    /// The last manifest of each folder.
    last: BTreeMap<Vec<u8>, Node>,
    /// What the next manifest of a folder becomes before it is hashed; the top has an empty path.
    pub edit: Option<Edit>,
}

impl TreeHistory {
    /// A changeset that gives these files this content.
    pub fn commit(&mut self, files: &[(&[u8], &[u8])]) -> &mut Self {
        let mut new = Vec::new();
        for (path, content) in files {
            let parent = self.tree.get(*path).copied().unwrap_or(Node::NULL);
            let file = revision(content, parent, Node::NULL, None);
            self.tree.insert(path.to_vec(), file.node);
            new.push((path.to_vec(), file));
        }
        let mut trees = Vec::new();
        let all: Vec<(Vec<u8>, Node)> = self.tree.iter().map(|(path, node)| (path.clone(), *node)).collect();
        let root = self.write(b"", &all, &mut trees);
        let mut text = [&root.to_hex()[..], b"\nsomeone\n1700000000 0\n"].concat();
        for (path, _) in files {
            text.extend_from_slice(&[path, &b"\n"[..]].concat());
        }
        text.extend_from_slice(b"\nwhat was done");
        let parent = self.changesets.last().map_or(Node::NULL, |last| last.node);
        let changeset = revision(&text, parent, Node::NULL, None);
        for (groups, new) in [(&mut self.trees, trees), (&mut self.files, new)] {
            for (path, mut revision) in new {
                revision.link = changeset.node;
                match path.is_empty() {
                    true => self.manifests.push(revision),
                    false => groups.entry(path).or_default().push(revision),
                }
            }
        }
        self.changesets.push(changeset);
        self
    }

    /// Writes a folder's manifest, and those below it, where they changed; `files` have paths from the folder on.
    fn write(
        &mut self,
        folder: &[u8],
        files: &[(Vec<u8>, Node)],
        trees: &mut Vec<(Vec<u8>, IncomingRevision)>,
    ) -> Node {
        let mut lines: BTreeMap<Vec<u8>, (Node, &[u8])> = BTreeMap::new();
        let mut folders: BTreeMap<Vec<u8>, Vec<(Vec<u8>, Node)>> = BTreeMap::new();
        for (path, node) in files {
            match path.iter().position(|byte| *byte == b'/') {
                Some(end) => folders.entry(path[..end].to_vec()).or_default().push((path[end + 1..].to_vec(), *node)),
                None => drop(lines.insert(path.clone(), (*node, b""))),
            }
        }
        for (name, below) in folders {
            let node = self.write(&[folder, &name, b"/"].concat(), &below, trees);
            lines.insert(name, (node, b"t"));
        }
        let line =
            |(name, (node, flag)): (&Vec<u8>, &(Node, &[u8]))| [name, &b"\0"[..], &node.to_hex(), flag, b"\n"].concat();
        let mut text: Vec<u8> = lines.iter().flat_map(line).collect();
        if let Some((_, edit)) = self.edit.take_if(|(edited, _)| *edited == folder) {
            text = edit(text);
        }
        let parent = self.last.get(folder).copied().unwrap_or(Node::NULL);
        let known = self.trees.get(folder).and_then(|known| known.last());
        if known.is_some_and(|known| known.delta[12..] == text) {
            return parent;
        }
        let manifest = revision(&text, parent, Node::NULL, None);
        let node = manifest.node;
        self.last.insert(folder.to_vec(), node);
        trees.push((folder.to_vec(), manifest));
        node
    }

    /// What it has beyond its first changesets, as many as `known` has.
    pub fn beyond(mut self, known: &TreeHistory) -> TreeHistory {
        self.changesets.drain(..known.changesets.len());
        self.manifests.drain(..known.manifests.len());
        for (groups, known) in [(&mut self.trees, &known.trees), (&mut self.files, &known.files)] {
            for (path, revisions) in known {
                groups.get_mut(path).map(|group| group.drain(..revisions.len()));
            }
            groups.retain(|_, revisions| !revisions.is_empty());
        }
        self
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> VecDeque<Incoming> {
        let trees = self.trees.iter().map(|(path, group)| (Incoming::Tree(path.clone()), group));
        let files = self.files.iter().map(|(path, group)| (Incoming::File(path.clone()), group));
        pieces(&self.changesets, &self.manifests, trees.chain(files))
    }
}

//! Changegroups made by hand, good ones and bad ones.

use std::collections::{BTreeMap, VecDeque};

use hg_store::Node;
use hg_store::prepare::{Incoming, IncomingChangegroup, IncomingError, IncomingRevision};

/// A delta of one hunk.
pub fn hunk(start: usize, end: usize, bytes: &[u8]) -> Vec<u8> {
    let numbers = [start, end, bytes.len()].map(|number| (number as u32).to_be_bytes());
    [&numbers.concat(), bytes].concat()
}

/// A revision with its whole text.
pub fn revision(text: &[u8], p1: Node, p2: Node, link: Option<Node>) -> IncomingRevision {
    let node = Node::of(&p1, &p2, text);
    let (base, link) = (Node::NULL, link.unwrap_or(node));
    IncomingRevision { node, p1, p2, link, base, flags: 0, delta: hunk(0, 0, text) }
}

type Edit = fn(Vec<u8>) -> Vec<u8>;

/// A linear history, as a push sends it.
#[derive(Default)]
pub struct History {
    pub changesets: Vec<IncomingRevision>,
    pub manifests: Vec<IncomingRevision>,
    pub files: Vec<(Vec<u8>, Vec<IncomingRevision>)>,
    /// The files after the last changeset.
    pub tree: BTreeMap<Vec<u8>, (Node, &'static str)>,
    /// What the next manifest's and changeset's texts become before they are hashed.
    pub edit_manifest: Option<Edit>,
    pub edit_changeset: Option<Edit>,
}

impl History {
    /// A changeset that gives these files this content. Files are listed as given.
    pub fn commit(&mut self, files: &[(&[u8], &[u8], &'static str)]) -> &mut Self {
        let mut brought = Vec::new();
        for (path, content, flag) in files {
            let parent = self.tree.get(*path).map_or(Node::NULL, |(node, _)| *node);
            let file = revision(content, parent, Node::NULL, None);
            self.tree.insert(path.to_vec(), (file.node, flag));
            brought.push((path.to_vec(), file));
        }
        let mut manifest = Vec::new();
        for (path, (node, flag)) in &self.tree {
            manifest.extend_from_slice(&[path, &b"\0"[..], &node.to_hex(), flag.as_bytes(), b"\n"].concat());
        }
        if let Some(edit) = self.edit_manifest.take() {
            manifest = edit(manifest);
        }
        let parent = self.manifests.last().map_or(Node::NULL, |last| last.node);
        let mut manifest = revision(&manifest, parent, Node::NULL, None);
        let mut changeset = [&manifest.node.to_hex()[..], b"\nsomeone\n1700000000 0\n"].concat();
        for (path, ..) in files {
            changeset.extend_from_slice(&[path, &b"\n"[..]].concat());
        }
        changeset.extend_from_slice(b"\nwhat was done");
        if let Some(edit) = self.edit_changeset.take() {
            changeset = edit(changeset);
        }
        let parent = self.changesets.last().map_or(Node::NULL, |last| last.node);
        let changeset = revision(&changeset, parent, Node::NULL, None);
        manifest.link = changeset.node;
        for (path, mut file) in brought {
            file.link = changeset.node;
            match self.files.iter_mut().find(|(known, _)| *known == path) {
                Some((_, revisions)) => revisions.push(file),
                None => self.files.push((path, vec![file])),
            }
        }
        self.manifests.push(manifest);
        self.changesets.push(changeset);
        self
    }

    /// The pieces, in order.
    pub fn pieces(&self) -> VecDeque<Incoming> {
        let files = self.files.iter().map(|(path, group)| (Incoming::File(path.clone()), group));
        pieces(&self.changesets, &self.manifests, files)
    }
}

/// The pieces of a changegroup, in order; `groups`: of folders and files.
pub fn pieces<'r>(
    changesets: &[IncomingRevision],
    manifests: &[IncomingRevision],
    groups: impl Iterator<Item = (Incoming, &'r Vec<IncomingRevision>)>,
) -> VecDeque<Incoming> {
    let mut pieces = VecDeque::new();
    let mut add = |begin, group: &[IncomingRevision]| {
        pieces.push_back(begin);
        pieces.extend(group.iter().cloned().map(Incoming::Revision));
        pieces.push_back(Incoming::EndOfGroup);
    };
    add(Incoming::Changelog, changesets);
    add(Incoming::Manifest, manifests);
    groups.for_each(|(begin, group)| add(begin, group));
    pieces.push_back(Incoming::End);
    pieces
}

/// Hands pieces out in turn.
pub struct Pieces(pub VecDeque<Incoming>);

impl IncomingChangegroup for Pieces {
    fn next(&mut self) -> Result<Incoming, IncomingError> {
        self.0.pop_front().ok_or_else(|| IncomingError::Malformed("over".into()))
    }
}

//! Changesets for simulated pushes, made natively, and what is known of each.
//!
//! Each alters one file. All texts have one length, so that a delta replaces the whole of its base without knowing it.

use std::collections::BTreeMap;
use std::fmt;

use sha1::{Digest, Sha1};

/// A revision's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Node([u8; 20]);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_string()[..8].fmt(f)
    }
}

impl Node {
    /// Reads 40 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Node> {
        let mut node = [0; 20];
        if text.len() != 40 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in node.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(Node(node))
    }

    /// Whether these bytes are its.
    pub fn is(self, bytes: &[u8]) -> bool {
        self.0 == bytes
    }

    fn of(parent: Node, text: &[u8]) -> Node {
        // The other parent is the null revision, which sorts first.
        Node(Sha1::new().chain_update([0; 20]).chain_update(parent.0).chain_update(text).finalize().into())
    }
}

/// One changeset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changeset {
    /// Its name; the null revision's for none.
    pub node: Node,
    /// Its parent's.
    pub parent: Node,
    /// How many ancestors it has.
    pub depth: u64,
    manifest: Node,
    file: Node,
}

/// Every changeset that was ever made, by its name.
#[derive(Debug, Default)]
pub struct History {
    made: BTreeMap<Node, Changeset>,
    count: u64,
}

impl History {
    /// The changeset of this name.
    pub fn get(&self, node: Node) -> Option<Changeset> {
        if node == Node::default() { Some(Changeset::default()) } else { self.made.get(&node).copied() }
    }

    /// Makes a child of `parent`, with a bundle (version 1, uncompressed) that holds it.
    pub fn grow(&mut self, parent: Changeset) -> (Changeset, Vec<u8>) {
        self.count += 1;
        let content = format!("push {:09}\n", self.count);
        let file = Node::of(parent.file, content.as_bytes());
        let files = format!("f\0{file}\n");
        let manifest = Node::of(parent.manifest, files.as_bytes());
        let text = format!("{manifest}\nsomebody\n1700000000 0\nf\n\npush {:09}", self.count);
        let node = Node::of(parent.node, text.as_bytes());
        let mut bundle = b"HG10UN".to_vec();
        add_group(&mut bundle, [node, parent.node, node], &text);
        add_group(&mut bundle, [manifest, parent.manifest, node], &files);
        // A file's group begins with its name.
        bundle.extend(5u32.to_be_bytes());
        bundle.push(b'f');
        add_group(&mut bundle, [file, parent.file, node], &content);
        bundle.extend([0; 4]);
        let made = Changeset { node, parent: parent.node, depth: parent.depth + 1, manifest, file };
        self.made.insert(node, made);
        (made, bundle)
    }

    /// Whether one is the other or an ancestor of it.
    pub fn leads_to(&self, ancestor: Node, descendant: Node) -> bool {
        let mut at = self.get(descendant);
        let goal = self.get(ancestor).map_or(u64::MAX, |changeset| changeset.depth);
        while let Some(changeset) = at {
            if changeset.node == ancestor {
                return true;
            }
            if changeset.depth <= goal {
                return false;
            }
            at = self.get(changeset.parent);
        }
        false
    }
}

/// A group of one revision: its name, its parent's, its changeset's, and a delta that replaces all of the parent.
fn add_group(bundle: &mut Vec<u8>, [name, parent, changeset]: [Node; 3], text: &str) {
    let bytes = text.len() as u32;
    let replaced = if parent == Node::default() { 0 } else { bytes };
    bundle.extend((4 + 80 + 12 + bytes).to_be_bytes());
    for node in [name, parent, Node::default(), changeset] {
        bundle.extend(node.0);
    }
    bundle.extend([0, replaced, bytes].iter().flat_map(|number| number.to_be_bytes()));
    bundle.extend(text.as_bytes());
    bundle.extend([0; 4]);
}

//! Manifests made up for tests, flat and in trees.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ManifestSource;
use crate::prepare::PrepareError;
use crate::{Node, Revision};

/// Files by path, each with a digit that its node is made of.
pub(crate) type Files = BTreeMap<Vec<u8>, u8>;

#[derive(Default)]
pub(crate) struct Made {
    texts: BTreeMap<(Vec<u8>, Node), Arc<Vec<u8>>>,
    /// How many were read.
    pub(crate) read: usize,
}

impl Made {
    fn add(&mut self, folder: &[u8], text: Vec<u8>) -> Node {
        let node = Node::of(&Node::NULL, &Node::NULL, &text);
        self.texts.insert((folder.to_vec(), node), Arc::new(text));
        node
    }
}

impl ManifestSource for Made {
    fn text(&mut self, folder: &[u8], node: &Node) -> Result<Arc<Vec<u8>>, PrepareError> {
        self.read += 1;
        let made = self.texts.get(&(folder.to_vec(), *node)).cloned();
        Ok(made.unwrap_or_else(|| panic!("manifest {node} of {}", folder.escape_ascii())))
    }

    fn of_common_ancestors(&mut self, _: Revision) -> Result<Vec<Node>, PrepareError> {
        Ok(Vec::new())
    }
}

fn line(name: &[u8], node: &Node, flag: &[u8]) -> Vec<u8> {
    [name, b"\0", &node.to_hex(), flag, b"\n"].concat()
}

/// The name of the manifest with a line for each file.
pub(crate) fn flat(made: &mut Made, files: &Files) -> Node {
    let text = files.iter().flat_map(|(path, digit)| line(path, &Node::new([*digit; 20]), b"")).collect();
    made.add(b"", text)
}

/// The name of the top manifest of trees.
pub(crate) fn trees(made: &mut Made, files: &Files) -> Node {
    tree(made, b"", files)
}

fn tree(made: &mut Made, folder: &[u8], files: &Files) -> Node {
    let mut folders: BTreeMap<&[u8], Files> = BTreeMap::new();
    let mut lines: BTreeMap<&[u8], Vec<u8>> = BTreeMap::new();
    for (path, digit) in files {
        match path.iter().position(|byte| *byte == b'/') {
            Some(end) => {
                folders.entry(&path[..end]).or_default().insert(path[end + 1..].to_vec(), *digit);
            }
            None => {
                lines.insert(path, line(path, &Node::new([*digit; 20]), b""));
            }
        }
    }
    for (name, below) in folders {
        let node = tree(made, &[folder, name, b"/"].concat(), &below);
        lines.insert(name, line(name, &node, b"t"));
    }
    made.add(folder, lines.into_values().flatten().collect())
}

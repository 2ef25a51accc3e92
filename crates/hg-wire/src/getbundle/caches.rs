//! The parts that spare a client work it could do itself: `hgtagsfnodes`, and `cache:rev-branch-cache` for clients up to 5.6.

use crate::CommandError;
use hg_store::{Node, Revision, Snapshot};
use std::collections::{BTreeMap, BTreeSet};

/// Returns the payload of `hgtagsfnodes`: for each of these heads its node and that of its `.hgtags`, null where it has none.
///
/// As stock does, it tells only what is known already, because somebody asked for tags; empty when nothing is.
pub(super) fn tags_file_nodes(snapshot: &Snapshot, heads: &[Option<Revision>]) -> Vec<u8> {
    let mut payload = Vec::new();
    for head in heads {
        let (node, file) = match head {
            None => (Node::NULL, Some(Node::NULL)),
            Some(head) => (snapshot.changelog().node(*head), snapshot.known_tags_file_node(*head)),
        };
        if let Some(file) = file {
            payload.extend_from_slice(node.as_bytes());
            payload.extend_from_slice(file.as_bytes());
        }
    }
    payload
}

/// Returns the payload of `cache:rev-branch-cache`. For each branch of these changesets, sorted by name: the name's length, how many
/// don't close it, how many do (4 bytes each, BE), the name, the nodes of the first, and of the second, sorted.
pub(super) fn branches(snapshot: &Snapshot, changesets: &[Revision]) -> Result<Vec<u8>, CommandError> {
    let mut branches: BTreeMap<Vec<u8>, [BTreeSet<Node>; 2]> = BTreeMap::new();
    for revision in changesets {
        let (name, closes) = snapshot.branch_of(*revision)?;
        branches.entry(name).or_default()[usize::from(closes)].insert(snapshot.changelog().node(*revision));
    }
    let mut payload = Vec::new();
    for (name, [open, closing]) in branches {
        for count in [name.len(), open.len(), closing.len()] {
            payload.extend_from_slice(&(count as u32).to_be_bytes());
        }
        payload.extend_from_slice(&name);
        payload.extend(open.iter().chain(&closing).flat_map(|node| *node.as_bytes()));
    }
    Ok(payload)
}

//! Hashes and names: `heads`, `known`, `lookup`, `branchmap`.

use crate::CommandError;
use crate::arguments;
use crate::limits;
use crate::quoting::quote;
use hg_store::lookup::{self, Lookup};
use hg_store::{Node, Snapshot};

/// Hashes with one blank between.
pub(super) fn join(nodes: impl IntoIterator<Item = Node>, output: &mut Vec<u8>) {
    for (n, node) in nodes.into_iter().enumerate() {
        if n > 0 {
            output.push(b' ');
        }
        output.extend_from_slice(&node.to_hex());
    }
}

/// The heads that are served, highest first, and a newline; of an empty repository the null hash.
pub(super) fn heads(snapshot: &Snapshot) -> Result<Vec<u8>, CommandError> {
    let heads = snapshot.heads_in_hex()?;
    let mut text = Vec::with_capacity(heads.len().max(40) + 1);
    if heads.is_empty() {
        join([Node::NULL], &mut text);
    } else {
        text.extend_from_slice(heads);
    }
    text.push(b'\n');
    Ok(text)
}

/// `1` or `0` for each node.
pub(super) fn known(snapshot: &Snapshot, nodes: &[u8]) -> Result<Vec<u8>, CommandError> {
    let known = lookup::known(snapshot, &arguments::nodes(nodes)?)?;
    Ok(known.into_iter().map(|known| if known { b'1' } else { b'0' }).collect())
}

/// `1 HASH`, or `0 WHY`, and a newline.
pub(super) fn lookup(snapshot: &Snapshot, key: &[u8]) -> Result<Vec<u8>, CommandError> {
    if key.len() > limits::LOOKUP_KEY_BYTES_MAX {
        return Err(CommandError::TooLarge(format!("a name of more than {} bytes", limits::LOOKUP_KEY_BYTES_MAX)));
    }
    let text = match lookup::lookup(snapshot, key)? {
        Lookup::Found(revision) => format!("1 {}\n", snapshot.changelog().node(revision)),
        Lookup::Null => format!("1 {}\n", Node::NULL),
        Lookup::Unknown(why) => format!("0 {}\n", why.replace('\n', " ")),
    };
    Ok(text.into_bytes())
}

/// A line for each branch: its name, quoted, and its heads, lowest first; no newline at the end.
pub(super) fn branchmap(snapshot: &Snapshot) -> Result<Vec<u8>, CommandError> {
    let mut text = Vec::new();
    for branch in snapshot.branchmap()?.iter() {
        if !text.is_empty() {
            text.push(b'\n');
        }
        text.extend_from_slice(quote(&branch.name).as_bytes());
        text.push(b' ');
        join(branch.heads.iter().map(|head| snapshot.changelog().node(head.revision)), &mut text);
    }
    Ok(text)
}

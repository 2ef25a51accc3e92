//! The part `obsmarkers`: the markers that matter to whoever gets some changesets.

use crate::CommandError;
use crate::capabilities::BundleCapabilities;
use hg_store::{Marker, Node, Revision, Snapshot};
use rustc_hash::{FxHashMap, FxHashSet};

/// Returns the payload for the ancestors of `heads`: a version byte and markers. `None`: there are none.
pub(super) fn payload(
    snapshot: &Snapshot,
    heads: &[Revision],
    capabilities: &BundleCapabilities,
) -> Result<Option<Vec<u8>>, CommandError> {
    let markers = snapshot.obsstore()?.markers();
    if markers.is_empty() {
        return Ok(None);
    }
    let understood = capabilities.get("obsmarkers").unwrap_or_default();
    let understands = |version: &[u8]| understood.iter().any(|other| other == version);
    let version = match (understands(b"V1"), understands(b"V0")) {
        (true, _) => 1,
        (false, true) => 0,
        (false, false) => return Err(CommandError::Refused("no common format of obsolescence markers".to_owned())),
    };
    let mut payload = vec![version];
    let mut relevant: Vec<&Marker> =
        relevant(snapshot, heads, markers).into_iter().map(|index| &markers[index]).collect();
    // Stock's order. What is equal so far keeps the file's, as of one set it has none.
    relevant.sort_by(|one, other| {
        (one.predecessor, &one.successors, one.flags, &one.metadata).cmp(&(
            other.predecessor,
            &other.successors,
            other.flags,
            &other.metadata,
        ))
    });
    for marker in relevant {
        let encoded = if version == 1 { marker.encode_v1(&mut payload) } else { marker.encode_v0(&mut payload) };
        encoded.map_err(|error| {
            CommandError::Refused(format!("refused: {error}, in an obsolescence marker. Tell the administrators"))
        })?;
    }
    Ok((payload.len() > 1).then_some(payload))
}

/// Returns indices of the markers that lead to the ancestors of `heads`, and of prunes of them or of their children;
/// then those that lead to what these replaced, and so on.
fn relevant(snapshot: &Snapshot, heads: &[Revision], markers: &[Marker]) -> Vec<usize> {
    let mut by_successor: FxHashMap<Node, Vec<usize>> = FxHashMap::default();
    let mut prunes: FxHashMap<Node, Vec<usize>> = FxHashMap::default();
    for (index, marker) in markers.iter().enumerate() {
        for successor in &marker.successors {
            by_successor.entry(*successor).or_default().push(index);
        }
        if marker.successors.is_empty() {
            prunes.entry(marker.predecessor).or_default().push(index);
            for parent in marker.parents.iter().flatten() {
                prunes.entry(*parent).or_default().push(index);
            }
        }
    }
    let changelog = snapshot.changelog();
    let mut pending: Vec<Node> =
        hg_store::walk::ancestors(changelog, heads).into_iter().map(|revision| changelog.node(revision)).collect();
    let mut seen: FxHashSet<Node> = pending.iter().copied().collect();
    let mut taken = vec![false; markers.len()];
    while let Some(node) = pending.pop() {
        for index in by_successor.get(&node).into_iter().chain(prunes.get(&node)).flatten() {
            if !std::mem::replace(&mut taken[*index], true) && seen.insert(markers[*index].predecessor) {
                pending.push(markers[*index].predecessor);
            }
        }
    }
    (0..markers.len()).filter(|index| taken[*index]).collect()
}

//! Discovery as it was before Mercurial 1.9: `between`, `branches`, and the roots of `changegroup`. Clients still open
//! a session over SSH with a `between`.

use super::names::join;
use crate::CommandError;
use crate::arguments;
use crate::error::shown;
use crate::outgoing::Outgoing;
use hg_store::{Node, Revision, Snapshot, walk};

/// Steps along first parents that one request may take.
const STEPS_MAX: usize = 10_000_000;

fn too_far() -> CommandError {
    CommandError::TooLarge("too much history for one request".to_owned())
}

/// The served changeset of that hash; `None` is the null revision.
fn served(snapshot: &Snapshot, node: &Node) -> Result<Option<Revision>, CommandError> {
    if node.is_null() {
        return Ok(None);
    }
    match snapshot.changelog().revision_of(node) {
        Some(revision) if snapshot.served()?.contains(revision) => Ok(Some(revision)),
        _ => Err(CommandError::Refused(format!("unknown revision '{node}'"))),
    }
}

/// For each pair `top-bottom` a line with the changesets 1, 2, 4, 8... first parents away from the top, above the
/// bottom.
pub(super) fn between(snapshot: &Snapshot, pairs: &[u8]) -> Result<Vec<u8>, CommandError> {
    let changelog = snapshot.changelog();
    let mut text = Vec::new();
    let mut steps = 0;
    for pair in pairs.split(|byte| *byte == b' ') {
        let mut halves = pair.splitn(2, |byte| *byte == b'-');
        let (Some(top), Some(bottom)) = (halves.next(), halves.next()) else {
            return Err(CommandError::Malformed(format!("not a pair of hashes: '{}'", shown(pair))));
        };
        let mut at = served(snapshot, &arguments::node(top)?)?;
        let bottom = served(snapshot, &arguments::node(bottom)?)?;
        let mut samples = Vec::new();
        let (mut distance, mut next) = (0usize, 1usize);
        while let Some(revision) = at.filter(|_| at != bottom) {
            if distance == next {
                samples.push(changelog.node(revision));
                next *= 2;
            }
            at = changelog.parents(revision)[0];
            distance += 1;
            steps += 1;
            if steps > STEPS_MAX {
                return Err(too_far());
            }
        }
        join(samples, &mut text);
        text.push(b'\n');
    }
    Ok(text)
}

/// For each node a line with it, the end of the linear run below it, and that one's parents.
pub(super) fn branches(snapshot: &Snapshot, nodes: &[u8]) -> Result<Vec<u8>, CommandError> {
    let changelog = snapshot.changelog();
    let name = |revision: Option<Revision>| revision.map_or(Node::NULL, |revision| changelog.node(revision));
    let mut text = Vec::new();
    let mut steps = 0;
    let mut tops = Vec::new();
    for node in arguments::nodes(nodes)? {
        tops.push(served(snapshot, &node)?);
    }
    if tops.is_empty() {
        tops.push(snapshot.served()?.tip());
    }
    for top in tops {
        let mut at = top;
        let mut parents = [None, None];
        while let Some(revision) = at {
            parents = changelog.parents(revision);
            if parents[1].is_some() || parents[0].is_none() {
                break;
            }
            at = parents[0];
            steps += 1;
            if steps > STEPS_MAX {
                return Err(too_far());
            }
        }
        join([name(top), name(at), name(parents[0]), name(parents[1])], &mut text);
        text.push(b'\n');
    }
    Ok(text)
}

/// Finds the served descendants of `roots` (themselves included) that are ancestors of `heads`, or of any head.
pub(super) fn descending_from(
    snapshot: &Snapshot,
    roots: &[Node],
    heads: Option<&[Node]>,
) -> Result<Outgoing, CommandError> {
    let changelog = snapshot.changelog();
    let view = snapshot.served()?;
    let revisions = |nodes: &[Node]| nodes.iter().map(|node| served(snapshot, node)).collect::<Result<Vec<_>, _>>();
    let roots = revisions(roots)?;
    let heads: Vec<Revision> = match heads {
        Some(heads) => revisions(heads)?.into_iter().flatten().collect(),
        None => view.heads().to_vec(),
    };
    let all_heads = view.excluded().is_empty().then(|| view.heads());
    if roots.iter().all(Option::is_none) {
        return Ok(Outgoing::new(changelog, &[], &heads, all_heads));
    }
    // What is below a root, or beside all of them, is what the client must have.
    let roots: Vec<Revision> = roots.into_iter().flatten().collect();
    let mut wanted = vec![false; changelog.len()];
    for revision in walk::descendants(changelog, &roots) {
        wanted[revision.index()] = true;
    }
    let mut common = Vec::new();
    for revision in walk::ancestors(changelog, &heads) {
        if wanted[revision.index()] {
            common.extend(changelog.parents(revision).into_iter().flatten().filter(|parent| !wanted[parent.index()]));
        }
    }
    let heads: Vec<Revision> = heads.into_iter().filter(|head| wanted[head.index()]).collect();
    Ok(Outgoing::new(changelog, &common, &heads, None))
}

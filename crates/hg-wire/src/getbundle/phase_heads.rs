//! The part `phase-heads`: how far down from the wanted heads everything is public.

use crate::CommandError;
use hg_store::{Node, Phase, Revision, Snapshot};

/// Returns the payload: for each head its phase (4 bytes, BE) and node, by phase, then by node. `None` is the null
/// revision.
pub(super) fn payload(snapshot: &Snapshot, heads: &[Option<Revision>]) -> Result<Vec<u8>, CommandError> {
    let changelog = snapshot.changelog();
    let node = |revision: &Option<Revision>| revision.map_or(Node::NULL, |revision| changelog.node(revision));
    let mut public = heads.to_vec();
    let mut draft = Vec::new();
    if !snapshot.settings().publishing() {
        let phases = snapshot.phases()?;
        let is_public = |revision: Revision| phases.phase(revision) == Phase::Public;
        draft = public.extract_if(.., |head| head.is_some_and(|head| !is_public(head))).collect();
        let below = highest_public(snapshot, &draft, &public, is_public);
        public.extend(below.into_iter().map(Some));
    }
    let mut payload = Vec::with_capacity((public.len() + draft.len()) * 24);
    for (phase, heads) in [(Phase::Public, &public), (Phase::Draft, &draft)] {
        let mut nodes: Vec<Node> = heads.iter().map(node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        for node in nodes {
            payload.extend_from_slice(&phase.number().to_be_bytes());
            payload.extend_from_slice(node.as_bytes());
        }
    }
    Ok(payload)
}

/// Returns the heads of the public changesets below draft heads that are not below public heads, too.
fn highest_public(
    snapshot: &Snapshot,
    draft: &[Option<Revision>],
    public: &[Option<Revision>],
    is_public: impl Fn(Revision) -> bool,
) -> Vec<Revision> {
    let changelog = snapshot.changelog();
    /// To be looked at: a draft ancestor of a draft head, or a public parent of such a one.
    const REACHED: u8 = 1;
    /// A public head or an ancestor of it, or of a changeset that was taken.
    const COVERED: u8 = 2;
    let mut marks = vec![0u8; changelog.len()];
    let mut pending = 0usize;
    for revision in public.iter().flatten() {
        marks[revision.index()] = COVERED;
    }
    for revision in draft.iter().flatten() {
        if marks[revision.index()] == 0 {
            marks[revision.index()] = REACHED;
            pending += 1;
        }
    }
    let mut taken = Vec::new();
    for at in (0..marks.len()).rev() {
        if pending == 0 {
            break;
        }
        let mark = marks[at];
        let Some(revision) = changelog.revision(at as u32).filter(|_| mark != 0) else { continue };
        let mut handed_down = COVERED;
        if mark & COVERED == 0 {
            pending -= 1;
            if is_public(revision) {
                taken.push(revision);
            } else {
                handed_down = REACHED;
            }
        }
        for parent in changelog.parents(revision).into_iter().flatten() {
            let parent_mark = &mut marks[parent.index()];
            let was_pending = *parent_mark == REACHED;
            *parent_mark |= handed_down;
            let is_pending = *parent_mark == REACHED;
            pending = pending + usize::from(is_pending) - usize::from(was_pending);
        }
    }
    taken
}

//! The manifests of folders, in repositories that have them: which go out, one folder after the other.
//!
//! A manifest names those of the folders in it by lines with the flag `t`. So what goes out of one folder is known when all
//! manifests above it were looked at.

use super::contents::{self, Candidates, note};
use super::group::GroupWriter;
use crate::CommandError;
use crate::error::shown;
use crate::outgoing::Outgoing;
use hg_store::{Node, Revision, Revlog, Snapshot, StoreError};
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// Of each folder, with a slash at its end, the manifests that are named, each with the lowest changeset that it is sent for.
type Named = BTreeMap<Vec<u8>, FxHashMap<Node, u32>>;

/// Looks at the lines of all manifests that go out, and writes the groups of the folders that they name. `root`: those of the top.
pub(super) fn write(
    writer: &mut GroupWriter<'_>,
    snapshot: &Snapshot,
    outgoing: &Outgoing,
    root: &[(Revision, u32)],
    candidates: &mut Candidates,
) -> Result<(), CommandError> {
    let mut waiting = Named::new();
    take_lines(b"", snapshot.manifest(), outgoing, root, candidates, &mut waiting)?;
    while let Some((folder, named)) = waiting.pop_first() {
        let damaged = |what: String| {
            CommandError::Store(StoreError::Corrupt { path: snapshot.repository().root().join(".hg/store/meta"), what })
        };
        let Some(revlog) = snapshot.tree_manifest(&folder)? else {
            return Err(damaged(format!("no manifests of the folder '{}'", shown(&folder))));
        };
        let mut revisions = Vec::with_capacity(named.len());
        for (node, changeset) in named {
            let revision = revlog
                .revision_of(&node)
                .ok_or_else(|| damaged(format!("manifest {node} of the folder '{}' is missing", shown(&folder))))?;
            if !outgoing.is_common(revlog.link(revision)) {
                revisions.push((revision, changeset));
            }
        }
        if revisions.is_empty() {
            continue;
        }
        revisions.sort_unstable();
        take_lines(&folder, &revlog, outgoing, &revisions, candidates, &mut waiting)?;
        writer.path(&folder)?;
        writer.revlog(&revlog, &revisions)?;
        writer.end_of_group();
    }
    Ok(())
}

/// A folder's path is longer than that of the one above it, so that nothing is added to what was taken from `waiting` before.
fn take_lines(
    folder: &[u8],
    revlog: &Revlog,
    outgoing: &Outgoing,
    revisions: &[(Revision, u32)],
    candidates: &mut Candidates,
    waiting: &mut Named,
) -> Result<(), CommandError> {
    contents::new_lines(revlog, outgoing, revisions, |name, node, flag, changeset| {
        if flag == b"t" {
            let named = waiting.entry([folder, name, b"/"].concat()).or_default();
            named.entry(node).and_modify(|first| *first = changeset.min(*first)).or_insert(changeset);
        } else if !candidates.is_empty() {
            note(candidates, &[folder, name].concat(), node, changeset);
        }
    })
}

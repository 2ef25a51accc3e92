//! Changegroups going out, versions 01, 02 and 03.
//!
//! ```text
//! changelog group, manifest group, (03: for each folder with manifests of its own: a chunk with its path and its group;
//! an empty chunk), for each file: a chunk with its path and its group; an empty chunk
//! group:    revisions, an empty chunk
//! chunk:    length (4, BE, itself included), data; length 0 is the empty chunk
//! revision: node, p1, p2, (02, 03: delta base), changeset, (03: flags (2, BE)), delta
//! ```
//!
//! In version 01 the base is the revision before in the group, for the first one its first parent. A delta that the
//! store has is sent as it is stored, whenever the client has its base or gets it earlier in the group.

mod contents;
mod group;
mod trees;

pub use group::Version;

use crate::CommandError;
use crate::outgoing::Outgoing;
use contents::Contents;
use group::GroupWriter;
use hg_store::{Snapshot, StoreError};
use std::io::Write;

/// Checks that this repository can be sent in this version.
///
/// # Errors
/// What the version lacks, for the client: where each folder has manifests of its own, their hashes are others than those of flat ones, so that nothing
/// can be converted; and only flags tell a pointer to an LFS object from a file.
pub fn check_version(snapshot: &Snapshot, version: Version) -> Result<(), CommandError> {
    let requirements = snapshot.repository().requirements();
    let named = [(requirements.tree_manifests(), "treemanifest"), (requirements.lfs(), "lfs")];
    match named.into_iter().find(|(has, _)| *has && version < Version::V03) {
        None => Ok(()),
        Some((_, name)) => Err(CommandError::Refused(format!(
            "refused: changegroup 03 is needed, for a repository with requirement '{name}'. Update Mercurial"
        ))),
    }
}

/// Writes the changesets that go out, with the manifests and files that the client lacks to have them whole.
pub fn write(
    snapshot: &Snapshot,
    outgoing: &mut Outgoing,
    version: Version,
    output: &mut dyn Write,
) -> Result<(), CommandError> {
    if outgoing.has_others() {
        outgoing.mark_all_common(snapshot.changelog());
    }
    let outgoing = &*outgoing;
    let mut contents = Contents::new(snapshot, outgoing);
    let mut writer = GroupWriter::new(version, snapshot, outgoing, output);

    writer.changelog(|revision, text| contents.take_changeset(revision, text))?;
    writer.end_of_group();

    let manifests = contents.manifests();
    writer.revlog(snapshot.manifest(), &manifests)?;
    writer.end_of_group();
    let mut shared = contents.candidates()?;
    if snapshot.repository().requirements().tree_manifests() {
        trees::write(&mut writer, snapshot, outgoing, &manifests, &mut shared)?;
    } else if !shared.is_empty() {
        contents::new_lines(snapshot.manifest(), outgoing, &manifests, |path, node, _, changeset| {
            contents::note(&mut shared, path, node, changeset);
        })?;
    }
    if version == Version::V03 {
        writer.end_of_group();
    }

    let mut revisions = Vec::new();
    for path in contents.paths() {
        let Some(filelog) = snapshot.shared_filelog(&path)? else {
            return Err(CommandError::Store(StoreError::Corrupt {
                path: snapshot.repository().root().join(".hg/store/data"),
                what: format!("nothing of the tracked file '{}'", crate::error::shown(&path)),
            }));
        };
        contents::file_revisions(&filelog, outgoing, shared.get(&path), &mut revisions);
        if revisions.is_empty() {
            continue;
        }
        writer.path(&path)?;
        writer.revlog(&filelog, &revisions)?;
        writer.end_of_group();
    }
    writer.end_of_group();
    writer.finish()
}

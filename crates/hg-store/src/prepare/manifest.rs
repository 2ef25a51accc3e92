//! Taking a push's manifests.

use memchr::memchr;

use crate::{Revision, Snapshot};

use super::changelog::CombinedChangelog;
use super::error::{Place, PrepareError, Refusal};
use super::growing::{Deltas, Growing, Received, RevlogPaths};
use super::hash::Log;
use super::incoming::IncomingRevision;
use super::ledger::Ledger;
use super::manifest_check::{Format, Line, Stretch, check, stretches};
use super::read_ahead::Arrived;
use super::spool::Spool;
use super::text_cache::Text;
use super::tree_ledger::TreeLedger;
use super::watch::Watch;

/// A delta that writes this part of a manifest, and more, is compared line by line with what it replaces.
const REWRITTEN: usize = 2;

/// The manifests, old and new; in trees those of the top.
pub(super) struct Manifests<'s> {
    pub(super) revlog: Growing<'s>,
}

impl<'s> Manifests<'s> {
    pub(super) fn new(snapshot: &'s Snapshot, deltas: Deltas) -> Manifests<'s> {
        let old = snapshot.manifest();
        let paths = RevlogPaths { index: b"store/00manifest.i".to_vec(), data: b"store/00manifest.d".to_vec() };
        let old = (!old.is_empty()).then_some(old);
        Manifests { revlog: Growing::new(Log::Manifest, old, paths, deltas) }
    }

    /// Takes one manifest of the group.
    pub(super) fn receive(
        &mut self,
        spool: &mut Spool,
        changelog: &CombinedChangelog<'_>,
        ledger: &mut Ledger,
        trees: Option<&mut TreeLedger>,
        incoming: &Arrived,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<(), PrepareError> {
        let node = incoming.node;
        let refused = |what| PrepareError::refused(what, Place::Manifest(node));
        if self.revlog.revision_of(&node).is_some() {
            return Ok(());
        }
        let link = changelog
            .revision_of(&incoming.link)
            .map(Revision::get)
            .ok_or_else(|| refused(Refusal::UnknownLink(incoming.link)))?;
        if changelog.new_manifest(link) != Some(node) {
            return Err(refused(Refusal::WrongLink(incoming.link)));
        }
        let Some(received) = self.revlog.receive(spool, incoming, link)? else {
            return Ok(());
        };
        let named_by = match trees {
            Some(trees) => NamedBy::Tree { folder: b"", changeset: link, trees },
            None => NamedBy::Flat,
        };
        check_lines(&self.revlog, spool, ledger, named_by, incoming, &received)?;
        match watch {
            Some(watch) => watch.received(self, spool, changelog, link, incoming, &received),
            None => Ok(()),
        }
    }

    /// The group is over: each new changeset's manifest must be there.
    pub(super) fn finish(
        &self,
        spool: &mut Spool,
        changelog: &CombinedChangelog<'_>,
        watch: Option<&mut Watch<'_>>,
    ) -> Result<(), PrepareError> {
        for changeset in changelog.new_changesets() {
            if let Some(manifest) = changelog.new_manifest(changeset.get())
                && !manifest.is_null()
                && self.revlog.revision_of(&manifest).is_none()
            {
                let place = Place::Changeset(changelog.node(changeset));
                return Err(PrepareError::refused(Refusal::MissingManifest(manifest), place));
            }
        }
        if let Some(watch) = watch {
            watch.rest(self, spool, changelog)?;
        }
        self.revlog.finish(&mut spool.writer)
    }
}

/// Whose lines are checked.
pub(super) enum NamedBy<'l> {
    /// A flat manifest.
    Flat,
    /// One of a folder, whose path ends with a slash and is empty for the top.
    Tree {
        folder: &'l [u8],
        /// With which it came.
        changeset: u32,
        trees: &'l mut TreeLedger,
    },
}

/// Checks the lines that are new, and notes what they name.
///
/// They are new compared with the delta's base; compared with the first parent where the delta is the whole text, so that a client
/// that sends no deltas does not make each push name every file. In trees always with a parent: a folder's manifest links to the
/// changeset that has it and whose parent has not, whatever a delta's base has.
///
/// The top of a repository with trees may have flat manifests too, from before its history had trees. None of their lines stands for
/// what a line of a tree does, so one after the other is new as a whole.
pub(super) fn check_lines(
    revlog: &Growing<'_>,
    spool: &mut Spool,
    ledger: &mut Ledger,
    mut named_by: NamedBy<'_>,
    incoming: &IncomingRevision,
    received: &Received,
) -> Result<(), PrepareError> {
    let new = &received.text[..];
    let in_flat_repository = matches!(named_by, NamedBy::Flat);
    let in_tree_with_paths = !in_flat_repository && has_paths(new);
    let format = match named_by {
        NamedBy::Tree { folder, .. } if !folder.is_empty() || !in_tree_with_paths => Format::Tree,
        _ => Format::Flat,
    };
    if format == Format::Tree && in_tree_with_paths {
        return Err(revlog.refused(Refusal::Manifest("path in a folder's manifest"), incoming.node));
    }
    let is_alike = |text: &Text| in_flat_repository || has_paths(text) == (format == Format::Flat);
    let base = received.base.as_ref().filter(|base| is_alike(base));
    let whole = match (base, format) {
        (None, _) => true,
        (Some(_), Format::Flat) => incoming.delta.len() > new.len() / REWRITTEN,
        (Some(_), Format::Tree) => incoming.base != incoming.p1,
    };
    let parent = match revlog.parents(received.revision) {
        [Some(parent), _] | [None, Some(parent)] if whole => Some(revlog.text(spool, parent)?).filter(is_alike),
        _ => None,
    };
    let limits = &spool.limits;
    let named = |line: Line<'_>| match &mut named_by {
        NamedBy::Flat => ledger.name(line.path, line.node, limits),
        NamedBy::Tree { folder, changeset, trees } if line.is_folder => {
            trees.name(&[folder, line.path, b"/"].concat(), line.node, *changeset, limits)
        }
        NamedBy::Tree { folder, .. } => ledger.name(&[folder, line.path].concat(), line.node, limits),
    };
    let from = |old: &[u8]| std::iter::once(Stretch { old: (0, old.len()), new: (0, new.len()) });
    let checked = match (&parent, base) {
        (Some(parent), _) => check(parent, new, format, from(parent), named),
        (None, Some(base)) if !whole || format == Format::Flat => {
            check(base, new, format, stretches(&incoming.delta), named)
        }
        _ => check(b"", new, format, from(b""), named),
    };
    checked.map_err(|what| revlog.refused(Refusal::Manifest(what), incoming.node))?
}

/// Whether a manifest is a flat one with files in folders. One without such is the same in trees.
fn has_paths(text: &[u8]) -> bool {
    memchr(b'/', text).is_some()
}
